"""`governance anonymise` on hostile tables and policies: nothing withheld gets out, no row is lost, no label lies."""

from __future__ import annotations

import fcntl
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet
import pytest
import yaml

from governance.__main__ import main
from governance.anonymisation.hierarchies import intervals, numbers
from governance.anonymisation.tables import BLOCK_BYTES
from governance.errors import PolicyError

GOOD, BAD_INPUT, BUSY, BAD_POLICY = 0, 65, 75, 78
AGE: dict[str, Any] = {"role": "quasi_identifier", "hierarchy": {"numbers": {"widths": [5]}}}
COLUMNS: dict[str, Any] = {
    "age": AGE,
    "client": {"role": "person"},
    "illness": {"role": "sensitive"},
    "note": {"role": "withhold"},
}


def table(count: int = 60) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "age": [str(700 + at % 10) for at in range(count)],
            "client": [f"Secret{at}" for at in range(count)],
            "illness": ["Secretflu" if at % 2 else "Secretcold" for at in range(count)],
            "note": [f"Secret note {at}" for at in range(count)],
        }
    )


def text(rows: pd.DataFrame | None = None) -> str:
    written: str = (table() if rows is None else rows).to_csv(index=False)
    return written


def run(
    folder: Path, content: str | bytes | pa.Table, out: str = "out.csv", columns: Any = COLUMNS, **protection: Any
) -> int:
    """The command; the policy's seed is public."""
    policy = {"version": 1, "protection": {"k": 5, **protection}, "effort": {"steps": 50, "public_seed": 1},
              "columns": columns}  # fmt: skip
    (folder / "p.yaml").write_text(yaml.safe_dump(policy, sort_keys=False))
    source = folder / ("in.parquet" if isinstance(content, pa.Table) else "in.csv")
    if isinstance(content, pa.Table):
        pyarrow.parquet.write_table(content, source)
    else:
        source.write_bytes(content.encode() if isinstance(content, str) else content)
    return main(["anonymise", str(source), str(folder / out), "--policy", str(folder / "p.yaml")])


def test_a_withheld_text_with_line_breaks_stays_one_value_wherever_a_block_ends(tmp_path: Path) -> None:
    line = "750,,flu,n\n"
    before = (BLOCK_BYTES - 50_000) // len(line)
    note = '750,,flu,"she said\n' + "700,,Secret,more\n" * 10_000 + '700,,Secret,end"\n'
    columns = COLUMNS | {"client": {"role": "withhold"}}
    assert run(tmp_path, "age,client,illness,note\n" + line * before + note + line * 500, columns=columns) == GOOD
    out = (tmp_path / "out.csv").read_text()
    assert "Secret" not in out
    assert out.count("\n") == 1 + before + 1 + 500


@pytest.mark.parametrize(
    "mark", ['"Secret note 50', '"Secret note 50" Secret', 'a "Secret" note', '"a ""Secret"" note"']
)
def test_a_quotation_mark_that_nobody_closes_swallows_no_row(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], mark: str
) -> None:
    pairs = mark.startswith("a") or '""' in mark
    code = run(tmp_path, text().replace("Secret note 50", mark))
    assert code == (GOOD if pairs else BAD_INPUT)
    assert "Secret" not in capsys.readouterr().err
    assert not pairs or len(pd.read_csv(tmp_path / "out.csv", sep=";")) == 60


@pytest.mark.parametrize("value", ["a\nb", "a\rb", "a\r\nb", 'a;"b', "\n"])
def test_a_value_with_a_line_break_is_one_row_of_what_is_published(tmp_path: Path, value: str) -> None:
    rows = table().assign(illness=[value if at % 2 else "flu" for at in range(60)])
    assert run(tmp_path, pa.Table.from_pandas(rows, preserve_index=False)) == GOOD
    out = pd.read_csv(tmp_path / "out.csv", sep=";", dtype=str)
    assert len(out) == 60
    assert (tmp_path / "out.csv").read_bytes().count(b'"') > 0


def test_a_row_without_any_value_is_a_row_also_when_there_is_one_column(tmp_path: Path) -> None:
    rule = {"role": "quasi_identifier", "hierarchy": {"numbers": {}}}
    ages = pd.DataFrame({"age": [1] * 10 + [2, 3, 4, 5, 6]})
    assert run(tmp_path, text(ages), columns={"age": rule}) == GOOD
    assert len(pd.read_csv(tmp_path / "out.csv", sep=";")) == 15


@pytest.mark.parametrize("column", ["client", "illness"])
def test_text_of_parquet_that_is_no_text_is_refused_without_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], column: str
) -> None:
    ends = np.arange(61, dtype=np.int32) * 7
    broken = pa.Array.from_buffers(pa.string(), 60, [None, pa.py_buffer(ends), pa.py_buffer(b"Secret\xff" * 60)])
    rows = pa.Table.from_pandas(table(), preserve_index=False)
    assert run(tmp_path, rows.set_column(rows.schema.get_field_index(column), column, broken)) == BAD_INPUT
    said = capsys.readouterr().err
    assert "not UTF-8" in said
    assert "Secret" not in said


def test_a_damaged_parquet_file_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "in.parquet").touch()
    pyarrow.parquet.write_table(pa.Table.from_pandas(table(), preserve_index=False), tmp_path / "whole")
    content = bytearray((tmp_path / "whole").read_bytes())
    content[4:40] = bytes(36)
    assert run(tmp_path, text()) == GOOD
    (tmp_path / "in.parquet").write_bytes(content)
    given = ["anonymise", str(tmp_path / "in.parquet"), str(tmp_path / "other.csv"), "--policy"]
    assert main([*given, str(tmp_path / "p.yaml")]) == BAD_INPUT
    assert "in.parquet is damaged" in capsys.readouterr().err


def test_null_and_what_is_no_number_are_one_value(tmp_path: Path) -> None:
    rows = pa.Table.from_pandas(table(), preserve_index=False)
    missing = pa.array([float("nan"), None] * 30)
    assert run(tmp_path, rows.set_column(2, "illness", missing), l=2) == 1


def test_a_first_line_that_is_no_header_is_not_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(tmp_path, text().split("\n", 1)[1]) == BAD_POLICY
    said = capsys.readouterr().err
    assert "no header" in said
    assert "Secret" not in said


@pytest.mark.parametrize("name", ["age_5", "age_from", "age_to"])
@pytest.mark.parametrize("role", ["keep", "sensitive", "withhold"])
def test_a_column_called_like_a_level_of_another_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, role: str
) -> None:
    columns = {**COLUMNS, name: {"role": role}}
    assert run(tmp_path, text(table().assign(**{name: "Secret"})), columns=columns) == BAD_POLICY
    assert f"called {name}" in capsys.readouterr().err
    assert not (tmp_path / "out.csv").exists()


@pytest.mark.parametrize("name", ["age_6", "age_5_", "agefrom"])
def test_a_column_called_otherwise_is_not(tmp_path: Path, name: str) -> None:
    rows = table().assign(**{name: "x"})
    assert run(tmp_path, text(rows), columns={**COLUMNS, name: {"role": "keep"}}) == GOOD


@pytest.mark.parametrize("given", [{"widths": [0, 5]}, {"widths": [np.inf]}, {"widths": [np.nan]},
                                   {"widths": [5], "origin": 0.5}, {"widths": [5], "origin": np.nan}])  # fmt: skip
def test_widths_that_are_none_are_refused(given: dict[str, Any]) -> None:
    with pytest.raises(PolicyError):
        numbers("age", given["widths"], origin=given.get("origin", 0))


def test_a_bucket_of_fractions_holds_every_number_that_it_is_said_of() -> None:
    rule = numbers("dose", [0.1, 0.2, 0.4], whole=False)
    for tenths in range(-200, 200):
        for label in (rule.path(f"{tenths / 10:.1f}") or ())[:-1]:
            low, high = map(float, label[1:-1].split(", "))
            assert low <= tenths / 10 < high


def test_a_whole_number_that_no_float_can_tell_from_the_next_is_unknown() -> None:
    rule = numbers("number", [5])
    assert rule.path(str(2**53)) == (f"[{2**53 // 5 * 5}, {2**53 // 5 * 5 + 4}]", "*")
    assert rule.path(str(2**53 + 2)) is None


@pytest.mark.parametrize("levels", [{"a": {"": (0, 9)}}, {"a": {"*": (0, 9)}}, {"a": {"x": (float("nan"), 9)}},
                                    {"a": {"low": (0, 4), "high": (5, 9)}, "b": {"low": (0, 9)}}])  # fmt: skip
def test_labels_of_intervals_mean_one_thing_each(levels: Any) -> None:
    with pytest.raises(PolicyError):
        intervals("age", levels)
    assert intervals("age", {"a": {"low": (0, 4), "high": (5, 9)}, "b": {"any": (0, 9)}})


def test_an_order_that_lists_a_value_twice_is_refused(tmp_path: Path) -> None:
    order = ["Secretflu", "Secretcold", "Secretflu"]
    assert run(tmp_path, text(), t=0.5, ordered={"illness": order}) == BAD_POLICY
    assert run(tmp_path, text(), t=0.5, ordered={"illness": order[:2]}) == GOOD


@pytest.mark.parametrize("out", ["out.csv", "out.parquet"])
def test_two_runs_do_not_write_into_one_file(tmp_path: Path, capsys: pytest.CaptureFixture[str], out: str) -> None:
    beside = tmp_path / f".{out}.part"
    with beside.open("w") as other:
        other.write("of another run")
        other.flush()
        fcntl.flock(other, fcntl.LOCK_EX)
        assert run(tmp_path, text(), out) == BUSY
        assert "another run" in capsys.readouterr().err
        assert beside.read_text() == "of another run"
        assert not (tmp_path / out).exists()
    assert run(tmp_path, text(), out) == GOOD  # what a kill left is overwritten
    assert not beside.exists()
    assert b"another run" not in (tmp_path / out).read_bytes()


def test_a_link_in_the_place_of_the_draft_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "else").write_text("kept")
    (tmp_path / ".out.csv.part").symlink_to(tmp_path / "else")
    assert run(tmp_path, text()) == 74
    assert (tmp_path / "else").read_text() == "kept"


def test_a_pipe_is_not_replaced_by_a_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "out.csv")
    assert run(tmp_path, text()) == BAD_INPUT
    assert (tmp_path / "out.csv").is_fifo()


@pytest.mark.parametrize("more", [["--effort", str(10**30)], ["--seed-file", "OUT"]])
def test_arguments_that_cannot_be_are_refused(tmp_path: Path, more: list[str]) -> None:
    assert run(tmp_path, text()) == GOOD
    (tmp_path / "out.csv").unlink()
    policy = yaml.safe_load((tmp_path / "p.yaml").read_text()) | {"effort": {"steps": 50}}
    (tmp_path / "p.yaml").write_text(yaml.safe_dump(policy))
    out = str(tmp_path / "out.csv")
    given = ["anonymise", str(tmp_path / "in.csv"), out, "--policy", str(tmp_path / "p.yaml")]
    assert main([*given, *(out if one == "OUT" else one for one in more)]) == BAD_INPUT
    assert not (tmp_path / "out.csv").exists()


def test_both_commands_measure_one_t_along_an_order_that_goes_on_beyond_the_table(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    order = ["Secretcold", "Secretflu", "Secretcough", "Secretache"]
    assert run(tmp_path, text(), "out.csv", t=0.9, ordered={"illness": order}) == GOOD
    capsys.readouterr()
    policy = str(tmp_path / "p.yaml")
    given = ["anonymise", str(tmp_path / "in.csv"), str(tmp_path / "out.csv"), "--policy", policy, "--json"]
    assert main([*given, "--labels"]) == GOOD
    asked = json.loads(capsys.readouterr().out)["measures"]["t"]
    assert main(["assess", str(tmp_path / "out.csv"), "--policy", policy, "--json"]) == GOOD
    found = json.loads(capsys.readouterr().out)["by_value"]["sensitive"]["illness"]["t"]
    assert found == pytest.approx(asked)
    assert found > 0
