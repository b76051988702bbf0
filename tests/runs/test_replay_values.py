"""Mended rejects: every kind of column is sent as a mended source's would be, whichever format the export has."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from tests.support.projects import KEY, Result, backfill
from tests.support.stand_ins.server import Said, StandIn

#: Stands for a value that is no integer in the source, and for what mends it.
FAULT, MENDED = "fault!", "7"
DAY = "2024-01-02"
HEADER = ("id", "n", "text", "whole", "share", "price", "yes", "day", "at", "j", "list")
TYPES = (
    "{n: integer, whole: integer, share: number, price: decimal, yes: boolean, day: date, at: timestamp, j: json,"
    " list: json}"
)
JSONS = ('{"a":1.10}', '{ "a" : [1, {"b": null}], "é": "\\u00e9 \\" x" }', "[]", '"12"', "12", "1.10", "true", "null")
ROWS = [
    (f"u{place}", FAULT, text, f"+0{place}", "1e3", "1.10", "T", DAY, f"{DAY}T03:04:05.{place}Z", j, "[1.0]")
    for place, (j, text) in enumerate(
        zip(JSONS, ("", "12", "007", '{"a":1.10}', "null", "true", ' "x" \\ y', "line\nbreak"), strict=True)
    )
]  # fmt: skip
ROWS.append(("u9", FAULT, *[None] * 9))
JOB = f"""version: 1
name: values
source: {{SOURCE, columns: {TYPES}}}
calls:
  - {{type: track, event: {{value: E}}, userId: id, timestamp: {{value: "2024-01-01T00:00:00Z"}}, message_key: [id],
      integrations: {{All: false}}, properties: {{"*": {{}}, none: {{column: j, nulls: keep}}}}}}
"""
Rows = list[tuple[str | None, ...]]


def csv_source(folder: Path, rows: Rows) -> str:
    """All is text; null is an empty cell without quotes, which an empty text has."""
    cells = [["" if cell is None else '"' + cell.replace('"', '""') + '"' for cell in row] for row in rows]
    (folder / "rows.csv").write_text("\n".join(map(",".join, [list(HEADER), *cells])) + "\n", "utf-8")
    return "path: rows.csv"


def parquet_source(folder: Path, rows: Rows) -> str:
    """Text that the job declares to be something else."""
    pl.DataFrame(rows, dict.fromkeys(HEADER, pl.String), orient="row").write_parquet(folder / "rows.parquet")
    return "path: rows.parquet"


def ndjson_source(folder: Path, rows: Rows) -> str:
    """Scalars, of which the job says what they are; JSON would be what it is, and its columns have none here."""
    lines = [{name: cell for name, cell in zip(HEADER, row, strict=True) if name not in ("j", "list")} for row in rows]
    (folder / "rows.ndjson").write_text("".join(json.dumps(line) + "\n" for line in lines), "utf-8")
    return "path: rows.ndjson"


def sqlite_source(folder: Path, rows: Rows) -> str:
    """A database's text that the job declares to be something else."""
    (folder / "rows.db").unlink(missing_ok=True)
    with closing(sqlite3.connect(folder / "rows.db")) as base:
        base.execute(f"CREATE TABLE rows ({', '.join(HEADER)})")
        base.executemany(f"INSERT INTO rows VALUES ({', '.join('?' * len(HEADER))})", rows)
        base.commit()
    return 'database: "sqlite:///rows.db", table: rows'


def mend_text(file: Path) -> None:
    """The fault replaced, wherever it is."""
    file.write_text(file.read_text("utf-8").replace(FAULT, MENDED), "utf-8")


def mend_parquet(file: Path) -> None:
    """The fault replaced in its column."""
    pl.read_parquet(file).with_columns(pl.col("n").replace(FAULT, MENDED)).write_parquet(file)


def mend_parsed(file: Path) -> None:
    """As somebody might who thinks in JSON: numbers and objects where the export has their texts."""
    lines = [json.loads(line) for line in file.read_text("utf-8").splitlines()]
    texts = []
    for line in lines:
        j = line.pop("j", None)
        own = json.dumps(line | {"n": int(MENDED)}, ensure_ascii=False)
        texts.append(f'{own[:-1]}, "j": {j or "null"}}}\n' if j and j[0] in "{[1" else mended_line(line, j))
    file.write_text("".join(texts), "utf-8")


def mended_line(line: dict[str, Any], j: str | None) -> str:
    """A line whose JSON stays text."""
    return json.dumps(line | {"n": int(MENDED), "j": j}) + "\n"


@pytest.fixture
def there(monkeypatch: pytest.MonkeyPatch) -> Iterator[StandIn]:
    """A target."""
    monkeypatch.setenv("SEGMENT_WRITE_KEY", KEY)
    with StandIn(lambda _: Said(body='{"success": true}')) as running:
        yield running


def run(folder: Path, there: StandIn, source: str, *words: str | Path) -> Result:
    """Run the job in a folder."""
    job = JOB.replace("SOURCE", source)
    if "ndjson" in source:
        job = job.replace(", j: json, list: json", "").replace(", none: {column: j, nulls: keep}", "")
    (folder / "job.yaml").write_text(job, "utf-8")
    profile = f"{{kind: segment, endpoint: '{there.url}', rate: unlimited}}"
    (folder / "targets.yaml").write_text(f"version: 1\ntargets:\n  prod: {profile}\n", "utf-8")
    return backfill("run", folder / "job.yaml", "--target", "prod", "--yes", *words)


def sent(there: StandIn, since: int) -> list[Any]:
    """The calls with every digit as it was sent, and members in their order."""
    bodies = [asked.body for asked in there.asked[since:]]
    calls = [call for body in bodies for call in json.loads(body, parse_float=str, parse_int=str)["batch"]]
    return [json.dumps(call) for call in calls]


@pytest.mark.parametrize(
    ("suffix", "mend"),
    [(".csv", mend_text), (".ndjson", mend_text), (".ndjson", mend_parsed), (".parquet", mend_parquet)],
)
@pytest.mark.parametrize("write", [csv_source, parquet_source, ndjson_source, sqlite_source])
def test_values_are_those_of_a_mended_source(
    tmp_path: Path, there: StandIn, write: Callable[[Path, Rows], str], suffix: str, mend: Callable[[Path], None]
) -> None:
    """Run and replay send what a run of the mended source does, to the digit."""
    source = write(tmp_path, ROWS)
    assert run(tmp_path, there, source).code == 3
    export = tmp_path / f"mended{suffix}"
    assert backfill("rejects", tmp_path / "job.yaml", "--export", export).code == 0
    mend(export)
    replayed = run(tmp_path, there, source, "--replay-rejects", export)
    assert replayed.code == 0, replayed.err
    asked = len(there.asked)
    whole = tmp_path / "whole"
    whole.mkdir()
    write(whole, [(row[0], MENDED, *row[2:]) for row in ROWS])
    assert run(whole, there, source).code == 0
    calls = sent(there, asked)
    assert len(calls) == len(ROWS)
    assert sent(there, 0)[: len(calls)] == calls


def test_types_in_an_export_are_refused(tmp_path: Path, there: StandIn) -> None:
    """A price of 1.10 that became a number on the way would be sent as 1.1."""
    source = csv_source(tmp_path, ROWS)
    assert run(tmp_path, there, source).code == 3
    export = tmp_path / "mended.parquet"
    assert backfill("rejects", tmp_path / "job.yaml", "--export", export).code == 0
    pl.read_parquet(export).with_columns(pl.col("price").cast(pl.Float64)).write_parquet(export)
    result = run(tmp_path, there, source, "--replay-rejects", export)
    assert (result.code, "price (Float64): the columns of an export are text" in result.err) == (2, True), result.err
