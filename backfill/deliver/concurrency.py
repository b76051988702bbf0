"""How much a target takes that does not say so: requests in flight at once, and a second. Pure.

Nobody publishes these limits, they change from hour to hour, and a target over one of them says only 429 or 503. So
they are found out, as TCP finds a path's capacity: multiplicative decrease, a quick return to what is known to be good,
rare and growing probes beyond it (RFC 9438).

- `Climb` raises the number in flight where that makes more requests come through: where answers take long. On a
  machine, a line or a target that is busy already it leaves it where it is.
- `Dips` halves the number in flight, and the rate, when a request is refused, and takes that back a round trip later.
- `Crowd` and `Ceiling` find out the limit: so many at once, where requests above a number in flight are refused and
  those below are not, else so many a second. A few refusals are no limit: they come by chance.
- `Spacing` finds out whether they have to leave some way apart. Where it may as well be their number, a probe sends
  more of them, but evenly, to tell.
- `Probing` says when to try more, and pays for it: 100 accepted requests for each refused one.
"""

from __future__ import annotations

import math

from backfill.deliver.ceiling import Ceiling
from backfill.deliver.climb import Climb
from backfill.deliver.crowd import Crowd
from backfill.deliver.departure import Departure
from backfill.deliver.dips import Dips
from backfill.deliver.probing import Probing
from backfill.deliver.spacing import Spacing

#: How long an answer is taken to need before there was any, in seconds; of later ones each counts that much.
FIRST_ROUND_TRIP, NEWEST = 0.1, 0.1
LEAST_ROUND_TRIP = 1e-4  # no clock is that good
#: However often it halved, a request may leave after so many seconds; at the lowest rate, after so many.
SLOWEST, LONGEST_INTERVAL = 1.0, 60.0
#: Once something was refused, those in flight leave at least that share of a round trip / their number apart: a target
#: that counts within short spans refuses what leaves together. More would cost speed where answers take now long, now
#: short.
SPACED = 0.7


class Control:
    """How many requests may be in flight at once, and how long after one another they may leave.

    Not thread-safe; `now` is the time of a clock that never jumps.
    """

    def __init__(self, most: int) -> None:
        self._climb = Climb(most)
        self._most = most
        self._crowd = Crowd(most)
        self._ceiling = Ceiling()
        self._spacing = Spacing()
        self._doubt = False  # the limit so many at once may be one of how close they leave
        self._dips = Dips()
        self._probing = Probing()
        self._round_trip = FIRST_ROUND_TRIP
        self._answers = self._left = self._away = 0
        self._refused = False  # ever
        self._accepted_at = -math.inf

    def limit(self, now: float) -> int:
        """Requests in flight at once, at least 1."""
        return max(1, self._together(now) >> self._dips.halvings(now, self._round_trip))

    def interval(self, now: float) -> float:
        """Seconds between one request and the next, at most a minute; 0 where nothing was refused yet."""
        if not self._refused:
            return 0.0
        times = 1 << self._dips.halvings(now, self._round_trip)
        interval = SPACED * self._round_trip / self.limit(now)
        if self._doubt and self._crowd.level and (growth := self._probing.growth(now)):  # evenly, to tell them apart
            interval = max(interval, self._round_trip / (self._crowd.level * (1 + growth)))
        speed, together = self._speed(now), self._together(now)
        interval = max(interval, min(times / speed, max(1 / speed, SLOWEST)))
        if times > together:  # fewer than one at once
            interval = max(interval, min(times / together * self._round_trip, SLOWEST))
        return min(interval, LONGEST_INTERVAL)

    def exact(self) -> bool:
        """Whether no two requests may leave the least bit sooner after one another than that."""
        return self._ceiling.spaced > 0

    def left(self, now: float) -> Departure:
        """A request leaves now."""
        self._left += 1
        self._away += 1
        return Departure(now, self._left, self._away, self._probing.active(now), self._spacing.left(now))

    def ended(self, departure: Departure, now: float, *, accepted: bool, refused: bool) -> None:
        """It has ended: accepted, refused for coming too fast (429, 503), or neither, which says nothing here."""
        self._away -= 1
        if accepted:
            self._accept(departure, now)
        elif refused:
            self._refuse(departure, now)

    def _together(self, now: float) -> int:
        """How many at once, but for halvings."""
        level = self._crowd.level
        if self._ceiling.spaced:  # half as many again as that takes: the interval alone is to limit them
            needed = 1 + math.ceil(1.5 * self._speed(now) * self._round_trip)
            return min(self._most, max(self._climb.level, needed))
        if level is None:
            return self._climb.level
        more = level * self._probing.growth(now)
        return min(self._climb.level, level + (math.ceil(more) if self._doubt else int(more)))

    def _speed(self, now: float) -> float:
        """How many a second, but for halvings; may be infinite."""
        return self._ceiling.level * (1 + self._probing.growth(now))

    def _accept(self, departure: Departure, now: float) -> None:
        self._answers += 1
        seconds = max(now - departure.at, LEAST_ROUND_TRIP)
        self._round_trip += max(NEWEST, 1 / self._answers) * (seconds - self._round_trip)
        self._accepted_at = now
        self._crowd.accepted(departure.together)
        self._spacing.accepted(departure)
        self._dips.accepted(now, self._round_trip)
        self._probing.accepted(now)
        together = self._together(now)
        if self._probing.active(now) and self._speed(now) * self._round_trip > 2 * together:
            self._ceiling.level = math.inf  # it no longer matters
        if self._dips.depth or together < self._climb.level:
            self._climb.restart()
        else:
            self._climb.accepted(now)

    def _refuse(self, departure: Departure, now: float) -> None:
        self._refused = True
        self._dips.refused(departure, now, self._round_trip, deepest=self.interval(now) >= SLOWEST)
        if departure.probing or self._ceiling.on_trial:
            self._probing.refused()
        free = self._crowd.level is None or (self._doubt and self._crowd.refuted())
        gap = self._gap(departure)
        # In silence nothing is in flight but what is refused: then it is not for their number.
        silent = now - self._accepted_at
        crowded = silent < 2 * self._round_trip and self._crowd.refused(departure.together)
        if gap is not None and (self._ceiling.spaced or (free and (self._doubt or not crowded))):
            self._crowd.level, self._doubt = None, False
            self._ceiling.space(1 / gap, probed=departure.probing)
            self._probing.rest(departure, now)
        elif crowded and not self._ceiling.spaced:
            self._doubt = gap is not None
            self._crowds(departure, now)
        else:
            self._count(departure, now, silent)

    def _gap(self, departure: Departure) -> float | None:
        """How far apart they have to leave, if that refused request shows it.

        One at a time they leave about a round trip apart anyway, and as far is not told from that.
        """
        gap = self._spacing.refused(departure)
        known = gap is not None and (self._ceiling.spaced or gap < SPACED * self._round_trip)
        return gap if known else None

    def _crowds(self, departure: Departure, now: float) -> None:
        """It was refused for the number in flight."""
        self._ceiling.forget()
        if departure.probing and self._crowd.clean():
            self._ceiling.level *= 1 + self._probing.growth(now)  # was tried, and stood
        self._probing.rest(departure, now)

    def _count(self, departure: Departure, now: float, silent: float) -> None:
        """It was refused, and may show a rate; nothing was accepted for so many seconds."""
        asked = min(self._speed(departure.at), self._together(departure.at) / self._round_trip)
        if not self._ceiling.refused(departure, asked=asked, silent=silent):
            return
        if self._crowd.level is not None:
            self._crowd.level += int(self._crowd.level * self._probing.growth(now))  # was tried, and stood
        self._probing.rest(departure, now)
        if self._ceiling.misled():
            self._ceiling, self._spacing = Ceiling(), Spacing()
