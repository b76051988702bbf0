"""Instants as polars expressions: wall clocks to UTC by a stated policy, epochs by a stated unit, ISO 8601 out.

Segment's stored time is computed from what is sent, so what is sent is always `YYYY-MM-DDTHH:MM:SS.mmmZ`, UTC
(https://www.twilio.com/docs/segment/connections/spec/common). Finer digits are cut, never rounded: a rounded instant
could fall into the next day.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

import polars as pl

#: Microseconds in one unit of each epoch format; nanoseconds are divided instead.
EPOCH_MICROSECONDS: Final = {"epoch_s": 1_000_000, "epoch_ms": 1_000, "epoch_us": 1, "epoch_ns": 0.001}
#: 0001-01-01 and 9999-12-31T23:59:59.999999 in microseconds since 1970: what a calendar date can be.
FIRST_MICROSECOND: Final = -62_135_596_800_000_000
LAST_MICROSECOND: Final = 253_402_300_799_999_999


def iso_milliseconds(instant: pl.Expr) -> pl.Expr:
    """`YYYY-MM-DDTHH:MM:SS.mmmZ` of a UTC datetime (with or without zone); null stays null."""
    return instant.dt.replace_time_zone(None).dt.to_string("%Y-%m-%dT%H:%M:%S%.3fZ")


def iso_key(instant: pl.Expr) -> pl.Expr:
    """`YYYY-MM-DDTHH:MM:SS.ffffffZ`, nine digits only where the last three are not zero: the form inside keys."""
    return instant.dt.replace_time_zone(None).dt.to_string("%Y-%m-%dT%H:%M:%S%.9f").str.strip_suffix("000") + "Z"


def iso_time(time: pl.Expr) -> pl.Expr:
    """`HH:MM:SS`, with six more digits only where they are not all zero."""
    return time.dt.to_string("%H:%M:%S%.6f").str.strip_suffix(".000000")


def from_epoch(number: pl.Expr, unit: str) -> pl.Expr:
    """UTC datetimes in microseconds from a numeric column in that unit; null where it is no calendar date."""
    factor = EPOCH_MICROSECONDS[unit]
    low, high = FIRST_MICROSECOND / factor, LAST_MICROSECOND / factor
    inside = pl.when(number.is_between(low, high)).then(number)
    scaled = inside.floordiv(1_000) if unit == "epoch_ns" else (inside * factor)
    return scaled.round().cast(pl.Int64, strict=False).cast(pl.Datetime("us"))


def to_utc(wall: pl.Expr, zone: str, ambiguous: str, nonexistent: str) -> pl.Expr:
    """UTC datetimes (no zone attached) of wall clocks in `zone`; null where the policy says error.

    `ambiguous`: earliest, latest or error. `nonexistent`: error, or shift_forward (to the first instant after the gap).
    """
    fold = "null" if ambiguous == "error" else ambiguous
    local = wall.dt.replace_time_zone(zone, ambiguous=fold, non_existent="null")  # type: ignore[arg-type]
    instant = local.dt.convert_time_zone("UTC").dt.replace_time_zone(None)
    if nonexistent == "error":
        return instant
    return pl.coalesce(instant, _after_gap(wall, zone))


def is_nonexistent(wall: pl.Expr, zone: str) -> pl.Expr:
    """True where the wall clock never was in that zone (and so false where it occurs twice)."""
    return wall.is_not_null() & wall.dt.replace_time_zone(zone, ambiguous="earliest", non_existent="null").is_null()


def _after_gap(wall: pl.Expr, zone: str) -> pl.Expr:
    """The first instant after the gap for wall clocks inside one, else null; Python sees each such wall clock once."""
    inside = pl.when(is_nonexistent(wall, zone)).then(wall)

    def resolve(series: pl.Series) -> pl.Series:
        gaps = series.drop_nulls().unique()
        table = {wall: first_instant_after(wall, ZoneInfo(zone)) for wall in gaps.to_list()}
        return series.replace_strict(list(table), list(table.values()), default=None, return_dtype=series.dtype)

    return inside.map_batches(resolve, is_elementwise=True)


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
