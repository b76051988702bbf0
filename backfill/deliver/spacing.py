"""How long after one request a target takes the next one, where that is what it limits. Pure."""

from __future__ import annotations

import math

from backfill.deliver.crowd import Crowd
from backfill.deliver.departure import Departure

#: Gaps are told apart by a sixteenth of an octave, 4%, from the longest to the shortest, in seconds.
STEPS, LONGEST, SHORTEST = 16, 1.0, 0.0005


class Spacing:
    """Finds the gap below which most are refused, and above which hardly any is: `Crowd`, by how close they leave."""

    def __init__(self) -> None:
        self._crowd = Crowd(_closeness(SHORTEST))
        self._closest = math.inf  # the least gap of an accepted one
        self._latest = -math.inf  # when the last one left that was not refused, as far as is known

    def left(self, now: float) -> float:
        """A request leaves now; seconds since the one before that."""
        gap, self._latest = now - self._latest, now
        return gap

    def accepted(self, departure: Departure) -> None:
        """It was accepted."""
        self._crowd.accepted(_closeness(departure.gap))
        self._closest = min(self._closest, departure.gap)

    def refused(self, departure: Departure) -> float | None:
        """It was refused; the seconds that are far enough, if that shows it: between refused and accepted ones."""
        if self._latest == departure.at:
            self._latest = departure.at - departure.gap
        found, level = self._crowd.refused(_closeness(departure.gap)), self._crowd.level
        # One that left less than half as far from the one before, and was accepted, shows that this does not matter.
        if not found or level is None or self._closest < _gap(level) / 2:
            return None
        taken = self._crowd.highest()
        return _gap((level + taken) // 2 if taken else level)


def _closeness(gap: float) -> int:
    return max(1, math.ceil(STEPS * math.log2(LONGEST / min(max(gap, SHORTEST), LONGEST))))


def _gap(closeness: int) -> float:
    return LONGEST * 2 ** (-closeness / STEPS)
