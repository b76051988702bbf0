"""Times at the edges of what their types and the calendar hold: sent as they are, or problems of their rows."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from backfill.errors import JobError
from backfill.job.models import Call, ColumnValue, ConstantValue, Job, ObjectSpec, Source, SqlValue, Star, TimestampSpec
from backfill.prepare.frames import Frames
from backfill.prepare.rejects import with_originals
from backfill.prepare.rows import map_rows
from backfill.sources import stage
from tests.support.parquet_oracle import sent

LOWEST, HIGHEST = -(2**63), 2**63 - 1


def job_over(
    path: Path, zone: str | None, *, where: str | None = None, query: str | None = None, rules: Any = None, **call: Any
) -> Job:
    """A job that sends all columns, with times in that zone."""
    stated: dict[str, Any] = {
        "userId": ConstantValue(value="u1"),
        "timestamp": TimestampSpec(value="2024-01-01T00:00:00Z"),
        "properties": ObjectSpec(star=Star()),
        **call,
    }
    track = Call(
        type="track",
        event=ConstantValue(value="Seen"),
        message_key="content",
        **stated,
    )
    source = Source(path=(str(path),), timezone=zone, query=query)
    return Job(version=1, name="edges", source=source, where=where, rules=rules or {}, calls=(track,))


def calls_of(values: pa.Array, folder: Path, zone: str, **options: Any) -> list[Any]:
    """Every row's call, or the codes of its problems; BF009 for all rows that are unreadable, at the end."""
    path = folder / "a.parquet"
    pq.write_table(pa.table({"x": values}), path)
    job = job_over(path, zone, **options)
    snapshot = stage(job, folder / "staged")
    rows = map_rows(job, snapshot, id_scope="sandbox", library_version="1", now=1_700_000_000.0).to_dicts()
    found = [sent(row["json"]) if row["json"] is not None else row["codes"] for row in rows]
    return found + [["BF009"]] * snapshot.unreadable


def values_of(values: pa.Array, folder: Path, zone: str = "UTC", **options: Any) -> list[Any]:
    """What is sent of every row's `x`, or the codes of its problems."""
    calls = calls_of(values, folder, zone, **options)
    return [call if isinstance(call, list) else call["properties"].get("x") for call in calls]


@pytest.mark.parametrize("where", [None, "true"])
@pytest.mark.parametrize(
    ("number", "zone", "wanted"),
    [
        (HIGHEST, "America/New_York", "2262-04-12T03:47:16.854Z"),
        (HIGHEST, "Asia/Tokyo", "2262-04-11T14:47:16.854Z"),
        (LOWEST, "Asia/Tokyo", "1677-09-20T14:53:44.145Z"),
        (LOWEST, "America/New_York", "1677-09-21T05:08:45.145Z"),
    ],
)
def test_the_last_nanoseconds_in_a_zone(tmp_path: Path, number: int, zone: str, wanted: str, where: str | None) -> None:
    """The shift to UTC leaves what 64 bits of nanoseconds hold, and is right all the same."""
    flat = pa.array([number]).cast(pa.timestamp("ns"))
    for name, values, sent_as in (
        ("flat", flat, wanted),
        ("list", pa.ListArray.from_arrays([0, 1], flat), [wanted]),
        ("map", pa.MapArray.from_arrays([0, 1], ["k"], flat), {"k": wanted}),
    ):
        folder = tmp_path / name
        folder.mkdir()
        assert values_of(values, folder, zone, where=where) == [sent_as], name
    (call,) = calls_of(flat, tmp_path, zone, where=where, timestamp=TimestampSpec(column="x"))
    assert call == (["BF203"] if number < 0 else ["BF204"])


def test_ids_of_local_times_keep_their_nanoseconds(tmp_path: Path) -> None:
    """Two local times that differ in a nanosecond are two users."""
    values = pa.array([1_710_054_000_123_456_789, 1_710_054_000_123_456_000, HIGHEST]).cast(pa.timestamp("ns"))
    found = calls_of(values, tmp_path, "America/New_York", userId=ColumnValue(column="x"))
    assert [call["userId"] for call in found] == [
        "2024-03-10T11:00:00.123456789Z",
        "2024-03-10T11:00:00.123456Z",
        "2262-04-12T03:47:16.854775807Z",
    ]


@pytest.mark.parametrize(
    ("moment", "wanted"),
    [
        ("2150-07-01T12:00:00", "2150-07-01T16:00:00.000Z"),
        ("2150-01-01T12:00:00", "2150-01-01T17:00:00.000Z"),
        ("2150-03-08T02:30:00", ["BF206"]),
        ("2150-11-01T01:30:00", ["BF205"]),
        ("9999-12-31T12:00:00", "9999-12-31T17:00:00.000Z"),
        ("9999-12-31T23:00:00", ["BF202"]),
    ],
)
def test_clocks_change_after_2100_too(tmp_path: Path, moment: str, wanted: Any) -> None:
    """Polars has no rules from 2100 on; those of the zone go on."""
    values = pa.array([datetime.fromisoformat(moment)], pa.timestamp("us"))
    assert values_of(values, tmp_path, "America/New_York") == [wanted]


@pytest.mark.parametrize("zone", [None, "Asia/Tokyo"])
@pytest.mark.parametrize("where", [None, "true"])
@pytest.mark.parametrize("local", [[], ["2024-01-01T09:00:00"]])
def test_offsets_that_leave_the_calendar(tmp_path: Path, zone: str | None, where: str | None, local: list[str]) -> None:
    """ISO 8601 text whose offset takes it into the year 0 or 10000 is no timestamp, whatever rules are ignored."""
    texts = ["0001-01-01T00:00:00+01:00", "9999-12-31T23:59:59-01:00", "2024-01-01T00:00:00+01:00", *local]
    (tmp_path / "a.csv").write_text("\n".join(["x", *texts]) + "\n", "utf-8")
    ignored = {"BF203": "ignore", "BF204": "ignore"}
    at = TimestampSpec(column="x", format="iso8601")
    job = job_over(tmp_path / "a.csv", zone, where=where, rules=ignored, timestamp=at)
    rows = map_rows(job, stage(job, tmp_path / "staged"), id_scope="s", library_version="1", now=1_700_000_000.0)
    assert rows["codes"].to_list() == [["BF202"], ["BF202"], [], *([] if zone else ["BF202"] for _ in local)]
    assert sent(rows["json"][2])["timestamp"] == "2023-12-31T23:00:00.000Z"


def keyed(numbers: list[int], kind: pa.DataType) -> pa.Array:
    """A map of one entry for each key, as it lies in the file."""
    storage = pa.int32() if pa.types.is_date32(kind) else pa.int64()
    keys = pa.array(numbers, storage).view(kind)
    return pa.MapArray.from_arrays(list(range(len(numbers) + 1)), keys, pa.array([1] * len(numbers)))


def micros(text: str) -> int:
    """Microseconds since 1970 of a wall clock."""
    return (datetime.fromisoformat(text) - datetime(1970, 1, 1)) // timedelta(microseconds=1)  # noqa: DTZ001


NO_DAY, NEVER, TWICE = ["BF202"], ["BF206"], ["BF205"]
KEYS = [
    (pa.date32(), [0, -719_162, -719_163, 2_932_896, 2_932_897],
     ["1970-01-01", "0001-01-01", NO_DAY, "9999-12-31", NO_DAY]),
    (pa.timestamp("us"), [micros("2024-03-01T12:00:00"), micros("2024-07-01T12:00:00.123456")],
     ["2024-03-01T17:00:00.000Z", "2024-07-01T16:00:00.123456Z"]),
    (pa.timestamp("us"), [micros("2024-03-10T02:30:00"), micros("2024-11-03T01:30:00")], [NEVER, TWICE]),
    (pa.timestamp("us"), [253_402_300_799_000_000, -62_135_596_800_000_001, HIGHEST, LOWEST], [NO_DAY] * 4),
    (pa.timestamp("us", "UTC"), [0, 253_402_300_800_000_000, -62_135_596_800_000_001, HIGHEST, LOWEST],
     ["1970-01-01T00:00:00.000Z", *[NO_DAY] * 4]),
    (pa.timestamp("ns"), [1_710_054_000_123_456_789, HIGHEST],
     ["2024-03-10T11:00:00.123456789Z", "2262-04-12T03:47:16.854775807Z"]),
    (pa.timestamp("ns", "UTC"), [1_710_054_000_123_000_001], ["2024-03-10T07:00:00.123000001Z"]),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "numbers", "wanted"), KEYS)
def test_keys_of_maps(tmp_path: Path, kind: pa.DataType, numbers: list[int], wanted: list[Any]) -> None:
    """Keys are the instants that values are, or problems of their rows for the same reasons."""
    found = values_of(keyed(numbers, kind), tmp_path, "America/New_York")
    assert found == [each if isinstance(each, list) else {each: "1"} for each in wanted]


def test_infinite_keys(tmp_path: Path) -> None:
    """SQL's infinity is no key."""
    key = "CASE WHEN x = 1 THEN TIMESTAMPTZ 'infinity' ELSE TIMESTAMPTZ '2024-01-01 00:00:00Z' END"
    query = f"SELECT MAP {{{key}: 1}} AS x FROM source"
    assert values_of(pa.array([1, 2]), tmp_path, query=query) == [["BF202"], {"2024-01-01T00:00:00.000Z": "1"}]


@pytest.mark.parametrize("key", ["[1]", "{'a': 1}", "MAP {1: 1}"])
@pytest.mark.parametrize("value", ["MAP {%s: 1}", "[MAP {%s: 1}]"])
def test_keys_that_hold_others_in_sql(tmp_path: Path, key: str, value: str) -> None:
    """Those that SQL makes are refused too."""
    made = value % key
    values = pa.array([1])
    with pytest.raises(JobError, match=r"x.*cast the keys to text"):
        values_of(values, tmp_path, query=f"SELECT {made} AS x FROM source")
    with pytest.raises(JobError, match=r"(?s)cast the keys to text"):
        values_of(values, tmp_path, properties=ObjectSpec(members=((("p",), SqlValue(sql=made)),)))


HUGE = 2**127 - 1


@pytest.mark.parametrize(
    ("sql", "wanted"),
    [
        (f"{HUGE}::HUGEINT", ["BF110"]),
        (f"{2**128 - 1}::UHUGEINT", ["BF110"]),
        (f"[{HUGE}::HUGEINT]", ["BF110"]),
        (f"{{'a': -{HUGE}::HUGEINT}}", ["BF110"]),
        ("[12345678901234567890123::HUGEINT]", ["BF110"]),
        (f"MAP {{{HUGE}::HUGEINT: 7::HUGEINT}}", {str(HUGE): "7"}),
        ("[5::HUGEINT, NULL, -5]", ["5", None, "-5"]),
        ("{'a': NULL::HUGEINT, 'b': {'c': [-5::HUGEINT]}}", {"b": {"c": ["-5"]}}),
        ("{'a': NULL::HUGEINT}", None),
        (f"{2**53}::HUGEINT", str(2**53)),
        (f"{2**53 + 1}::HUGEINT", ["BF110"]),
        ("TIME '24:00:00'", ["BF202"]),
        ("'24:00:00'::TIME", ["BF202"]),
        ("[TIME '24:00:00', NULL]", ["BF202"]),
        ("{'a': [{'b': TIME '24:00:00'}]}", ["BF202"]),
        ("MAP {'k': TIME '24:00:00'}", ["BF202"]),
        ("MAP {TIME '24:00:00': 1}", ["BF202"]),
        ("MAP {TIME '23:59:59.999999': 1}", {"23:59:59.999999": "1"}),
        ("TIME '23:59:59.999999'", "23:59:59.999999"),
        ("[TIME '12:00:00', NULL, TIME '12:00:00.5']", ["12:00:00", None, "12:00:00.500000"]),
        ("{'a b': TIME '00:00:00', 'c': 'x', 'd': {'e': 1}}", {"a b": "00:00:00", "c": "x", "d": {"e": "1"}}),
        ("CASE WHEN x > 1 THEN {'a': TIME '00:00:00'} END", None),
        ("CASE WHEN x > 1 THEN MAP {TIME '00:00:00': 1} END", None),
        ("CASE WHEN x > 1 THEN TIME '00:00:00' END", None),
        ("TIME_NS '24:00:00'", ["BF202"]),
        ("TIME_NS '23:59:59.999999999'", "23:59:59.999999"),
    ],
)
def test_values_that_only_sql_has(tmp_path: Path, sql: str, wanted: Any) -> None:
    """Integers of 128 bits and 24:00:00 are problems of their rows, of an expression as of a query."""
    (made, computed) = (tmp_path / "query", tmp_path / "sql")
    made.mkdir()
    computed.mkdir()
    assert values_of(pa.array([1]), made, query=f"SELECT {sql} AS x FROM source") == [wanted]
    members = ObjectSpec(members=((("x",), SqlValue(sql=sql)),))
    assert values_of(pa.array([1]), computed, properties=members) == [wanted]


@pytest.mark.parametrize(("sql", "wanted"), [("TIME '24:00:00'", ["BF202"]), (f"{HUGE}::HUGEINT", str(HUGE))])
def test_ids_that_only_sql_has(tmp_path: Path, sql: str, wanted: Any) -> None:
    """As an id, too, the time is a problem; integers are digits."""
    (call,) = calls_of(pa.array([1]), tmp_path, None, userId=SqlValue(sql=sql))
    assert call == wanted if isinstance(wanted, list) else call["userId"] == wanted


def test_the_original_of_a_row_shows_the_time(tmp_path: Path) -> None:
    """People see 24:00:00, not what stands for it."""
    pq.write_table(pa.table({"x": [1]}), tmp_path / "a.parquet")
    query = (
        f"SELECT TIME '24:00:00' AS x, TIME '12:00:00.5' AS y, {HUGE} AS z, {{'n': [{HUGE}, NULL]}} AS n FROM source"
    )
    snapshot = stage(job_over(tmp_path / "a.parquet", None, query=query), tmp_path / "staged")
    (found,) = with_originals(pl.DataFrame({"row": [0]}, schema={"row": pl.UInt32}), 0, snapshot, Frames(snapshot))
    assert found["original"].to_list() == [
        f'{{"x":"24:00:00","y":"12:00:00.500000","z":{HUGE},"n":{{"n":[{HUGE},null]}}}}'
    ]
