"""How much a target takes that does not say so: requests in flight at once, and how evenly they leave. Pure.

Nobody publishes these limits, they change from hour to hour, and a target over one of them says only 429 or 503. So
they are found out, as TCP finds a path's capacity: multiplicative decrease, a plateau at what is known to be good, rare
and growing probes beyond it (RFC 9438), and requests that leave evenly, a round trip's worth in a round trip. One
number, the level, does for both kinds of limits: N at once are a level of N, R in a second one of R x round trip,
which may lie below 1.

- `Climb` raises the level where that makes more requests come through: where answers take long. On a machine, a line
  or a target that is busy already it leaves it where it is.
- `Ceiling` halves a level that was refused for two round trips, and goes back. Where too many are refused of a window
  of requests, it tries less for a while: refused as many then, they have nothing to do with the level, which is
  restored; else it is lowered. A level that stood is probed beyond after 5 s, and after twice as long each time.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from backfill.deliver.ceiling import Ceiling
from backfill.deliver.climb import Climb

#: How long an answer is taken to need before there was any, in seconds; of later ones each counts that much.
FIRST_ROUND_TRIP, NEWEST = 0.1, 0.1
#: A request may leave after so many seconds, whatever was refused.
LONGEST_INTERVAL = 60.0


@dataclass(frozen=True, slots=True)
class Departure:
    """A request that left: when, by the monotonic clock."""

    at: float


class Control:
    """How many requests may be in flight at once, and how long after one another they may leave.

    Not thread-safe; `now` is the time of a clock that never jumps.
    """

    def __init__(self, most: int) -> None:
        self._climb = Climb(most)
        self._ceiling = Ceiling()
        self._round_trip = FIRST_ROUND_TRIP
        self._answers = 0

    def limit(self, now: float) -> int:
        """Requests in flight at once, at least 1."""
        return max(1, math.ceil(min(self._climb.level, self._ceiling.level(now))))

    def interval(self, now: float) -> float:
        """Seconds between one request and the next, at most a minute; 0 where there is no ceiling.

        A target that counts within short spans (nginx's limit_req without a burst) refuses what leaves together,
        however rarely it does.
        """
        return min(self._round_trip / self._ceiling.level(now), LONGEST_INTERVAL)  # 1 / infinity is 0

    def left(self, now: float) -> Departure:
        """A request leaves now."""
        return Departure(now)

    def ended(self, departure: Departure, now: float, *, accepted: bool, refused: bool) -> None:
        """It has ended: accepted, refused for coming too fast (429, 503), or neither, which says nothing here."""
        if not (accepted or refused):
            return
        climb = self._climb
        if accepted:
            self._accept(departure, now)
        self._ceiling.ended(
            departure.at, now, refused=refused, most=climb.level, good=climb.good, round_trip=self._round_trip
        )

    def _accept(self, departure: Departure, now: float) -> None:
        self._answers += 1
        self._round_trip += max(NEWEST, 1 / self._answers) * (now - departure.at - self._round_trip)
        if self._ceiling.level(now) >= self._climb.level:
            self._climb.accepted(now)
        else:
            self._climb.restart()
