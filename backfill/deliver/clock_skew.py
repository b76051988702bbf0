"""The local clock against the target's.

Segment stores `timestamp = receivedAt - (sentAt - originalTimestamp)`: a local clock that is wrong by S seconds moves
the whole history by S seconds (https://www.twilio.com/docs/segment/connections/spec/common). The answer's Date tells.
"""

from __future__ import annotations

import logging

from backfill.verdict import http_date

WARN_SECONDS = 5.0
STOP_SECONDS = 300.0
#: Date has whole seconds, so the true time lies up to one later.
DATE_RESOLUTION = 1.0

_log = logging.getLogger(__name__)


def skew(date: float, left: float, arrived: float) -> float:
    """How far the local clock is ahead (negative: behind), in seconds, at the very least.

    The target's clock showed between `date` and a second more at some moment between `left` and `arrived` on ours; what
    fits into that is no skew.
    """
    return max(left - (date + DATE_RESOLUTION), 0.0) + min(arrived - date, 0.0)


class SkewWatch:
    """Looks at every answer's Date, warns once, and remembers a skew that is too large.

    Thread-safe enough: the worst that two threads can do together is to warn twice.
    """

    def __init__(self) -> None:
        self._last = ""
        self._warned = False
        self.too_large: float | None = None

    def observe(self, date: str, left: float, arrived: float) -> None:
        """Take note of an answer: its Date header, and when by the local clock its request left and it came."""
        if date == self._last:
            return  # within the same second: nothing new
        self._last = date
        stated = http_date(date)
        if stated is None:
            return
        ahead = skew(stated, left, arrived)
        if abs(ahead) > STOP_SECONDS:
            self.too_large = ahead
        elif abs(ahead) > WARN_SECONDS and not self._warned:
            self._warned = True
            _log.warning(
                "the local clock is %.0f s %s the target's: all timestamps will be shifted by that much",
                abs(ahead),
                "ahead of" if ahead > 0 else "behind",
            )
