"""A request that left, as the pace remembers it. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Departure:
    """A request that left."""

    at: float  # by the monotonic clock
    number: int = 0  # of all that left
    together: int = 1  # in flight, itself included
    probing: bool = False  # while more was tried than is known to be good
    gap: float = math.inf  # seconds since the one before that was not refused
