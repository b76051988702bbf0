"""What this process has sent so far."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from backfill.deliver.transport import Reply
from backfill.records import Answer, Batch, BatchState, DeliveryTotals, Outcome

_log = logging.getLogger(__name__)


class Tally:
    """Counts, and the time of the last success. Thread-safe."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._totals = DeliveryTotals()
        self._accepted_at = monotonic()
        self._warned = False

    def attempted(self, batch: Batch, answer: Answer, *, retried: bool) -> None:
        """Count one request, and its calls where it was accepted."""
        with self._lock:
            self._totals.requests += 1
            self._totals.retries += retried
            self._totals.wire_bytes += answer.wire_bytes
            if answer.outcome is Outcome.ACCEPTED:
                self._accepted_at = self._monotonic()
            if answer.state is BatchState.DELIVERED:
                self._totals.calls += batch.calls
                self._totals.json_bytes += batch.bytes

    def slept(self, reason: str, seconds: float) -> None:
        """Add to the seconds waited for a reason."""
        with self._lock:
            self._totals.waits[reason] = self._totals.waits.get(reason, 0.0) + seconds

    def read(self, reply: Reply) -> None:
        """Say once that a success came with a web page: a portal or a wrong endpoint answers so, not the API."""
        if not self._warned and reply.body.lstrip()[:1] == b"<" and str(reply.end).startswith("2"):
            self._warned = True
            _log.warning("the target answers %s with a web page: is the endpoint right?", reply.end)

    def since_accepted(self) -> float:
        """Seconds since the target last accepted anything, or since the start."""
        return self._monotonic() - self._accepted_at

    def totals(self) -> DeliveryTotals:
        """A copy of the counts."""
        with self._lock:
            now = self._totals
            return DeliveryTotals(now.requests, now.retries, now.calls, now.json_bytes, now.wire_bytes, dict(now.waits))
