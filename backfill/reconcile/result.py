"""What a comparison of a run with what a destination holds came to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from backfill.errors import ExitCode
from backfill.pipeline.requeue import Requeued
from backfill.records import RunStatus

#: Kinds that are told by event and day, in this order.
BY_DAY: Final = ("delivered", "missing", "doubled", "shifted")
#: As many events of a day are told apart; those beyond are told without their day.
MOST_DAYS: Final = 100_000
#: Calls of each kind that are listed.
LISTED: Final = 20
_DAY_MS: Final = 86_400_000
_MINUTE_MS: Final = 60_000
#: Shifts are counted by the minute up to here, beyond by the day; longer ones than this many days as this many.
_BY_MINUTE_MS: Final = 2 * _DAY_MS
_MOST_DAYS: Final = 40_000
#: From this share on of those dated differently, a shift is what they have in common.
_SHARED: Final = 0.9
#: Zones' offsets are multiples of this, up to that.
_QUARTER_MS, _FARTHEST_MS = 15 * _MINUTE_MS, 14 * 60 * _MINUTE_MS
_HOUR_MS: Final = 60 * _MINUTE_MS


@dataclass(slots=True)
class Reconciled:
    """Counts, and the first ones of each kind."""

    status: RunStatus
    source: str  # what it was compared with, as it is shown
    counts: Counter[str] = field(default_factory=Counter)
    by_day: dict[tuple[int, int | None], list[int]] = field(default_factory=dict)  # event, days since 1970: BY_DAY
    shifts: Counter[int] = field(default_factory=Counter)  # ms, rounded: calls
    other_runs: Counter[str] = field(default_factory=Counter)  # run: ids that are there
    unknown_events: Counter[int] = field(default_factory=Counter)  # rows
    listed: dict[str, list[dict[str, Any]]] = field(default_factory=dict)  # kind: calls, in plan order
    events: Sequence[str] = ()  # names by number
    columns: dict[str, str] = field(default_factory=dict)
    bad_times: dict[str, int] = field(default_factory=dict)
    tolerance_ms: int = 0
    exact: bool = False  # the time compared is the one that was sent
    notes: list[str] = field(default_factory=list)
    ids_written: int = 0  # of missing calls
    compared_at: float = 0.0  # POSIX seconds
    requeued: Requeued | None = None  # what became of those not there, where they were to be planned again

    @property
    def exit_code(self) -> ExitCode:
        """3 where a call of the run is not there just once, on its date; what is there beside it does not count."""
        kinds = ("missing", "doubled", "shifted", "in_doubt_missing", "refused_there")
        return ExitCode.REJECTS if any(self.counts[kind] for kind in kinds) else ExitCode.DELIVERED

    def count_by_day(
        self, kind: str, events: npt.NDArray[np.uint32], times: npt.NDArray[np.int64], unknown: int
    ) -> None:
        """Count calls of a kind by event and day; of those whose time is `unknown` the day is not known."""
        days = np.where(times == unknown, -(2**31), times // _DAY_MS)
        keys = events.astype(np.int64) * 2**32 + (days + 2**31)
        different, counts = np.unique(keys, return_counts=True)
        for key, count in zip(different.tolist(), counts.tolist(), strict=True):
            event, day = divmod(key, 2**32)
            whole = (event, day - 2**31 if day else None)
            if whole not in self.by_day and len(self.by_day) >= MOST_DAYS:
                whole = (event, None)
            self.by_day.setdefault(whole, [0] * len(BY_DAY))[BY_DAY.index(kind)] += count

    def count_shifts(self, shifts: npt.NDArray[np.int64]) -> None:
        """Count shifts by their size: by the minute, far ones by the day."""
        unit = np.where(np.abs(shifts) < _BY_MINUTE_MS, _MINUTE_MS, _DAY_MS)
        unit = np.where(np.abs(shifts) < _MINUTE_MS // 2, 1_000, unit)
        rounded = np.clip((np.round(shifts / unit) * unit), -_MOST_DAYS * _DAY_MS, _MOST_DAYS * _DAY_MS)
        different, counts = np.unique(rounded.astype(np.int64), return_counts=True)
        self.shifts.update(dict(zip(different.tolist(), counts.tolist(), strict=True)))

    def totals(self, part: int) -> dict[Any, list[int]]:
        """BY_DAY by event (0) or by day (1) alone."""
        found: dict[Any, list[int]] = {}
        for key, counts in self.by_day.items():
            sums = found.setdefault(key[part], [0] * len(BY_DAY))
            sums[:] = [one + other for one, other in zip(sums, counts, strict=True)]
        return found

    @property
    def cause(self) -> str:
        """What nearly all of those dated differently have in common, and what that comes from; empty for nothing."""
        shifted = self.counts["shifted"]
        if not shifted:
            return ""
        enough = _SHARED * shifted
        if self.counts["dated_as_received"] >= enough:
            return "dated_as_received"
        (first, count), *further = self.shifts.most_common(2)
        if count >= enough:
            if _is_offset(first):
                return "time_zone"
            return "other_times" if self.exact else "sent_at"
        second = further[0] if further else (0, 0)
        if count + second[1] >= enough and abs(first - second[0]) == _HOUR_MS and _is_offset(first):
            return "time_zone_with_summer"
        return ""


def _is_offset(shift: int) -> bool:
    """Whether a zone may be as far from UTC, or from another one."""
    return bool(shift) and shift % _QUARTER_MS == 0 and abs(shift) <= _FARTHEST_MS
