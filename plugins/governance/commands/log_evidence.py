"""The newest entry of the run log that serves a clause: what it says, its proof, and the texts behind its digests."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from governance.commands.reading import rows
from governance.embedded.site import Site
from governance.errors import InputError, ProofError, RunLogError
from governance.log_tree import LogTree
from governance.merkle import inclusion_proof
from governance.notes import proof_text
from governance.signers import CheckpointFolder, Signers
from governance.sources import named_query


def lines(site: Site, clause: str) -> Iterator[str]:
    """The answer, in lines: entry, proof, policy and suite as they were."""
    found = rows(site.dsn("auditor"), named_query("log/latest_of_clause"), {"clause": clause})
    if not found:
        yield "    nothing in the run log serves this clause yet"
        return
    ((entry_id, entry, written_at),) = found
    yield from _entry(entry_id, entry, written_at, clause)
    yield ""
    yield "Its proof (c2sp.org/tlog-proof: whoever has the entry and our public key checks it, without other entries)"
    yield from (f"    {line}" for line in _proof(site, entry_id))
    yield ""
    yield "The policy and the suite that were in force"
    yield from _texts(site, entry, clause)


def proof(site: Site, entry_id: str) -> tuple[bytes, str]:
    """The bytes of an entry's leaf, and the tlog-proof that it is in the log of the last published checkpoint.

    Raises InputError for an entry that has no place, or that no checkpoint covers yet.
    """
    folder = CheckpointFolder(site.checkpoints_path)
    published = folder.latest(Signers.load(site.signers_path).origin)
    with LogTree.connected(site.dsn("auditor")) as tree:
        if tree.checkpoints():
            folder.require_keys()
        place = tree.place_of(entry_id)
        if place is None:
            raise InputError(
                f"no entry {entry_id} has a place in the tree; one that is new gets it within minutes: "
                "`governance log checkpoint` gives it one now"
            )
        index, leaf = place
        if published is None or index >= published[0].size:
            raise InputError(f"entry {entry_id} came after the last checkpoint; `governance log checkpoint` covers it")
        head, note = published
        return leaf, proof_text(index, inclusion_proof(index, head.size, tree.hashes().hash_of), note)


def text_of(site: Site, digest: str) -> tuple[str, str]:
    """Name and content behind a digest. Raises InputError when no version with it was ever used here."""
    found = rows(site.dsn("auditor"), "SELECT name, content FROM audit.texts WHERE sha256 = %s", (digest,))
    if not found:
        raise InputError(
            f"no text with SHA-256 {digest} was ever used here; digests stand in entries (`governance runs --json`)"
        )
    ((name, content),) = found
    return str(name), str(content)


def _entry(entry_id: str, entry: Mapping[str, Any], written_at: datetime, clause: str) -> Iterator[str]:
    run = entry["run"]
    yield f"    {entry['event']} of {entry['dataset']}, partition {entry['partition_key']}: {entry['outcome']}"
    who = run["triggered_by"] or run["dag_id"]
    yield f"    entry {entry_id}, written {written_at:%Y-%m-%d %H:%M:%S} UTC, by {who}, try {run['try_number']}"
    rules = [rule for rule in entry["rules"] if rule["clause"] == clause]
    for rule in rules:
        yield f"        {rule['rule']} on {rule['table']}: {rule['evaluated']:,} rows seen, {rule['failed']:,} failed"
    told = {name: count for name, count in {**entry["conservation"], **entry["counts"]}.items() if count}
    if told and not rules:
        counts = (f"{name.replace('_', ' ')} {count:,}" for name, count in told.items())
        yield f"        {', '.join(counts)}"


def _proof(site: Site, entry_id: str) -> Iterator[str]:
    try:
        _, text = proof(site, entry_id)
    except InputError:
        yield "not yet: the entry is newer than the last checkpoint; `governance log checkpoint` signs one now"
    except (ProofError, RunLogError) as error:
        yield f"NONE: {error}"
    else:
        yield from text.rstrip("\n").split("\n")


def _texts(site: Site, entry: Mapping[str, Any], clause: str) -> Iterator[str]:
    """The list of the policy's files, and the clause's part of the suite, from the texts that were kept."""
    for kind in ("policy", "suite"):
        digest = entry["digests"][kind]
        if digest is None:
            continue
        try:
            _, content = text_of(site, digest)
        except InputError:
            yield f"    {kind} {digest}: from before texts were kept"
            continue
        yield f"    {kind} {digest}  (`governance log text DIGEST` prints any of these)"
        shown = content.splitlines() if kind == "policy" else _of_clause(content, clause)
        yield from (f"        {line}" for line in shown)


def _of_clause(suite: str, clause: str) -> Iterator[str]:
    for expectation in json.loads(suite)["expectations"]:
        if expectation["meta"]["clause"] == clause:
            wanted = {name: value for name, value in expectation["kwargs"].items() if name != "column"}
            column, said = expectation["kwargs"].get("column", "the table"), json.dumps(wanted, sort_keys=True)
            yield f"{expectation['meta']['rule']}: {expectation['type']} on {column} {said}"
