"""Waits that a stop ends at once, and those that all senders share: slots, the target's pause, the rate."""

from __future__ import annotations

import threading
from collections.abc import Callable

from backfill.deliver.departure import Departure
from backfill.deliver.model import Attempt, Clock, HaltedError, Sender
from backfill.deliver.slots import Slot, Slots
from backfill.records import Batch
from backfill.verdict import Action

#: A wait looks this often whether the delivery is to end, in seconds.
SLICE_SECONDS = 0.1


class Waiter:
    """Sleeps in slices. `halted` tells whether to give up, `slept` is told what was slept and for what reason."""

    def __init__(self, clock: Clock, halted: Callable[[], bool], slept: Callable[[str, float], None]) -> None:
        self._clock = clock
        self._halted = halted
        self._slept = slept

    def wait(self, seconds: float, reason: str) -> None:
        """Return after that many seconds (0 or less: at once); HaltedError as soon as the delivery is to end."""
        start = self._clock.monotonic()
        try:
            while (left := start + seconds - self._clock.monotonic()) > 0 and not self._halted():
                self._clock.sleep(min(left, SLICE_SECONDS))
        finally:
            if seconds > 0:
                self._slept(reason, self._clock.monotonic() - start)
        if self._halted():
            raise HaltedError


class Pause:
    """The time until which no sender of the run may send. Thread-safe."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._until = 0.0

    def extend(self, seconds: float) -> None:
        """Nothing leaves for that many seconds from now, or for longer where that was so already."""
        with self._lock:
            self._until = max(self._until, self._monotonic() + seconds)

    def left(self) -> float:
        """Seconds still to wait; 0 or less where there is no pause."""
        return self._until - self._monotonic()


class Pace:
    """Turns, so that requests leave at a rate. Thread-safe.

    A turn is reserved before it is waited for, and the next one begins calls / rate later, whether or not the sender
    woke up on time: so the mean is the rate as long as senders keep up. What was not used is gone: no burst follows an
    idle time. But turns are taken up late, by the time that it took to wake up and to write the ledger, now more and
    now less. Therefore `leave` asks once more, right before the request leaves: there, calls / rate lie between one
    and the next, so that in any window of W seconds at most rate x W calls and one batch more leave. Likewise for the
    rate in requests a second, and for what refusals ask for; all hold at once.
    """

    def __init__(
        self,
        rate: float | None,
        monotonic: Callable[[], float],
        *,
        requests: float | None = None,
        least: Callable[[], float] = lambda: 0.0,
    ) -> None:
        """`rate` in calls, `requests` in requests a second, None for no limit; `least`: seconds between requests."""
        self._per_call = 1 / rate if rate else 0.0
        self._per_request = 1 / requests if requests else 0.0
        self._least = least
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._free = self._open = monotonic()

    def reserve(self, calls: int) -> float:
        """Take the next turn for that many calls; returns the seconds to wait for it."""
        span = max(self._span(calls), self._least())
        with self._lock:
            now = self._monotonic()
            turn = max(now, self._free)
            self._free = turn + span
            return turn - now

    def leave(self, calls: int) -> float:
        """Leave now, if that returns 0; else ask again after so many seconds."""
        span = max(self._span(calls), self._least())
        with self._lock:
            now = self._monotonic()
            if now < self._open:
                return self._open - now
            self._open = now + span
            return 0.0

    def _span(self, calls: int) -> float:
        return max(calls * self._per_call, self._per_request)


class Gate:
    """The last door of one sender's requests: notes what leaves when, so that the slots learn what came of it."""

    def __init__(self, pace: Pace, slots: Slots, waiter: Waiter) -> None:
        """`waiter` gives up only where nobody waits any more for what is in flight."""
        self._pace = pace
        self._slots = slots
        self._waiter = waiter
        self._departure: Departure | None = None

    def leave(self, batch: Batch) -> None:
        """Return when the request may leave, which it then does."""
        while (seconds := self._pace.leave(batch.calls)) > 0:
            self._waiter.wait(seconds, "pace")
        self._departure = self._slots.left()

    def ended(self, attempt: Attempt | None) -> None:
        """The attempt has ended, or failed in a way that says nothing about the target; it may not even have left."""
        if self._departure is not None:
            self._slots.ended(self._departure, attempt)
            self._departure = None


class Paced:
    """Waits for a slot, for the pause and for a turn, then sends."""

    def __init__(self, inner: Sender, gate: Gate, slot: Slot, pause: Pause, pace: Pace, waiter: Waiter) -> None:
        self._inner = inner
        self._gate = gate
        self._slot = slot
        self._pause = pause
        self._pace = pace
        self._waiter = waiter

    def send(self, batch: Batch, counted: int) -> Attempt:
        """Send once it is this batch's turn; HaltedError where the delivery ends before."""
        self._slot.take(begun=True)
        attempt: Attempt | None = None
        try:
            self._wait(batch)
            attempt = self._inner.send(batch, counted)
        finally:
            self._gate.ended(attempt)
            if attempt is None or attempt.verdict.action is Action.RETRY:
                self._slot.give_back()
            else:
                self._slot.keep()
        return attempt

    def _wait(self, batch: Batch) -> None:
        while True:
            self._waiter.wait(self._pause.left(), "retry_after")
            self._waiter.wait(self._pace.reserve(batch.calls), "pace")
            # A pause may have begun meanwhile. The turn is then lost: those who waited must not leave together.
            if self._pause.left() <= 0:
                return
