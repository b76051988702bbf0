"""DuckDB's types: which kind of column each makes, and as what it is written so that Parquet keeps it exactly."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from duckdb.sqltypes import DuckDBPyType

from backfill.records import Kind, Zone
from backfill.sources.engine import quoted

#: Scalars that Parquet, as DuckDB writes it, would lose or alter, and what they are cast to instead.
STORED_AS = {
    "hugeint": "DECIMAL(38, 0)",  # else DOUBLE
    "uhugeint": "DECIMAL(38, 0)",
    "uuid": "VARCHAR",  # else bytes
    "enum": "VARCHAR",
    "bit": "VARCHAR",
    "bignum": "VARCHAR",
    "time with time zone": "VARCHAR",  # else its offset is lost
    "interval": "VARCHAR",  # polars panics on it; the kind says that it cannot be sent
    "timestamp_s": "TIMESTAMP",
    "timestamp_ms": "TIMESTAMP",
}
_BY_KIND = {
    Kind.BOOLEAN: ("boolean",),
    Kind.INTEGER: (
        *("tinyint", "smallint", "integer", "bigint", "utinyint", "usmallint", "uinteger", "ubigint"),
        *("hugeint", "uhugeint"),
    ),
    Kind.NUMBER: ("float", "double"),
    Kind.DECIMAL: ("decimal",),
    Kind.DATE: ("date",),
    Kind.TIME: ("time", "time_ns"),
    Kind.TIMESTAMP: (
        "timestamp",
        "timestamp_s",
        "timestamp_ms",
        "timestamp_ns",
        "timestamp with time zone",
        "timestamptz_ns",
    ),
    Kind.TEXT: ("varchar", "uuid", "enum", "bit", "bignum", "time with time zone"),
    Kind.BINARY: ("blob", "geometry"),
    Kind.INTERVAL: ("interval",),
    Kind.NULL: ("null",),
    Kind.JSON: ("union", "variant"),
    Kind.NESTED: ("list", "array", "struct", "map"),
}
KINDS = {name: kind for kind, names in _BY_KIND.items() for name in names}
#: Inside a nested value these decide the kind of the whole, the first that is found.
_DECISIVE = (Kind.BINARY, Kind.INTERVAL, Kind.JSON)


def kind_of(column: DuckDBPyType) -> Kind:
    """The kind of a column of that type. A nested value with JSON in it is JSON as a whole."""
    inner = set(_scalar_kinds(column))
    if _own_kind(column) is Kind.NESTED:
        return next((kind for kind in _DECISIVE if kind in inner), Kind.NESTED)
    return _own_kind(column)


def without_form(column: DuckDBPyType) -> str:
    """What inside a type has no form in JSON that would be exact, as people call it; nothing for most types."""
    if column.id in ("union", "variant"):
        return f"a {column.id.upper()}"
    if column.id == "map" and _own_kind(column.key) is Kind.NESTED:
        return "a MAP whose keys are lists, structs or maps (cast the keys to text)"
    if column.id in ("list", "array", "struct", "map"):
        inner = (without_form(child) for _, child in column.children if isinstance(child, DuckDBPyType))
        return next(filter(None, inner), "")
    return ""


def is_converted(column: DuckDBPyType) -> bool:
    """The column becomes JSON text although it is none: a nested value with JSON somewhere in it."""
    return kind_of(column) is Kind.JSON and str(column) != "JSON"


def zone_of(column: DuckDBPyType) -> Zone:
    """How a timestamp column of that type is to be read; UTC for anything else."""
    naive = column.id.startswith("timestamp") and column.id not in ("timestamp with time zone", "timestamptz_ns")
    return Zone.NAIVE if naive else Zone.UTC


def stored(value: str, column: DuckDBPyType) -> str:
    """SQL: the value as the snapshot keeps it."""
    kind = kind_of(column)
    if kind is Kind.JSON:
        text = value if str(column) == "JSON" else f"to_json({value})"
        return f"CAST({text} AS VARCHAR)"
    if kind is Kind.INTERVAL:
        return f"CAST({value} AS VARCHAR)"
    target = stored_type(column)
    return value if target == sql_type(column) else f"CAST({value} AS {target})"


def stored_type(column: DuckDBPyType) -> str:
    """SQL: the type, with every part that Parquet would alter replaced by one that it keeps."""
    return _spelled(column, lambda part: "VARCHAR" if str(part) == "JSON" else STORED_AS.get(part.id, str(part)))


def sql_type(column: DuckDBPyType) -> str:
    """SQL: the type. DuckDB's own words for it leave members' names unquoted that are keywords, such as `order`."""
    return _spelled(column, str)


def _spelled(column: DuckDBPyType, scalar: Callable[[DuckDBPyType], str]) -> str:
    """SQL: the type, every name in it quoted and every type that holds no other as `scalar` says."""
    if column.id not in ("list", "array", "struct", "map", "union"):
        return scalar(column)
    inner = [(name, _spelled(child, scalar)) for name, child in column.children if isinstance(child, DuckDBPyType)]
    match column.id:
        case "list":
            return f"{inner[0][1]}[]"
        case "array":
            return f"{inner[0][1]}[{dict(column.children)['size']}]"
        case "map":
            return f"MAP({inner[0][1]}, {inner[1][1]})"
        case _:
            members = inner[1:] if column.id == "union" else inner  # a union's first is its tag
            return f"{column.id.upper()}({', '.join(f'{quoted(name)} {kind}' for name, kind in members)})"


def _own_kind(column: DuckDBPyType) -> Kind:
    return Kind.JSON if str(column) == "JSON" else KINDS.get(column.id, Kind.BINARY)


def _scalar_kinds(column: DuckDBPyType) -> Iterator[Kind]:
    """The kinds of the scalars inside a type."""
    if column.id in ("list", "array", "struct", "map"):
        for _, inner in column.children:
            if isinstance(inner, DuckDBPyType):
                yield from _scalar_kinds(inner)
    else:
        yield _own_kind(column)
