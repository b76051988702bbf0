"""Lists, structs and maps to JSON text: a walk over what is there, so that depth and breadth cost what they hold.

What must not be sent carries a mark inside the text: a control character, which no valid JSON text can hold.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Final

import numpy as np
import polars as pl

from backfill.arrays import arrow_array, series_of
from backfill.encode.json_text import json_plain
from backfill.encode.scalars import (
    LAST_TIME,
    VALUE_CODES,
    Encoded,
    braced,
    encode_scalar,
    kind_of,
    member,
    plain,
    quoted,
    shown,
    string,
)
from backfill.frozen import frozen
from backfill.records import JSON_MEMBER, LONG_INTEGER_MEMBER, Kind
from backfill.timestamps import in_calendar, iso_key, iso_milliseconds

#: The mark of each problem code.
MARKS: Final = {code: chr(number) for number, code in enumerate(VALUE_CODES, 1)}


@frozen
class LocalTimePolicy:
    """How local times inside nested values become instants (null where the policy says error); and which are odd."""

    instant: Callable[[pl.Expr], pl.Expr]
    nonexistent: Callable[[pl.Expr], pl.Expr]
    ambiguous: Callable[[pl.Expr], pl.Expr]


#: For values that are shown and never sent: nothing is marked.
AS_THEY_ARE: Final = LocalTimePolicy(in_calendar, lambda local: local.is_null(), lambda local: local.is_null())


def encode(value: pl.Expr, kind: Kind, dtype: pl.DataType, policy: LocalTimePolicy) -> Encoded:
    """The JSON form of a column of any kind; timestamps must be UTC instants already (nested ones may be local)."""
    return nested(value, dtype, policy) if kind is Kind.NESTED else encode_scalar(value, kind, dtype)


def nested(value: pl.Expr, dtype: pl.DataType, policy: LocalTimePolicy) -> Encoded:
    """Lists, structs and maps: null members left out, elements kept, an emptied struct null (so left out)."""
    if any(isinstance(leaf, pl.Datetime) and leaf.time_zone is None for leaf in _leaves(dtype)):
        policy.instant(pl.lit(None, pl.Datetime("us")))  # which refuses now, not in the middle of a frame
    return marked(value.map_batches(partial(_any, policy=policy), return_dtype=pl.String, is_elementwise=True))


def marked(text: pl.Expr) -> Encoded:
    """Nested text with what its marks say."""
    return Encoded(text, tuple((code, text.str.contains(mark, literal=True)) for code, mark in MARKS.items()))


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


def _any(values: pl.Series, policy: LocalTimePolicy) -> pl.Series:
    """The text of values inside nested ones. A walk over what is there, so that depth and breadth cost what they hold.

    Expressions would name each level twice, and be worked out twice at each level.
    """
    dtype = values.dtype
    if (member := tag_of(dtype)) is not None:
        text, kind = pl.col("v"), Kind.JSON if member == JSON_MEMBER else Kind.INTEGER
        text = json_plain(text) if kind is Kind.JSON and policy is not AS_THEY_ARE else text
        found = _or_mark(encode_scalar(text, kind, pl.String()), text, kind, pl.String(), policy)
        return values.struct.field(member).to_frame("v").select(found).to_series()
    if isinstance(dtype, pl.Struct | pl.Map):
        inner = _members(values, policy)
        return inner.to_frame("t").select(pl.when(pl.col("t") != "").then(braced(pl.col("t")))).to_series()
    if isinstance(dtype, pl.Array):
        return _list(values.arr.to_list(), policy)
    if isinstance(dtype, pl.List):
        return _list(values, policy)
    return values.to_frame("v").with_columns(v=_scalar(pl.col("v"), dtype, policy).cast(pl.String)).to_series()


def _scalar(value: pl.Expr, dtype: pl.DataType, policy: LocalTimePolicy) -> pl.Expr:
    kind = kind_of(dtype)
    if kind is Kind.TIMESTAMP:
        instant, mark = _instant(value, dtype, policy)
        return pl.when(value.is_not_null()).then(pl.coalesce(quoted(iso_milliseconds(instant)), mark))
    return _or_mark(encode_scalar(value, kind, dtype), value, kind, dtype, policy)


def _or_mark(encoded: Encoded, value: pl.Expr, kind: Kind, dtype: pl.DataType, policy: LocalTimePolicy) -> pl.Expr:
    """The text of values, or the mark of the first thing that is wrong with one."""
    if policy is AS_THEY_ARE and kind in (Kind.INTEGER, Kind.JSON):
        return encoded.text
    text = encoded.text
    for code, mask in reversed(encoded.bad):
        text = pl.when(mask).then(_mark(code, value, dtype, policy)).otherwise(text)
    return text


def _mark(code: str, value: pl.Expr, dtype: pl.DataType, policy: LocalTimePolicy) -> pl.Expr:
    """The mark of values that are not to be sent; where they are shown, the text of the value."""
    return quoted(shown(value, kind_of(dtype), dtype)) if policy is AS_THEY_ARE else pl.lit(MARKS[code])


def _instant(value: pl.Expr, dtype: pl.DataType, policy: LocalTimePolicy) -> tuple[pl.Expr, pl.Expr]:
    """The UTC instant, null where there is none, and the mark that says why."""
    mark = _mark("BF202", value, dtype, policy)
    if getattr(dtype, "time_zone", None) is not None:
        return in_calendar(value.dt.convert_time_zone("UTC").dt.replace_time_zone(None)), mark
    never, twice = pl.lit(MARKS["BF206"]), pl.lit(MARKS["BF205"])
    odd = pl.when(policy.nonexistent(value)).then(never).when(policy.ambiguous(value)).then(twice)
    return policy.instant(value), odd.otherwise(mark)


def _key(key: pl.Expr, dtype: pl.DataType, policy: LocalTimePolicy) -> tuple[pl.Expr, pl.Expr]:
    """A map key as text, null where it has none, and the mark that says why.

    Instants keep the digits below the millisecond where there are any: two keys never become one.
    """
    kind = kind_of(dtype)
    if kind is Kind.TIME:
        key = pl.when(key != LAST_TIME).then(key)
    if kind is not Kind.TIMESTAMP:
        return plain(key, kind), _mark("BF202", key, dtype, policy)
    instant, mark = _instant(key, dtype, policy)
    below = None
    if isinstance(dtype, pl.Datetime) and dtype.time_unit == "ns" and dtype.time_zone is None:
        below = key.dt.nanosecond() % 1_000  # policy are shifted in microseconds
    return iso_key(instant, below).str.replace("000Z$", "Z"), mark


def _list(values: pl.Series, policy: LocalTimePolicy) -> pl.Series:
    """Arrays of the elements, which are encoded as one column whatever list they are in."""
    sizes = values.list.len()
    flat = values.filter((sizes > 0).fill_null(value=False)).explode()
    if (
        isinstance(flat.dtype, pl.Struct | pl.Map) and tag_of(flat.dtype) is None
    ):  # an element stays, also where all its members are null
        texts = _members(flat, policy).to_frame("t").select(braced(pl.col("t"))).to_series()
    else:
        texts = _any(flat, policy)
    lists = _regrouped(texts.fill_null("null"), sizes.fill_null(0)).to_frame("t")
    text = pl.concat_str([pl.lit("["), pl.col("t").list.join(","), pl.lit("]")])
    return lists.with_columns(sizes.alias("n")).select(pl.when(pl.col("n").is_not_null()).then(text)).to_series()


def _regrouped(texts: pl.Series, sizes: pl.Series) -> pl.Series:
    """The texts in lists of these sizes, in their order."""
    # Heavy: polars, too, imports it only where it is first needed.
    import pyarrow as pa  # type: ignore[import-untyped] # noqa: PLC0415

    offsets = np.concatenate([[0], np.cumsum(sizes.to_numpy(), dtype=np.int64)])
    content = texts.rechunk().to_arrow(compat_level=pl.CompatLevel.oldest())
    return series_of(pa.LargeListArray.from_arrays(arrow_array(offsets), content))


def _members(values: pl.Series, policy: LocalTimePolicy) -> pl.Series:
    """`,"name":text` of every member that is not null; empty text where all are, null where the whole is."""
    if isinstance(values.dtype, pl.Map):
        return _map_members(values, policy)
    fields = values.struct.unnest().get_columns()
    texts = pl.DataFrame({str(place): _any(inner, policy) for place, inner in enumerate(fields)})
    named = [member(inner.name, pl.col(str(place))) for place, inner in enumerate(fields)]
    joined = pl.concat_str(named, ignore_nulls=True) if named else pl.lit("")
    there = values.is_not_null().alias("there")
    return texts.with_columns(there).select(pl.when(pl.col("there")).then(joined)).to_series()


def _map_members(values: pl.Series, policy: LocalTimePolicy) -> pl.Series:
    dtype = values.dtype
    assert isinstance(dtype, pl.Map)
    entries = values.cast(pl.List(pl.Struct({"key": dtype.key, "value": dtype.value})))
    sizes = entries.list.len()
    keys, inner = entries.filter((sizes > 0).fill_null(value=False)).explode().struct.unnest().get_columns()
    pairs = pl.DataFrame({"key": keys, "value": _any(inner, policy)})
    key, mark = _key(pl.col("key"), keys.dtype, policy)
    named = pl.concat_str([pl.lit(","), pl.coalesce(string(key), mark), pl.lit(":"), pl.col("value")])
    texts = pairs.select(named.fill_null("")).to_series()
    joined = _regrouped(texts, sizes.fill_null(0)).list.join("")
    there = pl.DataFrame({"t": joined, "n": sizes})
    return there.select(pl.when(pl.col("n").is_not_null()).then(pl.col("t"))).to_series()
