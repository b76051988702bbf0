"""What the value table makes of a Parquet value: written apart from the code under test, one value at a time.

Values are as they lie in the file: temporal ones are integers in the unit of their type.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pyarrow as pa
from pyarrow import types

SAFE = 2**53
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
TICKS = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
DAY = 86_400
ABSENT = object()


class Bad(Exception):  # noqa: N818 (an answer)
    """The value is a problem of its row."""


class Digits(str):
    """A number as it is written."""

    __slots__ = ()


def sent(text: str) -> Any:
    """JSON read with its numbers as they are written."""
    return json.loads(text, parse_int=Digits, parse_float=Digits)


def wanted(value: Any, kind: pa.DataType) -> Any:
    """What is sent of a value, ABSENT where that is nothing; raises Bad."""
    if value is None:
        return ABSENT
    if types.is_struct(kind):
        members = {field.name: wanted(value[place], field.type) for place, field in enumerate(kind)}
        there = {name: inner for name, inner in members.items() if inner is not ABSENT}
        return there or ABSENT
    if types.is_map(kind):
        if len({key for key, _ in value}) < len(value):
            raise Bad
        members = {key_text(key, kind.key_type): wanted(inner, kind.item_type) for key, inner in value}
        there = {name: inner for name, inner in members.items() if inner is not ABSENT}
        return there or ABSENT
    if hasattr(kind, "value_type") and not types.is_dictionary(kind):
        return [element(inner, kind.value_type) for inner in value]
    return scalar(value, kind)


def element(value: Any, kind: pa.DataType) -> Any:
    """An element of a list stays, whatever it is."""
    found = wanted(value, kind)
    if found is ABSENT:
        return None if value is None or not (types.is_struct(kind) or types.is_map(kind)) else {}
    return found


def key_text(value: Any, kind: pa.DataType) -> str:
    """A key of a map is text."""
    return value if isinstance(value, str) else str(scalar(value, kind))


def scalar(value: Any, kind: pa.DataType) -> Any:
    """What is sent of a value that holds no others."""
    if types.is_dictionary(kind):
        return scalar(value, kind.value_type)
    for is_kind, sent_of in SCALARS:
        if is_kind(kind):
            return sent_of(value, kind)
    return value


def whole(value: int, _: pa.DataType) -> Digits:
    """An integer that doubles tell from the next one."""
    if abs(value) > SAFE:
        raise Bad
    return Digits(value)


def finite(value: float, _: pa.DataType) -> float:
    """A number that is one."""
    if not math.isfinite(value):
        raise Bad
    return value


def text(value: str | bytes, _: pa.DataType) -> str:
    """Text that is UTF-8."""
    try:
        return value.decode() if isinstance(value, bytes) else value
    except UnicodeDecodeError:
        raise Bad from None


SCALARS: list[tuple[Callable[[pa.DataType], bool], Callable[[Any, pa.DataType], Any]]] = [
    (types.is_integer, whole),
    (types.is_duration, whole),
    (types.is_floating, finite),
    (types.is_decimal, lambda value, _: Digits(f"{Decimal(value):f}")),
    (types.is_date32, lambda value, _: day(value)),
    (types.is_date64, lambda value, _: day(value // (DAY * 1000))),
    (types.is_time, lambda value, kind: clock(value, TICKS[kind.unit])),
    (types.is_timestamp, lambda value, kind: instant(value, TICKS[kind.unit])),
    (types.is_string, text),
    (types.is_large_string, text),
]


def day(number: int) -> str:
    """Days since 1970 as a date."""
    try:
        return (date(1970, 1, 1) + timedelta(number)).isoformat()
    except OverflowError:
        raise Bad from None


def clock(ticks: int, unit: int) -> str:
    """A time of day, cut to microseconds; none of those where they are zero."""
    if not 0 <= ticks < DAY * unit:
        raise Bad
    seconds, rest = divmod(ticks, unit)
    micros = rest * 10**6 // unit
    text = f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}"
    return f"{text}.{micros:06}" if micros else text


def instant(ticks: int, unit: int) -> str:
    """An instant, cut to milliseconds."""
    try:
        found = EPOCH + timedelta(seconds=ticks // unit, microseconds=ticks % unit * 10**6 // unit)
    except OverflowError:
        raise Bad from None
    return f"{found.year:04}-{found:%m-%dT%H:%M:%S}.{found.microsecond // 1000:03}Z"


def same(found: Any, expected: Any) -> bool:
    """What was sent is what is wanted: floats by their value, all else as it is written."""
    if isinstance(expected, dict):
        return (
            isinstance(found, dict)
            and found.keys() == expected.keys()
            and all(same(found[k], expected[k]) for k in expected)
        )
    if isinstance(expected, list):
        return isinstance(found, list) and len(found) == len(expected) and all(map(same, found, expected))
    if isinstance(expected, float):
        return isinstance(found, Digits) and float(found) == expected
    return type(found) is type(expected) and bool(found == expected)


def single(value: float) -> float:
    """The double whose shortest form is that of a single-precision number."""
    if not math.isfinite(value):
        return value
    stored = struct.unpack("f", struct.pack("f", value))[0]
    return next(
        found
        for digits in range(1, 18)
        if struct.unpack("f", struct.pack("f", found := float(f"{stored:.{digits}g}")))[0] == stored
    )
