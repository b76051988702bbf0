"""Batches in doubt: what becomes of them when a delivery begins, and the guard that sends none of them too late."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from backfill.clock import Clock
from backfill.deliver.model import Attempt, Sender
from backfill.deliver.run_clock import SET_BACK_SECONDS, RunClock
from backfill.errors import ExitCode
from backfill.records import Batch, ClockMark, Decision, DeliveryLedger, Outcome
from backfill.verdict import Action, StopReason, Verdict

_log = logging.getLogger(__name__)


def resolve_doubts(ledger: DeliveryLedger, clock: Clock, window_seconds: float, decision: Decision | None) -> RunClock:
    """Begin the run's clock, and carry out the decision on what is past the window, before any batch is handed out.

    All of it is durable when this returns. Batches within the window are not decided about: they are sent again.
    """
    doubts = ledger.in_doubt()
    run_clock = RunClock(clock, ledger.clock_mark(), doubts)
    if run_clock.behind > SET_BACK_SECONDS:
        text = f"the clock was set back: it shows {_text(clock.now())}, the run was at {_text(run_clock.now())} before"
        if run_clock.set_back:
            text += "; how long batches have been in doubt cannot be known"
            ledger.lose_ages(text)
            doubts = ledger.in_doubt()
        _log.warning("%s", text)
    ledger.mark_clock(run_clock.mark(window_seconds))
    old = past_window(doubts, run_clock, window_seconds)
    if old and decision is not None:
        ledger.decide(old, decision, run_clock.now())
    return run_clock


def undecided(doubts: Sequence[Batch], last: ClockMark | None, clock: Clock, window_seconds: float) -> list[Batch]:
    """Of the doubts those past the window if a delivery began now; nothing is written."""
    return past_window(doubts, RunClock(clock, last, doubts), window_seconds)


def past_window(doubts: Sequence[Batch], run_clock: RunClock, window_seconds: float) -> list[Batch]:
    """Those not sent again without a decision: too old, or of unknown age."""
    now = run_clock.now()
    return [batch for batch in doubts if run_clock.set_back or not window_open(batch, window_seconds, now)]


def window_open(batch: Batch, window_seconds: float, now: float) -> bool:
    """Whether a batch may be sent (again), `now` being the run's clock."""
    return batch.first_unknown_at is None or now - batch.first_unknown_at <= window_seconds


class DedupWindowGuard:
    """Sends nothing again once the target may have forgotten its ids.

    A batch whose outcome is unknown may be sent again as long as the target drops what it holds already. The age counts
    from the first such attempt, and is looked at here, right before each attempt leaves.
    """

    def __init__(
        self, inner: Sender, window_seconds: float, now: Callable[[], float], resend: tuple[float, float] | None = None
    ) -> None:
        """`now` is the run's clock (`RunClock`).

        `resend` is a decision of this process's user to send again what was in doubt: the time by which it was (POSIX
        seconds), and for how many seconds. It matters where the target remembers ids for a shorter time, or not at all.
        """
        self._inner = inner
        self._window = window_seconds
        self._now = now
        self._resend = resend

    def send(self, batch: Batch, counted: int) -> Attempt:
        """Send it, or stop with StopReason.WINDOW and nothing sent."""
        if self.allows(batch):
            return self._inner.send(batch, counted)
        return Attempt(Verdict(Action.STOP, Outcome.UNKNOWN, reason=StopReason.WINDOW, exit_code=ExitCode.STOPPED))

    def allows(self, batch: Batch) -> bool:
        """Whether it may be sent (again) now."""
        return window_open(batch, self._window, self._now()) or self._decided(batch)

    def _decided(self, batch: Batch) -> bool:
        if self._resend is None or batch.first_unknown_at is None:
            return False
        by, seconds = self._resend
        return batch.first_unknown_at <= by and window_open(batch, seconds, self._now())


def _text(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%SZ")
