"""Made-up rows for the comparison with the oracle: a column of every kind, under plain and hostile names."""

import json
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any

import polars as pl
from hypothesis import strategies as st

from backfill.records import Column, Kind, Zone

INNER = pl.Struct({"x": pl.Float64, "y": pl.Boolean})
ADDRESS = pl.Struct({"city": pl.String, "zip": pl.Int64, "inner": INNER})
ITEM = pl.Struct({"sku": pl.String, "price": pl.Decimal(12, 2), "at": pl.Datetime("us"), "tags": pl.List(pl.String)})
VISIT = pl.Struct({"on": pl.Datetime("us", "Europe/Berlin"), "day": pl.Date, "hour": pl.Time, "big": pl.UInt64})
NAN, INFINITY = float("nan"), float("inf")
#: In New York an hour that never was, one that was twice, and one that is in the year 10000 elsewhere.
GAP, TWICE, LAST = (
    datetime(2024, 3, 10, 2, 30),  # noqa: DTZ001  wall clocks and naive UTC, as polars has them
    datetime(2023, 11, 5, 1, 30, 0, 1500),  # noqa: DTZ001
    datetime(9999, 12, 31, 23),  # noqa: DTZ001
)


def mostly(good: st.SearchStrategy[Any], bad: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Good values, with a bad one now and then: a call is sent only where all of its values are good."""
    return st.integers(0, 9).flatmap(lambda roll: bad if roll == 0 else good)


awkward_texts = [
    "",
    "null",
    "N/A",
    "0",
    "-1",
    "000",
    "123.0",
    "00123",
    'a"b\\c/\n\t\x00\x01\x1f\x7f',
    "é🦊\u2028",
    "9e9",
]
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=8) | st.sampled_from(awkward_texts)
good_texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8)
amounts = st.sampled_from(["12", "-0.50", "+7", "1e5", "0", "007", "1.", "", "NaN", "0x1F", "9007199254740991"])
integers = mostly(st.integers(-(2**53), 2**53), st.integers(-(2**63), 2**63 - 1) | st.just(2**53 + 1))
unsigned = mostly(st.integers(0, 2**53), st.integers(0, 2**64 - 1))
odd_floats = st.sampled_from([0.1, -0.0, 1e16, 1e22, 5e-324, 123.0, 1.7976931348623157e308])
floats = mostly(st.floats(allow_nan=False, allow_infinity=False) | odd_floats, st.floats())
decimals = st.decimals(-(10**8), 10**8, places=2, allow_nan=False)
dates = st.dates(date(1960, 1, 1), date(2090, 1, 1))
moments = st.datetimes(datetime(1971, 1, 1), datetime(2026, 1, 1))  # noqa: DTZ001
utc = mostly(moments, st.datetimes(datetime(1960, 1, 1), datetime(2090, 1, 1)))  # noqa: DTZ001
awkward = st.sampled_from([GAP, TWICE, LAST])
walls = mostly(moments, awkward)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**40), 10**40) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=5,
)
json_numbers = st.builds(
    lambda sign, digits, exponent: f'{{"n": [{sign}{digits}{exponent}, "1e400"]}}',
    st.sampled_from(["", "-"]),
    st.sampled_from(["1", "0", "0." + "0" * 100 + "1", "1.7976931348623157", "9" * 308, "9" * 309]),
    st.sampled_from(["", "e308", "E+309", "e400", "e-400", "e00400"]),
)
json_texts = st.builds(lambda value: json.dumps(value, ensure_ascii=False), json_values | texts) | json_numbers
json_objects = json_numbers | st.builds(
    json.dumps, st.dictionaries(st.sampled_from(["city", "a", "b", "é"]), json_values, max_size=3)
)


def structs(fields: dict[str, st.SearchStrategy[Any]]) -> st.SearchStrategy[dict[str, Any] | None]:
    """A struct with any of its fields null, or null itself."""
    return st.none() | st.fixed_dictionaries({name: st.none() | values for name, values in fields.items()})


addresses = structs({"city": texts, "zip": integers, "inner": structs({"x": floats, "y": st.booleans()})})
items = structs({"sku": texts, "price": decimals, "at": walls, "tags": st.lists(st.none() | texts, max_size=2)})
visits = structs({"on": utc, "day": dates, "hour": st.times(), "big": unsigned})
grids = st.lists(st.none() | st.lists(floats, max_size=2), max_size=3)

#: name -> the column, its type, its values.
COLUMNS: dict[str, tuple[Column, Any, st.SearchStrategy[Any]]] = {
    column.name: (column, dtype, values)
    for column, dtype, values in [
        (Column("text", Kind.TEXT), pl.String, texts),
        (Column("plain", Kind.TEXT), pl.String, good_texts),
        (Column("revenue", Kind.TEXT), pl.String, mostly(amounts, texts)),
        (Column("a.b", Kind.TEXT), pl.String, texts),
        (Column('q"uo\\te é', Kind.INTEGER), pl.Int32, st.integers(-(2**31), 2**31 - 1)),
        (Column("integer", Kind.INTEGER), pl.Int64, integers),
        (Column("unsigned", Kind.INTEGER), pl.UInt64, unsigned),
        (Column("number", Kind.NUMBER), pl.Float64, floats),
        (Column("total", Kind.NUMBER), pl.Float64, floats),
        (Column("decimal", Kind.DECIMAL), pl.Decimal(20, 2), decimals),
        (Column("digits", Kind.DECIMAL), pl.String, st.sampled_from(["12.50", "-0.10", "7", "1" * 30, "9" * 310])),
        (Column("boolean", Kind.BOOLEAN), pl.Boolean, st.booleans()),
        (Column("date", Kind.DATE), pl.Date, dates),
        (Column("time", Kind.TIME), pl.Time, st.times()),
        (Column("at", Kind.TIMESTAMP), pl.Datetime("us", "UTC"), utc),
        (Column("berlin", Kind.TIMESTAMP), pl.Datetime("us", "Europe/Berlin"), utc),
        (Column("wall", Kind.TIMESTAMP, Zone.NAIVE), pl.Datetime("us"), walls),
        (Column("mixed", Kind.TIMESTAMP, Zone.MIXED, utc_flag="__bf_utc:mixed"), pl.Datetime("us"), walls),
        (Column("json", Kind.JSON), pl.String, json_texts),
        (Column("payload", Kind.JSON), pl.String, json_objects),
        (Column("nothing", Kind.NULL), pl.Null, st.none()),
        (Column("address", Kind.NESTED), ADDRESS, addresses),
        (Column("items", Kind.NESTED), pl.List(ITEM), st.lists(items, max_size=2)),
        (Column("visit", Kind.NESTED), VISIT, visits),
        (Column("grid", Kind.NESTED), pl.List(pl.List(pl.Float64)), grids),
        (Column("declared", Kind.INTEGER, raw="__bf_raw:declared"), pl.Int64, integers),
        (Column("birthday", Kind.DATE, raw="__bf_raw:birthday"), pl.Date, dates),
        (Column("__bf_utc:mixed", Kind.BOOLEAN), pl.Boolean, st.booleans()),
        (
            Column("__bf_raw:declared", Kind.TEXT),
            pl.String,
            mostly(st.none(), st.sampled_from(["1.5", "-00" + "9" * 20])),
        ),
        (Column("__bf_raw:birthday", Kind.TEXT), pl.String, mostly(st.none(), st.just("31.12.1999"))),
        (Column("__bf_sql_0", Kind.NUMBER, reads=("declared", "total")), pl.Float64, floats),
        (Column("__bf_sql_1", Kind.BOOLEAN, reads=("birthday", "text")), pl.Boolean, st.booleans()),
        (Column("__bf_time_0", Kind.TIMESTAMP, Zone.NAIVE, raw="text"), pl.Datetime("us"), walls),
        (Column("__bf_where_bad", Kind.BOOLEAN, reads=("birthday",)), pl.Boolean, mostly(st.none(), st.booleans())),
    ]
}
DESCRIBED = {name: column for name, (column, _, _) in COLUMNS.items()}
OWN = [name for name in COLUMNS if not name.startswith("__bf_")]
SQL = {"total / declared": "__bf_sql_0", "birthday < text": "__bf_sql_1"}
ISO = {("text", "iso8601"): "__bf_time_0"}


def frame_of(rows: list[dict[str, Any]]) -> pl.DataFrame:
    """The rows as columns of their types; what a row does not say is null."""
    full = [{name: row.get(name) for name in COLUMNS} for row in rows]
    return pl.DataFrame(full, schema={name: dtype for name, (_, dtype, _) in COLUMNS.items()}, strict=True)


@st.composite
def tables(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Some rows, as a source would have them; a column has no null, some, or nothing else."""
    fields = {}
    for name, (_, _, values) in COLUMNS.items():
        fields[name] = draw(st.sampled_from([values, values, st.none() | values]))
    rows = draw(st.lists(st.fixed_dictionaries(fields), min_size=1, max_size=4))
    for row in rows:  # a text as read is there where its value is, and expressions are null where they read a bad value
        for name in ("declared", "birthday"):
            row[f"__bf_raw:{name}"] = row[f"__bf_raw:{name}"] if row[name] is None else str(row[name])
        if row["declared"] is None and row["__bf_raw:declared"] is not None:
            row["__bf_sql_0"] = None
    return frame_of(rows).to_dicts()


#: What each kind of column can hold that is worth a row of its own.
EDGES: dict[str, list[Any]] = {
    "text": awkward_texts,
    "plain": ["plain", "Zoë", "f" * 120],
    "revenue": ["12", "-0.50", "+7", "1e5", "-0", "007", "1.", "", "NaN", "0x1F", "9007199254740993", "1e999", " 1"],
    "a.b": [None, "", "x"],
    'q"uo\\te é': [0, -1, 2**31 - 1, -(2**31)],
    "integer": [0, -1, 2**53, 2**53 + 1, -(2**53) - 1, 2**63 - 1, -(2**63)],
    "unsigned": [0, 2**53, 2**53 + 1, 2**64 - 1],
    "number": [0.0, -0.0, 123.0, 0.1, 1e16, 1e22, 5e-324, 1.7976931348623157e308, NAN, INFINITY, -INFINITY],
    "total": [1.5, None, NAN],
    "decimal": [Decimal("0.00"), Decimal("-0.01"), Decimal("12.50"), Decimal("100000000.00")],
    "digits": ["12.50", "-0.10", "7", "1" * 30, "1" * 310 + ".5"],
    "boolean": [True, False, None],
    "date": [date(1970, 1, 1), date(1969, 12, 31), date(2026, 3, 2), date(2024, 2, 29)],
    "time": [time(0, 0), time(23, 59, 59, 999_999), time(1, 2, 3), time(1, 2, 3, 4)],
    "at": [datetime(1970, 1, 1), datetime(1969, 12, 31, 23, 59, 59, 999_999), datetime(2024, 1, 1, 0, 0, 0, 999_999)],  # noqa: DTZ001
    "berlin": [datetime(2024, 7, 1, 12), datetime(2024, 1, 1, 12), datetime(2023, 10, 29, 0, 30)],  # noqa: DTZ001
    "wall": [GAP, TWICE, LAST, datetime(2024, 7, 1)],  # noqa: DTZ001
    "mixed": [GAP, TWICE, datetime(2024, 7, 1), LAST],  # noqa: DTZ001
    "json": [
        '"x"',
        '"\\u00e9\\n\\"q"',
        '""',
        '"123.0"',
        "null",
        "true",
        "1.10",
        "9" * 41,
        "[1, null]",
        "{}",
        '{"a": null}',
        "1e400",
        "[[-1E+309]]",
        '{"a": "1e400", "b": 1e-400}',
    ],
    "payload": ['{"a": {"z": 1}, "city": null}', "{}", None, '{"b": 1.10}', '{"b": 1e400}'],
    "address": [
        {"city": None, "zip": None, "inner": {"x": None, "y": None}},
        {"city": "", "zip": 2**53 + 1, "inner": {"x": 1.0, "y": None}},
        {"city": "x", "zip": 1, "inner": {"x": NAN, "y": True}},
        {"city": "x", "zip": 1, "inner": None},
        None,
    ],
    "items": [
        [],
        [None],
        [
            {"sku": None, "price": None, "at": None, "tags": None},
            {"sku": "s", "price": Decimal("1.50"), "tags": [None, ""]},
        ],
        *([{"sku": "s", "price": None, "at": at, "tags": []}] for at in (GAP, TWICE, LAST, datetime(2024, 7, 1))),  # noqa: DTZ001
    ],
    "visit": [
        {"on": datetime(2024, 7, 1, 12), "day": date(2024, 2, 29), "hour": time(1, 2, 3, 4), "big": 7},  # noqa: DTZ001
        {"on": datetime(2024, 1, 1, 12), "day": None, "hour": time(0, 0), "big": 2**64 - 1},  # noqa: DTZ001
        {"on": None, "day": None, "hour": None, "big": None},
    ],
    "grid": [[], [[]], [None, [None]], [[1.0], [NAN]], [[-0.0, 1e22]]],
    "declared": [1, None, None, None, 2**53 + 1],
    "birthday": [date(1999, 12, 31), None, None],
    "__bf_utc:mixed": [False, False, None, False, True, True, True],
    "__bf_raw:declared": ["1", "1.5", "-00" + "9" * 20, None, str(2**53 + 1)],
    "__bf_raw:birthday": ["1999-12-31", "31.12.1999", None],
    "__bf_sql_0": [1.5, None, None, NAN, 0.1],
    "__bf_sql_1": [True, False, None, True],
    "__bf_time_0": [datetime(2024, 7, 1), None, GAP, TWICE, LAST],  # noqa: DTZ001
    "__bf_where_bad": [None, False, None, None, True],
}


def edge_rows() -> list[dict[str, Any]]:
    """Rows that show every one of `EDGES`, most of them beside several others."""
    return frame_of(
        [{name: values[row % len(values)] for name, values in EDGES.items()} for row in range(15)]
    ).to_dicts()
