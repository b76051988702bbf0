"""Tries a batch again until it is accepted, rejected or hopeless; a stop ends every wait in between.

What a target does not take is logged, and when it takes something again: waiting in silence looks like hanging.
"""

from __future__ import annotations

import dataclasses
import logging
import threading
from collections.abc import Callable

from backfill.clock import Clock
from backfill.deliver.model import Attempt, CutShortError, Sender
from backfill.deliver.pace import Pace
from backfill.records import Batch, Outcome
from backfill.verdict import Action, backoff

#: A wait looks this often whether the delivery is to end, in seconds.
SLICE_SECONDS = 0.1
#: An outage is logged at most this often, in seconds.
LOG_SECONDS = 60.0
#: An answer that puts us off is everyday business, unless the wait is that long or nothing came through for that long.
LONG_WAIT_SECONDS, LONG_SECONDS = 5.0, 10.0

_log = logging.getLogger(__name__)


class Waiter:
    """Sleeps in slices, so that a stop is noticed soon. Thread-safe."""

    def __init__(self, clock: Clock, stopping: Callable[[], bool], slept: Callable[[str, float], None]) -> None:
        """`stopping` tells whether the delivery is to end; `slept` is told the reason and the seconds of each wait."""
        self._clock = clock
        self._stopping = stopping
        self._slept = slept

    def wait(self, seconds: float, reason: str) -> None:
        """Return after that many seconds (0 or less: at once); CutShortError as soon as the delivery is to end."""
        start = self._clock.monotonic()
        try:
            while (left := start + seconds - self._clock.monotonic()) > 0 and not self._stopping():
                self._clock.sleep(min(left, SLICE_SECONDS))
        finally:
            if seconds > 0:
                self._slept(reason, self._clock.monotonic() - start)
        if self._stopping():
            raise CutShortError


class Outage:
    """From a failure until a target accepts something again. Thread-safe; shared by all senders."""

    def __init__(self, place: str, monotonic: Callable[[], float]) -> None:
        """`place` is what people know the target by."""
        self._place = place
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._began: float | None = None
        self._logged_at: float | None = None  # in this outage or an earlier one
        self._logged = False  # of this one

    def failed(self, attempt: Attempt, wait: float | None) -> None:
        """Log a failed attempt, made again after `wait` seconds; None: it is not, as its calls may have arrived."""
        answer = attempt.answer
        if answer is None:
            return
        with self._lock:
            now = self._monotonic()
            self._began = now if self._began is None else self._began
            lasts = now - self._began
            everyday = answer.status is not None and wait is not None and wait < LONG_WAIT_SECONDS
            if everyday and lasts < LONG_SECONDS:
                return
            if self._logged_at is not None and now - self._logged_at < LOG_SECONDS:
                return
            self._logged_at, self._logged = now, True
        what = answer.detail if answer.status is None else f"HTTP {answer.status}"
        since = f", nothing was accepted for {lasts:,.0f} s" if lasts >= LONG_SECONDS else ""
        next_time = "its calls stay in doubt" if wait is None else f"it is tried again in {wait:.1f} s"
        _log.warning("%s: %s%s; %s", self._place, what, since, next_time)

    def end(self) -> None:
        """Log the end of an outage: something was accepted."""
        with self._lock:
            began, logged = self._began, self._logged
            self._began, self._logged = None, False
            now = self._monotonic()
        if logged and began is not None:
            _log.warning("%s: calls are accepted again, after %.1f s", self._place, now - began)


class RetryingSender:
    """Repeats attempts whose verdict is RETRY. A `Retry-After` pauses all senders; that attempt does not count."""

    def __init__(
        self,
        inner: Sender,
        pace: Pace,
        waiter: Waiter,
        clock: Clock,
        outage: Outage,
        allows: Callable[[Batch], bool] = lambda _: True,
    ) -> None:
        """`allows` tells whether a batch may be sent again; if not, `inner` is asked at once, and sends nothing."""
        self._inner = inner
        self._pace = pace
        self._waiter = waiter
        self._clock = clock
        self._outage = outage
        self._allows = allows

    def send(self, batch: Batch, counted: int = 1) -> Attempt:
        """Returns the last attempt, whose action is never RETRY; CutShortError where the delivery ends before."""
        while (attempt := self._inner.send(batch, counted)).verdict.action is Action.RETRY:
            batch = after_attempt(batch, attempt)
            if not self._allows(batch):
                self._outage.failed(attempt, None)
                continue
            if attempt.verdict.after is not None:
                self._outage.failed(attempt, attempt.verdict.after)
                self._pace.pause(attempt.verdict.after)
                continue
            seconds = backoff(counted, self._clock.random())
            self._outage.failed(attempt, seconds)
            self._waiter.wait(seconds, "backoff")
            counted += 1
        if attempt.verdict.outcome is Outcome.ACCEPTED:
            self._outage.end()
        return attempt


def after_attempt(batch: Batch, attempt: Attempt) -> Batch:
    """The batch as it is after one more attempt: its number, and since when its outcome is unknown."""
    since = batch.first_unknown_at
    if attempt.verdict.outcome is Outcome.UNKNOWN:
        since = attempt.sent_at if since is None else min(since, attempt.sent_at)
    return dataclasses.replace(batch, attempts=attempt.number, first_unknown_at=since)
