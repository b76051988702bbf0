"""The runs of one command: each takes a step when its turn comes, and what becomes of one is told once it has ended."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from backfill.disk import out_of_space
from backfill.errors import (
    BackfillError,
    ExitCode,
    InterruptedRunError,
    LockedError,
    StopAskedError,
    StoppedError,
    UsageError,
)
from backfill.pipeline.context import Confirmation, Options, RunContext, RunRequest, RunResult
from backfill.records import StoredRun
from backfill.targets import Target

if TYPE_CHECKING:  # polars, where there is one
    from backfill.pipeline.canary import Chosen

#: What a run came to in this process, or why it could not; None where another job's end kept it from its turn.
JobEnd = RunResult | BackfillError | None
#: Errors after which no other run takes a turn: nothing would come of it, or two of them would fight for the disk.
ENDS_ALL = (InterruptedRunError, LockedError, StopAskedError, StoppedError, UsageError)


@dataclass(slots=True, eq=False)
class JobRun:
    """One run in the hands of this process."""

    run: StoredRun
    target: Target  # as it is reached, once it is prepared
    options: Options
    context: RunContext
    request: RunRequest | None = None  # None: its job is not looked at, as of a run that is resumed
    prepared: bool = False  # its plan is complete
    canary: Sequence[Chosen] = ()  # the calls that are to be sent before it stops
    asked: Confirmation | None = None  # what is to be confirmed before it is sent
    end: JobEnd = None
    worked: float = 0.0  # seconds, in the turns before this one
    since: float = 0.0  # when this turn began, by the monotonic clock

    @property
    def name(self) -> str:
        """The job's name; of a run that is resumed its id."""
        return self.request.job.name if self.request else self.run.run_id

    @property
    def phase(self) -> int:
        """The job's phase."""
        return self.request.job.phase if self.request else 0

    @property
    def failed(self) -> bool:
        """Whether it ended otherwise than it should: not one that was finished, or whose canary was sent, before."""
        if isinstance(self.end, RunResult):
            error = self.end.error
            return not (error is None or self.end.repeated or isinstance(error, StopAskedError))
        return self.end is not None

    @property
    def delivered(self) -> bool:
        """Whether everything that could be was sent, now or before."""
        return isinstance(self.end, RunResult) and self.end.exit_code in (ExitCode.DELIVERED, ExitCode.REJECTS)

    @property
    def seconds(self) -> float:
        """How long it was worked on, within a turn; nobody works while a question waits for its answer."""
        return self.worked + time.monotonic() - self.since

    def take(self, step: Callable[[JobRun], JobEnd]) -> JobEnd:
        """Take a step; what it gives, or what goes wrong, is the run's end, and is returned."""
        self.context.on_turn()
        self.since = time.monotonic()
        try:
            with out_of_space(self.context.store.path):
                self.end = step(self)
        except BackfillError as error:
            self.context.progress.end()
            self.end = error
        self.worked = self.seconds
        return self.end


def take_turns(runs: Iterable[JobRun], step: Callable[[JobRun], JobEnd]) -> Iterator[JobRun]:
    """Let each run take a step that has not ended; gives those that end with it. A signal is the end of the turns."""
    for one in runs:
        if one.end is not None:
            continue
        end = one.take(step)
        if end is not None:
            yield one
        if one.context.stop.is_set() or isinstance(end, ENDS_ALL):
            return


def may_go_on(runs: Sequence[JobRun]) -> bool:
    """Whether there is anything left to be done, and neither a signal nor an end of one run speaks against it."""
    ended = any(isinstance(one.end, ENDS_ALL) for one in runs)
    return not (ended or any(one.context.stop.is_set() for one in runs)) and any(one.end is None for one in runs)
