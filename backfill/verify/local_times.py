"""Wall clocks to instants by a stated policy, by the standard library's zones."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Final
from zoneinfo import ZoneInfo

from backfill.verify.values import DAY, FIRST, LAST, MICROSECOND

_EPOCH: Final = datetime(1970, 1, 1)  # noqa: DTZ001 (wall clocks, and UTC without its name)
_HOUR: Final = DAY // 24
_SECOND: Final = 1_000_000_000
_FIRST_YEAR, _LAST_YEAR = 1, 9999


class LocalTimes:
    """What wall clocks of one zone say, by one policy each for hours that are twice and hours that never were."""

    def __init__(self, zone: str, ambiguous: str, nonexistent: str) -> None:
        self._zone = ZoneInfo(zone)
        self._ambiguous = ambiguous
        self._nonexistent = nonexistent
        self._offset_of_hour = lru_cache(maxsize=1 << 16)(self._common_offset)

    def instant(self, wall: int) -> tuple[int | None, str]:
        """The instant of a wall clock, None where there is none; and the problem's code then, else no text."""
        if not FIRST <= wall <= LAST:
            return None, "BF202"
        offset = self._offset_of_hour(wall // _HOUR)
        found = [wall - offset] if offset is not None else self._instants(wall)
        if not found:
            return self._in_gap(wall)
        if len(found) > 1 and self._ambiguous == "error":
            return None, "BF205"
        instant = found[-1 if self._ambiguous == "latest" else 0]
        return (instant, "") if FIRST <= instant <= LAST else (None, "BF202")

    def _common_offset(self, hour: int) -> int | None:
        """What clocks are ahead of UTC in all of an hour that is there once; None of any other hour."""
        edges = (hour * _HOUR, (hour + 1) * _HOUR - MICROSECOND)
        found = [(edge, self._instants(edge)) for edge in edges]
        offsets = {edge - each for edge, instants in found for each in instants}
        return offsets.pop() if len(offsets) == 1 and all(len(instants) == 1 for _, instants in found) else None

    def _instants(self, wall: int) -> list[int]:
        """The instants at which clocks show that time, in order: none, one, or two; none outside of Python's years."""
        shown = _moment(wall)
        found = set()
        for fold in (0, 1):
            try:
                utc = shown.replace(tzinfo=self._zone, fold=fold).astimezone(UTC)
                again = utc.astimezone(self._zone).replace(tzinfo=None, fold=0)
            except OverflowError:
                continue
            if again == shown:
                found.add(_number(utc.replace(tzinfo=None)) + wall % MICROSECOND)
        return sorted(found)

    def _in_gap(self, wall: int) -> tuple[int | None, str]:
        year = _moment(wall).year
        if year in (_FIRST_YEAR, _LAST_YEAR):
            return None, "BF202"
        if self._nonexistent != "shift_forward":
            return None, "BF206"
        shown = _moment(wall)
        low, high = (_number(shown) // _SECOND + sign * 30 * 3600 for sign in (-1, 1))
        while high - low > 1:  # bisection: clocks show less before the gap, and more behind it
            middle = (low + high) // 2
            at = (_EPOCH + timedelta(seconds=middle)).replace(tzinfo=UTC).astimezone(self._zone).replace(tzinfo=None)
            low, high = (middle, high) if at < shown else (low, middle)
        return high * _SECOND, ""


def _moment(wall: int) -> datetime:
    return _EPOCH + timedelta(microseconds=wall // MICROSECOND)


def _number(moment: datetime) -> int:
    return (moment - _EPOCH) // timedelta(microseconds=1) * MICROSECOND
