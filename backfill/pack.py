"""Which calls go into one batch: greedy, in order, on the real bytes.

A batch is closed only where the next call does not fit: by bytes (envelope included), or by the number of calls.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from backfill.limits import Limits
from backfill.wire import COMMA, room_for_calls


class Packer:
    """Cuts a stream of calls into batches.

    Feed it with `push`: the sizes of some calls, each with the comma behind it; it returns where batches end. The open
    batch is carried over to the next push, so that the cuts do not depend on how the stream is sliced.
    """

    def __init__(self, limits: Limits) -> None:
        self._room = room_for_calls(limits) + COMMA
        self._most = limits.batch_calls
        self._bytes = 0  # of the open batch
        self._calls = 0

    def push(self, sizes: npt.NDArray[np.int64]) -> list[int]:
        """Indices into `sizes` at which a new batch begins: the call at that index did not fit the open one."""
        ends = np.cumsum(sizes)
        cuts: list[int] = []
        start = 0  # of the part of the open batch that lies in this push
        while start < len(sizes):
            before = int(ends[start - 1]) if start else 0
            by_bytes = int(np.searchsorted(ends, before + self._room - self._bytes, side="right"))
            stop = min(by_bytes, start + self._most - self._calls)
            if stop == len(sizes):
                self._bytes += int(ends[-1]) - before
                self._calls += stop - start
                break
            cuts.append(stop)
            self._bytes = self._calls = 0
            start = stop
        return cuts
