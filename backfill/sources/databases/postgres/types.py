"""PostgreSQL's types: the SQL that gives each exactly, and what a snapshot takes it for.

The driver gives only some types as they are: unsigned numbers come out as negative, and many types as bytes of the
protocol; infinite times come out as others, which `mended` undoes. So whatever is not in _NATIVE is asked for as the
text that PostgreSQL itself prints, with settings that make it one text everywhere, and read by the grammar of its kind:
a value that has no place in it (NaN, say) is then a problem of its row.
"""

from __future__ import annotations

from typing import Final

import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.compute as pc  # type: ignore[import-untyped]

from backfill.frozen import frozen
from backfill.job.models import ColumnSpec
from backfill.sources.databases.live import ResultColumn

#: Types that the driver gives exactly, by their names in pg_type; a time of 24:00 is found by whoever takes it.
_NATIVE: Final = {
    "int2": pa.int16(),
    "int4": pa.int32(),
    "int8": pa.int64(),
    "float4": pa.float32(),
    "float8": pa.float64(),
    "bool": pa.bool_(),
    "text": pa.string(),
    "varchar": pa.string(),
    "bpchar": pa.string(),  # a cast to text would take its blanks away
    "time": pa.time64("us"),
    "date": pa.date32(),
    "timestamp": pa.timestamp("us"),
    "timestamptz": pa.timestamp("us", "UTC"),
}
#: Of days and instants: the integers that the driver makes them of, how far it moves them, as PostgreSQL counts from
#: 2000 and Arrow from 1970, and the first that PostgreSQL has (4713 BC), as Arrow counts.
_MOMENTS: Final = {
    pa.date32(): (pa.int32(), 10_957, -2_440_588),
    pa.timestamp("us"): (pa.int64(), 946_684_800_000_000, -210_866_803_200_000_000),
    pa.timestamp("us", "UTC"): (pa.int64(), 946_684_800_000_000, -210_866_803_200_000_000),
}
#: What the text of a type is read as.
_READ_AS: Final = {
    "numeric": ColumnSpec(type="decimal"),
    "json": ColumnSpec(type="json"),
    "jsonb": ColumnSpec(type="json"),
}
#: Types without a form in JSON, and the cast that gives one; {0} is the column.
_REFUSED: Final = {
    "bytea": "encode({0}, 'base64') AS {0}",
    "interval": "{0}::text AS {0}",
    "money": "{0}::numeric AS {0}",
}
#: Elements whose arrays to_json gives as they are.
_ELEMENTS: Final = frozenset(
    ("int2", "int4", "int8", "bool", "text", "varchar", "bpchar", "name", "uuid", "json", "jsonb", "citext")
)
#: Elements that may be NaN or infinite, which to_json makes texts of; no other element's text has an `a` or `y`.
_UNBOUNDED: Final = frozenset(("float4", "float8", "numeric"))


@frozen
class PostgresType:
    """What the server says of a column's type, domains undone."""

    name: str  # in pg_type
    shown: str  # as SQL writes it
    type: str  # typtype: b(ase), c(omposite), d(omain), e(num), p(seudo), r(ange), m(ultirange)
    category: str  # typcategory: A for arrays
    own: bool  # PostgreSQL's own, not made by users or extensions
    element: str = ""  # of an array: its type's name
    element_type: str = ""  # and its typtype


def asked(kind: PostgresType, column: str, name: str) -> tuple[str, ResultColumn]:
    """The SQL expression for `column` that is to be asked for, and the result's column `name` that it gives."""
    if kind.own and kind.name in _NATIVE:
        return column, ResultColumn(name, _NATIVE[kind.name], kind.shown)
    if kind.own and kind.name == "oid":
        return f"{column}::int8", ResultColumn(name, pa.int64(), kind.shown)
    refused = _refused(kind, name)
    if refused:
        return "NULL::text", ResultColumn(name, pa.string(), kind.shown, refused=refused)
    if kind.category == "A" and kind.element:
        return _array(kind, column), ResultColumn(name, pa.string(), kind.shown, ColumnSpec(type="json"))
    text = f"abbrev({column})" if kind.own and kind.name == "inet" else f"{column}::text"
    spec = _READ_AS.get(kind.name) if kind.own else None
    # jsonb is printed anew from what was read; json stands as it was written, also with half a surrogate pair.
    return text, ResultColumn(name, pa.string(), kind.shown, spec, sound=spec is not None and kind.name == "jsonb")


def _refused(kind: PostgresType, name: str) -> str:
    """What a column holds that has no form in JSON, and the cast to write; nothing where it has one."""
    shown = '"' + name.replace('"', '""') + '"'
    cast = _REFUSED.get(kind.name, "").format(shown) if kind.own else ""
    if not cast and kind.type == "p":
        return f"{kind.shown} (name its members in the query)"
    known = kind.element in _ELEMENTS | _UNBOUNDED or kind.element_type == "e"
    if not cast and (kind.type == "c" or (kind.category == "A" and kind.element and not known)):
        cast = f"to_json({shown}) AS {shown}"
    return f"{kind.shown} (write {cast} in the query)" if cast else ""


def mended(values: pa.Array) -> pa.Array:
    """Days and instants with infinity as the furthest that their type has, as DuckDB's infinity is; others as given.

    The driver moves PostgreSQL's numbers by adding, so that the greatest ones, infinity first of all, come out before
    the first of PostgreSQL's days. That is also where -infinity, its least number, comes out, one behind infinity.
    """
    if values.type not in _MOMENTS:
        return values
    number, moved, first = _MOMENTS[values.type]
    numbers = values.view(number)
    wrapped = pc.less(numbers, first)
    if not pc.any(wrapped).as_py():
        return values
    furthest = 2 ** (number.bit_width - 1) - 1
    infinite = pc.if_else(pc.equal(numbers, moved - furthest - 1), -furthest, furthest)
    return pc.if_else(wrapped, infinite.cast(number), numbers).view(values.type)


def _array(kind: PostgresType, column: str) -> str:
    """Elements by to_json, which keeps nulls and digits; where one is not finite PostgreSQL's own text, no JSON."""
    text = f"to_json({column})::text"
    if kind.element in _UNBOUNDED:
        return f"CASE WHEN {column}::text ~ '[ay]' THEN {column}::text ELSE {text} END"
    return text
