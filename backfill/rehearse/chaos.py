"""The run that is disturbed: one process after the other, killed at the instants that were drawn, to its end."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from backfill.errors import ExitCode, counted
from backfill.frozen import frozen
from backfill.pipeline.context import RunContext
from backfill.rehearse.chance import Chance, Kill
from backfill.rehearse.child import Child, Ended
from backfill.rehearse.process import Work
from backfill.sandbox import Sandbox

#: Seconds between two looks at how far a process is.
_LOOK_SECONDS: Final = 0.005
#: A process that stops by itself so often in a row, and is not killed meanwhile, gets no further.
MOST_STOPS: Final = 10


@frozen
class Ride:
    """What became of the processes of a rehearsal."""

    ended: Ended | None  # the last one; None: the time was over
    kills: int
    processes: int
    stops: int  # by themselves, resumable


@frozen
class Chaos:
    """A run to be disturbed: `planned` calls in `batches`, whose preparing takes so many seconds undisturbed."""

    work: Work
    sandbox: Sandbox
    chance: Chance
    kills: int
    planned: int
    batches: int
    seconds: float
    ends: float  # by time.monotonic
    errors: Path  # the file of what processes say on stderr
    context: RunContext

    def ride(self) -> Ride:
        """From the first process to the last.

        Raises:
            InterruptedRunError: A signal came.
        """
        kills = processes = stops = 0
        while time.monotonic() < self.ends:
            kill = self._next(kills) if kills < self.kills else None
            processes += 1
            with Child(self.work, self.errors) as child:
                if self._is_killed(child, kill):
                    kills += 1
                    self.context.say(f"Killed: process {processes}, {self._how_far()}.")
                    continue
                if child.running:
                    break
                end = child.ended()
            stops += end.code == ExitCode.STOPPED
            if end.code != ExitCode.STOPPED or stops >= MOST_STOPS:
                return Ride(end, kills, processes, stops)
            self.context.say(f"Stopped: process {processes}, {self._how_far()}: {end.message}.")
        return Ride(None, kills, processes, stops)

    def _next(self, number: int) -> Kill:
        """The kill of that number: each of those to come has as good a share of what is still to be sent."""
        left = self.batches * (1 - self.sandbox.stats()["distinct_ids"] / self.planned)
        share = math.ceil(2 * left / (self.kills - number + 1))
        return self.chance.kill(number, seconds=self.seconds, requests=share)

    def _how_far(self) -> str:
        arrived = self.sandbox.stats()["distinct_ids"]
        return f"{arrived:,} of {counted(self.planned, 'call', 'calls')} arrived"

    def _is_killed(self, child: Child, kill: Kill | None) -> bool:
        """Wait for the instant, and kill; False where the process ended before, or the time is over."""
        before = self.sandbox.stats()["requests"]
        self._wait(child, lambda: child.ready)
        if kill is None:
            self._wait(child, lambda: False)
            return False
        if kill.requests:
            self._wait(child, lambda: self.sandbox.stats()["requests"] - before >= kill.requests)
        instant = time.monotonic() + kill.seconds
        self._wait(child, lambda: time.monotonic() >= instant)
        if not child.running or time.monotonic() >= self.ends:
            return False
        child.kill()
        return True

    def _wait(self, child: Child, until: Callable[[], bool]) -> None:
        """Until that is so, the process has ended, or the time is over; raises InterruptedRunError."""
        while child.running and not until() and time.monotonic() < self.ends:
            self.context.check_stop()
            time.sleep(_LOOK_SECONDS)
