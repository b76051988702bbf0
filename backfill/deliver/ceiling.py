"""How many requests a second a target takes, where that is what it limits. Pure.

Each refused request takes a part off the rate, each accepted one adds so little to it that the two balance where the
share TOLERATED is refused: multiplicative decrease and increase. That finds every limit that has to do with how fast
requests come, strict or saved up for a while, sharp or blurred, without a guess at its kind. What leaves late because a
thread woke up late is made up for, too.
"""

from __future__ import annotations

import math

from backfill.deliver.chance import Chance
from backfill.deliver.departure import Departure

#: The share of requests that may be refused to keep the rate where it is, and what each of them takes off. More refuses
#: more and uses more.
TOLERATED, CUT = 0.007, 0.04
#: The rate grows by that share in a second at first, and by twice of it so many seconds after a refusal: slow targets
#: are probed by the request, fast ones by the second. Slower finds later that a target takes more.
SLOPE, BEND = 0.015, 3.0
#: So many refusals more than are tolerated show that there is a limit at all. Fewer find it sooner, more bear chance
#: better.
EVIDENCE = 5.0
#: Where so many seconds lie between two refusals, and so many requests came through, those seconds tell the rate: many
#: targets count by the second or the minute and refuse all the rest of it. They do if less than that share of what was
#: allowed came through, and lower it to half at most: an outage tells nothing.
SECONDS, ENOUGH, LEAST, LOWEST = 1.0, 10, 0.85, 0.5
#: A rate so many times what the requests in flight make possible is none: they leave no closer anyway. It is
#: forgotten after so many requests without a refusal.
FREE, FREED = 1.5, 100


class Ceiling:
    """The rate to which a target's refusals lead."""

    def __init__(self) -> None:
        self.level = math.inf  # requests a second
        self._chance = Chance()
        self._evidence = 0.0
        self._cut, self._cut_at = math.inf, -math.inf  # the level after the last cut, and when that was
        self._through = 0  # accepted since
        self._proven = True  # one that left since was accepted
        self._accepted_at = -math.inf

    def accepted(self, departure: Departure, now: float, possible: float) -> None:
        """It was accepted; `possible`: requests a second that those in flight make possible."""
        self._through += 1
        self._proven = self._proven or departure.at > self._cut_at
        self._evidence = max(0.0, self._evidence - TOLERATED - self._chance.share)
        if self.level < math.inf:
            self.level = min(self.level * (1 + self._growth(now)), FREE * possible)
            if self.level == FREE * possible and self._through > FREED:
                self.level, self._evidence = math.inf, 0.0
        self._chance.accepted(self.level)
        self._accepted_at = now

    def refused(self, departure: Departure, now: float) -> None:
        """It was refused. Counts but once in a round trip: when one that left since the last time was accepted."""
        self._chance.refused()
        if not self._proven:
            return
        if self.level < math.inf:
            self._chance.cut(regained=self.level >= self._cut * (1 + CUT / 2))
            self._set(self._chance.judged(self._lower(now)), now)
        else:
            self._evidence += 1
            if self._evidence >= EVIDENCE:
                self.found(departure.asked, now)

    def found(self, asked: float, now: float) -> None:
        """So many a second were too many."""
        self._chance.begin(asked)
        self._set(asked * (1 - CUT), now)

    def _growth(self, now: float) -> float:
        seconds = now - self._cut_at
        by_the_second = SLOPE * (1 + (seconds / BEND) ** 2) * (now - max(self._accepted_at, self._cut_at))
        by_the_request = CUT * TOLERATED * (1 + (self._through * TOLERATED) ** 2)
        return min(by_the_second, by_the_request) + CUT * self._chance.share

    def _lower(self, now: float) -> float:
        seconds = now - self._cut_at
        if seconds >= SECONDS and self._through >= ENOUGH and self._through / seconds < LEAST * self._cut:
            return max(self._through / seconds, LOWEST * self.level)
        return self.level * (1 - CUT)

    def _set(self, level: float, now: float) -> None:
        self.level = self._cut = level
        self._cut_at, self._through, self._proven = now, 0, False
