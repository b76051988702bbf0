"""Hands the ledger's batches to the senders, one planned batch at a time."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace

from backfill.frozen import frozen
from backfill.records import Batch, DeliveryLedger

#: Batches are fetched in groups of this many: one look into the ledger for each would cost as much as its commit.
GROUP = 64


@frozen
class BatchWork:
    """One sender's work: what is still to be delivered of one planned batch, in plan order."""

    batches: tuple[Batch, ...]  # the planned batch itself, or parts of it that an earlier process left
    put_aside: bool = False  # was begun by this process, and left for later

    @property
    def planned(self) -> int:
        """The id of the planned batch."""
        return self.batches[0].root or self.batches[0].id

    @property
    def accepted(self) -> bool:
        """Whether calls of the planned batch had been delivered when it was handed out."""
        return any(batch.fruitful for batch in self.batches)


class BatchQueue:
    """The batches still to be delivered, in plan order. Thread-safe.

    Holds about GROUP batches, and what was put aside.
    """

    def __init__(self, ledger: DeliveryLedger, chosen: Sequence[Batch] = ()) -> None:
        """`chosen`: no others are handed out."""
        self._ledger = ledger
        self._lock = threading.Lock()
        self._waiting: deque[Batch] = deque(chosen)
        self._aside: deque[BatchWork] = deque()
        self._recalled = False
        self._doubtful: list[int] = []
        self._taken = 0
        self._done = 0
        self._exhausted = bool(chosen)

    def take(self) -> BatchWork | None:
        """The next work, or None where there is none. What was put aside comes last, unless it was recalled."""
        with self._lock:
            if self._aside and (self._recalled or not self._fill()):
                self._taken += 1
                return self._aside.popleft()
            if not self._fill():
                return None
            self._taken += 1
            batches = [self._waiting.popleft()]
            root = batches[0].root
            while root is not None and self._fill() and self._waiting[0].root == root:
                batches.append(self._waiting.popleft())
            return BatchWork(tuple(batches))

    def take_first(self, cut: Callable[[Batch], Sequence[Batch]]) -> BatchWork | None:
        """The next batch, or the first of the parts that `cut` makes of it; the other parts are handed out next."""
        with self._lock:
            if not self._fill():
                return None
            first, *others = cut(self._waiting.popleft())
            self._waiting.extendleft(reversed(others))
            self._taken += 1
            return BatchWork((first,))

    def mark_done(self) -> None:
        """All batches of a work that was taken are delivered or rejected."""
        with self._lock:
            self._done += 1

    def put_aside(self, work: BatchWork, left: tuple[Batch, ...]) -> None:
        """Take back what is left of a work; it is handed out again after all others, or after `recall`."""
        with self._lock:
            self._taken -= 1
            self._recalled = False
            self._aside.append(replace(work, batches=left, put_aside=True))

    def pass_over(self, batches: tuple[int, ...]) -> None:
        """Note batches that were taken and not sent, being in doubt too long: they are not handed out again."""
        with self._lock:
            self._doubtful += batches

    def passed_over(self) -> tuple[int, ...]:
        """The ids of all batches passed over."""
        with self._lock:
            return tuple(sorted(self._doubtful))

    def recall(self) -> None:
        """Hand out next what was put aside."""
        with self._lock:
            self._recalled = True

    def complete(self) -> bool:
        """Whether every batch is done or was passed over."""
        with self._lock:
            return self._taken == self._done and not self._aside and not self._fill()

    def waiting(self, wanted: Callable[[Batch], bool]) -> tuple[int, ...]:
        """The ids of the batches fetched, but not taken, for which `wanted` holds."""
        with self._lock:
            return tuple(batch.id for batch in self._waiting if wanted(batch))

    def _fill(self) -> bool:
        if not self._waiting and not self._exhausted:
            self._waiting.extend(self._ledger.next_batches(GROUP))
            self._exhausted = not self._waiting
        return bool(self._waiting)
