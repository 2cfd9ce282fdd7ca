"""The wire-format part of `make bench`: rows of bookings as JSON Lines, CSV and FHIR R4, beside pandas' own writers.

Each line is a process of its own. Ours reads frames of some thousand rows from a file, writes them chunk by chunk and
forgets each, as what seals them does; pandas has all rows in one frame, and writes into memory, for it knows no other
way to get bytes. `python tests/bench/run.py wire_formats` runs this part alone; GOVERNANCE_BENCH_BOOKINGS=10000 before
it gives a quick look.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from datetime import date, timedelta
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

from bench.measuring import Job, repeated, say, say_columns_of_repeated
from governance.sharing.portions import Form, chunks
from provider_rows import HEALTH, TRAVEL, context, row, token

BOOKINGS = int(os.environ.get("GOVERNANCE_BENCH_BOOKINGS", "100_000"))
AT_ONCE = 8_000
FLOORS = {"jsonl": 20_000, "csv": 20_000, "fhir": 4_000}
"""Rows per CPU second below which a line says so."""
MOST_MB = 300


def main(folder: Path) -> None:
    """All lines; the rows are in files of this folder."""
    say_columns_of_repeated()
    for form, columns in (("jsonl", TRAVEL), ("csv", TRAVEL), ("jsonl", HEALTH), ("fhir", HEALTH)):
        of_what = "travel" if columns is TRAVEL else "health"
        path = folder / f"{of_what}.arrow"
        if not path.exists():
            make(path, columns)
        ours = repeated(f"{of_what} rows as {form}", partial(_ours, form), path, repetitions=3)
        if form != "fhir":
            peer = repeated(f"    the same by pandas to_{PEERS[form]}", partial(_peer, form), path, repetitions=3)
            say(f"    = {ours.per_cpu_second / peer.per_cpu_second:.2f} of the peer's rows per CPU second")
        wrong = [
            f"fewer than {FLOORS[form]:,} rows per CPU second" * (ours.per_cpu_second < FLOORS[form]),
            f"more than {MOST_MB} MB" * (ours.peak_rss_mb > MOST_MB),
        ]
        if any(wrong):
            say(f"    TOO SLOW OR TOO BIG: {', '.join(filter(None, wrong))}")


PEERS = {"jsonl": "json", "csv": "csv"}


def make(path: Path, columns: tuple[str, ...]) -> None:
    """Rows of so many bookings, every second one with two services; names and notes of usual lengths."""
    names = sorted(
        (token("booking", n), token("service", n, m), token("person", n))
        for n in range(BOOKINGS)
        for m in range(n % 2 + 1)
    )
    count, usual = len(names), row()
    dice = np.random.default_rng(1)
    given = {
        **dict(
            zip(("booking_reference", "service_reference", "person_reference"), zip(*names, strict=True), strict=True)
        )
    }
    for name, choices in CHOICES.items():
        given[name] = np.array(choices, dtype=object)[dice.integers(0, len(choices), count)]
    booking = {name: n for n, name in enumerate(dict.fromkeys(given["booking_reference"]))}
    person = [booking[name] for name in given["booking_reference"]]
    for name, choices in OF_PERSON.items():
        given[name] = [choices[n % len(choices)] for n in person]
    arrays = {name: pa.array(given.get(name, [usual[name]] * count)) for name in columns}
    table = pa.table(arrays)
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, table.schema) as file:
        file.write_table(table, max_chunksize=AT_ONCE)


CHOICES = {
    "procedure_code": ["dental.implant", "eye.lasik", "orthopaedics.knee", "check-up"],
    "clinical_note": [None, None, "Allergic to penicillin", "Har opererats förut; 2019.\nTar blodförtunnande."],
    "itinerary": ["ARN-BUD, hotel", "GOT-CPH-LIS; hotel three nights", None],
    "service_date": [date(2026, 5, 4) + timedelta(n) for n in range(90)],
}
OF_PERSON = {
    "given_name": ["Astrid", "Åsa", "Karl-Johan", "José", "花子"],
    "family_name": ["Ström", "Öberg", "af Ugglas", "O'Brien", "'t Hooft", "山田", "Svensson"],
    "email": ["astrid@example.com", "k.j.svensson@example.com", None],
    "language": ["sv-SE", "en", "de"],
}


def _frames(path: Path) -> Iterator[pd.DataFrame]:
    with pa.OSFile(str(path)) as source, pa.ipc.open_file(source) as file:
        for number in range(file.num_record_batches):
            yield pa.table(file.get_batch(number)).to_pandas(types_mapper=pd.ArrowDtype)


def _ours(form: Form, path: Path) -> Job:
    count = sum(map(len, _frames(path)))
    return Job(count, lambda: sum(map(len, chunks(_frames(path), form, context()))))


def _peer(form: Form, path: Path) -> Job:
    frame = pd.concat(_frames(path))
    if form == "csv":
        return Job(len(frame), lambda: frame.to_csv(io.StringIO(), index=False))
    # Of days as Arrow has them it makes nothing: they are given to it as texts, and that is not counted.
    days = [name for name in frame if frame[name].dtype == pd.ArrowDtype(pa.date32())]
    frame = frame.astype(dict.fromkeys(days, str))
    return Job(len(frame), lambda: frame.to_json(io.StringIO(), orient="records", lines=True, date_format="iso"))
