"""When the next request may leave: one turn a request, taken before the ledger marks it as sent.

It is due when the stated rates, the pause that a `Retry-After` asked for, and the rate found out all allow it.

A target that is asked too fast answers 429 or 503 and seldom says how fast is slow enough. That rate is found out by
CUBIC, which TCP uses to find the capacity of a path (RFC 9438), here on requests a second. Nothing is limited before
the first refusal. Then requests leave at FIRST_RATE, which doubles each second until one is refused again (slow start).
From then on, n requests after the last refusal,

    rate = last x (1 + (1 - CUT) x (n / PLATEAU - 1)^3)

where `last` is the rate that was refused: the rate drops to CUT x last, comes back quickly, stays near `last` for long,
and grows ever faster beyond it. RFC 9438 counts seconds, not requests; it would try a target that takes five requests
a second as often as one that takes five hundred, and have a far greater part of them refused.
"""

from __future__ import annotations

import json
import math
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from http import HTTPStatus
from typing import TypeVar

from backfill.deliver.model import Attempt, Sender
from backfill.records import Batch, Outcome, SharedPace
from backfill.verdict import Action

T = TypeVar("T")

#: The rate after a refusal, as a share of the refused one (RFC 9438: 0.7, which leaves more of a steady limit unused).
CUT = 0.9
#: Requests until the refused rate is reached again, but no more than leave in PLATEAU_SECONDS, and no fewer than in
#: PLATEAU_ROUND_TRIPS, since it takes one to learn of a refusal. Fewer find more capacity sooner, more have fewer
#: refused: at a steady limit about one in PLATEAU is.
PLATEAU, PLATEAU_SECONDS, PLATEAU_ROUND_TRIPS = 64, 20.0, 10
#: Requests a second when slow start begins, and those below which no rate is refused.
FIRST_RATE, LEAST_RATE = 5.0, 0.1


@dataclass(slots=True)
class FoundRate:
    """The requests a second to which a target's refusals lead. Pure; times are those of a clock that never jumps."""

    rate: float = math.inf
    _last: float | None = None  # the rate refused last; None until slow start is over
    _cut_at: float = -math.inf
    _round_trip: float = 0.0
    _requests: int = 0  # since the cut
    _tested: bool = True  # a request that left after the last cut was accepted

    def as_list(self) -> list[float | None]:
        """Its fields, in their order."""
        return [self.rate, self._last, self._cut_at, self._round_trip, self._requests, self._tested]

    def move(self, seconds: float) -> None:
        """The clock was set forward by that."""
        self._cut_at += seconds

    def used(self) -> None:
        """A request left as soon as the rate let it; others say nothing, as the rate is not what limits them."""
        if self._last is None:
            self.rate *= 2 ** (1 / self.rate)  # by as much as doubles it in a second
        else:
            seconds = max(PLATEAU_ROUND_TRIPS * self._round_trip, min(PLATEAU / self._last, PLATEAU_SECONDS))
            self._requests += 1
            self.rate = self._last * (1 + (1 - CUT) * (self._requests / (seconds * self._last) - 1) ** 3)

    def accepted(self, left_at: float, now: float) -> None:
        """A request that left then was accepted."""
        self._round_trip += (now - left_at - self._round_trip) / 8  # as smoothed as TCP's (RFC 6298)
        self._tested = self._tested or left_at > self._cut_at

    def refused(self, left_at: float, now: float) -> None:
        """One was refused; lowers the rate, unless it left before that was lowered, or nothing was accepted since."""
        if left_at <= self._cut_at or not self._tested:
            return
        self._cut_at, self._tested, self._requests = now, False, 0
        if self.rate == math.inf:
            self.rate = FIRST_RATE
            return
        # Half way down only: a refusal by chance is not to cost all that was regained since the last one.
        self._last = max(self.rate, ((self._last or self.rate) + self.rate) / 2, LEAST_RATE)
        self.rate = CUT * min(self.rate, self._last)


@dataclass(slots=True)
class Turns:
    """What is known of the turns taken: by one process in memory, by several as text that they share."""

    stated_due: float = -math.inf  # by the stated rates
    paused_until: float = -math.inf
    left_at: float = -math.inf
    found: FoundRate = field(default_factory=FoundRate)

    @classmethod
    def read(cls, text: str, now: float) -> Turns:
        """Those that were written so. Where the clock was set back since, all times are moved with it."""
        if not text:
            return cls()
        at, stated_due, paused_until, left_at, found = json.loads(text)
        turns = cls(stated_due, paused_until, left_at, FoundRate(*found))
        if now < at:
            turns.move(now - at)
        return turns

    def write(self, now: float) -> str:
        """As JSON, with infinities as Python's own has them."""
        return json.dumps([now, self.stated_due, self.paused_until, self.left_at, self.found.as_list()])

    def move(self, seconds: float) -> None:
        """The clock was set forward by that."""
        self.stated_due += seconds
        self.paused_until += seconds
        self.left_at += seconds
        self.found.move(seconds)


class Pace:
    """The turns of all senders of a delivery. Thread-safe."""

    def __init__(
        self,
        rate: float | None,
        requests: float | None,
        monotonic: Callable[[], float],
        shared: SharedPace | None = None,
    ) -> None:
        """`rate` in calls, `requests` in requests a second, None for no limit; `shared`: with other processes."""
        self._per_call = 1 / rate if rate else 0.0
        self._per_request = 1 / requests if requests else 0.0
        self._monotonic = monotonic
        self._shared = shared
        self._line = threading.Lock()  # held by the sender whose turn is next; the others queue for it
        self._lock = threading.Lock()
        self._turns = Turns()  # as they were last, where they are shared
        self._now = 0.0  # when that was

    def take(self, calls: int, wait: Callable[[float, str], None]) -> float:
        """Wait for a turn, with the means to wait for a reason; returns when the request left."""
        came = self._monotonic()
        with self._line:
            wait(0.0, "pace")  # gives up where the delivery ended while this one queued
            while (seconds := self.ask(calls, came)) > 0:
                wait(seconds, "retry_after" if self._turns.paused_until > self._now else "pace")
            return self._turns.left_at

    def ask(self, calls: int, came: float) -> float:
        """0 where a request of `calls` calls, ready since `came`, leaves now; else the seconds until its turn is due.

        By the stated rates the next turn is due calls / rate after this one was, however late its sender woke up, so
        that the mean is the stated rate. Turns not taken are lost: no burst follows an idle time.
        """

        def step(turns: Turns, now: float) -> float:
            ready = came if self._shared is None else now - (self._monotonic() - came)
            found_due = turns.left_at + 1 / turns.found.rate
            due = max(turns.stated_due, turns.paused_until, found_due)
            if due > now:
                return due - now
            if ready < found_due == due:
                turns.found.used()
            turns.stated_due = max(due, ready) + max(calls * self._per_call, self._per_request)
            turns.left_at = now
            return 0.0

        return self._change(step)

    def pause(self, seconds: float) -> None:
        """Let nothing leave for that many seconds from now, or for longer where that was so already."""

        def step(turns: Turns, now: float) -> None:
            turns.paused_until = max(turns.paused_until, now + seconds)

        self._change(step)

    def ended(self, left_at: float, *, accepted: bool, refused: bool) -> None:
        """The request that left then was accepted, refused for coming too fast, or neither, which says nothing."""

        def step(turns: Turns, now: float) -> None:
            if accepted:
                turns.found.accepted(left_at, now)
            elif refused:
                turns.found.refused(left_at, now)

        if refused or (accepted and (self._shared is None or self._turns.found.rate < math.inf)):
            self._change(step)  # what others share is not bothered with what matters only once something was refused

    def _change(self, step: Callable[[Turns, float], T]) -> T:
        with self._lock:
            if self._shared is None:
                self._now = self._monotonic()
                return step(self._turns, self._now)
            return self._shared.change_pace(partial(self._changed, step))

    def _changed(self, step: Callable[[Turns, float], T], text: str, now: float) -> tuple[str, T]:
        self._now, self._turns = now, Turns.read(text, now)
        result = step(self._turns, now)
        return self._turns.write(now), result


class PacedSender:
    """Waits for a turn, then sends."""

    def __init__(self, inner: Sender, pace: Pace, wait: Callable[[float, str], None]) -> None:
        """`wait` sleeps for some seconds, for a reason; CutShortError where the delivery ends meanwhile."""
        self._inner = inner
        self._pace = pace
        self._wait = wait

    def send(self, batch: Batch, counted: int) -> Attempt:
        """Send once it is this batch's turn; CutShortError where the delivery ends before."""
        left_at = self._pace.take(batch.calls, self._wait)
        attempt = self._inner.send(batch, counted)
        self._pace.ended(left_at, accepted=attempt.verdict.outcome is Outcome.ACCEPTED, refused=is_refusal(attempt))
        return attempt


def is_refusal(attempt: Attempt) -> bool:
    """Whether the target had too much to do: 429, or 503 without saying when to come back."""
    if attempt.answer is None or attempt.verdict.action not in (Action.RETRY, Action.STOP):
        return False
    unavailable = attempt.answer.status == HTTPStatus.SERVICE_UNAVAILABLE and attempt.verdict.after is None
    return unavailable or attempt.answer.status == HTTPStatus.TOO_MANY_REQUESTS
