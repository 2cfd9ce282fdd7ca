"""What a test looks at after a step: rows opened, entries of the log, a digest of all that may not have changed."""

from __future__ import annotations

import json
from contextlib import closing
from datetime import datetime
from typing import Any

import pyarrow as pa

import builders
from governance import steps
from governance.__main__ import main
from governance.embedded.site import LOGINS, Site
from governance.encryption import Column, decrypt, key_ids
from governance.run_log import Batch
from governance.steps import Workspace

LANDED = ("bookings", "booking_travellers", "booking_services", "payment_cards")


def through(space: Workspace, dataset: str, key: str, run_id: str = "test") -> Batch:
    """All three hops."""
    batch = steps.pull(space, dataset, key, builders.run(run_id))
    return steps.publish(space, steps.validate(space, batch, builders.run(run_id)), builders.run(run_id))


def content(site: Site, zone: str, table: str, now: datetime = builders.NOW) -> list[dict[str, Any]]:
    """Rows of a landed table by row key, ciphertexts opened, without the number that landing gave them.

    A value whose key is destroyed reads `destroyed`.
    """
    rows = [row for (row,) in builders.read(site, f"SELECT to_jsonb(t) - 'row_id' FROM {zone}.{table} t")]
    encrypted = [name for name in (rows[0] if rows else ()) if name.endswith("_encrypted")]
    sealed = {name: [bytes.fromhex(row[name][2:]) if row[name] else None for row in rows] for name in encrypted}
    ids = {name: key_ids(pa.array(values, pa.binary())).to_pylist() for name, values in sealed.items()}
    with closing(builders.key_service(site, now)) as service:
        # Past the check of purposes: a test may see everything.
        found, gone = service.unwrapped({id for named in ids.values() for id in named if id})
    for name, values in sealed.items():
        opened = decrypt(
            pa.array([None if id in gone else value for id, value in zip(ids[name], values, strict=True)], pa.binary()),
            pa.array([row["row_key"] for row in rows]),
            key_of=found.__getitem__,
            column=Column(table, name),
        ).to_pylist()
        for row, id, value in zip(rows, ids[name], opened, strict=True):
            row[name] = "destroyed" if id in gone else value
    return sorted(rows, key=lambda row: str(row["row_key"]))


def entries(site: Site, event: str = "%", phase: str = "%") -> list[dict[str, Any]]:
    """Entries of the run log, oldest first; those of reads only when they are asked for by name."""
    query = (
        "SELECT entry FROM audit.run_log WHERE event LIKE %s AND (event <> 'read' OR %s = 'read') AND phase LIKE %s "
        "ORDER BY written_at"
    )
    return [json.loads(entry) for (entry,) in builders.read(site, query, event, event, phase)]


def outcomes(site: Site, event: str = "%") -> list[str]:
    """How the hops ended, oldest first."""
    return [entry["outcome"] for entry in entries(site, event, "outcome")]


def state(site: Site) -> dict[str, list[Any]]:
    """Everything but the log, as a digest per table: what a step that failed must leave alone."""
    tables = builders.read(
        site,
        "SELECT format('%I.%I', schemaname, tablename) FROM pg_tables "
        "WHERE schemaname IN ('control', 'records', 'quarantine', 'vault', 'analytics') "
        "AND tablename <> 'landings' ORDER BY 1",  # a landing that was begun is none yet
    )
    return {
        name: builders.read(site, f"SELECT md5(string_agg(t::text, '|' ORDER BY t::text)), count(*) FROM {name} t")
        for (name,) in tables
    }


def terms(site: Site, event: str = "publish") -> list[dict[str, int]]:
    """The equation's terms of each effect of a hop."""
    return [e["conservation"] for e in entries(site, event, "outcome") if e["outcome"] in ("passed", "no_data")]


def governance(*arguments: str) -> int:
    """A command, as a person gives it."""
    return main(arguments)


def sessions(site: Site, role: str) -> list[int]:
    """Process ids of the sessions of a role's login."""
    admin = "source_postgres" if role == "puller" else "postgres"
    query, login = "SELECT pid FROM pg_stat_activity WHERE usename = %s", LOGINS[role].taken_by or role
    return [pid for (pid,) in builders.read(site, query, login, role=admin)]
