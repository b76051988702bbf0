"""DuckDB's types: which kind of column each makes, and as what it is written so that Parquet keeps it exactly."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from duckdb.sqltypes import DuckDBPyType

from backfill.records import JSON_MEMBER, LONG_INTEGER_MEMBER, Kind, Zone
from backfill.sources.sql.engine import literal, quoted

#: Scalars that Parquet, as DuckDB writes it, would lose or alter, and what they are cast to instead.
STORED_AS = {
    "hugeint": "VARCHAR",  # else DOUBLE
    "uhugeint": "VARCHAR",
    "uuid": "VARCHAR",  # else bytes
    "enum": "VARCHAR",
    "bit": "VARCHAR",
    "bignum": "VARCHAR",
    "time with time zone": "VARCHAR",  # else its offset is lost
    "interval": "VARCHAR",  # polars panics on it; the kind says that it cannot be sent
    "timestamp_s": "TIMESTAMP",
    "timestamp_ms": "TIMESTAMP",
}
#: Types with values that Parquet or its readers have no form for; and the time that stands for 24:00:00.
_ODD = ("time", "time_ns", "hugeint", "uhugeint")
LAST_TIME = "23:59:59.999999999"
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
_DECISIVE = (Kind.BINARY, Kind.INTERVAL)


def kind_of(column: DuckDBPyType) -> Kind:
    """The kind of a column of that type."""
    inner = set(_scalar_kinds(column))
    if _own_kind(column) is Kind.NESTED:
        return next((kind for kind in _DECISIVE if kind in inner), Kind.NESTED)
    return _own_kind(column)


def without_form(column: DuckDBPyType) -> str:
    """What inside a type has no form in JSON that would be exact, as people call it; nothing for most types."""
    if column.id in ("union", "variant") or column.id not in KINDS:  # what later versions of DuckDB add is unknown
        return f"a {column.id.upper()}"
    if column.id == "map" and _own_kind(column.key) is Kind.NESTED:
        return "a MAP whose keys are lists, structs or maps (cast the keys to text)"
    if is_nested(column):
        inner = (without_form(child) for _, child in column.children if isinstance(child, DuckDBPyType))
        return next(filter(None, inner), "")
    return ""


def twins(column: DuckDBPyType) -> str:
    """Members of the type that are one to SQL, since they differ only in case, as people call them; else nothing."""
    seen: dict[str, str] = {}
    for name, child in column.children if is_nested(column) else ():
        if not isinstance(child, DuckDBPyType):  # the size of an array
            continue
        if column.id == "struct" and name.lower() in seen:
            return f"members that are one to SQL ({seen[name.lower()]!r} and {name!r})"
        seen[name.lower()] = name
        if found := twins(child):
            return found
    return ""


def is_nested(column: DuckDBPyType) -> bool:
    """The type holds others."""
    return column.id in ("list", "array", "struct", "map")


def has_json(column: DuckDBPyType) -> bool:
    """The type is JSON, or a nested one with JSON somewhere in it."""
    return _own_kind(column) is Kind.JSON or Kind.JSON in _scalar_kinds(column)


def zone_of(column: DuckDBPyType) -> Zone:
    """How a timestamp column of that type is to be read; UTC for anything else."""
    naive = column.id.startswith("timestamp") and column.id not in ("timestamp with time zone", "timestamptz_ns")
    return Zone.NAIVE if naive else Zone.UTC


def stored(value: str, column: DuckDBPyType, *, made: bool = False) -> str:
    """SQL: the value as the snapshot keeps it; `made` by SQL, which knows values that no source holds."""
    kind = kind_of(column)
    if made and kind in (Kind.TIME, Kind.NESTED) and _is_odd(column):
        return f"list_transform([{value}], lambda v0: {_marked('v0', column)})[1]"
    if kind in (Kind.JSON, Kind.INTERVAL):
        return f"CAST({value} AS VARCHAR)"
    target = stored_type(column)
    return value if target == sql_type(column) else f"CAST({value} AS {target})"


def _is_odd(column: DuckDBPyType) -> bool:
    """Somewhere in the type are times, of which 24:00:00 is one in SQL, integers of 128 bits, or JSON."""
    if column.id in _ODD or str(column) == "JSON":
        return True
    return is_nested(column) and any(_is_odd(inner) for _, inner in column.children if isinstance(inner, DuckDBPyType))


def _marked(value: str, column: DuckDBPyType, depth: int = 0, *, inside: bool = False) -> str:
    """SQL: the value with a mark for what has no form in Parquet.

    Times are of microseconds, so 24:00:00 becomes the last nanosecond of the day. Integers of 128 bits and JSON
    become text, inside a nested value in structs of their own: their types tell them from text.
    """
    inner = dict(column.children) if is_nested(column) else {}
    types = {name: kind for name, kind in inner.items() if isinstance(kind, DuckDBPyType)}
    each = f"v{depth + 1}"
    match column.id:
        case "list" | "array":
            return f"list_transform({value}, lambda {each}: {_marked(each, types['child'], depth + 1, inside=True)})"
        case "struct":
            members = (
                f"{quoted(name)} := {_marked(f'struct_extract({value}, {literal(name)})', kind, depth, inside=True)}"
                for name, kind in types.items()
            )
            return f"CASE WHEN {value} IS NOT NULL THEN struct_pack({', '.join(members)}) END"
        case "map":
            key = _marked(f"{each}.key", types["key"], depth + 1)
            item = _marked(f"{each}.value", types["value"], depth + 1, inside=True)
            entries = f"list_transform(map_entries({value}), lambda {each}: struct_pack(key := {key}, value := {item}))"
            return f"CASE WHEN {value} IS NOT NULL THEN map_from_entries({entries}) END"
        case _:
            return _marked_scalar(value, column, inside=inside)


def _marked_scalar(value: str, column: DuckDBPyType, *, inside: bool) -> str:
    last = f"TIME_NS '{LAST_TIME}'"
    if inside and str(column) == "JSON":
        return _tagged(JSON_MEMBER, value)
    match column.id:
        case "time":
            return f"CASE WHEN {value} = TIME '24:00:00' THEN {last} ELSE CAST({value} AS TIME_NS) END"
        case "time_ns":  # no digits below the microsecond are sent
            near = f"CASE WHEN {value} = {last} THEN TIME_NS '23:59:59.999999' ELSE {value} END"
            return f"CASE WHEN {value} = TIME_NS '24:00:00' THEN {last} ELSE {near} END"
        case "hugeint" | "uhugeint" if inside:
            return _tagged(LONG_INTEGER_MEMBER, value)
        case _:
            return stored(value, column)


def _tagged(member: str, value: str) -> str:
    """SQL: the value's text in a struct of that one member; null where it is."""
    return f"CASE WHEN {value} IS NOT NULL THEN struct_pack({member} := CAST({value} AS VARCHAR)) END"


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
            # Members that are one to SQL have no type there; who reads them is told (see twins).
            members = list({name.lower(): (name, kind) for name, kind in reversed(members)}.values())[::-1]
            return f"{column.id.upper()}({', '.join(f'{quoted(name)} {kind}' for name, kind in members)})"


def _own_kind(column: DuckDBPyType) -> Kind:
    return Kind.JSON if str(column) == "JSON" else KINDS.get(column.id, Kind.BINARY)


def _scalar_kinds(column: DuckDBPyType) -> Iterator[Kind]:
    """The kinds of the scalars inside a type."""
    if is_nested(column):
        for _, inner in column.children:
            if isinstance(inner, DuckDBPyType):
                yield from _scalar_kinds(inner)
    else:
        yield _own_kind(column)
