"""Declared types are cast by their grammar, and nothing outside it is guessed at."""

from __future__ import annotations

import datetime as dt
import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backfill.job.models import ColumnSpec
from backfill.records import Zone
from backfill.sources.sql.casts import ISO8601, _any_iso8601, cast_of, iso8601_cast, matches
from backfill.timestamps import from_excel
from tests.support.sourcing import job_over, staged

TEXTS = st.one_of(
    st.text(alphabet="0123456789+-.eE xZT:_", max_size=12),
    st.text(max_size=8),
    st.integers().map(str),
    st.floats().map(repr),
    st.decimals(allow_nan=False, allow_infinity=False).map(str),
    st.dates().map(str),
    st.datetimes().map(str),
    st.sampled_from(
        ["0x1F", "infinity", "-infinity", "epoch", "nan", "1_000", "12.5", "١٢", "1e999", "+1", "--1", "t"]
    ),
)


@pytest.fixture(scope="module")
def connection() -> duckdb.DuckDBPyConnection:
    """A connection with the clock that staging has."""
    connection = duckdb.connect()
    connection.execute("SET TimeZone = 'UTC'")
    return connection


def cast(
    connection: duckdb.DuckDBPyConnection, spec: ColumnSpec, texts: Sequence[str | None], *, read_by_sql: bool = False
) -> list[Any]:
    """The cast values, timestamps as text."""
    value = cast_of("v", spec, read_by_sql=read_by_sql).value
    shown = f"CAST({value} AS VARCHAR)" if spec.type == "timestamp" else value
    rows = connection.execute(f"SELECT {shown} FROM (SELECT unnest(?::VARCHAR[]) AS v)", [list(texts)]).fetchall()
    return [value for (value,) in rows]


@given(texts=st.lists(TEXTS, min_size=1, max_size=30))
def test_integer_is_digits_and_nothing_else(connection: duckdb.DuckDBPyConnection, texts: list[str]) -> None:
    """An integer is [+-]?digits that fit 64 bits."""
    expected = [
        int(text) if re.fullmatch("[+-]?[0-9]+", text) and -(2**63) <= int(text) < 2**63 else None for text in texts
    ]
    assert cast(connection, ColumnSpec(type="integer"), texts) == expected


@given(texts=st.lists(TEXTS, min_size=1, max_size=30))
def test_number_is_that_of_json(connection: duckdb.DuckDBPyConnection, texts: list[str]) -> None:
    """A number is what JSON takes for one, with an optional plus, and finite."""

    def number(text: str) -> float | None:
        plain = text.removeprefix("+")
        if plain.startswith("-") and text.startswith("+"):
            return None
        try:
            found = json.loads(plain, parse_constant=lambda _: None)
        except (ValueError, RecursionError):
            return None
        if isinstance(found, bool) or not isinstance(found, int | float) or plain != plain.strip():
            return None
        return float(found) if abs(found) <= sys.float_info.max else None

    assert cast(connection, ColumnSpec(type="number"), texts) == [number(text) for text in texts]


@given(texts=st.lists(TEXTS, min_size=1, max_size=30))
def test_date_is_year_month_day(connection: duckdb.DuckDBPyConnection, texts: list[str]) -> None:
    """A date is YYYY-MM-DD that the calendar has."""

    def date(text: str) -> dt.date | None:
        try:
            return dt.date.fromisoformat(text) if re.fullmatch("[0-9]{4}-[0-9]{2}-[0-9]{2}", text) else None
        except ValueError:
            return None

    usable = [text for text in texts if not text.startswith("0000-")]
    assert cast(connection, ColumnSpec(type="date"), [*usable, None]) == [*map(date, usable), None]


@pytest.mark.parametrize(
    ("kind", "text", "expected"),
    [
        ("integer", "007", 7),
        ("integer", "12.5", None),
        ("integer", "9223372036854775808", None),
        ("number", "1e999", None),
        ("number", ".5", None),
        ("number", "01", None),
        ("decimal", "12.50", "12.50"),
        ("decimal", "+12.50", "12.50"),
        ("decimal", "1e5", None),
        ("decimal", "1" * 40 + ".10", "1" * 40 + ".10"),
        ("boolean", "TRUE", True),
        ("boolean", "t", True),
        ("boolean", "0", False),
        ("boolean", "yes", None),
        ("date", "2023-02-29", None),
        ("date", "infinity", None),
        ("json", '{"a":1.10}', '{"a":1.10}'),
        ("json", '{"a":1,}', None),
        ("json", '{"a":NaN}', None),
        ("json", '"Nancy, }"', '"Nancy, }"'),
        ("json", '{"a":"Infinity,]"}', '{"a":"Infinity,]"}'),
        ("json", "", None),
    ],
)
def test_grammar(connection: duckdb.DuckDBPyConnection, kind: Any, text: str, expected: Any) -> None:
    """The grammar of each type, by example."""
    assert cast(connection, ColumnSpec(type=kind), [text]) == [expected]


@pytest.mark.parametrize(
    ("text", "fits"), [("1.1234567890", True), ("1.1234567891", False), ("1" * 29, True), ("1" * 30, False)]
)
def test_decimal_that_sql_reads_is_exact(connection: duckdb.DuckDBPyConnection, text: str, fits: bool) -> None:
    """A decimal that SQL reads fits SQL's type without rounding, or is a bad value."""
    assert cast(connection, ColumnSpec(type="decimal"), [text], read_by_sql=True) == [text if fits else None]


@pytest.mark.parametrize(
    ("pattern", "text", "expected"),
    [
        ("iso8601", "2024-01-01", "2024-01-01 00:00:00"),
        ("iso8601", "2024-01-01T10:00:00Z", "2024-01-01 10:00:00"),
        ("iso8601", "2024-01-01 10:00:00.123456789+02:00", "2024-01-01 08:00:00.123456"),
        ("iso8601", "2024-01-01T10:00:00,5-0530", "2024-01-01 15:30:00.5"),
        ("iso8601", "2024-01-01T10:00+02", "2024-01-01 08:00:00"),
        ("iso8601", "2024-01-01T24:00:00", None),
        ("iso8601", "2024-02-30T10:00:00", None),
        ("iso8601", "2024-01-01Z", None),
        ("iso8601", "2024-01-01T10:00:00+99:00", None),
        ("iso8601", "now", None),
        ("%Y-%m-%d %H:%M:%S", "2024-01-01 00:00:00", "2024-01-01 00:00:00"),
        ("%Y-%m-%d %H:%M:%S", " 2024-01-01 00:00:00", None),
        ("%Y-%m-%d %H:%M:%S", "2024-01-01", None),
        ("%Y-%m-%d", "epoch", None),
        ("%Y-%m-%d", "infinity", None),
        ("%Y-%m-%d %H:%M:%S.%f", "2024-01-01 00:00:00.5", "2024-01-01 00:00:00.5"),
        ("%Y-%m-%d %H:%M:%S%z", "2024-01-01 00:00:00Z", "2024-01-01 00:00:00+00"),
        ("%Y-%m-%d %H:%M:%S%z", "2024-01-01 00:00:00+0200", "2023-12-31 22:00:00+00"),
        ("%Y-%m-%d %H:%M:%S%z", "2024-01-01 00:00:00", None),
        ("%m/%d/%Y %I:%M %p", "12/31/2020 11:59 PM", "2020-12-31 23:59:00"),
        ("epoch_s", "1700000000", "2023-11-14 22:13:20+00"),
        ("epoch_ms", "1700000000123", "2023-11-14 22:13:20.123+00"),
        ("epoch_ns", "1700000000123456789", "2023-11-14 22:13:20.123456+00"),
        ("epoch_s", "99999999999999999", None),
        ("epoch_s", "1.5", None),
        ("epoch_ns", "-1", "1969-12-31 23:59:59.999999+00"),
        ("epoch_ns", "-1000", "1969-12-31 23:59:59.999999+00"),
        ("epoch_ns", "-1001", "1969-12-31 23:59:59.999998+00"),
        ("epoch_ns", "-0", "1970-01-01 00:00:00+00"),
        ("epoch_ns", "999", "1970-01-01 00:00:00+00"),
        ("epoch_ns", "-9223372036854775808", "1677-09-21 00:12:43.145224+00"),
        ("epoch_ms", "-1", "1969-12-31 23:59:59.999+00"),
        ("epoch_us", "-1", "1969-12-31 23:59:59.999999+00"),
        ("epoch_ns", "-0.5", None),
    ],
)
def test_timestamp(connection: duckdb.DuckDBPyConnection, pattern: str, text: str, expected: str | None) -> None:
    """Timestamps by their format; offsets applied, digits after the microsecond cut."""
    assert cast(connection, ColumnSpec(type="timestamp", format=pattern), [text]) == [expected]


@given(moment=st.datetimes(min_value=dt.datetime(1600, 1, 1)), minutes=st.integers(-1439, 1439))  # noqa: DTZ001
def test_iso8601_offsets_agree_with_python(
    connection: duckdb.DuckDBPyConnection, moment: dt.datetime, minutes: int
) -> None:
    """What Python's datetime makes of an offset, DuckDB makes of it here."""
    aware = moment.replace(tzinfo=dt.timezone(dt.timedelta(minutes=minutes)))
    expected = aware.astimezone(dt.UTC).replace(tzinfo=None)
    value = cast_of("v", ColumnSpec(type="timestamp", format="iso8601"), read_by_sql=False).value
    found = connection.execute(f"SELECT {value} FROM (SELECT ?::VARCHAR AS v)", [aware.isoformat()]).fetchone()
    assert found == (expected,)


def test_quick_and_whole_iso8601_agree() -> None:
    """DuckDB's own casts give the same as taking a text of the grammar apart, wherever they give anything."""
    years, months, days = ("0000", "0001", "1582", "1969", "2024", "9999"), ("01", "02", "12", "13"), ("01", "29", "31")
    clocks = ("", "T00:00", " 23:59:60", "T23:59:59.9", " 12:30:15.1234567", "T12:30:15,123456789", " 24:00:00")
    offsets = ("", "Z", "z", "+00", "-04", "+0530", "-03:30", "+15:59", "-16:00", "+23:59", "-23:59")
    texts = [f"{y}-{m}-{d}{c}{o}" for y in years for m in months for d in days for c in clocks for o in offsets]
    whole = f"CASE WHEN {matches('a', ISO8601)} THEN {_any_iso8601('a')} END"
    connection = duckdb.connect()
    connection.register("texts", pa.table({"a": texts}))
    for zone in ("UTC", "America/New_York"):
        connection.execute(f"SET TimeZone = '{zone}'")
        other = f"SELECT a FROM texts WHERE {iso8601_cast('a').value} IS DISTINCT FROM {whole}"
        assert connection.sql(other).fetchall() == []


NUMBERS = [
    (",", "decimal", {"1.234,56": "1234.56", "1234,5": "1234.5", "-12": "-12", "1 234,0": "1234.0", "12.34": None}),
    (",", "decimal", {"1\u202f234\u00a0567,00": None, "1.234.567,00": "1234567.00", "1.23,4": None, ",5": None}),
    (",", "integer", {"1.234": 1234, "1'234": 1234, "1,0": None, "12": 12, "1..234": None}),
    (",", "number", {"1,5": 1.5, "-2,5e3": -2500.0, "": None, "1,2,3": None}),
    (".", "number", {"1,234.5": 1234.5, "1234.5": 1234.5, "1,23.4": None, "1\u2019234.5": 1234.5}),
]


@pytest.mark.parametrize(("sign", "kind", "texts"), NUMBERS)
@pytest.mark.parametrize("read_by_sql", [False, True])
def test_decimal_sign(
    connection: duckdb.DuckDBPyConnection, sign: Any, kind: Any, texts: dict[str, Any], read_by_sql: bool
) -> None:
    """With `decimal` a number has that sign, its thousands in groups of one kind or none; all else is a bad value."""
    spec = ColumnSpec(type=kind, decimal=sign)
    assert cast(connection, spec, list(texts), read_by_sql=read_by_sql) == list(texts.values())


SERIALS = {
    "44928": "2023-01-02 00:00:00",
    "44928.5": "2023-01-02 12:00:00",
    "44928.520833333336": "2023-01-02 12:30:00",
    "61": "1900-03-01 00:00:00",
    "2958465": "9999-12-31 00:00:00",
    "60": None,
    "2958466": None,
    "-1": None,
    "2023-01-02": None,
    "nan": None,
}


def test_excel_serials(connection: duckdb.DuckDBPyConnection) -> None:
    """Days of a spreadsheet are wall clocks to the millisecond, from the first day that Excel counts right."""
    spec = ColumnSpec(type="timestamp", format="excel")
    assert cast(connection, spec, list(SERIALS)) == list(SERIALS.values())
    frame = pl.DataFrame({"v": [float(text) if text[0].isdigit() and "-" not in text else None for text in SERIALS]})
    found = frame.select(from_excel(pl.col("v")).dt.to_string("%Y-%m-%d %H:%M:%S"))["v"].to_list()
    assert found == list(SERIALS.values())
    several = ColumnSpec(type="timestamp", format=["%d.%m.%Y", "excel"])  # type: ignore[arg-type]
    assert cast(connection, several, ["2.1.2023", "44928"]) == ["2023-01-02 00:00:00"] * 2


def test_fraction_that_may_be_missing(connection: duckdb.DuckDBPyConnection) -> None:
    """`%.f` reads a point and digits, those after the sixth cut, or nothing; a word such as UTC makes instants."""
    spec = ColumnSpec(type="timestamp", format="%Y-%m-%d %H:%M:%S%.f UTC")
    texts = [f"2024-01-02 03:04:05{part} UTC" for part in ("", ".1", ".123456", ".1234569", ".", ".1234567891")]
    texts.append("2024-01-02 03:04:05")
    wanted = [f"2024-01-02 03:04:05{part}+00" for part in ("", ".1", ".123456", ".123456")]
    assert cast(connection, spec, texts) == [*wanted, None, None, None]
    assert cast_of("v", spec, read_by_sql=False).zone is Zone.UTC


def test_decimal_sign_of_staged_rows(tmp_path: Path) -> None:
    """Points between thousands are no fractions, also where every text would read as a plain number."""
    path = tmp_path / "rows.csv"
    path.write_text("a;b\n1.234;5\n2.500;6\n", encoding="utf-8")
    columns = {"a": ColumnSpec(type="decimal", decimal=","), "b": ColumnSpec(type="integer")}
    found = staged(job_over(path, columns=columns, csv={"delimiter": ";"}), tmp_path / "state")
    assert found.column("a") == ["1234", "2500"]
    assert found.column("b") == [5, 6]
