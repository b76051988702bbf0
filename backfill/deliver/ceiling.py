"""How many requests a second a target takes, where that is what it limits. Pure.

Refusals alone do not tell the rate: halving after each keeps them few, however much is tried. What comes through
between two of them does: a limit that refused both was used up both times, so that what was accepted in between is what
it grants in that time, whether it saves up bursts or not.
"""

from __future__ import annotations

import math

from backfill.deliver.departure import Departure

#: So many refused after a first one, at least that share of the requests, make a limit: more than 1%. Fewer refuse less
#: at slow targets, more bear chance refusals better.
TOO_MANY, AMONG = 4, 400
#: They also lie so many seconds apart (many targets count by the second and refuse all the rest of it), and so many
#: requests came through between them.
SECOND, ENOUGH = 1.0, 10
#: The rate is set to this share of what came through; and, after a probe, to that of what was tried when the first one
#: was refused: no limit saved up is as good as none. Lower uses less, higher has requests refused that come unevenly.
MARGIN, BELOW = 0.96, 0.9
#: It is lowered at once to this share at most. If more came through, it may have been chance.
LEAST = 0.6
#: Where requests are to lie apart, half of those a little too close are refused: that tells no rate. It is lowered by
#: steps: this one, and the greater one where at least that share was refused.
STEP, GREAT_STEP, MANY = 0.98, 0.9, 0.2


class Ceiling:
    """The rate to which a target's refusals lead."""

    def __init__(self) -> None:
        self.level = math.inf  # requests a second
        self.on_trial = False  # it is what a probe suggests
        self._bursts = False  # what a probe suggests was too much before
        # How often in a row a lower rate was of no use: so many times as many must be refused before it is lowered.
        self._vain, self._clean = 0, True
        self._first: Departure | None = None  # of the refused ones that are counted
        self._asked, self._drought = 0.0, False
        self._refused = self._last = 0
        self._found: Departure | None = None  # the one by which the level was found, and how many were refused since
        self._since = 0
        self.spaced = 0.0  # the rate at which they lie just as far apart as they have to; 0: that is not the limit

    def forget(self) -> None:
        """What was refused lately had another reason."""
        self._first = None

    def space(self, rate: float, *, probed: bool) -> None:
        """They have to lie 1 / rate apart; `probed`: more than the level was tried, which is no reason to lower it."""
        if self.spaced and not probed:
            self.level = min(rate, self.level)
        else:
            self.level = self.spaced = max(rate, self.level) if self.spaced else rate
        self.on_trial = False
        self._first = None

    def misled(self) -> bool:
        """Whether far less than the spacing allows is taken, so that this is not the limit."""
        return self.level < LEAST * self.spaced

    def refused(self, departure: Departure, *, asked: float, silent: float) -> bool:
        """It was refused; whether that leads to another level, which is then set.

        Args:
            departure: the request.
            asked: requests a second that were tried when it left.
            silent: seconds since anything was accepted.
        """
        self._note(departure)
        if self._first is None or not self._belongs(self._first, departure):
            self._first, self._refused = departure, 0
            self._asked, self._drought = asked, False
            return False
        self._refused += 1
        self._drought = self._drought or silent > SECOND
        accepted, seconds = departure.number - self._first.number - self._refused, departure.at - self._first.at
        if self._refused < self._bound() or accepted < ENOUGH or seconds < SECOND:
            return False
        if self._drought and self._found is not None:  # a limit over many seconds: from one drought to the next
            accepted = max(accepted, departure.number - self._found.number - self._since)
            seconds = departure.at - self._found.at
        if not self.spaced:
            self._set(accepted / seconds, probed=self._first.probing)
        elif not self._first.probing:
            self.level *= STEP if self._refused < MANY * (self._refused + accepted) else GREAT_STEP
        self._first = None
        self._found, self._since = departure, 0
        return True

    def _bound(self) -> int:
        return TOO_MANY * (1 + self._vain)

    def _note(self, departure: Departure) -> None:
        if self._found is None:
            self._found = departure
        self._since += 1
        if departure.number - self._last > 2 * AMONG:
            self._vain, self._clean = max(0, self._vain - 1), True
        self._last = max(self._last, departure.number)

    def _belongs(self, first: Departure, departure: Departure) -> bool:
        """Whether it is counted with that first one."""
        count = departure.number - first.number
        often = count <= AMONG or self._refused * AMONG >= self._bound() * count
        return often and departure.probing <= first.probing

    def _set(self, seen: float, *, probed: bool) -> None:
        """So many a second came through."""
        level = MARGIN * seen
        if seen <= LEAST * self._asked:
            self._vain = 0
        elif not self._clean:
            self._vain += 1
        self._clean = False
        if probed and self.level < math.inf:
            level = max(level, self.level)
            if not self._bursts:
                level = max(level, BELOW * self._asked)
                self.on_trial = True
        elif self.level < math.inf:
            level = max(level, LEAST * self.level)
            self._bursts = self._bursts or self.on_trial
            self.on_trial = False
        self.level = level
