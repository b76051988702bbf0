"""Logs that nothing is accepted, and when it is again: a run that waits in silence looks like one that hangs."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from backfill.deliver.model import Attempt

#: An outage is logged at most this often, in seconds.
LOG_SECONDS = 60.0
#: An answer that puts us off is everyday business, unless the wait is that long or nothing came through for that long.
LONG_WAIT_SECONDS, LONG_SECONDS = 5.0, 10.0

_log = logging.getLogger(__name__)


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
