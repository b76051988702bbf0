"""Arrow's types as a snapshot can hold them without altering a value: which type each becomes, and the arrays cast.

Rules
1) What DuckDB or polars would alter, refuse or panic at becomes a type that both keep: instants in microseconds (those
   beyond that as far away as can be, which is no calendar date either), times in microseconds, integers for durations,
   text for enumerations.
2) What no type of DuckDB or polars keeps is refused by name (see UnsupportedType), and nothing is guessed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from typing import Any, Final

import numpy as np
import pyarrow as pa  # type: ignore[import-untyped]
from pyarrow import types

from backfill.arrays import arrow_array

#: Levels of lists, structs and maps that are read.
DEEPEST: Final = 100
_LARGEST_PRECISION: Final = 38
_JSON, _UUID = "arrow.json", "arrow.uuid"
_PER_MICROSECOND: Final = {"s": 1_000_000, "ms": 1_000}
_FURTHEST: Final = 2**63 - 1
_MOST: Final = 2**31 - 1
_INTERVAL: Final = np.dtype([("months", "<u4"), ("days", "<u4"), ("milliseconds", "<u4")])
_MONTH_DAY_NANO: Final = np.dtype([("months", "<i4"), ("days", "<i4"), ("nanoseconds", "<i8")])


class UnsupportedType(Exception):  # noqa: N818 (an answer, caught by who asks)
    """No snapshot can hold a type without altering values; the message names the type."""


def snapshot_type(kind: pa.DataType, depth: int = 0) -> pa.DataType:
    """The type that a snapshot holds values of this one in.

    Raises:
        UnsupportedType: there is none.
    """
    if depth > DEEPEST:
        raise UnsupportedType(f"more than {DEEPEST} levels of nested values")
    if isinstance(kind, pa.BaseExtensionType):
        return _of_extension(kind, depth)
    if types.is_dictionary(kind) or types.is_run_end_encoded(kind):
        return snapshot_type(kind.value_type, depth)
    if types.is_struct(kind) or types.is_map(kind) or _is_list(kind):
        return _of_nested(kind, depth + 1)
    return _of_scalar(kind, depth)


def _of_extension(kind: pa.BaseExtensionType, depth: int) -> pa.DataType:
    if kind.extension_name == _UUID:
        return pa.uuid() if depth == 0 else pa.string()
    if kind.extension_name == _JSON and depth:
        raise UnsupportedType("JSON inside a nested value")
    return snapshot_type(kind.storage_type, depth)


def _of_nested(kind: pa.DataType, depth: int) -> pa.DataType:
    if types.is_map(kind):
        if types.is_nested(kind.key_type):
            raise UnsupportedType("a map whose keys are lists, structs or maps (cast the keys to text)")
        return pa.map_(snapshot_type(kind.key_type, depth), snapshot_type(kind.item_type, depth))
    if _is_list(kind):
        return pa.list_(snapshot_type(kind.value_type, depth))
    fields = [kind.field(place) for place in range(kind.num_fields)]
    names = [field.name for field in fields]
    if _is_variant(fields):
        raise UnsupportedType("VARIANT")
    if "" in names:
        raise UnsupportedType("a member without a name")
    if len(set(names)) < len(names):
        raise UnsupportedType("members of the same name")
    return pa.struct([(field.name, snapshot_type(field.type, depth)) for field in fields])


def _is_variant(fields: list[pa.Field]) -> bool:
    """https://github.com/apache/parquet-format/blob/master/VariantEncoding.md: pyarrow gives the parts as they lie."""
    names = {field.name for field in fields}
    parts = len(names) > 1 and "metadata" in names <= {"metadata", "value", "typed_value"}
    return parts and all(_is_bytes(field.type) for field in fields if field.name != "typed_value")


def _is_bytes(kind: pa.DataType) -> bool:
    return bool(types.is_binary(kind) or types.is_large_binary(kind) or types.is_binary_view(kind))


def _of_scalar(kind: pa.DataType, depth: int) -> pa.DataType:
    if types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind):
        return pa.string()
    if _is_bytes(kind) or types.is_fixed_size_binary(kind):
        return pa.binary()
    if types.is_decimal(kind):
        if kind.precision <= _LARGEST_PRECISION:
            return pa.decimal128(kind.precision, kind.scale)
        if depth:
            raise UnsupportedType(f"decimals of {kind.precision} digits inside a nested value")
        return pa.string()
    if types.is_timestamp(kind):
        unit = "ns" if kind.unit == "ns" else "us"
        return pa.timestamp(unit, None if kind.tz is None else "UTC")
    if types.is_union(kind):
        raise UnsupportedType("a union")
    return _SIMPLE.get(kind, kind)


_SIMPLE: Final = {
    pa.float16(): pa.float32(),
    pa.date64(): pa.date32(),
    **dict.fromkeys((pa.time32("s"), pa.time32("ms"), pa.time64("ns")), pa.time64("us")),
    **dict.fromkeys(map(pa.duration, ("s", "ms", "us", "ns")), pa.int64()),
}


def _is_list(kind: pa.DataType) -> bool:
    return bool(
        types.is_list(kind)
        or types.is_large_list(kind)
        or types.is_fixed_size_list(kind)
        or types.is_list_view(kind)
        or types.is_large_list_view(kind)
    )


def common_type(one: pa.DataType, other: pa.DataType) -> pa.DataType | None:
    """The type that holds the values of two that `snapshot_type` gave: null, also inside, gives way; else None."""
    if one.equals(other) or types.is_null(other):
        return one
    if types.is_null(one):
        return other
    if one.id != other.id or not types.is_nested(one) or one.num_fields != other.num_fields:
        return None
    pairs = [(one.field(place), other.field(place)) for place in range(one.num_fields)]
    inner = [common_type(mine.type, its.type) if mine.name == its.name else None for mine, its in pairs]
    return None if None in inner else _with_inner(one, inner)


def _with_inner(kind: pa.DataType, inner: list[Any]) -> pa.DataType:
    """The nested type with other types inside."""
    if types.is_struct(kind):
        return pa.struct([kind.field(place).with_type(one) for place, one in enumerate(inner)])
    if types.is_map(kind):
        return pa.map_(inner[0].field("key").type, inner[0].field("value").type)
    return pa.list_(kind.field(0).with_type(inner[0]))


def is_json(kind: pa.DataType) -> bool:
    """A column of that type holds JSON text, or becomes that: decimals of more digits than other types have."""
    if isinstance(kind, pa.BaseExtensionType):
        return bool(kind.extension_name == _JSON)
    return bool(types.is_decimal(kind) and kind.precision > _LARGEST_PRECISION)


def cast(values: pa.Array, target: pa.DataType) -> pa.Array:
    """The values in the type that `snapshot_type` gave."""
    kind = values.type
    if kind.equals(target) and not _holds_microseconds(target):
        return values
    if isinstance(kind, pa.BaseExtensionType):
        return _uuid_text(values.storage) if kind.extension_name == _UUID else cast(values.storage, target)
    if types.is_dictionary(kind):
        return cast(values.dictionary_decode(), target)
    if types.is_run_end_encoded(kind):
        return cast(_compute().run_end_decode(values), target)
    if types.is_nested(kind):
        return _cast_nested(_compact(values), target)
    return _cast_scalar(values, target)


def _compute() -> Any:  # noqa: ANN401 (pyarrow has no types)
    """Arrow's functions, which take long to load: most files need none of them."""
    import pyarrow.compute  # type: ignore[import-untyped]

    return pyarrow.compute


def _compact(values: pa.Array) -> pa.Array:
    """The values in buffers that hold them alone, from the first byte on."""
    return values if values.offset == 0 else values.take(arrow_array(np.arange(len(values))))


def _cast_nested(values: pa.Array, target: pa.DataType) -> pa.Array:
    nulls = values.is_null() if values.null_count else None
    if types.is_struct(target):
        inner = [cast(values.field(place), target.field(place).type) for place in range(target.num_fields)]
        if not inner:
            return values
        return pa.StructArray.from_arrays(inner, fields=list(target), mask=nulls)
    if types.is_map(target):
        keys, items = cast(values.keys, target.key_type), cast(values.items, target.item_type)
        return pa.MapArray.from_arrays(values.offsets, keys, items, type=target, mask=nulls)
    if not types.is_list(values.type) and not _is_short(values):
        values = values.cast(pa.list_(values.type.value_type))
    offsets = arrow_array(values.offsets.to_numpy().astype(np.int32))
    return pa.ListArray.from_arrays(offsets, cast(values.values, target.value_type), type=target, mask=nulls)


def _is_short(values: pa.Array) -> bool:
    """Lists of large offsets, as polars writes them, which small ones can hold; see `_compute`."""
    return bool(types.is_large_list(values.type) and len(values.values) <= _MOST)


def _cast_scalar(values: pa.Array, target: pa.DataType) -> pa.Array:
    kind = values.type
    if types.is_null(kind):
        return pa.nulls(len(values), target)
    if types.is_timestamp(kind) and kind.unit in _PER_MICROSECOND:
        return _microseconds(values, _PER_MICROSECOND[kind.unit]).view(target)
    if types.is_timestamp(kind) and kind.unit == "us":
        found = _without_lowest(values)
        return found if found.type.equals(target) else found.cast(target)
    if types.is_time(kind) and kind.unit == "ns":
        return _compute().divide(values.view(pa.int64()), 1_000).view(target)
    return _text(values) if types.is_string(target) else values.cast(target)


def _text(values: pa.Array) -> pa.Array:
    """Values as text; of large strings, as polars writes them, without Arrow's functions, see `_compute`."""
    if types.is_decimal(values.type):
        return _digits(values)
    if not types.is_large_string(values.type) or values.nbytes > _MOST:
        return values.cast(pa.string())
    valid, offsets, content = values.buffers()
    short = pa.py_buffer(np.frombuffer(offsets or bytes(8), np.int64).astype(np.int32))
    return pa.Array.from_buffers(pa.string(), len(values), [valid, short, content], offset=values.offset)


def _microseconds(values: pa.Array, factor: int) -> pa.Array:
    """Microseconds of a coarser unit; the last that there are, or the first, for what is beyond them."""
    numbers = values.view(pa.int64())
    furthest = _FURTHEST // factor
    pc = _compute()
    inside = pc.multiply(pc.max_element_wise(pc.min_element_wise(numbers, furthest), -furthest), factor)
    beyond = pc.if_else(pc.greater(numbers, 0), _FURTHEST, -_FURTHEST)
    found = pc.if_else(pc.less_equal(pc.abs(inside), furthest * factor - factor), inside, beyond)
    return pc.if_else(numbers.is_null(), None, found).cast(pa.int64())


@cache
def _holds_microseconds(kind: pa.DataType) -> bool:
    """Instants in microseconds are somewhere in the type."""
    if types.is_nested(kind):
        return any(_holds_microseconds(kind.field(place).type) for place in range(kind.num_fields))
    return bool(types.is_timestamp(kind) and kind.unit == "us")


def _without_lowest(values: pa.Array) -> pa.Array:
    """Instants with the lowest number of 64 bits one higher: DuckDB has no such instant, and neither has a calendar."""
    content = values.buffers()[1]
    if content is None or np.frombuffer(content, np.int64).min(initial=0) > -_FURTHEST - 1:  # of all in that memory
        return values
    numbers, pc = values.view(pa.int64()), _compute()
    return pc.if_else(pc.equal(numbers, -_FURTHEST - 1), -_FURTHEST, numbers).view(values.type)


def _digits(values: pa.Array) -> pa.Array:
    """Decimals as text, all digits and no exponent."""
    texts, pc = values.cast(pa.string()), _compute()
    if not pc.any(pc.match_substring(texts, "E")).as_py():
        return texts
    return pa.array([None if value is None else f"{value:f}" for value in values.to_pylist()], pa.string())


def _uuid_text(values: pa.Array) -> pa.Array:
    """The usual text of UUIDs, from their sixteen bytes."""
    digits = np.frombuffer(_fixed(values).hex().encode(), np.uint8).reshape(-1, 32)
    dash = np.full((len(values), 1), ord("-"), np.uint8)
    groups = [digits[:, low:high] for low, high in ((0, 8), (8, 12), (12, 16), (16, 20), (20, 32))]
    text = np.hstack([part for group in groups for part in (group, dash)][:-1])
    offsets = np.arange(0, 36 * len(values) + 1, 36, dtype=np.int32)
    found = pa.Array.from_buffers(pa.string(), len(values), [None, pa.py_buffer(offsets), pa.py_buffer(text.tobytes())])
    return _compute().if_else(values.is_null(), None, found) if values.null_count else found


def _fixed(values: pa.Array) -> bytes:
    """The bytes of values of one width, zeros for null."""
    width = values.type.byte_width
    filled = values.fill_null(bytes(width))
    content = filled.buffers()[1]
    return b"" if content is None else bytes(content)[width * filled.offset : width * (filled.offset + len(filled))]


def intervals(values: pa.Array) -> pa.Array:
    """Parquet's intervals (twelve bytes each) as Arrow's."""
    raw = np.frombuffer(_fixed(values), _INTERVAL)
    parts = np.zeros(len(values), _MONTH_DAY_NANO)
    parts["months"], parts["days"] = raw["months"], raw["days"]
    parts["nanoseconds"] = raw["milliseconds"].astype(np.int64) * 1_000_000
    whole = pa.Array.from_buffers(pa.month_day_nano_interval(), len(values), [None, pa.py_buffer(parts.tobytes())])
    if not values.null_count:
        return whole
    validity = pa.array(values.is_valid().to_numpy(zero_copy_only=False)).buffers()[1]
    return pa.Array.from_buffers(pa.month_day_nano_interval(), len(values), [validity, whole.buffers()[1]])


def unfit(values: pa.Array) -> Iterator[tuple[int, str]]:
    """The places of values that are not what their type says, each with what is wrong.

    Raises:
        pyarrow.ArrowInvalid: it cannot even be told where the values are: to look at one would read memory of others.
    """
    if _fits(values) is None:
        return
    for place in range(len(values)):
        wrong = _fits(values.take(pa.array([place])))
        if wrong is not None:
            yield place, wrong


def _fits(values: pa.Array) -> str | None:
    """What is wrong with some of the values: text that is not UTF-8, times past midnight, too many digits, keys."""
    try:
        values.validate(full=True)
    except pa.ArrowInvalid as error:
        if _BROKEN.search(str(error)):
            raise
        return _WRONG.get(str(error).split()[0], str(error).partition("\n")[0])
    return "a map with the same key twice" if _repeats(values) else None


#: pyarrow's words for offsets, views and indices that lead outside of their buffers.
_BROKEN: Final = re.compile(r"[Oo]ffset|out of bounds|indices|View|[Rr]un.end|[Bb]uffer")
_WRONG: Final = {
    "Invalid": "text that is not UTF-8",
    **dict.fromkeys(("time32[s]", "time32[ms]", "time64[us]", "time64[ns]"), "a time that no day has"),
}


@cache
def _holds_maps(kind: pa.DataType) -> bool:
    """Maps are somewhere in the type, other than in a union."""
    if isinstance(kind, pa.BaseExtensionType) or not types.is_nested(kind) or types.is_union(kind):
        return False
    return types.is_map(kind) or any(_holds_maps(kind.field(place).type) for place in range(kind.num_fields))


def _repeats(values: pa.Array) -> bool:
    """Some map in the values has a key twice."""
    kind = values.type
    if not _holds_maps(kind):
        return False
    if types.is_struct(kind):
        return any(_repeats(inner) for inner in values.flatten())
    if not types.is_map(kind):
        return _repeats(values.flatten())
    if types.is_nested(kind.key_type):  # refused as a type
        return False
    entries = values.cast(pa.list_(pa.struct([("key", kind.key_type), ("value", kind.item_type)])))
    inner, pc = entries.flatten(), _compute()
    pairs = pa.table({"map": pc.list_parent_indices(entries), "key": pc.struct_field(inner, "key")})
    return pairs.group_by(["map", "key"]).aggregate([]).num_rows < pairs.num_rows or _repeats(
        pc.struct_field(inner, "value")
    )
