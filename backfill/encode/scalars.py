"""Columns of single values to JSON text, as polars expressions.

Every function returns text that is null exactly where the value is null; leaving null members out is the caller's
business. What JSON cannot say (NaN, infinities) or readers cannot keep (integers beyond 2^53) comes with a mask, and is
never a silent null.
"""

from __future__ import annotations

import json
from datetime import date
from typing import Final

import polars as pl

from backfill.encode.json_text import not_json, overflows, scalar_text
from backfill.frozen import frozen
from backfill.limits import SAFE_INTEGER
from backfill.records import Kind
from backfill.timestamps import date_in_calendar, in_calendar, iso_key, iso_milliseconds, iso_time

#: Stands for 24:00:00 in times that SQL made, which are of whole microseconds (see sources.sql.duckdb_types).
LAST_TIME: Final = pl.lit(86_399_999_999_999).cast(pl.Time)
#: What may be wrong with a value, in the order in which the problems of one are told.
VALUE_CODES: Final = ("BF111", "BF110", "BF205", "BF206", "BF202", "BF117")
#: The grammar of JSON's numbers with an optional plus sign, for `as: number`.
NUMBER_PATTERN: Final = r"^[+-]?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?$"


@frozen
class Encoded:
    """A value's JSON text, and what may be wrong with it: (problem code, mask) pairs."""

    text: pl.Expr
    bad: tuple[tuple[str, pl.Expr], ...] = ()


def literal(value: object) -> str:
    """A constant's JSON text: compact, non-ASCII as it is, null members left out at every depth."""
    return json.dumps(_pruned(value), ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def _pruned(value: object) -> object:
    if isinstance(value, dict):
        return {key: _pruned(inner) for key, inner in value.items() if inner is not None}
    return [_pruned(inner) for inner in value] if isinstance(value, list) else value


def string(text: pl.Expr) -> pl.Expr:
    """A JSON string with its quotes, escaped by polars' own JSON writer."""
    encoded = pl.struct(text.alias("")).struct.json_encode().str.strip_prefix('{"":').str.strip_suffix("}")
    return pl.when(text.is_not_null()).then(encoded)


def quoted(text: pl.Expr) -> pl.Expr:
    """Text between quotes, for text that needs no escaping (digits, dates, uuids)."""
    return pl.concat_str([pl.lit('"'), text, pl.lit('"')])


def member(name: str, text: pl.Expr) -> pl.Expr:
    """`,"name":text`; null where the text is."""
    return pl.concat_str([pl.lit(f",{literal(name)}:"), text])


def braced(members: pl.Expr) -> pl.Expr:
    """The object of some members, the first one's comma taken off."""
    return pl.concat_str([pl.lit("{"), members.str.strip_prefix(","), pl.lit("}")])


def encode_scalar(value: pl.Expr, kind: Kind, dtype: pl.DataType) -> Encoded:
    """The JSON form of a column of that kind, which holds no others; timestamps must be UTC instants already."""
    match kind:
        case Kind.INTEGER:
            return Encoded(value.cast(pl.String), (("BF110", too_large(value, dtype)),))
        case Kind.NUMBER:
            return Encoded(value.cast(pl.String), (("BF111", ~value.is_finite()),))
        case Kind.DATE | Kind.TIME:
            odd = value == LAST_TIME if kind is Kind.TIME else ~value.is_between(date.min, date.max)
            return Encoded(_simple(value, kind), (("BF202", odd),))
        case Kind.JSON | Kind.DECIMAL if isinstance(dtype, pl.String):
            return Encoded(value, not_json(value) if kind is Kind.JSON else (("BF111", overflows(value)),))
        case _:
            return Encoded(_simple(value, kind))


def _simple(value: pl.Expr, kind: Kind) -> pl.Expr:
    """The JSON text of kinds in which nothing can be wrong."""
    if kind is Kind.NULL:
        return pl.lit(None, pl.String)
    inside = inside_quotes(value, kind)
    if inside is None:  # decimal, boolean: the plain text is the JSON text
        return plain(value, kind)
    return string(inside) if kind is Kind.TEXT else quoted(inside)


def inside_quotes(value: pl.Expr, kind: Kind) -> pl.Expr | None:
    """What stands between the quotes, text yet to be escaped; None of kinds that are no JSON strings."""
    match kind:
        case Kind.TEXT:
            return value
        case Kind.TIMESTAMP:
            return iso_milliseconds(value)
        case Kind.DATE | Kind.TIME:
            return plain(value, kind)
        case _:
            return None


def plain(value: pl.Expr, kind: Kind) -> pl.Expr:
    """The text of a scalar as an id, a key or with `as: text` has it (not quoted, not escaped)."""
    match kind:
        case Kind.TIMESTAMP:
            return iso_key(value)
        case Kind.TIME:
            return iso_time(value)
        case Kind.DATE:
            return date_in_calendar(value).dt.to_string("%Y-%m-%d")
        case Kind.JSON:
            return scalar_text(value)
        case _:
            return value.cast(pl.String)


def shown(value: pl.Expr, kind: Kind, dtype: pl.DataType) -> pl.Expr:
    """The text of a scalar for people to see; of what no calendar has, which polars panics at, the number.

    The furthest that there is either way is a database's infinity.
    """
    match kind:
        case Kind.DATE:
            known = date_in_calendar(value)
        case Kind.TIMESTAMP:
            zoned = getattr(dtype, "time_zone", None) is not None
            naive = value.dt.convert_time_zone("UTC").dt.replace_time_zone(None) if zoned else value
            known = pl.when(in_calendar(naive).is_not_null()).then(value)
        case Kind.TIME:
            return pl.when(value == LAST_TIME).then(pl.lit("24:00:00")).otherwise(iso_time(value))
        case _:
            return value.cast(pl.String)
    number, furthest = value.to_physical(), 2**31 - 1 if kind is Kind.DATE else 2**63 - 1
    infinite = pl.when(number == furthest).then(pl.lit("infinity")).when(number == -furthest).then(pl.lit("-infinity"))
    return pl.coalesce(known.cast(pl.String), infinite, number.cast(pl.String))


def too_large(value: pl.Expr, dtype: pl.DataType) -> pl.Expr:
    """True where an integer is beyond what doubles tell apart; false at once for types that cannot be."""
    if isinstance(dtype, pl.Int8 | pl.Int16 | pl.Int32 | pl.UInt8 | pl.UInt16 | pl.UInt32):
        return pl.lit(value=False)
    if isinstance(dtype, pl.String):  # of 128 bits
        near = value.cast(pl.Int64, strict=False).is_between(-SAFE_INTEGER, SAFE_INTEGER)
        return value.is_not_null() & ~near.fill_null(value=False)
    return ~value.is_between(-SAFE_INTEGER, SAFE_INTEGER)


def number_from_text(text: pl.Expr) -> Encoded:
    """`as: number` of text: the digits as written, a plus sign aside; anything else is bad."""
    good = text.str.contains(NUMBER_PATTERN)
    number = pl.when(good).then(text.str.strip_prefix("+"))
    whole = pl.when(number.str.contains(r"^-?[0-9]+$")).then(number)
    large = whole.is_not_null() & whole.cast(pl.Int64, strict=False).is_between(-SAFE_INTEGER, SAFE_INTEGER).not_()
    beyond = whole.is_not_null() & whole.cast(pl.Int64, strict=False).is_null()
    infinite = whole.is_null() & number.cast(pl.Float64, strict=False).is_infinite()
    return Encoded(number, (("BF117", ~good), ("BF110", large.fill_null(value=False) | beyond), ("BF111", infinite)))


def kind_of(dtype: pl.DataType) -> Kind:
    """The kind of a polars type, for values inside nested ones and columns read in place."""
    if dtype.is_integer():
        return Kind.INTEGER
    if dtype.is_float():
        return Kind.NUMBER
    simple: dict[type[pl.DataType], Kind] = {
        pl.String: Kind.TEXT,
        pl.Categorical: Kind.TEXT,
        pl.Enum: Kind.TEXT,
        pl.Decimal: Kind.DECIMAL,
        pl.Boolean: Kind.BOOLEAN,
        pl.Date: Kind.DATE,
        pl.Time: Kind.TIME,
        pl.Datetime: Kind.TIMESTAMP,
        pl.Binary: Kind.BINARY,
        pl.Duration: Kind.INTERVAL,
        pl.Null: Kind.NULL,
    }
    if isinstance(dtype, pl.List | pl.Array | pl.Struct | pl.Map):
        return Kind.NESTED
    return simple[type(dtype)]
