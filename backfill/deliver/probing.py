"""When to try more than is known to be good, and how much more. Pure."""

from __future__ import annotations

import math

#: Seconds before more is tried: at first, and at most, for they double each time that it was of no use.
#: Shorter finds sooner that a target takes more; longer refuses less.
FIRST_HOLD, LAST_HOLD = 5.0, 60.0
#: So many requests are to be accepted for each that was refused to find out, before more is tried again: 1% for probes.
SPARED = 100
#: A probe adds 1% in its first second, 7% in four, as much again in ten. Slower finds a capacity that grew later,
#: faster has more refused at a target that lets bursts through.
SLOPE, BEND = 0.01, 3.0


class Probing:
    """The schedule of probes: rest, then ever more until that is refused."""

    def __init__(self) -> None:
        self._at = math.inf
        self._hold = FIRST_HOLD
        self._spent = self._owed = 0

    def active(self, now: float) -> bool:
        """Whether more is tried at that time."""
        return now > self._at and self._owed <= 0

    def growth(self, now: float) -> float:
        """How much more, as a share of what is known to be good."""
        if not self.active(now):
            return 0.0
        over = now - self._at
        return SLOPE * over * (1 + (over / BEND) ** 2)

    def accepted(self, now: float) -> None:
        """A request was accepted."""
        if self._owed > 0:
            self._owed -= 1
            if self._owed == 0:
                self._at = max(self._at, now)

    def refused(self) -> None:
        """A probe was refused."""
        self._spent += 1

    def rest(self, now: float, *, again: bool) -> None:
        """A limit was found; `again`: the same as before."""
        self._hold = min(2 * self._hold, LAST_HOLD) if again else FIRST_HOLD
        self._at = now + self._hold
        self._owed, self._spent = SPARED * self._spent, 0
