"""The clock by which doubts are aged: it never goes back, neither in a process nor from one to the next.

Whether a batch may be sent again depends on how long ago its first attempt of unknown outcome was. The wall clock alone
cannot tell: somebody sets it back, and a batch of three days ago looks an hour old. So the run's clock is the latest of

- the wall clock;
- the time of the last process's last mark plus the seconds since, as the system counts them from its boot: nobody can
  set those. This holds within one boot of one machine;
- the latest doubt recorded, which cannot lie in the future.

Where the wall clock is behind the last mark, and another boot (or machine) leaves nothing to count by, nobody can tell
how old the doubts are: `set_back`. A clock set forward only makes them look older than they are, which is safe.
Without doubts nothing depends on it, and the run's clock begins at the wall clock.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence

from backfill.clock import Clock
from backfill.records import Batch, ClockMark

#: Clocks are corrected by seconds all the time; behind by more than this, in seconds, one was set back.
SET_BACK_SECONDS = 300.0
#: The clock is marked this often, in seconds: what a killed process leaves unmarked, the next one cannot compare with.
MARK_SECONDS = 600.0


class RunClock:
    """The run's clock in this process. Thread-safe."""

    def __init__(self, clock: Clock, last: ClockMark | None, doubts: Sequence[Batch]) -> None:
        """`last` is the last mark of an earlier process, `doubts` the batches in doubt still to be delivered."""
        self._clock = clock
        self._lock = threading.Lock()
        wall, (boot, up) = clock.now(), clock.boot()
        latest = max((batch.first_unknown_at or 0.0 for batch in doubts), default=0.0)
        counted = 0.0  # the time by the seconds since boot
        if doubts and last is not None:
            latest = max(latest, last.at)
            if boot and boot == last.boot and up >= last.up:
                counted = last.at + up - last.up
        #: How far the wall clock is behind what is known of the time, in seconds; 0 where it is not.
        self.behind = max(0.0, max(counted, latest) - wall)
        #: Nobody can tell how old the doubts of earlier processes are.
        self.set_back = not counted and latest - wall > SET_BACK_SECONDS
        self._time = max(wall, counted, latest)
        self._at = clock.monotonic()
        self._marked = self._time

    def now(self) -> float:
        """The time in POSIX seconds; never less than before."""
        with self._lock:
            at = self._clock.monotonic()
            self._time = max(self._clock.now(), self._time + max(0.0, at - self._at))
            self._at = at
            return self._time

    def mark(self, window_seconds: float) -> ClockMark:
        """A reading for the next process."""
        now, (boot, up) = self.now(), self._clock.boot()
        self._marked = now
        return ClockMark(now, boot, up, window_seconds)

    def due(self) -> bool:
        """Whether it is time for another mark."""
        return self.now() - self._marked > MARK_SECONDS
