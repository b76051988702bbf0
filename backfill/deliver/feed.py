"""Hands the ledger's batches to the senders, one at a time."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable

from backfill.records import Batch, DeliveryLedger

#: Batches are fetched in groups of this many: one look into the ledger for each would cost as much as its commit.
GROUP = 64


class Feed:
    """The batches still to be delivered, in plan order. Thread-safe; holds at most GROUP batches."""

    def __init__(self, ledger: DeliveryLedger) -> None:
        self._ledger = ledger
        self._lock = threading.Lock()
        self._waiting: deque[Batch] = deque()
        self._taken = 0
        self._settled = 0
        self._exhausted = False

    def take(self) -> Batch | None:
        """The next batch, or None where there are no more."""
        with self._lock:
            if not self._fill():
                return None
            self._taken += 1
            return self._waiting.popleft()

    def settle(self) -> None:
        """A batch taken is delivered or rejected."""
        with self._lock:
            self._settled += 1

    def complete(self) -> bool:
        """Whether every batch was taken and settled."""
        with self._lock:
            return self._taken == self._settled and not self._fill()

    def waiting(self, wanted: Callable[[Batch], bool]) -> tuple[int, ...]:
        """The ids of those fetched, but not taken, for which `wanted` holds."""
        with self._lock:
            return tuple(batch.id for batch in self._waiting if wanted(batch))

    def _fill(self) -> bool:
        if not self._waiting and not self._exhausted:
            self._waiting.extend(self._ledger.next_batches(GROUP))
            self._exhausted = not self._waiting
        return bool(self._waiting)
