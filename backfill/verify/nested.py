"""Lists, structs and maps as JSON text, one value after the other."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Final

import polars as pl

from backfill.limits import SAFE_INTEGER
from backfill.records import JSON_MEMBER, LONG_INTEGER_MEMBER
from backfill.verify.json_text import faults_of_json
from backfill.verify.local_times import LocalTimes
from backfill.verify.values import (
    FIRST,
    FIRST_DAY,
    LAST,
    LAST_DAY,
    LAST_TIME,
    MICROSECOND,
    MILLISECOND,
    braced,
    compact,
    date_text,
    decimal_text,
    key_text,
    millisecond_text,
    number_text,
    single_text,
    string,
    time_text,
)

#: Nanoseconds of a unit of polars.
UNITS: Final = {"ns": 1, "us": MICROSECOND, "ms": MILLISECOND}
#: The JSON text of a value, None where it is left out; what is wrong with it goes to the set.
Write = Callable[[Any, set[str]], str | None]


def writer_of(dtype: pl.DataType, local: LocalTimes | None) -> Write:
    """What writes the values of that type as `Series.to_physical` has them; `local` is of times without a zone."""
    if isinstance(dtype, pl.Struct):
        return _struct(dtype, local)
    if isinstance(dtype, pl.Map):
        return _map(dtype, local)
    if isinstance(dtype, pl.List | pl.Array):
        inner: pl.DataType = dtype.inner  # type: ignore[assignment]
        return _list(writer_of(inner, local), empty="{}" if _is_object(inner) else "null")
    return scalar_writer(dtype, local)


def scalar_writer(dtype: pl.DataType, local: LocalTimes | None) -> Write:  # noqa: PLR0911 (one a type)
    """The same of a type that holds no others."""
    match dtype:
        case pl.Boolean():
            return lambda value, _: None if value is None else "true" if value else "false"
        case pl.Float32() | pl.Float64():
            text = single_text if isinstance(dtype, pl.Float32) else number_text
            return lambda value, bad: None if value is None else _number(value, text, bad)
        case pl.Decimal():
            scale = dtype.scale or 0
            return lambda value, _: None if value is None else decimal_text(value, scale)
        case pl.Date():
            return lambda value, bad: None if value is None else _date(value, bad)
        case pl.Time():
            return lambda value, bad: None if value is None else _time(value, bad)
        case pl.Datetime():
            return _instant(dtype, local)
        case _ if dtype.is_integer():
            return lambda value, bad: None if value is None else _integer(value, bad)
        case _:
            return lambda value, _: None if value is None else string(value)


def _number(value: float, text: Callable[[float], str], bad: set[str]) -> str | None:
    if math.isfinite(value):
        return text(value)
    bad.add("BF111")
    return None


def _integer(value: int, bad: set[str]) -> str:
    if abs(value) > SAFE_INTEGER:
        bad.add("BF110")
    return str(value)


def _date(value: int, bad: set[str]) -> str | None:
    if FIRST_DAY <= value <= LAST_DAY:
        return f'"{date_text(value)}"'
    bad.add("BF202")
    return None


def _time(value: int, bad: set[str]) -> str:
    if value == LAST_TIME:
        bad.add("BF202")
    return f'"{time_text(value)}"'


def _utc(dtype: pl.Datetime, local: LocalTimes | None) -> Callable[[int, set[str]], int | None]:
    """What makes instants of such times."""
    unit, zoned = UNITS[dtype.time_unit], dtype.time_zone is not None

    def instant(value: int, bad: set[str]) -> int | None:
        if zoned or local is None:
            if FIRST <= value * unit <= LAST:
                return value * unit
            bad.add("BF202")
            return None
        found, code = local.instant(value * unit)
        if code:
            bad.add(code)
        return found

    return instant


def _instant(dtype: pl.Datetime, local: LocalTimes | None) -> Write:
    utc = _utc(dtype, local)

    def write(value: Any, bad: set[str]) -> str | None:  # noqa: ANN401
        found = None if value is None else utc(value, bad)
        return None if found is None else f'"{millisecond_text(found)}"'

    return write


def _is_object(dtype: pl.DataType) -> bool:
    """Whether its values are objects in JSON."""
    if isinstance(dtype, pl.Struct) and len(dtype.fields) == 1:
        return dtype.fields[0].name not in (LONG_INTEGER_MEMBER, JSON_MEMBER)
    return isinstance(dtype, pl.Struct | pl.Map)


def _list(inner: Write, *, empty: str) -> Write:
    """Arrays; an element stays, whatever it is: an object that is `empty`, a null."""

    def write(value: Any, bad: set[str]) -> str | None:  # noqa: ANN401
        if value is None:
            return None
        texts = (inner(item, bad) or (empty if item is not None else "null") for item in value)
        return f"[{','.join(texts)}]"

    return write


def _struct(dtype: pl.Struct, local: LocalTimes | None) -> Write:
    """Objects: members that are null are left out, and the whole where nothing is left of it."""
    fields = [(field.name, writer_of(field.dtype, local)) for field in dtype.fields]  # type: ignore[arg-type]
    if len(fields) == 1 and fields[0][0] == LONG_INTEGER_MEMBER:
        return lambda value, bad: None if value is None else _long(value[LONG_INTEGER_MEMBER], bad)
    if len(fields) == 1 and fields[0][0] == JSON_MEMBER:
        return lambda value, bad: None if value is None else _json(value[JSON_MEMBER], bad)
    named = [(name, f",{compact(name)}:", write) for name, write in fields]

    def write(value: Any, bad: set[str]) -> str | None:  # noqa: ANN401
        if value is None:
            return None
        texts = ((key, inner(value[name], bad)) for name, key, inner in named)
        text = braced("".join([key + text for key, text in texts if text is not None]))
        return None if text == "{}" else text

    return write


def _long(digits: str | None, bad: set[str]) -> str | None:
    if digits is not None and abs(int(digits)) > SAFE_INTEGER:
        bad.add("BF110")
    return digits


def _json(text: str | None, bad: set[str]) -> str | None:
    if text is None or text == "null":
        return None
    bad |= faults_of_json(text)
    return text


def _map(dtype: pl.Map, local: LocalTimes | None) -> Write:
    """Objects of a map's entries, which are pairs of key and value."""
    key_dtype: pl.DataType = dtype.key  # type: ignore[assignment]
    inner = writer_of(dtype.value, local)  # type: ignore[arg-type]
    key_of = _key(key_dtype, local)

    def write(value: Any, bad: set[str]) -> str | None:  # noqa: ANN401
        if value is None:
            return None
        pairs = [(key_of(each["key"], bad), inner(each["value"], bad)) for each in value]
        text = braced(
            "".join([f",{string(key)}:{text}" for key, text in pairs if key is not None and text is not None])
        )
        return None if text == "{}" else text

    return write


def _key(dtype: pl.DataType, local: LocalTimes | None) -> Callable[[Any, set[str]], str | None]:
    """The text of a map's key; instants keep the digits below the millisecond where there are any."""
    if isinstance(dtype, pl.Datetime):
        utc = _utc(dtype, local)

        def write(value: Any, bad: set[str]) -> str | None:  # noqa: ANN401
            found = utc(value, bad)
            if found is None:
                return None
            return millisecond_text(found) if found % MILLISECOND == 0 else key_text(found)

        return write
    if isinstance(dtype, pl.String):
        return lambda value, _: str(value)
    scalar = scalar_writer(dtype, local)
    anything: set[str] = set()
    strict = isinstance(dtype, pl.Date | pl.Time)
    return lambda value, bad: (scalar(value, bad if strict else anything) or "").strip('"')
