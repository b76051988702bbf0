"""Columns to JSON text, as polars expressions: one value table, no Python per row.

Every function returns text that is null exactly where the value is null; leaving null members out is the caller's
business. What JSON cannot say (NaN, infinities) or readers cannot keep (integers beyond 2^53) never becomes a silent
null: flat values come with a mask, nested ones carry a control character that no valid JSON text can hold.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from typing import Final

import polars as pl

from backfill.limits import SAFE_INTEGER
from backfill.records import Kind
from backfill.timestamps import in_calendar, iso_key, iso_milliseconds, iso_time

#: Stands inside nested text for a value that must not be sent; escaped strings never hold these bytes.
NOT_FINITE: Final = "\x01"
TOO_LARGE: Final = "\x02"
TWICE: Final = "\x03"
NEVER: Final = "\x04"
NO_DATE: Final = "\x05"
#: Problem code of each mark.
MARKS: Final = {NOT_FINITE: "BF111", TOO_LARGE: "BF110", TWICE: "BF205", NEVER: "BF206", NO_DATE: "BF202"}

#: The grammar of JSON's numbers with an optional plus sign, for `as: number` and declared columns.
NUMBER_PATTERN: Final = r"^[+-]?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?$"
#: Without an exponent of three digits, or so many digits before the point, a number fits a double.
_LARGE_EXPONENT: Final = r"[0-9][eE]\+?[0-9]{3}"
_DOUBLE_DIGITS: Final = 308
_STRING_PATTERN: Final = r'"(?:[^"\\]|\\.)*"'
_NUMBER_SPAN: Final = r"-?[0-9][0-9.eE+-]*"


@dataclass(frozen=True, slots=True)
class Walls:
    """How wall clocks inside nested values become instants, null where the policy says error; and which are odd."""

    instant: Callable[[pl.Expr], pl.Expr]
    never: Callable[[pl.Expr], pl.Expr]
    twice: Callable[[pl.Expr], pl.Expr]


#: For values that are shown and never sent.
AS_THEY_ARE: Final = Walls(lambda wall: wall, lambda wall: wall.is_null(), lambda wall: wall.is_null())


@dataclass(frozen=True, slots=True)
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


def encode(value: pl.Expr, kind: Kind, dtype: pl.DataType, walls: Walls) -> Encoded:
    """The JSON form of a column of that kind; timestamps must be UTC instants already (nested ones may be walls)."""
    match kind:
        case Kind.INTEGER:
            return Encoded(value.cast(pl.String), (("BF110", too_large(value, dtype)),))
        case Kind.NUMBER:
            return Encoded(value.cast(pl.String), (("BF111", ~value.is_finite()),))
        case Kind.DATE:
            return Encoded(_simple(value, kind), (("BF202", ~value.is_between(date.min, date.max)),))
        case Kind.NESTED:
            return nested(value, dtype, walls)
        case Kind.JSON | Kind.DECIMAL if isinstance(dtype, pl.String):
            return Encoded(value, (("BF111", overflows(value)),))
        case _:
            return Encoded(_simple(value, kind))


def _simple(value: pl.Expr, kind: Kind) -> pl.Expr:
    """The JSON text of kinds in which nothing can be wrong."""
    match kind:
        case Kind.TEXT:
            return string(value)
        case Kind.TIMESTAMP:
            return quoted(iso_milliseconds(value))
        case Kind.DATE | Kind.TIME:
            return quoted(plain(value, kind))
        case Kind.NULL:
            return pl.lit(None, pl.String)
        case _:  # decimal, boolean: the plain text is the JSON text
            return plain(value, kind)


def plain(value: pl.Expr, kind: Kind) -> pl.Expr:
    """The text of a scalar as an id, a key or with `as: text` has it (not quoted, not escaped)."""
    match kind:
        case Kind.TIMESTAMP:
            return iso_key(value)
        case Kind.TIME:
            return iso_time(value)
        case Kind.DATE:
            return value.dt.to_string("%Y-%m-%d")
        case Kind.JSON:
            return scalar_text(value)
        case _:
            return value.cast(pl.String)


def json_plain(value: pl.Expr) -> pl.Expr:
    """JSON text as it stands; the word null is a null."""
    return pl.when(value != "null").then(value)


def scalar_text(value: pl.Expr) -> pl.Expr:
    """A JSON scalar as plain text: a string without quotes and escapes, anything else as written."""
    is_string = value.str.starts_with('"')
    wrapped = pl.concat_str([pl.lit('{"v":'), pl.when(is_string).then(value), pl.lit("}")])
    unescaped = wrapped.str.json_decode(pl.Struct({"v": pl.String})).struct.field("v")
    return pl.when(is_string).then(unescaped).when(value != "null").then(value)


def too_large(value: pl.Expr, dtype: pl.DataType) -> pl.Expr:
    """True where an integer is beyond what doubles tell apart; false at once for types that cannot be."""
    if isinstance(dtype, pl.Int8 | pl.Int16 | pl.Int32 | pl.UInt8 | pl.UInt16 | pl.UInt32):
        return pl.lit(value=False)
    return ~value.is_between(-SAFE_INTEGER, SAFE_INTEGER)


def overflows(text: pl.Expr) -> pl.Expr:
    """True where JSON text holds a number beyond doubles, such as 1e400: strict readers refuse the body for it."""
    long = pl.when(text.str.len_bytes() > _DOUBLE_DIGITS).then(text).str.contains(r"[0-9]{309}")
    few = pl.when(text.str.contains(_LARGE_EXPONENT) | long.fill_null(value=False)).then(text)
    numbers = few.str.replace_all(_STRING_PATTERN, '""').str.extract_all(_NUMBER_SPAN)
    infinite = numbers.list.eval(pl.element().cast(pl.Float64, strict=False).is_infinite()).list.any()
    return infinite.fill_null(value=False)


def number_from_text(text: pl.Expr) -> Encoded:
    """`as: number` of text: the digits as written, a plus sign aside; anything else is bad."""
    good = text.str.contains(NUMBER_PATTERN)
    number = pl.when(good).then(text.str.strip_prefix("+"))
    whole = pl.when(number.str.contains(r"^-?[0-9]+$")).then(number)
    large = whole.is_not_null() & whole.cast(pl.Int64, strict=False).is_between(-SAFE_INTEGER, SAFE_INTEGER).not_()
    beyond = whole.is_not_null() & whole.cast(pl.Int64, strict=False).is_null()
    infinite = whole.is_null() & number.cast(pl.Float64, strict=False).is_infinite()
    return Encoded(number, (("BF117", ~good), ("BF110", large.fill_null(value=False) | beyond), ("BF111", infinite)))


def nested(value: pl.Expr, dtype: pl.DataType, walls: Walls) -> Encoded:
    """Lists, structs and arrays: null members left out, elements kept, an emptied struct null (so left out)."""
    text = _any(value, dtype, walls)
    return Encoded(text, tuple((code, text.str.contains(mark, literal=True)) for mark, code in MARKS.items()))


def _any(value: pl.Expr, dtype: pl.DataType, walls: Walls) -> pl.Expr:
    """The text of one value inside a nested one."""
    if isinstance(dtype, pl.Struct | pl.Map):
        inner = _members(value, dtype, walls)
        return pl.when(inner != "").then(braced(inner))
    if isinstance(dtype, pl.Array):
        return _any(value.arr.to_list(), pl.List(dtype.inner), walls)
    if isinstance(dtype, pl.List):
        return _list(value, dtype, walls)
    return _scalar(value, dtype, walls)


def _scalar(value: pl.Expr, dtype: pl.DataType, walls: Walls) -> pl.Expr:
    kind = kind_of(dtype)
    if kind is Kind.NUMBER:
        return pl.when(value.is_finite()).then(value.cast(pl.String)).when(value.is_not_null()).then(pl.lit(NOT_FINITE))
    if kind is Kind.INTEGER:
        return pl.when(too_large(value, dtype)).then(pl.lit(TOO_LARGE)).otherwise(value.cast(pl.String))
    if kind is Kind.TIMESTAMP:
        if getattr(dtype, "time_zone", None) is not None:
            instant = in_calendar(value.dt.convert_time_zone("UTC").dt.replace_time_zone(None))
            mark: pl.Expr = pl.lit(NO_DATE)
        else:
            instant = walls.instant(value)
            odd = pl.when(walls.never(value)).then(pl.lit(NEVER)).when(walls.twice(value)).then(pl.lit(TWICE))
            mark = odd.otherwise(pl.lit(NO_DATE))
        return pl.when(value.is_not_null()).then(pl.coalesce(quoted(iso_milliseconds(instant)), mark))
    if kind is Kind.DATE:
        known = pl.when(value.is_between(date.min, date.max)).then(quoted(plain(value, kind)))
        return pl.when(value.is_not_null()).then(pl.coalesce(known, pl.lit(NO_DATE)))
    return encode(value, kind, dtype, walls).text


def _list(value: pl.Expr, dtype: pl.List, walls: Walls) -> pl.Expr:
    inner = dtype.inner
    element = pl.element()
    text: pl.Expr
    if isinstance(inner, pl.Struct | pl.Map):  # an element stays, also where all its members are null
        text = pl.when(element.is_not_null()).then(braced(_members(element, inner, walls)))
    else:
        text = _any(element, inner, walls)  # type: ignore[arg-type]
    joined = value.list.eval(text.fill_null("null")).list.join(",")
    return pl.concat_str([pl.lit("["), joined, pl.lit("]")])


def _members(value: pl.Expr, dtype: pl.Struct | pl.Map, walls: Walls) -> pl.Expr:
    """`,"name":text` of every member that is not null; empty text where all are, null where the whole is."""
    if isinstance(dtype, pl.Map):
        return _map_members(value, dtype, walls)
    fields = [
        member(field.name, _any(value.struct.field(field.name), field.dtype, walls))  # type: ignore[arg-type]
        for field in dtype.fields
    ]
    joined = pl.concat_str(fields, ignore_nulls=True) if fields else pl.lit("")
    return pl.when(value.is_not_null()).then(joined)


def _map_members(value: pl.Expr, dtype: pl.Map, walls: Walls) -> pl.Expr:
    entries = value.cast(pl.List(pl.Struct({"key": dtype.key, "value": dtype.value})))
    key = pl.element().struct.field("key")
    name = string(plain(key, kind_of(dtype.key)))  # type: ignore[arg-type]
    text = _any(pl.element().struct.field("value"), dtype.value, walls)  # type: ignore[arg-type]
    return entries.list.eval(pl.concat_str([pl.lit(","), name, pl.lit(":"), text])).list.join("", ignore_nulls=True)


def member(name: str, text: pl.Expr) -> pl.Expr:
    """`,"name":text`; null where the text is."""
    return pl.concat_str([pl.lit(f",{literal(name)}:"), text])


def braced(members: pl.Expr) -> pl.Expr:
    """The object of some members, the first one's comma taken off."""
    return pl.concat_str([pl.lit("{"), members.str.strip_prefix(","), pl.lit("}")])


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
