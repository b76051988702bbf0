"""How much a target takes that does not say so: requests in flight at once, and a second. Pure.

Nobody publishes these limits, they change from hour to hour, and a target over one of them says only 429 or 503. So
they are found out, as TCP finds a path's capacity: multiplicative decrease, a quick return to what is known to be good,
and growing probes beyond it (RFC 9438).

- `Climb` raises the number in flight where that makes more requests come through: where answers take long. On a
  machine, a line or a target that is busy already it leaves it where it is.
- `Dips` halves the number in flight when a request is refused, and takes that back within a round trip.
- `Crowd` finds out the limit where requests above a number in flight are refused and those below are not: so many at
  once. `Probing` says when to try more of them, and pays for it: 100 accepted requests for each refused one.
- `Ceiling` finds out every other limit: so many a second. `Chance` tells it which refusals are none.
"""

from __future__ import annotations

import math

from backfill.deliver.ceiling import Ceiling
from backfill.deliver.climb import Climb
from backfill.deliver.crowd import Crowd
from backfill.deliver.departure import Departure
from backfill.deliver.dips import Dips
from backfill.deliver.probing import Probing

#: How long an answer is taken to need before there was any, in seconds; of later ones each counts that much.
FIRST_ROUND_TRIP, NEWEST = 0.1, 0.1
LEAST_ROUND_TRIP = 1e-4  # no clock is that good
#: However often it halved, a request may leave after so many seconds; at the lowest rate, after so many.
SLOWEST, LONGEST_INTERVAL = 1.0, 60.0
#: Once something was refused, those in flight leave at least that share of a round trip / their number apart: a target
#: that counts within short spans refuses what leaves together. More would cost speed where answers take now long, now
#: short.
SPACED = 0.7
#: Where a rate is the limit, it alone is to limit them: so many times as many may be in flight as it takes on average.
ROOM = 1.5


class Control:
    """How many requests may be in flight at once, and how long after one another they may leave.

    Not thread-safe; `now` is the time of a clock that never jumps.
    """

    def __init__(self, most: int) -> None:
        self._climb = Climb(most)
        self._most = most
        self._crowd = Crowd(most)
        self._crowded: int | None = None  # its last level
        self._ceiling = Ceiling()
        self._dips = Dips()
        self._probing = Probing()
        self._round_trip = FIRST_ROUND_TRIP
        self._answers = self._away = 0
        self._refused = False  # ever

    def limit(self, now: float) -> int:
        """Requests in flight at once, at least 1."""
        return max(1, int(self._together(now) / self._halved(now)))

    def interval(self, now: float) -> float:
        """Seconds between one request and the next, at most a minute; 0 where nothing was refused yet."""
        if not self._refused:
            return 0.0
        times, together = self._halved(now), self._together(now)
        interval = max(SPACED * self._round_trip / self.limit(now), 1 / self._tried(now))
        interval = max(interval, 1 / self._ceiling.level)
        if times > together:  # fewer than one at once
            interval = max(interval, min(times / together * self._round_trip, SLOWEST))
        return min(interval, LONGEST_INTERVAL)

    def left(self, now: float) -> Departure:
        """A request leaves now."""
        self._away += 1
        possible = min(self._together(now) / self._round_trip, self._tried(now))
        return Departure(now, self._away, self._probing.active(now), min(self._ceiling.level, possible))

    def ended(self, departure: Departure, now: float, *, accepted: bool, refused: bool) -> None:
        """It has ended: accepted, refused for coming too fast (429, 503), or neither, which says nothing here."""
        self._away -= 1
        if accepted:
            self._accept(departure, now)
        elif refused:
            self._refuse(departure, now)

    def _halved(self, now: float) -> float:
        """How many times less is allowed just now."""
        return float(2 ** self._dips.halvings(now, self._round_trip))

    def _together(self, now: float) -> int:
        """How many at once, but for halvings."""
        level, climbed = self._crowd.level, self._climb.level
        if level is not None:
            return min(climbed, level + math.ceil(level * self._probing.growth(now)))
        if self._ceiling.level < math.inf:
            climbed = max(climbed, 1 + math.ceil(ROOM * self._ceiling.level * self._round_trip))
        return min(climbed, self._most)

    def _tried(self, now: float) -> float:
        """How many a second a probe of more at once tries: a little more, and evenly; infinite while there is none.

        If those above the level are accepted then, it was not for their number that they were refused before, but for
        leaving too close.
        """
        growth = self._probing.growth(now)
        return (self._crowd.level or math.inf) * (1 + growth) / self._round_trip if growth else math.inf

    def _accept(self, departure: Departure, now: float) -> None:
        self._answers += 1
        seconds = max(now - departure.at, LEAST_ROUND_TRIP)
        self._round_trip += max(NEWEST, 1 / self._answers) * (seconds - self._round_trip)
        self._crowd.accepted(departure.together)
        self._dips.accepted(now, self._round_trip)
        self._probing.accepted(now)
        self._ceiling.accepted(departure, now, (self._crowd.level or self._climb.level) / self._round_trip)
        if self._dips.depth or self._together(now) < self._climb.level:
            self._climb.restart()
        else:
            self._climb.accepted(now)

    def _refuse(self, departure: Departure, now: float) -> None:
        self._refused = True
        together = self._together(now)
        self._dips.refused(departure, now, self._round_trip, deepest=self.interval(now) >= SLOWEST)
        if departure.probing:
            self._probing.refused()
        self._learn(departure, now)
        if (more := self._together(now)) > together:
            self._dips.offset(more / together)

    def _learn(self, departure: Departure, now: float) -> None:
        """What limit that refused request shows."""
        level = self._crowd.level
        if self._crowd.refused(departure.together):
            if departure.probing or self._crowd.level != level:
                self._probing.rest(now, again=self._crowd.level == self._crowded)
                self._crowded = self._crowd.level
        elif self._crowd.refuted():
            self._crowd.level = None
            self._ceiling.found(departure.asked, now)
        elif level is None or departure.together <= level:
            self._ceiling.refused(departure, now)
        elif departure.probing:
            self._probing.rest(now, again=True)
