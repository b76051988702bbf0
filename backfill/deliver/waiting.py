"""Waits that a stop ends at once, and the two that all senders share: the target's pause and the rate."""

from __future__ import annotations

import threading
from collections.abc import Callable

from backfill.deliver.model import Attempt, Clock, HaltedError, Sender
from backfill.records import Batch

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
    """Turns, so that calls leave at a rate. Thread-safe.

    A turn is reserved before it is waited for, and the next one begins calls / rate later, whether or not the sender
    woke up on time. So the mean is the rate as long as senders keep up, and in any window of W seconds at most
    rate x W calls and one batch more begin. What was not used is gone: no burst follows an idle time.
    """

    def __init__(self, rate: float | None, monotonic: Callable[[], float]) -> None:
        self._rate = rate
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._free = monotonic()

    def reserve(self, calls: int) -> float:
        """Take the next turn for that many calls; returns the seconds to wait for it."""
        if self._rate is None:
            return 0.0
        with self._lock:
            now = self._monotonic()
            turn = max(now, self._free)
            self._free = turn + calls / self._rate
            return turn - now


class Paced:
    """Waits for the pause and for a turn, then sends."""

    def __init__(self, inner: Sender, pause: Pause, pace: Pace, waiter: Waiter) -> None:
        self._inner = inner
        self._pause = pause
        self._pace = pace
        self._waiter = waiter

    def send(self, batch: Batch, counted: int) -> Attempt:
        """Send once it is this batch's turn; HaltedError where the delivery ends before."""
        while True:
            self._waiter.wait(self._pause.left(), "retry_after")
            self._waiter.wait(self._pace.reserve(batch.calls), "pace")
            # A pause may have begun meanwhile. The turn is then lost: those who waited must not leave together.
            if self._pause.left() <= 0:
                return self._inner.send(batch, counted)
