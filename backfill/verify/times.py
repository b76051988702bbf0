"""The timestamp of a call: from any column it may stand in to instants, with what is wrong with each."""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime
from fractions import Fraction
from typing import Any, Final

import polars as pl

from backfill.job.models import TimestampSpec
from backfill.records import Column, Kind
from backfill.verify.columns import SECOND_YEAR
from backfill.verify.objects import Objects
from backfill.verify.values import DAY, FIRST, LAST, MICROSECOND, decimal_text

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
#: Microseconds in a unit of each epoch format.
_UNITS: Final[dict[str, int | Fraction]] = {
    "epoch_s": 10**6,
    "epoch_ms": 10**3,
    "epoch_us": 1,
    "epoch_ns": Fraction(1, 1000),
}
_DIGITS: Final = re.compile(r"[+-]?[0-9]+(\.[0-9]+)?")
_HOUR: Final = DAY // 24
#: Excel's day 0, in days before 1970, the first of its days that is told right, and the one after its last.
_EXCEL_DAYS, _FIRST_SERIAL, _LAST_SERIAL = 25_569, 61, 2_958_466


def timestamps(call: Objects, spec: TimestampSpec, now: float) -> list[int | None]:
    """The instant of each row's call, in nanoseconds; None where it has none. `now` is in POSIX seconds."""
    instants = _constant(spec.value, call.rows) if spec.value is not None else _read(call, spec)
    known = [instant for instant in instants if instant is not None]
    latest = int(now * 1_000_000) * MICROSECOND + _HOUR
    if known and not (min(known) >= 0 and max(known) <= latest):
        call.flag("BF203", [row for row, at in enumerate(instants) if at is not None and at < 0])
        call.flag("BF204", [row for row, at in enumerate(instants) if at is not None and at > latest])
    return instants


def _constant(text: str, rows: int) -> list[int | None]:
    microseconds = round((datetime.fromisoformat(text) - _EPOCH).total_seconds() * 1_000_000)
    return [microseconds * MICROSECOND] * rows


def _column(call: Objects, spec: TimestampSpec) -> Column:
    """The column that holds the timestamps: of text with a format, the one that it was parsed into."""
    columns = call.columns
    if spec.sql is not None:
        return columns.described[columns.expressions[spec.sql]]
    column = columns.described[spec.column or ""]
    parsed = columns.job.time_columns().get((spec.column or "", spec.format or ""))
    return columns.described.get(parsed or "", column) if column.kind is Kind.TEXT else column


def _read(call: Objects, spec: TimestampSpec) -> list[int | None]:
    column = _column(call, spec)
    columns, stored = call.columns, call.columns.raw(column.name)
    misfits, failures, unclear = columns.misfits(column), columns.failures(column), columns.unclear(column)
    call.flag("BF202", misfits)
    call.flag("BF130", failures)
    call.flag_all(unclear)
    told = misfits | failures | set(unclear)
    if None in stored:
        call.flag("BF201", [row for row, value in enumerate(stored) if value is None and row not in told])
    for name in column.reads:
        _note_epochs_read(call, name)
    if column.kind in (Kind.TIMESTAMP, Kind.DATE):
        found = columns.instants(column, spec.timezone, spec.ambiguous, spec.nonexistent)
        gone = call.flag_all(found.bad)
        return [None if row in gone else value for row, value in enumerate(found.values)] if gone else found.values
    unit = _UNITS.get(spec.format or "")
    if unit is not None:
        return _from_numbers(call, column, unit)
    return _from_serials(call, column, spec)


def _note_epochs_read(call: Objects, name: str) -> None:
    """Flag what is wrong with declared epochs that an expression reads."""
    read = call.columns.described.get(name)
    if read is None or read.kind is not Kind.TIMESTAMP:
        return
    if (call.columns.declared(read).format or "").startswith("epoch_"):
        call.flag_all(call.columns.instants(read).bad)


def _from_numbers(call: Objects, column: Column, unit: int | Fraction) -> list[int | None]:
    """Epochs, exact, and cut to the microsecond below."""
    dtype = call.columns.dtype(column)
    scale = dtype.scale if isinstance(dtype, pl.Decimal) else None
    found: list[int | None] = []
    bad, early = [], []
    for row, value in enumerate(call.columns.raw(column.name)):
        number = decimal_text(value, scale) if scale is not None and value is not None else value
        microseconds = None if number is None else epoch_microseconds(number, unit)
        if number is not None and microseconds is None:
            bad.append(row)
        instant = None if microseconds is None else microseconds * MICROSECOND
        if instant is not None and 0 <= instant < SECOND_YEAR:
            early.append(row)
        found.append(instant)
    call.flag("BF202", bad)
    call.flag("BF207", early)
    return found


def epoch_microseconds(number: Any, unit: int | Fraction) -> int | None:  # noqa: ANN401 (a number, or its text)
    """An epoch in microseconds; None where it is none. A double that is the next one to the next one means that."""
    if isinstance(number, str) and not _DIGITS.fullmatch(number):
        return None
    if isinstance(number, float) and not math.isfinite(number):
        return None
    exact = Fraction(number) * unit
    beyond = math.ceil(exact) - exact
    below = isinstance(number, float) and 0 < beyond <= abs(exact) / 2**52
    found = math.ceil(exact) if below else math.floor(exact)
    return found if FIRST <= found * MICROSECOND <= LAST else None


def _from_serials(call: Objects, column: Column, spec: TimestampSpec) -> list[int | None]:
    """Days as spreadsheets number them, wall clocks to the millisecond."""
    columns = call.columns
    declared = columns.declared(column)
    local = columns.local_times(
        spec.timezone or declared.timezone or columns.job.source.timezone,
        spec.ambiguous or declared.ambiguous,
        spec.nonexistent or declared.nonexistent,
    )
    found: list[int | None] = []
    for row, value in enumerate(columns.raw(column.name)):
        wall = None if value is None else _serial_wall(value)
        instant, code = (None, "BF202") if wall is None or local is None else local.instant(wall)
        if value is not None and code:
            call.flag(code, [row])
        found.append(instant)
    return found


def _serial_wall(value: Any) -> int | None:  # noqa: ANN401 (a number, or its text)
    try:
        number = float(value)
    except ValueError:
        return None
    if not _FIRST_SERIAL <= number < _LAST_SERIAL:
        return None
    return (math.floor(number * 86_400_000 + 0.5) - _EXCEL_DAYS * 86_400_000) * 1_000_000
