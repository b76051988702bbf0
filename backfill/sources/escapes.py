"""Which signs of escape in a text escape something: what formats with escapes have in common."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def effective(escapes: NDArray[np.int64]) -> NDArray[np.int64]:
    """Of all places of the escape those that escape something: the first, third ... of each run."""
    firsts = np.flatnonzero(np.diff(escapes, prepend=-2) != 1)
    lengths = np.diff(firsts, append=len(escapes))
    found: NDArray[np.int64] = escapes[(np.arange(len(escapes)) - np.repeat(firsts, lengths)) % 2 == 0]
    return found
