"""What this process has sent so far."""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Callable, Sequence

from backfill.records import Answer, Batch, BatchPart, BatchState, DeliveryTotals, Outcome

_NUMBERS = re.compile(r"\d+")

_log = logging.getLogger(__name__)


class RunningTotals:
    """What was sent so far, and when a request was last accepted and last left. Thread-safe."""

    def __init__(self, monotonic: Callable[[], float], *, proven: bool = False) -> None:
        """`proven`: the target accepted calls of the run before."""
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._totals = DeliveryTotals()
        self._accepted_at = self._reached_at = monotonic()
        self._proven = proven
        self._odd: set[str] = set()  # kinds of odd answers that were logged

    def add_attempt(self, batch: Batch, answer: Answer, *, retried: bool, parts: Sequence[BatchPart] = ()) -> None:
        """Count one request, and its calls where they were accepted; `parts` where only some of them were.

        An attempt of which nothing left is no request.
        """
        _log.debug(
            "batch %s of %s calls: %s after %.3f s, %s bytes on the wire: %s",
            batch.id,
            f"{batch.calls:,}",
            answer.outcome if answer.status is None else f"HTTP {answer.status}",
            answer.seconds,
            f"{answer.wire_bytes:,}",
            answer.detail or "no body",
        )
        with self._lock:
            if answer.left:
                self._totals.requests += 1
                self._totals.retries += retried
                self._totals.wire_bytes += answer.wire_bytes
                self._reached_at = self._monotonic()
            if answer.outcome is Outcome.ACCEPTED:
                self._accepted_at = self._reached_at
                self._proven = True
            if answer.state is BatchState.DELIVERED:
                self._totals.calls += batch.calls
                self._totals.json_bytes += batch.bytes
            for part in parts:
                if part.state is BatchState.DELIVERED:
                    self._totals.calls += part.calls
                    self._totals.json_bytes += part.bytes

    def add_wait(self, reason: str, seconds: float) -> None:
        """Add to the seconds waited for a reason."""
        with self._lock:
            self._totals.waits[reason] = self._totals.waits.get(reason, 0.0) + seconds

    def warn_of_odd(self, status: int, odd: str, batch: Batch) -> None:
        """Log, once of each kind, a success with an odd body: login pages answer so, and services in trouble."""
        with self._lock:
            kind = _NUMBERS.sub("", odd)
            known = kind in self._odd
            self._odd.add(kind)
        if not known:
            _log.warning(
                "the target answers %s, but the body %s (batch %s counts as received; this is said once)",
                status,
                odd,
                batch.id,
            )

    def since_accepted(self) -> float:
        """Seconds since the target last accepted anything, or since the start."""
        return self._monotonic() - self._accepted_at

    def unreached(self) -> float | None:
        """Seconds in which nothing could leave while nothing was ever accepted; None once something was."""
        with self._lock:
            return None if self._proven else self._monotonic() - self._reached_at

    def copy(self) -> DeliveryTotals:
        """A copy of the counts."""
        with self._lock:
            now = self._totals
            return DeliveryTotals(now.requests, now.retries, now.calls, now.json_bytes, now.wire_bytes, dict(now.waits))
