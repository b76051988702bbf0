"""Local times that SQL reads: the same instants, by the same policy, as where a call reads the column itself."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import duckdb
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backfill.errors import JobError
from backfill.job.models import Call, ColumnSpec, ColumnValue, ConstantValue, TimestampSpec
from backfill.mapping import compile_job
from backfill.prepare.frames import snapshot_schema
from backfill.prepare.rows import map_rows
from backfill.sources import inspect
from backfill.sources.sql.local_time import local_instant, pieces_of
from backfill.timestamps import to_utc
from tests.support.examples import examples
from tests.support.oracle_times import localised, milliseconds
from tests.support.sourcing import job_over, staged

ZONES = ["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Pacific/Apia", "Africa/Casablanca", "UTC"]
PATTERNS = {"iso8601": "%Y-%m-%dT%H:%M:%S", "%d.%m.%Y %H:%M:%S": "%d.%m.%Y %H:%M:%S"}
TWICE, NEVER = "2023-10-29 02:30:00", "2023-03-26 02:30:00"
NOW = datetime(2026, 1, 1, tzinfo=UTC).timestamp()


def test_pieces_are_those_of_polars() -> None:
    """To the microsecond, at every change of the clock and around it, in every zone and by every policy."""
    for zone in ZONES:
        edges = pieces_of(zone, "error", "error").starts
        around = [at + shift for at in edges for shift in (-1_800_000_000, -1, 0, 1, 1_800_000_000)]
        walls = pl.DataFrame({"wall": pl.Series([-62_135_596_800_000_000, 0, 253_402_300_799_999_999, *around])})
        walls = walls.cast(pl.Datetime("us"))
        for ambiguous, nonexistent in (("error", "error"), ("earliest", "shift_forward"), ("latest", "error")):
            wanted = walls.select(to_utc(pl.col("wall"), zone, ambiguous, nonexistent))["wall"].to_list()
            assert instants(walls, local_instant("wall", zone, ambiguous, nonexistent)) == wanted


def instants(walls: pl.DataFrame, sql: str) -> list[datetime | None]:
    """What DuckDB makes of the walls, as naive UTC."""
    connection = duckdb.connect()
    connection.register("walls", walls.to_arrow())
    found = connection.sql(f"SELECT epoch_us({sql}) FROM walls").fetchall()
    return pl.Series([micros for (micros,) in found], dtype=pl.Int64).cast(pl.Datetime("us")).to_list()


def changes(zone: str) -> list[datetime]:
    """Wall clocks at the zone's changes of 2011 and 2023, to the hour."""
    found = []
    for year in (2011, 2023):
        hours = [datetime(year, 1, 1, tzinfo=UTC) + timedelta(hours=hour) for hour in range(8760)]
        locals_ = [hour.astimezone(ZoneInfo(zone)) for hour in hours]
        found += [b.replace(tzinfo=None) for a, b in pairwise(locals_) if a.utcoffset() != b.utcoffset()]
    return found or [datetime(2023, 6, 1)]  # noqa: DTZ001


@st.composite
def walls_near_changes(draw: st.DrawFn) -> tuple[str, list[datetime]]:
    """A zone, and walls within a day or so of its changes."""
    zone = draw(st.sampled_from(ZONES))
    minutes = st.integers(-1600, 1600) | st.integers(-150, 150)
    near = st.tuples(st.sampled_from(changes(zone)), minutes).map(lambda pair: pair[0] + timedelta(minutes=pair[1]))
    return zone, draw(st.lists(near, min_size=1, max_size=25))


@settings(max_examples=examples(12), deadline=None)
@given(
    drawn=walls_near_changes(),
    policy=st.fixed_dictionaries(
        {
            "ambiguous": st.sampled_from(["error", "earliest", "latest"]),
            "nonexistent": st.sampled_from(["error", "shift_forward"]),
        }
    ),
    pattern=st.sampled_from(sorted(PATTERNS)),
    own=st.booleans(),
    suffix=st.sampled_from(["csv", "ndjson"]),
)
def test_sql_and_column_agree(
    tmp_path_factory: pytest.TempPathFactory,
    drawn: tuple[str, list[datetime]],
    policy: dict[str, Any],
    pattern: str,
    own: bool,
    suffix: str,
) -> None:
    """`ts`, `{sql: ts}`, and the `ts` of a query are the same instant, or a problem of the same row."""
    zone, walls = drawn
    folder = tmp_path_factory.mktemp("agree")
    path = source(folder, [wall.strftime(PATTERNS[pattern]) for wall in walls], suffix)
    spec = ColumnSpec(type="timestamp", format=pattern, timezone=zone if own else None, **policy)
    fields: dict[str, Any] = {"timezone": "Asia/Kathmandu" if own else zone, "columns": {"ts": spec}}
    expected = {}
    for number, wall in enumerate(walls):
        instant, bad = localised(wall, zone, policy["ambiguous"], policy["nonexistent"])
        expected[f"u{number}"] = sorted(bad) if instant is None else milliseconds(instant)
    both = calls_of(folder / "both", path, [{"column": "ts"}, {"sql": "coalesce(ts, ts)"}], **fields)
    assert both == [expected, expected]
    (asked,) = calls_of(folder / "query", path, [{"column": "x"}], query="SELECT id, ts AS x FROM source", **fields)
    assert asked == {number: value for number, value in expected.items() if isinstance(value, str)}


def source(folder: Path, texts: list[str], suffix: str = "csv") -> Path:
    """A file of those times, of users u0, u1 and so on."""
    path = folder / f"rows.{suffix}"
    if suffix == "csv":
        lines = ["id,ts", *(f"u{number},{text}" for number, text in enumerate(texts))]
    else:
        lines = [json.dumps({"id": f"u{number}", "ts": text}) for number, text in enumerate(texts)]
    path.write_text("\n".join(lines) + "\n")
    return path


def calls_of(
    folder: Path, path: Path, timestamps: list[dict[str, Any]], *, when: str | None = None, **fields: Any
) -> list[dict[str, Any]]:
    """For each of the timestamps a call: by id what it is sent with, or the codes of its problems."""
    job = job_over(path, **fields)
    calls = [
        Call(
            type="track",
            label=str(number),
            message_key=(ColumnValue(column="id"),),
            userId=ColumnValue(column="id"),
            event=ConstantValue(value="Seen"),
            timestamp=TimestampSpec(**spec),
            when=when,
        )
        for number, spec in enumerate(timestamps)
    ]
    job = job.model_copy(update={"calls": tuple(calls)})
    result = staged(job, folder)
    mapped = map_rows(job, result.snapshot, id_scope="scope", library_version="1", now=NOW)
    found: list[dict[str, Any]] = [{} for _ in calls]
    ids = result.column("id")
    for row in mapped.iter_rows(named=True):
        if row["state"] != "skipped":
            sent = json.loads(row["json"])["timestamp"] if row["state"] == "ok" else row["codes"]
            found[row["call"]][ids[row["row"]]] = sent
    return found


def column(pattern: str = "iso8601", **fields: Any) -> dict[str, ColumnSpec]:
    """The column `ts`, declared."""
    return {"ts": ColumnSpec(type="timestamp", format=pattern, **fields)}


@pytest.mark.parametrize("pattern", ["iso8601", "%Y-%m-%d %H:%M:%S"])
def test_an_hour_that_is_twice_or_never_is_a_problem(tmp_path: Path, pattern: str) -> None:
    """By default nothing is guessed: not in a timestamp, not in `when`, not in `where`, not in `query`."""
    path = source(tmp_path, [TWICE, NEVER, "2023-01-01 00:00:00"])
    fields: dict[str, Any] = {"columns": column(pattern), "timezone": "Europe/Berlin"}
    good = "2022-12-31T23:00:00.000Z"
    expected = {"u0": ["BF205"], "u1": ["BF206"], "u2": good}
    assert calls_of(tmp_path / "sql", path, [{"sql": "ts"}], **fields) == [expected]
    constant = {"value": "2023-01-01T00:00:00Z"}
    (made,) = calls_of(tmp_path / "when", path, [constant], when="ts < '2023-02-01'", **fields)
    assert made == {"u0": ["BF205"], "u1": ["BF206"], "u2": "2023-01-01T00:00:00.000Z"}
    (kept,) = calls_of(tmp_path / "where", path, [constant], where="ts < '2023-02-01'", **fields)
    assert kept == {"u0": ["BF118"], "u1": ["BF118"], "u2": "2023-01-01T00:00:00.000Z"}
    (asked,) = calls_of(tmp_path / "query", path, [{"column": "ts"}], query="SELECT * FROM source", **fields)
    assert asked == {"u2": good}


def test_what_a_query_leaves_out_is_told_once(tmp_path: Path) -> None:
    """The record, the column and the value, each in its own place; and whether it is the type or the clock."""
    path = source(tmp_path, [TWICE, "never", "2023-01-01 00:00:00"])
    job = job_over(path, columns=column(), timezone="Europe/Berlin", query="SELECT ts FROM source")
    rejects = staged(job, tmp_path / "state").rejects
    assert [(each["code"], each["column"], each["value"]) for each in rejects] == [
        ("BF007", "ts", TWICE),
        ("BF007", "ts", "never"),
    ]
    assert "local time" in rejects[0]["message"]
    assert "declared type" in rejects[1]["message"]
    assert all("ts" not in each["message"].split() for each in rejects)


def test_the_columns_own_zone_holds_in_sql(tmp_path: Path) -> None:
    """A column's own zone is not the source's, wherever the column is read; clock faces are those of the source."""
    path = source(tmp_path, ["2023-07-01 12:00:00"])
    fields: dict[str, Any] = {"columns": column(timezone="America/New_York"), "timezone": "Europe/Berlin"}
    noon = {"u0": "2023-07-01T16:00:00.000Z"}
    assert calls_of(tmp_path / "sql", path, [{"column": "ts"}, {"sql": "ts"}], **fields) == [noon, noon]
    query = "SELECT id, ts AS t2 FROM source"
    assert calls_of(tmp_path / "query", path, [{"column": "t2"}], query=query, **fields) == [noon]
    result = staged(job_over(path, sql=("hour(ts)", "CAST(ts AS VARCHAR)"), **fields), tmp_path / "clock")
    assert result.column("__bf_sql_0") == [18]
    assert result.column("__bf_sql_1") == ["2023-07-01 18:00:00+02"]


def test_a_querys_column_is_not_the_sources_of_that_name(tmp_path: Path) -> None:
    """What the job says of a source's column is not said of another one that a query gives its name."""
    path = source(tmp_path, ["2023-07-01 12:00:00"])
    query = "SELECT id, TIMESTAMP '2023-07-01 12:00:00' AS ts FROM source"
    fields: dict[str, Any] = {"columns": column(timezone="America/New_York"), "timezone": "Europe/Berlin"}
    found = calls_of(tmp_path / "state", path, [{"column": "ts"}], query=query, **fields)
    assert found == [{"u0": "2023-07-01T10:00:00.000Z"}]


@pytest.mark.parametrize("texts", [["2023-07-01"], ["2023-07-01T00:00:00Z"], ["2023-07-01", "2023-07-01T00:00:00Z"]])
def test_a_type_in_sql_does_not_depend_on_the_rows(tmp_path: Path, texts: list[str]) -> None:
    """A column by iso8601 is instants in a query, whether rows have offsets or not; a check says the same."""
    job = job_over(
        source(tmp_path, texts), columns=column(), timezone="UTC", query="SELECT typeof(ts) AS kind, ts FROM source"
    )
    result = staged(job, tmp_path / "state")
    assert set(result.column("kind")) == {"TIMESTAMP WITH TIME ZONE"}
    for columns in (inspect(job).columns, result.snapshot.columns):
        assert [each.zone.value for each in columns if each.name == "ts"] == ["utc"]


def test_without_any_zone(tmp_path: Path) -> None:
    """Where other rows have an offset, one without is a problem of its row; where none has, the job is at fault."""
    path = source(tmp_path, ["2023-07-01T12:00:00Z", "2023-07-01 12:00:00"])
    expected = {"u0": "2023-07-01T12:00:00.000Z", "u1": ["BF202"]}
    both = calls_of(tmp_path / "mixed", path, [{"column": "ts"}, {"sql": "ts"}], columns=column())
    assert both == [expected, expected]
    text = calls_of(tmp_path / "text", path, [{"column": "ts", "format": "iso8601"}])
    assert text == [expected]
    naive = source(tmp_path, ["2023-07-01 12:00:00"])
    for name, fields in (("direct", {}), ("query", {"query": "SELECT id, ts FROM source"})):
        with pytest.raises(JobError, match="no time zone is stated"):
            calls_of(tmp_path / name, naive, [{"column": "ts"}], columns=column(), **fields)


def test_problems_name_what_the_job_names(tmp_path: Path) -> None:
    """No problem and no error shows a column that is the program's own."""
    path = source(tmp_path, [TWICE])
    for timestamp in (
        TimestampSpec(sql="TIMESTAMP '2023-10-29 02:30:00'"),
        TimestampSpec(column="ts", format="iso8601"),
    ):
        columns = {} if timestamp.column else column()
        job = job_over(path, timezone="Europe/Berlin", columns=columns, timestamp=timestamp)
        named = job.calls[0].model_copy(update={"userId": ColumnValue(column="id"), "message_key": "content"})
        job = job.model_copy(update={"calls": (named,)})
        snapshot = staged(job, tmp_path / (timestamp.column or "sql")).snapshot
        (call,) = compile_job(job, snapshot, snapshot_schema(snapshot), id_scope="scope", library_version="1", now=NOW)
        assert {check.column for check in call.checks if check.code in ("BF205", "BF206")} == {
            timestamp.sql or timestamp.column
        }


def test_the_value_shown_is_the_bad_one(tmp_path: Path) -> None:
    """Of several columns that an expression reads, a problem shows the text of the one that does not fit."""
    path = tmp_path / "rows.csv"
    path.write_text("id,ts,paid\nu0,2023-07-01T12:00:00Z,never\n")
    spec = column()["ts"]
    job = job_over(path, columns={"ts": spec, "paid": spec}, sql=("coalesce(ts, paid)",))
    named = job.calls[0].model_copy(update={"userId": ColumnValue(column="id"), "message_key": "content"})
    job = job.model_copy(update={"calls": (named,)})
    result = staged(job, tmp_path / "state")
    schema = snapshot_schema(result.snapshot)
    (call,) = compile_job(job, result.snapshot, schema, id_scope="scope", library_version="1", now=NOW)
    (check,) = [check for check in call.checks if check.code == "BF117"]
    assert result.frame.select(shown=check.shown)["shown"].to_list() == ["never"]


BIGQUERY = ("%Y-%m-%d %H:%M:%S UTC", "%Y-%m-%d %H:%M:%S.%f UTC")


def test_several_patterns(tmp_path: Path) -> None:
    """The first that fits is taken, for declared columns and calls' times alike; what fits none is told of all."""
    path = tmp_path / "rows.csv"
    texts = ["2024-01-02 03:04:05 UTC", "2024-01-02 03:04:05.1 UTC", "2024-01-02 03:04:05.123456 UTC", "2024-01-02"]
    path.write_text("\n".join(["t", *texts, ""]), encoding="utf-8")
    spec = ColumnSpec(type="timestamp", format=list(BIGQUERY), timezone="UTC")  # type: ignore[arg-type]
    found = staged(job_over(path, columns={"t": spec}), tmp_path / "declared").column("t")
    wanted = [datetime(2024, 1, 2, 3, 4, 5, micros) for micros in (0, 100_000, 123_456)]  # noqa: DTZ001 (wall clocks)
    assert found == [*(moment.replace(tzinfo=UTC) for moment in wanted), None]
    stamp = TimestampSpec(column="t", format=list(BIGQUERY), timezone="UTC")  # type: ignore[arg-type]
    job = job_over(path, timestamp=stamp)
    snapshot = staged(job, tmp_path / "read")
    assert snapshot.column("__bf_time_0") == found
    several = ColumnSpec(type="timestamp", format=["%m/%d/%Y", "%d/%m/%Y"], timezone="UTC")  # type: ignore[arg-type]
    path.write_text("t\n01/02/2024\n13/02/2024\n", encoding="utf-8")
    days = staged(job_over(path, columns={"t": several}), tmp_path / "order").column("t")
    assert [(day.month, day.day) for day in days] == [(1, 2), (2, 13)]
