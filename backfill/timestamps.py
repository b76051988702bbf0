"""Instants as polars expressions: wall clocks to UTC by a stated policy, epochs by a stated unit, ISO 8601 out.

Segment's stored time is computed from what is sent, so what is sent is always `YYYY-MM-DDTHH:MM:SS.mmmZ`, UTC
(https://www.twilio.com/docs/segment/connections/spec/common). Finer digits are cut, never rounded: a rounded instant
could fall into the next day.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from typing import Final, Literal
from zoneinfo import ZoneInfo

import polars as pl

#: Microseconds in one unit of each epoch format; of nanoseconds a microsecond has a thousand.
EPOCH_MICROSECONDS: Final = {"epoch_s": 1_000_000, "epoch_ms": 1_000, "epoch_us": 1, "epoch_ns": 0}
#: Decimal places of each unit that make microseconds.
_MICROSECOND_PLACES: Final = {"epoch_s": 6, "epoch_ms": 3, "epoch_us": 0}
_EPOCH_TEXT: Final = r"^([+-]?)([0-9]+)(?:\.([0-9]+))?$"
#: The distance of doubles at 1, which is their relative precision.
_DOUBLE_STEP: Final = 2.0**-52
_FIRST, _LAST = datetime(1, 1, 1), datetime(9999, 12, 31, 23, 59, 59, 999_999)  # noqa: DTZ001 - naive UTC
_EPOCH, _SECOND_YEAR = datetime(1970, 1, 1), datetime(1971, 1, 1)  # noqa: DTZ001
#: From here on polars has no changes of the clocks (its tables end), and Python's rules are used.
_LATE, _LAST_DAYS = datetime(2100, 1, 1), datetime(9999, 12, 30)  # noqa: DTZ001
#: 0001-01-01 and 9999-12-31T23:59:59.999999 in microseconds since 1970: what a calendar date can be.
FIRST_MICROSECOND: Final = -62_135_596_800_000_000
LAST_MICROSECOND: Final = 253_402_300_799_999_999
#: Excel's day 0 is 1899-12-30, by the days from its day 61 on (ECMA-376-1, 18.17.4.1); before, it counts one too many.
EXCEL_EPOCH_DAYS: Final = 25_569
FIRST_SERIAL: Final = 61
LAST_SERIAL: Final = 2_958_466
_WHOLE: Final = pl.Int64()
_DATETIME: Final = pl.Datetime("us")


def iso_milliseconds(instant: pl.Expr) -> pl.Expr:
    """`YYYY-MM-DDTHH:MM:SS.mmmZ` of a UTC datetime (with or without zone); null stays null."""
    return instant.dt.replace_time_zone(None).dt.to_string("%Y-%m-%dT%H:%M:%S%.3fZ")


def iso_key(instant: pl.Expr, nanoseconds: pl.Expr | None = None) -> pl.Expr:
    """`YYYY-MM-DDTHH:MM:SS.ffffffZ`, nine digits only where the last three are not zero: the form inside keys.

    `nanoseconds` are those below the microsecond that an instant in microseconds does not hold.
    """
    naive = instant.dt.replace_time_zone(None)
    if nanoseconds is None:
        return naive.dt.to_string("%Y-%m-%dT%H:%M:%S%.9f").str.strip_suffix("000") + "Z"
    digits = nanoseconds.cast(pl.String).str.zfill(3).str.strip_suffix("000")
    return naive.dt.to_string("%Y-%m-%dT%H:%M:%S%.6f") + digits + "Z"


def iso_time(time: pl.Expr) -> pl.Expr:
    """`HH:MM:SS`, with six more digits only where they are not all zero."""
    return time.dt.to_string("%H:%M:%S%.6f").str.strip_suffix(".000000")


def from_epoch(number: pl.Expr, unit: str) -> pl.Expr:
    """UTC datetimes from Int64 in that unit, cut to the microsecond below; null where it is no calendar date."""
    if unit == "epoch_ns":
        return _from_microseconds(number.floordiv(1_000))
    factor = EPOCH_MICROSECONDS[unit]
    inside = pl.when(number.is_between(-(-FIRST_MICROSECOND // factor), LAST_MICROSECOND // factor)).then(number)
    return (inside * factor).cast(_WHOLE).cast(_DATETIME)


def from_float_epoch(number: pl.Expr, unit: str) -> pl.Expr:
    """UTC datetimes from Float64 in that unit, cut to the microsecond below; null where it is no calendar date.

    A double that is the next one to a whole microsecond means that one: 1.1 seconds are 1,100,000 microseconds.
    """
    scaled = number / 1_000 if unit == "epoch_ns" else number * EPOCH_MICROSECONDS[unit]
    nearest = scaled.round()
    meant = nearest - scaled <= scaled.abs() * _DOUBLE_STEP  # what reading and scaling may each have cost
    micros = pl.when(meant).then(nearest).otherwise(scaled.floor())
    vanished = (number < 0) & (scaled == 0)  # too small for a double once it is scaled, and before 1970 all the same
    return _from_microseconds(pl.when(vanished).then(-1.0).otherwise(micros))


def from_epoch_text(text: pl.Expr, unit: str) -> pl.Expr:
    """UTC datetimes from text: digits with an optional sign and fraction, cut to the microsecond below.

    Exact, whatever the number of digits. Null where the text is something else, or no calendar date.
    """
    sign, whole, fraction = (text.str.extract(_EPOCH_TEXT, group) for group in (1, 2, 3))
    fraction = fraction.fill_null("")
    if unit == "epoch_ns":
        whole = whole.str.zfill(4)
        kept, rest = whole.str.head(-3), whole.str.tail(3) + fraction
    else:
        places = _MICROSECOND_PLACES[unit]
        kept = whole + fraction.str.head(places).str.pad_end(places, "0")
        rest = fraction.str.slice(places)
    micros = kept.str.replace("^0+([0-9])", "$1").cast(_WHOLE, strict=False)
    below = -micros - rest.str.contains("[1-9]").cast(_WHOLE)
    return _from_microseconds(pl.when(sign == "-").then(below).otherwise(micros))


def from_excel(number: pl.Expr) -> pl.Expr:
    """Wall clocks of a spreadsheet's serial days (Float64), to the millisecond; null where it has no such date."""
    inside = pl.when((number >= FIRST_SERIAL) & (number < LAST_SERIAL)).then(number)
    return (((inside * 86_400_000).round().cast(_WHOLE) - EXCEL_EPOCH_DAYS * 86_400_000) * 1_000).cast(_DATETIME)


def _from_microseconds(micros: pl.Expr) -> pl.Expr:
    """UTC datetimes of whole microseconds since 1970, of any type; null where they are no calendar date."""
    inside = (micros >= FIRST_MICROSECOND) & (micros < LAST_MICROSECOND + 1)  # no double tells the last from the next
    return pl.when(inside).then(micros).cast(_WHOLE).cast(_DATETIME)


def to_utc(wall: pl.Expr, zone: str, ambiguous: str, nonexistent: str) -> pl.Expr:
    """UTC datetimes (no zone attached) of wall clocks in `zone`; null where the policy says error, or no calendar is.

    `ambiguous`: earliest, latest or error. `nonexistent`: error, or shift_forward (to the first instant after the gap).
    """
    fold = "null" if ambiguous == "error" else ambiguous
    wall = _in_microseconds(wall)
    local = _early_in(wall, zone, fold)  # type: ignore[arg-type]
    instant = local.dt.convert_time_zone("UTC").dt.replace_time_zone(None)

    def read(wall: datetime) -> datetime | None:
        found = _readings(wall, ZoneInfo(zone))
        return found[-1 if ambiguous == "latest" else 0] if len(found) == 1 or (found and fold != "null") else None

    instant = pl.coalesce(instant, _late(wall, read, _DATETIME))
    resolved = instant if nonexistent == "error" else pl.coalesce(instant, _after_gap(wall, zone))
    return in_calendar(resolved)


def in_calendar(instant: pl.Expr) -> pl.Expr:
    """The instant where four digits can say its year, else null. Polars panics at what no calendar has."""
    return pl.when(instant.is_between(_FIRST, _LAST)).then(instant)


def _in_microseconds(wall: pl.Expr) -> pl.Expr:
    """The wall clock in microseconds: shifted in nanoseconds, those at the ends of 1677 and 2262 would wrap around."""
    return in_calendar(wall).cast(_DATETIME)


def nanoseconds(wall: pl.Expr, zone: str) -> pl.Expr:
    """What `to_utc` cuts off wall clocks in nanoseconds: 0 to 999, none where it moves them to the end of a gap."""
    below = wall.dt.nanosecond() % 1_000
    moved = is_nonexistent(pl.when(below != 0).then(wall), zone).fill_null(value=False)
    return pl.when(moved).then(0).otherwise(below)


def in_first_year(instant: pl.Expr) -> pl.Expr:
    """True where the instant is in 1970, where a number of the wrong unit usually ends up."""
    return instant.is_between(_EPOCH, _SECOND_YEAR, closed="left")


def date_in_calendar(day: pl.Expr) -> pl.Expr:
    """The date where four digits can say its year, else null."""
    return pl.when(day.is_between(date.min, date.max)).then(day)


def is_ambiguous(wall: pl.Expr, zone: str) -> pl.Expr:
    """True where the wall clock occurs twice in that zone."""
    wall = _in_microseconds(wall)
    once, first = (_early_in(wall, zone, ambiguous) for ambiguous in ("null", "earliest"))
    return (once.is_null() & first.is_not_null()) | _late_readings(wall, zone, 2)


def is_nonexistent(wall: pl.Expr, zone: str) -> pl.Expr:
    """True where the wall clock never was in that zone (and so false where it occurs twice)."""
    wall = _in_microseconds(wall)
    never = (wall < _LATE).fill_null(value=False) & _early_in(wall, zone, "earliest").is_null()
    return never | _late_readings(wall, zone, 0)


def _early_in(wall: pl.Expr, zone: str, ambiguous: Literal["earliest", "latest", "null"]) -> pl.Expr:
    """The wall clocks that polars has rules for as instants of the zone; null what the zone does not have."""
    return pl.when(wall < _LATE).then(wall).dt.replace_time_zone(zone, ambiguous=ambiguous, non_existent="null")


def _late(wall: pl.Expr, read: Callable[[datetime], object], dtype: pl.DataType) -> pl.Expr:
    """What is read of wall clocks that polars has no rules for, else null; Python sees each such wall clock once."""

    def resolve(series: pl.Series) -> pl.Series:
        return _looked_up(series, read, dtype)

    return pl.when(wall >= _LATE).then(wall).map_batches(resolve, return_dtype=dtype, is_elementwise=True)


def _looked_up(walls: pl.Series, read: Callable[[datetime], object], dtype: pl.DataType) -> pl.Series:
    """What is read of each; few of them are not null, and mostly none."""
    if walls.null_count() == len(walls):
        return pl.Series(walls.name, [None], dtype).new_from_index(0, len(walls))
    table = {wall: read(wall) for wall in walls.drop_nulls().unique().to_list()}
    return walls.replace_strict(list(table), list(table.values()), default=None, return_dtype=dtype)


def _late_readings(wall: pl.Expr, zone: str, count: int) -> pl.Expr:
    """True for the late wall clocks that are this number of instants."""
    late = pl.when(wall < _LAST_DAYS).then(wall)
    found = _late(late, lambda wall: len(_readings(wall, ZoneInfo(zone))) == count, pl.Boolean())
    return found.fill_null(value=False)


def _readings(wall: datetime, zone: ZoneInfo) -> list[datetime]:
    """The instants (naive UTC) that the wall clock is, in order; none of those after the last that Python has."""
    offsets = {_offset(wall.replace(tzinfo=zone, fold=fold)) for fold in (0, 1)}
    if wall >= _LAST_DAYS:  # the clocks do not change there
        return [wall - offset for offset in offsets if wall - _LAST <= offset]
    instants = sorted(wall - offset for offset in offsets)
    return [each for each in instants if each.replace(tzinfo=UTC).astimezone(zone).replace(tzinfo=None) == wall]


def _after_gap(wall: pl.Expr, zone: str) -> pl.Expr:
    """The first instant after the gap for wall clocks inside one, else null; Python sees each such wall clock once."""
    inside = pl.when(is_nonexistent(wall, zone)).then(wall)

    def resolve(series: pl.Series) -> pl.Series:
        return _looked_up(series, lambda wall: first_instant_after(wall, ZoneInfo(zone)), series.dtype)

    return inside.map_batches(resolve, return_dtype=pl.self_dtype(), is_elementwise=True)


def first_instant_after(wall: datetime, zone: ZoneInfo) -> datetime:
    """The instant (naive UTC) at which the gap around that wall clock ends, to the microsecond."""
    before = wall - _offset(wall.replace(tzinfo=zone, fold=1))  # PEP 495: in a gap fold=1 reads with the later offset,
    after = wall - _offset(wall.replace(tzinfo=zone, fold=0))  # so it names the instant before the transition
    start = _offset(before.replace(tzinfo=UTC).astimezone(zone))
    while after - before > timedelta(microseconds=1):
        middle = before + (after - before) / 2
        if _offset(middle.replace(tzinfo=UTC).astimezone(zone)) == start:
            before = middle
        else:
            after = middle
    return after


def _offset(moment: datetime) -> timedelta:
    offset = moment.utcoffset()
    assert offset is not None  # the zone was attached just above
    return offset
