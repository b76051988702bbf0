"""Columns to JSON text, as polars expressions: one value table, no Python per row.

Every function returns text that is null exactly where the value is null; leaving null members out is the caller's
business. What JSON cannot say (NaN, infinities) or readers cannot keep (integers beyond 2^53) never becomes a silent
null: flat values come with a mask, nested ones carry a control character that no valid JSON text can hold.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from functools import partial
from typing import Final

import numpy as np
import polars as pl

from backfill.limits import JSON_DEPTH, SAFE_INTEGER
from backfill.records import JSON_MEMBER, LONG_INTEGER_MEMBER, Kind
from backfill.timestamps import date_in_calendar, in_calendar, iso_key, iso_milliseconds, iso_time

#: Stands inside nested text for a value that must not be sent; escaped strings never hold these bytes.
NOT_FINITE: Final = "\x01"
TOO_LARGE: Final = "\x02"
TWICE: Final = "\x03"
NEVER: Final = "\x04"
NO_DATE: Final = "\x05"
NO_JSON: Final = "\x06"
#: Problem code of each mark.
MARKS: Final = {
    NOT_FINITE: "BF111", TOO_LARGE: "BF110", TWICE: "BF205", NEVER: "BF206", NO_DATE: "BF202", NO_JSON: "BF117",
}  # fmt: skip

#: Stands for 24:00:00 in times that SQL made, which are of whole microseconds (see sources.storage).
LAST_TIME: Final = pl.lit(86_399_999_999_999).cast(pl.Time)

#: The grammar of JSON's numbers with an optional plus sign, for `as: number` and declared columns.
NUMBER_PATTERN: Final = r"^[+-]?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?$"
#: Without an exponent of three digits, or so many digits before the point, a number fits a double.
_LARGE_EXPONENT: Final = r"[0-9][eE]\+?[0-9]{3}"
_DOUBLE_DIGITS: Final = 308
_STRING_PATTERN: Final = r'"(?:[^"\\]|\\.)*"'
_NUMBER_SPAN: Final = r"-?[0-9][0-9.eE+-]*"
#: What DuckDB takes and writes in JSON, and RFC 8259 has not: numbers that are none, in any case, and closing commas.
_NOT_FINITE: Final = "(?i)nan|inf"
_COMMA: Final = r",\s*[\]}]"
#: A whole string, not a key, that is an instant or wall clock as DuckDB writes them.
_SQL_TIME: Final = (
    r'"[0-9]{4,6}-[0-9]{2}-[0-9]{2} [0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]+)?(?:[+-][0-9:]+)?(?: \(BC\))?"\s*(?:[,\]}]|$)'
)


@dataclass(frozen=True, slots=True)
class Walls:
    """How wall clocks inside nested values become instants, null where the policy says error; and which are odd."""

    instant: Callable[[pl.Expr], pl.Expr]
    never: Callable[[pl.Expr], pl.Expr]
    twice: Callable[[pl.Expr], pl.Expr]


#: For values that are shown and never sent: nothing is marked.
AS_THEY_ARE: Final = Walls(in_calendar, lambda wall: wall.is_null(), lambda wall: wall.is_null())


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
        case Kind.DATE | Kind.TIME:
            odd = value == LAST_TIME if kind is Kind.TIME else ~value.is_between(date.min, date.max)
            return Encoded(_simple(value, kind), (("BF202", odd),))
        case Kind.NESTED:
            return nested(value, dtype, walls)
        case Kind.JSON | Kind.DECIMAL if isinstance(dtype, pl.String):
            return Encoded(value, _not_json(value) if kind is Kind.JSON else (("BF111", overflows(value)),))
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
            return date_in_calendar(value).dt.to_string("%Y-%m-%d")
        case Kind.JSON:
            return scalar_text(value)
        case _:
            return value.cast(pl.String)


def shown(value: pl.Expr, kind: Kind, dtype: pl.DataType) -> pl.Expr:
    """The text of a scalar for people to see; of what no calendar has, which polars panics at, the number."""
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
    return pl.coalesce(known.cast(pl.String), value.to_physical().cast(pl.String))


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
    if isinstance(dtype, pl.String):  # of 128 bits
        near = value.cast(pl.Int64, strict=False).is_between(-SAFE_INTEGER, SAFE_INTEGER)
        return value.is_not_null() & ~near.fill_null(value=False)
    return ~value.is_between(-SAFE_INTEGER, SAFE_INTEGER)


def overflows(text: pl.Expr) -> pl.Expr:
    """True where JSON text holds a number beyond doubles, such as 1e400: strict readers refuse the body for it."""
    long = pl.when(text.str.len_bytes() > _DOUBLE_DIGITS).then(text).str.contains(r"[0-9]{309}")
    few = pl.when(text.str.contains(_LARGE_EXPONENT) | long.fill_null(value=False)).then(text)
    numbers = few.str.replace_all(_STRING_PATTERN, '""').str.extract_all(_NUMBER_SPAN)
    infinite = numbers.list.eval(pl.element().cast(pl.Float64, strict=False).is_infinite()).list.any()
    return infinite.fill_null(value=False)


def _not_json(text: pl.Expr) -> tuple[tuple[str, pl.Expr], ...]:
    """What DuckDB takes for JSON and writes as such, and RFC 8259 and strict readers refuse."""
    unfit = _outside_strings(text, _COMMA) | too_deep(text)
    return (("BF111", overflows(text) | _outside_strings(text, _NOT_FINITE)), ("BF117", unfit))


def too_deep(text: pl.Expr, depth: int = JSON_DEPTH) -> pl.Expr:
    """True where JSON text is nested deeper than so many levels."""
    long = pl.when(text.str.len_bytes() > 2 * depth).then(text)  # with fewer bytes it cannot be
    many = pl.when(long.str.count_matches(r"[\[{]") > depth).then(long)
    bare = many.str.replace_all(_STRING_PATTERN, "").str.replace_all(r"[^\[\]{}]+", "")
    deep = bare.map_batches(partial(_too_deep, depth=depth), return_dtype=pl.Boolean, is_elementwise=True)
    return deep.fill_null(value=False)


def _too_deep(brackets: pl.Series, depth: int) -> pl.Series:
    """Of texts of brackets in pairs, one behind the other, whether one opens more than `depth` before they close."""
    found = np.zeros(len(brackets), np.bool_)
    some = np.flatnonzero((brackets.str.len_bytes() > 0).fill_null(value=False).to_numpy())
    if len(some):
        texts = brackets.gather(some)
        signs = np.frombuffer("".join(texts).encode(), np.uint8)
        level = np.cumsum(np.where((signs == ord("[")) | (signs == ord("{")), 1, -1))
        ends = np.cumsum(texts.str.len_bytes().to_numpy(), dtype=np.int64)
        found[some] = np.maximum.reduceat(level, np.concatenate([[0], ends[:-1]])) > depth
    return pl.Series(found)


def _outside_strings(text: pl.Expr, pattern: str) -> pl.Expr:
    """True where JSON text has the pattern outside of its strings."""
    few = pl.when(text.str.contains(pattern)).then(text)
    return few.str.replace_all(_STRING_PATTERN, '""').str.contains(pattern).fill_null(value=False)


def computed_json(text: pl.Expr) -> tuple[tuple[str, pl.Expr], ...]:
    """What may be wrong in JSON text that SQL made: integers that doubles round, and times in the database's form."""
    few = pl.when(text.str.contains("[0-9]{16}")).then(text)
    numbers = few.str.replace_all(_STRING_PATTERN, '""').str.extract_all(_NUMBER_SPAN)
    digits = pl.element().str.extract(r"^-?([0-9]{16,})$")
    large = (digits.str.len_bytes() > len(str(SAFE_INTEGER))) | (digits > str(SAFE_INTEGER))
    rounded = numbers.list.eval(large.fill_null(value=False)).list.any().fill_null(value=False)
    return (("BF110", rounded), ("BF131", text.str.contains(_SQL_TIME).fill_null(value=False)))


def rounded(result: pl.Expr, sources: Sequence[pl.Expr]) -> pl.Expr:
    """True where text that SQL made has a number that was another, with more digits, in the JSON it was made of."""
    before = [_printed(source.str.replace_all(_STRING_PATTERN, '""'), as_written=False) for source in sources]
    lost = pl.concat_list([each.fill_null([]) for each in before])
    some = pl.when(lost.list.len() > 0).then(result)
    return _printed(some, as_written=True).list.set_intersection(lost).list.len().fill_null(0) > 0


def _printed(text: pl.Expr, *, as_written: bool) -> pl.Expr:
    """The numbers of some JSON text as doubles are printed: those that are written so, or those that are not."""
    if not as_written:  # integers are never printed anew
        text = pl.when(text.str.contains("[0-9.]{17}")).then(text)
    number = pl.element()
    printed = number.cast(pl.Float64, strict=False).cast(pl.String)
    same = _digits(number) == _digits(printed)
    wanted = same if as_written else ~same & number.str.contains("[.eE]")
    return text.str.extract_all(_NUMBER_SPAN).list.eval(pl.when(wanted).then(printed).drop_nulls())


def _digits(number: pl.Expr) -> pl.Expr:
    """The digits that count, whatever the exponent and wherever the point is."""
    mantissa = number.str.replace("[eE].*", "").str.replace_all("[-.]", "")
    return mantissa.str.strip_chars_start("0").str.strip_chars_end("0")


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
    """Lists, structs and maps: null members left out, elements kept, an emptied struct null (so left out)."""
    if any(isinstance(leaf, pl.Datetime) and leaf.time_zone is None for leaf in _leaves(dtype)):
        walls.instant(pl.lit(None, pl.Datetime("us")))  # which refuses now, not in the middle of a frame
    return marked(value.map_batches(partial(_any, walls=walls), return_dtype=pl.String, is_elementwise=True))


def marked(text: pl.Expr) -> Encoded:
    """Nested text with what its marks say."""
    return Encoded(text, tuple((code, text.str.contains(mark, literal=True)) for mark, code in MARKS.items()))


def _leaves(dtype: pl.DataType) -> Iterator[pl.DataType]:
    """The scalar types inside a type."""
    if isinstance(dtype, pl.Struct):
        for inner in dtype.fields:
            yield from _leaves(inner.dtype)  # type: ignore[arg-type]
    elif isinstance(dtype, pl.List | pl.Array):
        yield from _leaves(dtype.inner)  # type: ignore[arg-type]
    elif isinstance(dtype, pl.Map):
        yield from _leaves(dtype.key)  # type: ignore[arg-type]
        yield from _leaves(dtype.value)  # type: ignore[arg-type]
    else:
        yield dtype


def tag_of(dtype: pl.DataType) -> str | None:
    """The one member of a struct that stands for a long integer or for JSON; None for any other type."""
    name = dtype.fields[0].name if isinstance(dtype, pl.Struct) and len(dtype.fields) == 1 else None
    return name if name in (LONG_INTEGER_MEMBER, JSON_MEMBER) else None


def field(struct: pl.Expr, dtype: pl.Struct, place: int) -> pl.Expr:
    """A field of a struct by its place: polars takes names such as `*` and `^a$` for patterns."""
    return struct.struct.rename_fields([f"f{at}" for at in range(len(dtype.fields))]).struct.field(f"f{place}")


def _any(values: pl.Series, walls: Walls) -> pl.Series:
    """The text of values inside nested ones. A walk over what is there, so that depth and breadth cost what they hold.

    Expressions would name each level twice, and be worked out twice at each level.
    """
    dtype = values.dtype
    if (member := tag_of(dtype)) is not None:
        text = pl.col("v")
        found = _json(text, walls) if member == JSON_MEMBER else _integer(text, pl.String(), walls)
        return values.struct.field(member).to_frame("v").select(found).to_series()
    if isinstance(dtype, pl.Struct | pl.Map):
        inner = _members(values, walls)
        return inner.to_frame("t").select(pl.when(pl.col("t") != "").then(braced(pl.col("t")))).to_series()
    if isinstance(dtype, pl.Array):
        return _list(values.arr.to_list(), walls)
    if isinstance(dtype, pl.List):
        return _list(values, walls)
    return values.to_frame("v").with_columns(v=_scalar(pl.col("v"), dtype, walls).cast(pl.String)).to_series()


def _scalar(value: pl.Expr, dtype: pl.DataType, walls: Walls) -> pl.Expr:
    kind = kind_of(dtype)
    if kind is Kind.NUMBER:
        mark = _mark(NOT_FINITE, value, dtype, walls)
        return pl.when(value.is_finite()).then(value.cast(pl.String)).when(value.is_not_null()).then(mark)
    if kind is Kind.INTEGER:
        return _integer(value, dtype, walls)
    if kind is Kind.TIMESTAMP:
        instant, mark = _instant(value, dtype, walls)
        return pl.when(value.is_not_null()).then(pl.coalesce(quoted(iso_milliseconds(instant)), mark))
    if kind is Kind.TIME:
        return pl.when(value == LAST_TIME).then(pl.lit(NO_DATE)).otherwise(quoted(plain(value, kind)))
    if kind is Kind.DATE:
        known = quoted(plain(value, kind))
        return pl.when(value.is_not_null()).then(pl.coalesce(known, _mark(NO_DATE, value, dtype, walls)))
    return encode(value, kind, dtype, walls).text


def _integer(value: pl.Expr, dtype: pl.DataType, walls: Walls) -> pl.Expr:
    large = too_large(value, dtype) if walls is not AS_THEY_ARE else pl.lit(value=False)
    return pl.when(large).then(pl.lit(TOO_LARGE)).otherwise(value.cast(pl.String))


def _json(text: pl.Expr, walls: Walls) -> pl.Expr:
    if walls is AS_THEY_ARE:
        return text
    (_, infinite), (_, unfit) = _not_json(text)
    marks = pl.when(infinite).then(pl.lit(NOT_FINITE)).when(unfit).then(pl.lit(NO_JSON))
    return marks.otherwise(json_plain(text))


def _mark(mark: str, value: pl.Expr, dtype: pl.DataType, walls: Walls) -> pl.Expr:
    """The mark of values that are not to be sent; where they are shown, the text of the value."""
    return quoted(shown(value, kind_of(dtype), dtype)) if walls is AS_THEY_ARE else pl.lit(mark)


def _instant(value: pl.Expr, dtype: pl.DataType, walls: Walls) -> tuple[pl.Expr, pl.Expr]:
    """The UTC instant, null where there is none, and the mark that says why."""
    mark = _mark(NO_DATE, value, dtype, walls)
    if getattr(dtype, "time_zone", None) is not None:
        return in_calendar(value.dt.convert_time_zone("UTC").dt.replace_time_zone(None)), mark
    odd = pl.when(walls.never(value)).then(pl.lit(NEVER)).when(walls.twice(value)).then(pl.lit(TWICE))
    return walls.instant(value), odd.otherwise(mark)


def _key(key: pl.Expr, dtype: pl.DataType, walls: Walls) -> tuple[pl.Expr, pl.Expr]:
    """A map key as text, null where it has none, and the mark that says why.

    Instants keep the digits below the millisecond where there are any: two keys never become one.
    """
    kind = kind_of(dtype)
    if kind is Kind.TIME:
        key = pl.when(key != LAST_TIME).then(key)
    if kind is not Kind.TIMESTAMP:
        return plain(key, kind), _mark(NO_DATE, key, dtype, walls)
    instant, mark = _instant(key, dtype, walls)
    below = None
    if isinstance(dtype, pl.Datetime) and dtype.time_unit == "ns" and dtype.time_zone is None:
        below = key.dt.nanosecond() % 1_000  # walls are shifted in microseconds
    return iso_key(instant, below).str.replace("000Z$", "Z"), mark


def _list(values: pl.Series, walls: Walls) -> pl.Series:
    """Arrays of the elements, which are encoded as one column whatever list they are in."""
    sizes = values.list.len()
    flat = values.filter((sizes > 0).fill_null(value=False)).explode()
    if (
        isinstance(flat.dtype, pl.Struct | pl.Map) and tag_of(flat.dtype) is None
    ):  # an element stays, also where all its members are null
        texts = _members(flat, walls).to_frame("t").select(braced(pl.col("t"))).to_series()
    else:
        texts = _any(flat, walls)
    lists = _regrouped(texts.fill_null("null"), sizes.fill_null(0)).to_frame("t")
    text = pl.concat_str([pl.lit("["), pl.col("t").list.join(","), pl.lit("]")])
    return lists.with_columns(sizes.alias("n")).select(pl.when(pl.col("n").is_not_null()).then(text)).to_series()


def _regrouped(texts: pl.Series, sizes: pl.Series) -> pl.Series:
    """Lists of so many of the texts each, in their order."""
    # Heavy: polars, too, imports it only where it is first needed.
    import pyarrow as pa  # type: ignore[import-untyped] # noqa: PLC0415

    offsets = np.concatenate([[0], np.cumsum(sizes.to_numpy(), dtype=np.int64)])
    content = texts.rechunk().to_arrow(compat_level=pl.CompatLevel.oldest())
    return pl.Series(pa.LargeListArray.from_arrays(pa.array(offsets), content), dtype=pl.List(pl.String))


def _members(values: pl.Series, walls: Walls) -> pl.Series:
    """`,"name":text` of every member that is not null; empty text where all are, null where the whole is."""
    if isinstance(values.dtype, pl.Map):
        return _map_members(values, walls)
    fields = values.struct.unnest().get_columns()
    texts = pl.DataFrame({str(place): _any(inner, walls) for place, inner in enumerate(fields)})
    named = [member(inner.name, pl.col(str(place))) for place, inner in enumerate(fields)]
    joined = pl.concat_str(named, ignore_nulls=True) if named else pl.lit("")
    there = values.is_not_null().alias("there")
    return texts.with_columns(there).select(pl.when(pl.col("there")).then(joined)).to_series()


def _map_members(values: pl.Series, walls: Walls) -> pl.Series:
    dtype = values.dtype
    assert isinstance(dtype, pl.Map)
    entries = values.cast(pl.List(pl.Struct({"key": dtype.key, "value": dtype.value})))
    sizes = entries.list.len()
    keys, inner = entries.filter((sizes > 0).fill_null(value=False)).explode().struct.unnest().get_columns()
    pairs = pl.DataFrame({"key": keys, "value": _any(inner, walls)})
    key, mark = _key(pl.col("key"), keys.dtype, walls)
    named = pl.concat_str([pl.lit(","), pl.coalesce(string(key), mark), pl.lit(":"), pl.col("value")])
    texts = pairs.select(named.fill_null("")).to_series()
    joined = _regrouped(texts, sizes.fill_null(0)).list.join("")
    there = pl.DataFrame({"t": joined, "n": sizes})
    return there.select(pl.when(pl.col("n").is_not_null()).then(pl.col("t"))).to_series()


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
