"""`check`, `preview`, `dry-run` and `run` judge alike: what one of them refuses or reports, the others do."""

from __future__ import annotations

import gzip
import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.parquet as pq  # type: ignore[import-untyped]
import pytest

from backfill.pipeline.check import SAMPLE_ROWS
from tests.support.projects import Project, backfill

CALL = (
    "calls:\n  - {type: track, message_key: [id], userId: id, event: {value: Seen}, timestamp: TIME,"
    " integrations: {All: false}, properties: PROPERTIES}\n"
).replace("TIME", "{column: at, format: iso8601}")


def ndjson(folder: Path) -> str:
    """Two good lines."""
    lines = [{"id": f"u{number}", "at": "2023-05-01T00:00:00Z", "total": number} for number in range(2)]
    (folder / "data.ndjson").write_text("".join(json.dumps(line) + "\n" for line in lines), "utf-8")
    return "{path: data.ndjson, timezone: UTC}"


def parquet(folder: Path) -> str:
    """Bytes among its columns."""
    columns = {
        "id": pa.array(["u1"]),
        "at": pa.array(["2023-05-01T00:00:00Z"]),
        "tags": pa.array([b"a"]),
    }
    pq.write_table(pa.table(columns), folder / "data.parquet")
    return "{path: data.parquet, timezone: UTC}"


def padded(folder: Path) -> str:
    """Gzip with bytes behind its end that are no member of it."""
    ndjson(folder)
    plain = (folder / "data.ndjson").read_bytes()
    (folder / "data.ndjson.gz").write_bytes(gzip.compress(plain)[:-4])
    return "{path: data.ndjson.gz, timezone: UTC}"


def no_zone(folder: Path) -> str:
    """Times without a zone, and none stated."""
    (folder / "data.csv").write_text("id,at\nu1,2023-05-01 00:00:00\n", "utf-8")
    return "{path: data.csv, columns: {at: {type: timestamp, format: '%Y-%m-%d %H:%M:%S'}}}"


#: What is wrong -> source, properties, exit code, and a word of the message.
WRONG: dict[str, tuple[Callable[[Path], str], str, int, str]] = {
    "a column that NDJSON does not have": (ndjson, "{x: totla}", 2, "totla"),
    "a declared column that NDJSON does not have": (
        lambda folder: ndjson(folder).replace("timezone: UTC", "timezone: UTC, columns: {totla: integer}"),
        "{x: total}", 2, "totla",
    ),
    "SQL over a column that NDJSON does not have": (ndjson, "{x: {sql: 'totla + 1'}}", 2, "totla"),
    "sql as the name of a property": (ndjson, "{sql: 'total + 1'}", 2, "calls[0].properties.sql"),
    "bytes as a property": (parquet, "{x: tags}", 2, "tags"),
    "times without a zone": (no_zone, "{x: id}", 2, "timezone"),
    "a truncated file": (padded, "{x: total}", 9, "data.ndjson.gz"),
}  # fmt: skip


@pytest.mark.parametrize(("source", "properties", "code", "word"), WRONG.values(), ids=WRONG.keys())
def test_verbs_judge_alike(
    project: Project, source: Callable[[Path], str], properties: str, code: int, word: str
) -> None:
    """The same exit code and the same words, whichever verb is asked first."""
    job = project.folder / "job.yaml"
    text = f"version: 1\nname: job\nsource: {source(project.folder)}\n{CALL}"
    job.write_text(text.replace("PROPERTIES", properties), "utf-8")
    for words in (["check", job], ["preview", job], ["dry-run", job], ["run", job, "--target", "sandbox"]):
        result = backfill(*words)
        assert result.code == code, (words[0], result.out + result.err)
        assert word in result.err, words[0]
        assert "nexpected" not in result.err


@pytest.mark.parametrize("verb", ["check", "preview", "dry-run"])
def test_unstated_integrations_are_told_before_a_live_run(project: Project, key: str, verb: str) -> None:
    """A live run will refuse the job for them, beside every other fault: so it is said by those before."""
    job = project.people(5)
    job.write_text(job.read_text("utf-8").replace("    integrations: {All: false}\n", ""), "utf-8")
    told = backfill(verb, job)
    assert told.code == 0
    assert told.err.count("`integrations` is not stated") == 1
    job.write_text(job.read_text("utf-8").replace("email: email", "email: emial"), "utf-8")
    live = backfill("run", job, "--target", "segment", "--yes")
    assert live.code == 2
    assert "emial" in live.err
    assert live.err.count("`integrations` is not stated") == 1


@pytest.mark.parametrize("bad", [[], [3]])
def test_check_judges_the_rows(project: Project, bad: list[int]) -> None:
    """What a dry run rejects among the first rows, `check` does, and says whether those are all."""
    job = project.people(40, bad=bad)
    check, dry = backfill("check", job), backfill("dry-run", job)
    assert check.code == dry.code == (3 if bad else 0)
    assert ("BF117" in check.err) is bool(bad)
    assert "its 40 records" in check.out
    assert "were not judged" not in check.err


def test_check_says_what_it_has_not_seen(project: Project) -> None:
    """Of more rows than it judges only a full read can tell."""
    check = backfill("check", project.people(SAMPLE_ROWS + 50, bad=[SAMPLE_ROWS + 20]))
    assert check.code == 0
    assert "nothing wrong with the first 1,000 records" in check.out
    assert "the records after them were not judged: `backfill dry-run" in check.err


def test_a_key_that_comes_late(project: Project) -> None:
    """A key of NDJSON that no first record has may come: that is said, and is no fault."""
    lines = [{"id": f"u{number}", "at": "2023-05-01T00:00:00Z"} for number in range(SAMPLE_ROWS + 9)]
    lines[-1]["late"] = "1"
    padding = {"pad": "x" * 9_000}
    source = project.folder / "data.ndjson"
    source.write_text("".join(json.dumps(line | padding) + "\n" for line in lines), "utf-8")
    job = project.folder / "job.yaml"
    text = f"version: 1\nname: job\nsource: {{path: data.ndjson, timezone: UTC}}\n{CALL}"
    job.write_text(text.replace("PROPERTIES", "{late: late}"), "utf-8")
    check = backfill("check", job)
    assert check.code == 0, check.err
    assert "not in the first " in check.err
    assert backfill("dry-run", job).code == 0


def test_a_column_without_a_value_yet(project: Project) -> None:
    """A column of SQLite that is null in the first rows is not said to be missing, and the rows are judged."""
    path = project.folder / "shop.db"
    with closing(sqlite3.connect(path)) as shop:
        shop.execute("CREATE TABLE seen (id TEXT, at TEXT, votes INTEGER, stars)")
        rows = ((f"u{number}", "2023-05-01T00:00:00Z" if number else "never") for number in range(SAMPLE_ROWS + 9))
        shop.executemany("INSERT INTO seen (id, at) VALUES (?, ?)", rows)
        shop.commit()
    job = project.folder / "job.yaml"
    text = f"version: 1\nname: job\nsource: {{database: 'sqlite:///shop.db', table: seen}}\n{CALL}"
    job.write_text(text.replace("PROPERTIES", "{votes: votes, stars: stars}"), "utf-8")
    check = backfill("check", job)
    assert (check.code, check.err.count("BF202")) == (3, 1), check.err
    assert "has no column" not in check.out + check.err
    assert backfill("dry-run", job).code == 3
    job.write_text(text.replace("PROPERTIES", "{votes: vote}"), "utf-8")
    assert 'the source has no column "vote"' in (check := backfill("check", job)).out + check.err


def test_what_is_not_judged_is_said_once(project: Project) -> None:
    """In the verdict, and not again behind it."""
    job = project.people(5)
    query = "  timezone: UTC\n  query: SELECT * FROM source ORDER BY id LIMIT 3\n"
    job.write_text(job.read_text("utf-8").replace("  timezone: UTC\n", query), "utf-8")
    check = backfill("check", job)
    assert check.code == 0
    assert (check.out + check.err).count("no row was judged, as its query may need all of them") == 1
    assert (check.out + check.err).count("` reads and judges all") == 1


def test_check_of_no_record(project: Project) -> None:
    """A header alone is nothing wrong, and nobody is told of 0 good records."""
    check = backfill("check", project.people(0))
    assert check.code == 0
    assert "nothing wrong, but its source has no record" in check.out
    assert "0 records" not in check.out + check.err


@pytest.mark.parametrize("verb", ["check", "dry-run"])
def test_a_forgotten_zone_is_told(project: Project, verb: str) -> None:
    """Of a time without an offset among others the missing zone is told; of text that is no time, its format."""
    job = project.people(1)
    text = job.read_text("utf-8").replace("  timezone: UTC\n", "").replace('"%Y-%m-%d %H:%M:%S"', "iso8601")
    job.write_text(text, "utf-8")
    times = ["2020-01-01 00:00:00+02:00", "2020-01-01 00:00:00", "soon"]
    rows = "".join(f"u{place},e@x.org,{time},3\n" for place, time in enumerate(times))
    (project.folder / "people.csv").write_text(f"id,email,joined,age\n{rows}", "utf-8")
    told = backfill(verb, job)
    assert told.code == 3, told.err
    assert "it carries no offset, and no `timezone` is stated: joined = '2020-01-01 00:00:00'" in told.err
    assert "state `timezone` on the timestamp, the column or the source" in told.err
    assert "it is not of iso8601: joined = 'soon'" in told.err
