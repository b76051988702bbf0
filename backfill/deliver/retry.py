"""Tries a batch again until it is accepted, rejected or hopeless, and waits in between; a stop ends every wait."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from backfill.deliver.model import Attempt, Clock, CutShortError, Sender
from backfill.deliver.outage import Outage
from backfill.deliver.pace import Pace
from backfill.records import Batch, Outcome
from backfill.verdict import Action, backoff

#: A wait looks this often whether the delivery is to end, in seconds.
SLICE_SECONDS = 0.1


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
