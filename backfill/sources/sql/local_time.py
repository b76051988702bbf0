"""Wall clocks to instants in SQL, exactly as backfill.timestamps makes them, whatever DuckDB's own zones say.

DuckDB's AT TIME ZONE has a rule of its own for an hour that occurs twice, or never. So the years are cut into
pieces at every change of the clock, backfill.timestamps says what becomes of each piece, and SQL looks the piece up.
"""

from __future__ import annotations

from bisect import bisect_left
from datetime import datetime, timedelta
from functools import cache
from itertools import pairwise

import polars as pl

from backfill.errors import JobError
from backfill.frozen import frozen
from backfill.timestamps import FIRST_MICROSECOND, LAST_MICROSECOND, is_nonexistent, to_utc

#: Before the first and after the last year, polars' zones (chrono-tz) have no changes.
_FIRST, _LAST = datetime(1800, 1, 1), datetime(2110, 1, 1)  # noqa: DTZ001  naive UTC
#: Pieces are looked up by spans of 2^43 microseconds, about 102 days: few spans, and few pieces in each.
_SPAN_BITS = 43
#: Changes are looked for every six hours, then closer by, to the second; in microseconds.
_STEPS = (21_600_000_000, 60_000_000, 1_000_000)


@frozen
class Pieces:
    """What becomes of wall clocks, from each start (in microseconds) to the next: one piece more than starts.

    An instant is the wall clock less `shifts`, or `fixed`, whatever the wall clock; null in both: there is none.
    """

    starts: tuple[int, ...]
    shifts: tuple[int | None, ...]
    fixed: tuple[int | None, ...]


@cache
def pieces_of(zone: str, ambiguous: str, nonexistent: str) -> Pieces:
    """The pieces of a zone by a policy (see timestamps.to_utc); raises JobError for a zone without a clock."""
    starts = _starts(zone)
    walls = pl.Series("wall", [_micros(_FIRST), *starts]).cast(pl.Datetime("us"))
    wall = pl.col("wall")
    instants = to_utc(wall, zone, ambiguous, nonexistent)
    gap = is_nonexistent(wall, zone)
    frame = pl.DataFrame([walls]).select(
        shift=pl.when(~gap).then((wall - instants).dt.total_microseconds()),
        fixed=pl.when(gap).then(instants.cast(pl.Int64)),
    )
    return Pieces(starts, tuple(frame["shift"].to_list()), tuple(frame["fixed"].to_list()))


def local_instant(wall: str, zone: str, ambiguous: str, nonexistent: str) -> str:
    """SQL: the TIMESTAMPTZ of a TIMESTAMP in that zone by that policy; NULL where there is none."""
    pieces = pieces_of(zone, ambiguous, nonexistent)
    micros = f"epoch_us({wall})"
    found = _looked_up(micros, pieces.starts, pieces.shifts)
    instant = f"({micros} - {found})"
    if any(moment is not None for moment in pieces.fixed):
        instant = f"coalesce({instant}, {_looked_up(micros, pieces.starts, pieces.fixed)})"
    inside = f"moment BETWEEN {FIRST_MICROSECOND} AND {LAST_MICROSECOND}"
    return f"make_timestamptz(list_filter([{instant}], lambda moment: {inside})[1])"  # the long text stands here once


def _looked_up(micros: str, starts: tuple[int, ...], values: tuple[int | None, ...]) -> str:
    """SQL: the value of the piece that those microseconds lie in; first by span, then inside it."""
    if not starts:
        return f"CAST({_number(values[0])} AS BIGINT)"
    base = starts[0] - 1
    spans = ((starts[-1] - base) >> _SPAN_BITS) + 1
    inner, held = [], []
    for span in range(spans):
        first = bisect_left(starts, base + (span << _SPAN_BITS))
        last = bisect_left(starts, base + ((span + 1) << _SPAN_BITS))
        inner.append(starts[first:last])
        held.append(values[first : last + 1])
    place = f"1 + ((least(greatest({micros}, {base}), {starts[-1]}) - {base}) >> {_SPAN_BITS})"
    inside = f"len(list_filter({_lists(inner)}[{place}], lambda start: start <= {micros}))"
    return f"{_lists(held)}[{place}][1 + {inside}]"


def _lists(lists: list[tuple[int | None, ...]] | list[tuple[int, ...]]) -> str:
    """SQL: the lists; of one text, as DuckDB is slow to read thousands of numbers."""
    inner = ", ".join("[" + ", ".join(map(_number, numbers)) + "]" for numbers in lists)
    return f"CAST('[{inner}]' AS BIGINT[][])"


def _number(value: int | None) -> str:
    return "NULL" if value is None else str(value)


@cache
def _starts(zone: str) -> tuple[int, ...]:
    """The wall clocks, before and after, at which clocks in the zone change; in microseconds, rising."""
    grid = pl.int_range(_micros(_FIRST), _micros(_LAST), _STEPS[0], eager=True)
    try:
        changes = _changes(pl.DataFrame({"at": grid, "group": 0}), zone)
    except pl.exceptions.ComputeError as error:
        raise JobError(f"there is no clock for the time zone {zone!r}", hint="zones have IANA names") from error
    for step, finer in pairwise(_STEPS):
        closer = changes.select(
            at=pl.int_ranges(pl.col("at") - step, pl.col("at") + 1, finer), group=pl.int_range(pl.len())
        )
        changes = _changes(closer.explode("at"), zone)
    found = {moment + offset for moment, *offsets in changes.rows() for offset in offsets}
    return tuple(sorted(found))


def _changes(moments: pl.DataFrame, zone: str) -> pl.DataFrame:
    """The moments at which the clock is another than a moment before, in the same group, with both offsets."""
    instant = pl.col("at").cast(pl.Datetime("us", "UTC"))
    after = instant.dt.convert_time_zone(zone).dt.replace_time_zone(None).cast(pl.Int64) - pl.col("at")
    before = pl.col("after").shift(1)
    changed = (before != pl.col("after")) & (pl.col("group") == pl.col("group").shift(1))
    return moments.with_columns(after=after).select("at", changed=changed, before=before, after="after").filter(
        "changed"
    ).drop("changed")  # fmt: skip


def _micros(moment: datetime) -> int:
    return (moment - datetime(1970, 1, 1)) // timedelta(microseconds=1)  # noqa: DTZ001
