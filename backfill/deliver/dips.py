"""The halving after a refusal, and the way back. Pure."""

from __future__ import annotations

import math

from backfill.deliver.departure import Departure

#: A halving is taken back within that share of a round trip, little by little. Sooner costs less speed where refusals
#: come by chance, later refuses less until a limit is found.
BACK = 0.5


class Dips:
    """How many times the concurrency is halved just now: once more for a refusal, once in a round trip at most.

    A refused request that left before the last halving says nothing about what it did. The last halving is taken back
    by time; each before that only when something is accepted, so that a target that refuses everything is asked ever
    less.
    """

    def __init__(self) -> None:
        self.depth = 0.0
        self._halved = self._changed = -math.inf
        self._accepted = True  # since it was halved

    def halvings(self, now: float, round_trip: float) -> float:
        """By how many halvings less is allowed at that time."""
        return max(0.0, self.depth - min(1.0, (now - self._changed) / (BACK * round_trip)))

    def refused(self, departure: Departure, now: float, round_trip: float, *, deepest: bool) -> None:
        """It was refused; `deepest`: another halving would be one too many."""
        if departure.at > self._halved and now - self._halved >= round_trip:
            depth = self.halvings(now, round_trip) if self._accepted else self.depth
            self.depth = self.depth if deepest else depth + 1
            self._halved = self._changed = now
            self._accepted = False

    def offset(self, times: float) -> None:
        """That many times as much is allowed from now on, but for halvings: it shall come with the way back."""
        self.depth += math.log2(times)

    def accepted(self, now: float, round_trip: float) -> None:
        """Something was accepted."""
        self._accepted = True
        if self.depth and now - self._changed >= round_trip:
            self.depth = max(0.0, self.depth - 1)
            self._changed = now
