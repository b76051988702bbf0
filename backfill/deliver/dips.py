"""The halving after a refusal, and the way back. Pure."""

from __future__ import annotations

import math

from backfill.deliver.departure import Departure


class Dips:
    """How many times the concurrency is halved just now: once more for a refusal, once in a round trip at most.

    A refused request that left before the last halving says nothing about what it did. A round trip later the last
    halving is taken back; the next one only when something is accepted, so that a target that refuses everything is
    asked ever less.
    """

    def __init__(self) -> None:
        self.depth = 0
        self._halved = self._changed = -math.inf

    def halvings(self, now: float, round_trip: float) -> int:
        """By how many halvings less is allowed at that time."""
        return max(0, self.depth - (now - self._changed >= round_trip))

    def refused(self, departure: Departure, now: float, round_trip: float, *, deepest: bool) -> None:
        """It was refused; `deepest`: another halving would be one too many."""
        if departure.at > self._halved and now - self._halved >= round_trip:
            self.depth += not deepest
            self._halved = self._changed = now

    def accepted(self, now: float, round_trip: float) -> None:
        """Something was accepted."""
        if self.depth and now - self._changed >= round_trip:
            self.depth -= 1
            self._changed = now
