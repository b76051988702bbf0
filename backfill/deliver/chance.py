"""Refusals that have nothing to do with how fast requests come. Pure.

Lowering the rate is of no use against them, and that is how they show: their share does not fall with it. A limit's
refusals cease a little below it.
"""

from __future__ import annotations

import math

#: Once the rate has fallen to that share of what it was, it is judged: if no more than so many were refused all the
#: while, and on the lower half of the way at least that part of their share, they come by chance.
FALLEN, MOST, LATE = 0.7, 0.04, 0.5
#: That share is then allowed for, and a little more, so that the rate comes back.
SURE = 1.5
#: A limit refuses when the rate has grown back to it, chance at any time. Each refusal that came then makes chance
#: less likely by that factor; each that came before makes it more likely, by one that outweighs it where they are
#: chance: about 28 of 100 are then too early.
LESS = 0.93
MORE = LESS**-2.6


class Chance:
    """The share of requests that is refused whatever the rate."""

    def __init__(self) -> None:
        self.share = 0.0
        self._found = 0.0  # when it was judged last
        self._highest = math.inf  # the rate before it fell
        self._requests = self._refused = 0  # since then
        self._middle: tuple[int, int] | None = None  # the same two when it was half way down

    def begin(self, rate: float) -> None:
        """From here on it is watched whether the refusals go when the rate falls."""
        self._highest, self._requests, self._refused, self._middle = rate, 0, 0, None

    def accepted(self, rate: float) -> None:
        """A request was accepted; the rate is now that, or infinite."""
        self._requests += 1
        if self._highest < rate < math.inf:
            self.begin(rate)

    def refused(self) -> None:
        """A request was refused."""
        self._requests += 1
        self._refused += 1

    def cut(self, *, regained: bool) -> None:
        """The rate is to fall; `regained`: it had grown back most of the way that it fell the last time."""
        self.share = min(self.share * (LESS if regained else MORE), self._found)

    def judged(self, rate: float) -> float:
        """The rate is to fall to that: the same, or what it was before it fell in vain."""
        if self._middle is None and rate < math.sqrt(FALLEN) * self._highest:
            self._middle = self._requests, self._refused
        if rate >= FALLEN * self._highest:
            return rate
        if self._stays():
            rate = self._highest
            self.share = self._found = max(self.share, SURE * self._refused / self._requests)
        self.begin(rate)
        return rate

    def _stays(self) -> bool:
        """Whether as many are refused at the lower rate."""
        requests, refused = self._middle or (0, 0)
        share = self._refused / self._requests
        late = (self._refused - refused) / max(1, self._requests - requests)
        return share <= MOST and late >= LATE * share
