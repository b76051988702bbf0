"""A request that left, as the pace remembers it. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Departure:
    """A request that left."""

    at: float  # by the monotonic clock
    together: int = 1  # in flight, itself included
    probing: bool = False  # while more were tried at once than are known to be good
    asked: float = math.inf  # requests a second that were allowed, but for halvings
