"""Slots: as many requests in flight at once as the target is found to take."""

from __future__ import annotations

import heapq
import threading
from collections.abc import Callable

from backfill.deliver.concurrency import Control
from backfill.deliver.departure import Departure
from backfill.deliver.model import Attempt, HaltedError
from backfill.records import Outcome
from backfill.verdict import Action

#: Who waits for a slot looks this often whether there is one, or the delivery is to end, in seconds.
LOOK_SECONDS = 0.1
TOO_MANY_REQUESTS, UNAVAILABLE = 429, 503


def is_refusal(attempt: Attempt) -> bool:
    """Whether the target had too much to do: 429, or 503 without saying when to come back."""
    status = attempt.answer.status if attempt.answer else None
    return status == TOO_MANY_REQUESTS or (status == UNAVAILABLE and attempt.verdict.after is None)


class Slots:
    """The slots of all senders. Thread-safe.

    Batches that were begun go before fresh ones, so that none grows old in a wait; then the sender with the lowest
    number goes first, so that few connections are kept busy, and not many half idle.
    """

    def __init__(self, control: Control, monotonic: Callable[[], float]) -> None:
        self._control = control
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._taken = 0
        self._waiting: list[tuple[bool, int, threading.Event]] = []

    def take(self, number: int, halted: Callable[[], bool], *, begun: bool) -> None:
        """Wait for a slot for the sender of that number; HaltedError as soon as the delivery is to end."""
        granted = threading.Event()
        with self._lock:
            heapq.heappush(self._waiting, (not begun, number, granted))
            self._grant()
        while not granted.wait(LOOK_SECONDS) and not halted():
            with self._lock:
                self._grant()  # the limit grows with time alone, too
        if halted():
            self._withdraw(granted)
            raise HaltedError

    def keep(self) -> bool:
        """Whether who has a slot may use it again at once, which spares a change of threads; else it is given back."""
        with self._lock:
            begun_waits = bool(self._waiting) and not self._waiting[0][0]
            if begun_waits or self._taken > self._control.limit(self._monotonic()):
                self._taken -= 1
                self._grant()
                return False
            return True

    def give_back(self) -> None:
        """A slot is free."""
        with self._lock:
            self._taken -= 1
            self._grant()

    def _withdraw(self, granted: threading.Event) -> None:
        with self._lock:
            if granted.is_set():
                self._taken -= 1
            else:
                self._waiting = [entry for entry in self._waiting if entry[2] is not granted]
                heapq.heapify(self._waiting)

    def _grant(self) -> None:
        limit = self._control.limit(self._monotonic())
        while self._waiting and self._taken < limit:
            self._taken += 1
            heapq.heappop(self._waiting)[2].set()

    def interval(self) -> float:
        """Seconds to lie between one request and the next, as far as the target's refusals say."""
        with self._lock:
            return self._control.interval(self._monotonic())

    def left(self) -> Departure:
        """A request leaves now."""
        with self._lock:
            return self._control.left(self._monotonic())

    def ended(self, departure: Departure, attempt: Attempt | None) -> None:
        """It has ended; None where nobody knows how."""
        accepted = attempt is not None and attempt.verdict.outcome is Outcome.ACCEPTED
        refused = attempt is not None and attempt.verdict.action in (Action.RETRY, Action.STOP) and is_refusal(attempt)
        with self._lock:
            self._control.ended(departure, self._monotonic(), accepted=accepted, refused=refused)


class Slot:
    """One sender's slot. Used by one thread."""

    def __init__(self, slots: Slots, number: int, halted: Callable[[], bool]) -> None:
        self._slots = slots
        self._number = number
        self._halted = halted
        self._mine = False

    def take(self, *, begun: bool) -> None:
        """Wait for a slot, unless there is one already; HaltedError as soon as the delivery is to end."""
        if not self._mine:
            self._slots.take(self._number, self._halted, begun=begun)
            self._mine = True

    def keep(self) -> None:
        """Keep it for the next request, which follows at once, unless somebody else should have it."""
        self._mine = self._mine and self._slots.keep()

    def give_back(self) -> None:
        """Let somebody else have it; nothing, where there is none."""
        if self._mine:
            self._mine = False
            self._slots.give_back()
