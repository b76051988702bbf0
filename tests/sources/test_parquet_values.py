"""Every physical and logical type of Parquet, with the values at its edges, flat and nested, in place and staged."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from backfill.job.models import Call, ConstantValue, Job, ObjectSpec, Source, Star, TimestampSpec
from backfill.prepare.rows import map_rows
from backfill.sources import stage
from tests.support.parquet_oracle import ABSENT, Bad, same, sent, single, wanted

LOWEST, HIGHEST = -(2**63), 2**63 - 1
#: 0001-01-01 and the first instant after 9999-12-31, in seconds.
FIRST, AFTER = -62_135_596_800, 253_402_300_800
WAYS = {"plain": {}, "where": {"where": "true"}, "query": {"query": "SELECT * FROM source"}}


@dataclass(frozen=True)
class Case:
    """A type with values as they lie in the file, and how the file is written."""

    name: str
    kind: pa.DataType
    values: Sequence[Any]
    written: dict[str, Any] = field(default_factory=dict)
    ways: tuple[str, ...] = ("plain", "where")


def integers(bits: int, *, signed: bool) -> list[int]:
    """The edges of an integer type, and of doubles."""
    low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
    return [number for number in (0, 1, low, high, 2**53, 2**53 + 1, -(2**53), -(2**53) - 1) if low <= number <= high]


def instants(unit: str) -> list[int]:
    """The edges of instants: of the calendar, of 64 bits, and around 1970."""
    ticks = {"ms": 10**3, "us": 10**6, "ns": 10**9}[unit]
    near = [0, -1, 1, 1_700_000_000 * ticks + ticks // 7, -ticks - 1]
    far = [FIRST * ticks, FIRST * ticks - 1, AFTER * ticks - 1, AFTER * ticks, LOWEST, LOWEST + 1, HIGHEST, HIGHEST - 1]
    return [number for number in near + far if LOWEST <= number <= HIGHEST]


def decimals(precision: int, scale: int) -> list[Decimal]:
    """All nines, one at the last place, zero."""
    return [
        Decimal((sign, digits, -scale))
        for sign, digits in [(0, (9,) * precision), (1, (9,) * precision), (0, (1,)), (0, (0,))]
    ]


TEXTS = ["", "a", "é\u0000\u2028\U0001f600", '"\\\n', "null", b"\xff", b"ab\xc3", "0" * 5_000]
FLOATS = [0.0, -0.0, 0.1, 1e22, 1.5e300, 5e-324, math.nan, math.inf, -math.inf]


def encoded(encoding: str) -> dict[str, Any]:
    """Options that write the flat column so."""
    return {"use_dictionary": False, "column_encoding": {"v": encoding}}


SPLIT = {"use_dictionary": False, "use_byte_stream_split": True}
CASES = [
    Case("boolean", pa.bool_(), [True, False], ways=("plain", "where", "query")),
    *(Case(f"int{bits}", getattr(pa, f"int{bits}")(), integers(bits, signed=True)) for bits in (8, 16, 32, 64)),
    *(Case(f"uint{bits}", getattr(pa, f"uint{bits}")(), integers(bits, signed=False)) for bits in (8, 16, 32, 64)),
    Case("int64 split", pa.int64(), integers(64, signed=True), SPLIT),
    Case("int32 delta", pa.int32(), integers(32, signed=True), encoded("DELTA_BINARY_PACKED")),
    Case("int64 delta", pa.int64(), integers(64, signed=True), encoded("DELTA_BINARY_PACKED")),
    Case("text lengths", pa.string(), TEXTS, encoded("DELTA_LENGTH_BYTE_ARRAY")),
    Case("text delta", pa.string(), TEXTS, encoded("DELTA_BYTE_ARRAY")),
    *(Case(f"text {codec}", pa.string(), TEXTS, {"compression": codec}) for codec in ("gzip", "brotli", "lz4", "zstd")),
    Case("text pages", pa.string(), TEXTS, {"data_page_version": "2.0", "write_page_checksum": True}),
    Case("double", pa.float64(), FLOATS, ways=("plain", "where", "query")),
    Case("double split", pa.float64(), FLOATS, SPLIT),
    Case("float", pa.float32(), [single(number) for number in (0.0, 0.1, 3.4e38, 1e-45, math.nan, math.inf)]),
    Case("half", pa.float16(), [0.5, 65504.0, math.nan, math.inf]),
    *(
        Case(f"decimal{precision}.{scale}", pa.decimal128(precision, scale), decimals(precision, scale), written)
        for precision, scale in ((1, 0), (9, 2), (18, 18), (19, 0), (38, 0), (38, 37), (38, 38))
        for written in ({}, {"store_decimal_as_integer": True}, SPLIT)
    ),
    *(
        Case(f"decimal{p}.{s}", pa.decimal256(p, s), decimals(p, s))
        for p, s in ((38, 2), (39, 0), (40, 2), (76, 76), (76, 0))
    ),
    Case("decimal256 split", pa.decimal256(40, 2), decimals(40, 2), SPLIT),
    Case("text", pa.string(), TEXTS, ways=("plain", "where", "query")),
    Case("large text", pa.large_string(), TEXTS),
    Case("category", pa.dictionary(pa.int32(), pa.string()), ["a", "é", '"']),
    Case(
        "date", pa.date32(), [0, -1, 19_000, -719_162, -719_163, 2_932_896, 2_932_897, 2**31 - 1, -(2**31), 2**31 - 2]
    ),
    Case("date64", pa.date64(), [0, -86_400_000, 86_400_000 * 19_000]),
    Case("time ms", pa.time32("ms"), [0, 1, 86_399_999, 86_400_000, 86_400_001, -1]),
    Case("time us", pa.time64("us"), [0, 1, 86_399_999_999, 86_400_000_000, -1, HIGHEST]),
    Case("time ns", pa.time64("ns"), [0, 1, 999, 1_000, 86_399_999_999_999, 86_400_000_000_000, HIGHEST]),
    *(
        Case(f"instant {unit} {zone}", pa.timestamp(unit, zone), instants(unit), written)
        for unit in ("ms", "us", "ns")
        for zone in (None, "UTC", "America/New_York")
        for written in ({}, {"store_schema": False})
    ),
    Case(
        "int96",
        pa.timestamp("us"),
        [t for t in instants("us") if abs(t) < 2**62],
        {"use_deprecated_int96_timestamps": True},
    ),
    Case("instant converted", pa.timestamp("us", "UTC"), instants("us"), {"version": "1.0", "coerce_timestamps": "us"}),
    *(Case(f"duration {unit}", pa.duration(unit), [0, -1, 2**53, 2**53 + 1, HIGHEST]) for unit in ("ms", "us", "ns")),
    Case("nothing", pa.null(), [None]),
]


def array(case: Case, rows: Sequence[Any] | None = None) -> pa.Array:
    """The values as an array of the case's type, whatever they are."""
    values = list(case.values if rows is None else rows)
    kind = case.kind
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        storage = pa.binary() if pa.types.is_string(kind) else pa.large_binary()
        return pa.array([v.encode() if isinstance(v, str) else v for v in values], storage).view(kind)
    if pa.types.is_temporal(kind):
        storage = pa.int32() if pa.types.is_date32(kind) or pa.types.is_time32(kind) else pa.int64()
        return pa.array(values, storage).view(kind)
    return pa.array(values, kind)


def listed(inner: pa.Array) -> pa.Array:
    """A list of each value, then an empty one, a null one, one of null and one of all."""
    count = len(inner)
    content = pa.concat_arrays([inner, pa.nulls(1, inner.type)])
    offsets = [*range(count + 1), count, count, count + 1]
    mask = pa.array([False] * (count + 1) + [True, False])
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), content, mask=mask)


def shapes(case: Case) -> dict[str, tuple[pa.Array, list[Any]]]:
    """The values flat, in lists, structs and maps, with what each row holds."""
    inner, values = array(case), list(case.values)
    kind = inner.type
    members = pa.StructArray.from_arrays([inner, inner], names=["a.b", "*"])
    maps = pa.MapArray.from_arrays(list(range(len(inner) + 1)), pa.array(["k"] * len(inner)), inner)
    several = pa.StructArray.from_arrays([listed(members)], names=["rows"])
    both = [(value, value) for value in values]
    rows = [*([each] for each in both), [], None, [None]]
    return {
        "flat": (pa.concat_arrays([inner, pa.nulls(1, kind)]), [*values, None]),
        "list": (listed(inner), [*([value] for value in values), [], None, [None]]),
        "struct": (members, both),
        "map": (maps, [[("k", value)] for value in values]),
        "lists of structs": (several, [(row,) for row in rows]),
    }


def job_over(path: Path, way: str) -> Job:
    """A job that sends all columns."""
    options: dict[str, Any] = WAYS[way]
    call = Call(
        type="track",
        event=ConstantValue(value="Seen"),
        userId=ConstantValue(value="u1"),
        message_key="content",
        timestamp=TimestampSpec(value="2024-01-01T00:00:00Z"),
        properties=ObjectSpec(star=Star()),
    )
    source = Source(path=(str(path),), timezone="UTC", query=options.get("query"))
    return Job(version=1, name="values", source=source, where=options.get("where"), calls=(call,))


def outcomes(path: Path, way: str, folder: Path) -> list[Any]:
    """What is sent of every row's `v`; Bad where the row is a problem."""
    job = job_over(path, way)
    snapshot = stage(job, folder)
    calls = map_rows(job, snapshot, id_scope="sandbox", library_version="1", now=1_700_000_000.0).to_dicts()
    found = {
        row["row"]: sent(row["json"])["properties"].get("v", ABSENT) if row["json"] is not None else Bad
        for row in calls
    }
    if not snapshot.unreadable:
        return [found[place] for place in range(len(found))]
    read = pq.read_table(snapshot.unreadable_file).to_pylist()
    bad = {row["record"] - 1 for row in read}
    rest = iter(found[place] for place in range(len(found)))
    return [Bad if place in bad else next(rest) for place in range(snapshot.read)]


def expected(value: Any, kind: pa.DataType) -> Any:
    """What is wanted of a value; Bad where it is a problem."""
    try:
        return wanted(value, kind)
    except Bad:
        return Bad


REFUSED = {"decimal39.0", "decimal40.2", "decimal76.76", "decimal76.0", "decimal256 split"}


@pytest.mark.parametrize("shape", ["flat", "list", "struct", "map", "lists of structs"])
@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.name} {','.join(case.written)}".strip())
def test_values(tmp_path: Path, case: Case, shape: str) -> None:
    """Every value is sent as the value table has it, or is a problem of its row; the same in every way of reading."""
    values, rows = shapes(case)[shape]
    if case.written == SPLIT and shape == "map":
        pytest.skip("the keys are text, which cannot be split")
    if "column_encoding" in case.written and shape != "flat":
        pytest.skip("the flat column alone is written so")
    if case.name in REFUSED and shape != "flat":
        pytest.skip("refused as a type, see test_refused")
    path = tmp_path / "rows.parquet"
    pq.write_table(pa.table({"v": values}), path, **case.written)
    for way in case.ways if shape == "flat" else ("where",):  # what is nested is staged either way
        found = outcomes(path, way, tmp_path / way)
        wants = [expected(row, values.type) for row in rows]
        wrong = [
            (row, want, got)
            for row, want, got in zip(rows, wants, found, strict=True)
            if not (got is want if want in (Bad, ABSENT) else same(got, want))
        ]
        assert not wrong, f"{way}: {wrong[:3]}"
