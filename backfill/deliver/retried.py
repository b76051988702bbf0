"""Again, until a batch is accepted, rejected or hopeless."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from backfill.deliver.model import Attempt, Clock, Sender
from backfill.deliver.outage import Outage
from backfill.deliver.waiting import Pause, Waiter
from backfill.records import Batch, Outcome
from backfill.verdict import Action, backoff


class Retried:
    """Repeats what is to be repeated. A pause that the target asks for holds all senders and counts as no attempt."""

    def __init__(
        self,
        inner: Sender,
        pause: Pause,
        waiter: Waiter,
        clock: Clock,
        outage: Outage,
        allows: Callable[[Batch], bool] = lambda _: True,
    ) -> None:
        """`allows` tells whether a batch may be sent again: else `inner` only says why not, which need not wait."""
        self._inner = inner
        self._pause = pause
        self._waiter = waiter
        self._clock = clock
        self._outage = outage
        self._allows = allows

    def send(self, batch: Batch, counted: int = 1) -> Attempt:
        """The last attempt: its action is never RETRY. HaltedError where the delivery ends before there is one."""
        while (attempt := self._inner.send(batch, counted)).verdict.action is Action.RETRY:
            batch = after_attempt(batch, attempt)
            if not self._allows(batch):
                self._outage.failed(attempt, None)
                continue
            if attempt.verdict.after is not None:
                self._outage.failed(attempt, attempt.verdict.after)
                self._pause.extend(attempt.verdict.after)
                continue
            seconds = backoff(counted, self._clock.random())
            self._outage.failed(attempt, seconds)
            self._waiter.wait(seconds, "backoff")
            counted += 1
        if attempt.verdict.outcome is Outcome.ACCEPTED:
            self._outage.over()
        return attempt


def after_attempt(batch: Batch, attempt: Attempt) -> Batch:
    """The batch as it is after one more attempt: its number, and since when its outcome is unknown."""
    since = batch.first_unknown_at
    if attempt.verdict.outcome is Outcome.UNKNOWN:
        since = attempt.sent_at if since is None else min(since, attempt.sent_at)
    return dataclasses.replace(batch, attempts=attempt.number, first_unknown_at=since)
