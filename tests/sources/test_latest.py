"""`latest`: only the newest row of each kind is kept, and every other one is counted."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from backfill.job.models import Job, Latest
from tests.support.job_texts import faults, job_text, load
from tests.support.projects import backfill
from tests.support.sourcing import job_over, staged


def latest(job: Job, *by: str, on: str = "at") -> Job:
    """The job with that."""
    return job.model_copy(update={"latest": Latest(by=by, on=on)})


def test_the_newest_row_is_kept(tmp_path: Path) -> None:
    """Ties go to the last, nulls are older than any value, no key is nobody's, a bad value is unreadable."""
    (tmp_path / "rows.csv").write_text(
        "id,at,note\na,2024-01-01,old\na,2024-03-01,new\na,2024-02-01,middle\nb,2024-01-01,tied\nb,2024-01-01,last\n"
        "c,,null\nc,2020-01-01,value\nd,,only\n,2024-01-01,nobody\n,2024-01-01,nobody too\n"
        "e,soon,bad\ne,2024-01-01,good\n"
    )
    job = latest(job_over(tmp_path / "rows.csv", columns={"at": "date"}, sql=("upper(note)",)), "id")
    result = staged(job, tmp_path / "state")
    assert result.column("note") == ["new", "last", "value", "only", "nobody", "nobody too", "good"]
    assert result.column("__bf_sql_0")[:2] == ["NEW", "LAST"]
    assert result.records == [2, 5, 7, 8, 9, 10, 12]
    snapshot = result.snapshot
    assert (snapshot.read, snapshot.filtered, snapshot.unreadable, snapshot.rows) == (12, 4, 1, 7)
    (bad,) = result.rejects
    assert (bad["record"], bad["code"], bad["column"], bad["value"]) == (11, "BF007", "at", "soon")


def test_where_is_asked_first(tmp_path: Path) -> None:
    """What `where` leaves out is not the newest of anything; unreadable records of before stay told of."""
    (tmp_path / "rows.csv").write_text("id,at,gone\na,2,no\na,3,yes\nb\nb,1,yes\nb,x,no\n")
    job = latest(job_over(tmp_path / "rows.csv", columns={"at": "integer"}, where="gone = 'no'"), "id")
    result = staged(job, tmp_path / "state")
    assert result.column("id") == ["a"]
    assert (result.snapshot.read, result.snapshot.filtered, result.snapshot.unreadable) == (5, 2, 2)
    assert [each["code"] for each in result.rejects] == ["BF001", "BF007"]


@pytest.mark.parametrize("threads", [1, 4])
@pytest.mark.parametrize("kind", ["csv", "ndjson", "parquet", "query"])
def test_against_python(tmp_path: Path, kind: str, threads: int) -> None:
    """100,000 rows of any source: those that Python keeps, in their order, whatever the threads."""
    chance = random.Random(kind)
    rows = [(chance.randrange(30_000), chance.randrange(50), at) for at in range(100_000)]
    frame = pl.DataFrame(rows, schema=["id", "at", "place"], orient="row")
    path = tmp_path / {"csv": "rows.csv", "ndjson": "rows.ndjson"}.get(kind, "rows.parquet")
    {"csv": frame.write_csv, "ndjson": frame.write_ndjson}.get(kind, frame.write_parquet)(path)
    columns: dict[str, Any] = {"at": "integer", "place": "integer"} if kind in ("csv", "ndjson") else {}
    query = {"query": "SELECT * FROM source"} if kind == "query" else {}
    newest: dict[int, tuple[int, int]] = {}
    for key, at, place in rows:
        newest[key] = max(newest.get(key, (-1, -1)), (at, place))
    result = staged(latest(job_over(path, columns=columns, **query), "id"), tmp_path / "state", threads=threads)
    assert result.column("place") == sorted(place for _, place in newest.values())
    assert result.records == [place + 1 for place in result.column("place")]
    assert result.snapshot.filtered == len(rows) - len(newest)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{by: [u], on: none}", 'no column "none"'),
        ("{by: [nobody], on: at}", 'no column "nobody"'),
        ("{by: [u], on: u}", "holds text, which will not do for what tells the newest"),
    ],
)
def test_columns_that_will_not_do(tmp_path: Path, text: str, words: str) -> None:
    """They are told with their place, before anything is read."""
    (tmp_path / "a.csv").write_text("u,at\n1,2024-01-01\n")
    source = "path: a.csv, columns: {at: {type: timestamp, timezone: UTC}}"
    path = tmp_path / "job.yaml"
    load(tmp_path, job_text(source=source, top=f"latest: {text}"))
    told = backfill("check", path)
    assert told.code == 2
    assert words in told.err
    assert "job.yaml:" in told.err


def test_verbs_agree(tmp_path: Path) -> None:
    """`check` says that it judges no row, `preview` and `dry-run` read the source whole."""
    (tmp_path / "a.csv").write_text("u,at\n1,2024-01-01\n1,2024-01-02\n2,2024-01-01\n")
    source = "path: a.csv, columns: {at: {type: timestamp, timezone: UTC}}"
    load(
        tmp_path,
        job_text("message_key: [u, at], integrations: {All: false}", source=source, top="latest: {by: [u], on: at}"),
    )
    path = tmp_path / "job.yaml"
    assert "its latest may need all" in backfill("check", path).out
    shown = backfill("preview", path)
    assert shown.out.count('"type": "track"') == 2
    assert "2024-01-02" in shown.out
    counted = backfill("dry-run", path, "--output", "json").object["rows"]
    assert counted == {"read": 3, "filtered": 1, "unreadable": 0, "mapped": 2}
    (fault,) = faults(tmp_path, job_text(source=source, top="latest: {by: [u]}"))
    assert fault.path == "latest.on" or "on" in fault.message
