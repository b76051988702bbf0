"""What a run is asked to do, what it tells while it works, and what came of it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from backfill.clock import Clock
from backfill.errors import BackfillError, ExitCode, InterruptedRunError
from backfill.frozen import frozen
from backfill.job.gates import Gates
from backfill.job.models import Job
from backfill.records import CanaryCall, Decision, DeliveryTotals, JobPlan, NotReadAgain, RunRecord, RunStore, StoredRun

if TYPE_CHECKING:  # a look at a source has no target
    from backfill.advice import Advice
    from backfill.targets import Target


class Progress(Protocol):
    """Hears how far a step is. Called from any thread."""

    def begin(self, step: str, total: int | None, unit: str) -> None:
        """A step starts; `total` things of `unit` are expected, None where that is not known."""

    def advance(self, done: int, size: int) -> None:
        """How many things and bytes of the step are done, both counted from its beginning."""

    def end(self) -> None:
        """The step is over."""


class NoProgress:
    """A Progress that shows nothing."""

    def begin(self, step: str, total: int | None, unit: str) -> None:
        """Nothing."""

    def advance(self, done: int, size: int) -> None:
        """Nothing."""

    def end(self) -> None:
        """Nothing."""


@frozen
class Confirmation:
    """What a live delivery is about to do: everything a person should see before it begins."""

    job: str
    target: str
    kind: str
    region: str
    endpoint: str
    key_digest: str
    calls: int  # to be sent altogether
    now: int  # of them those sent before it stops: with --canary its own, else all
    rejected: int  # by the checks
    unreadable: int  # rows
    first_day: str
    last_day: str
    rate: float | None  # calls a second; None: as fast as the target takes them
    seconds: float | None  # at that rate; None where there is no rate
    state: str  # where its runs are kept
    envelope: str = ""  # what the target's profile adds to every body, as JSON without the braces
    plan: str = ""  # its id
    refused: int = 0  # calls that the target refused, and that are not tried again now
    delivered_before: int = 0  # calls of the plan left out: earlier runs delivered them
    earlier: int = 0  # calls that other runs of the job have delivered to the target, in the plan or not
    warning: str = ""  # what to mind; empty where there is nothing
    jobs: int = 1  # told together
    advice: Sequence[Advice] = ()  # what destinations do with such calls
    doubt: str = ""  # of calls in doubt past the window: how many, and what becomes of them; empty for none


@frozen
class Options:
    """What the command line says about a run; None is the target's or the program's own default."""

    rate: float | None = None
    unlimited: bool = False
    concurrency: int | None = None
    gzip: bool | None = None
    attempts: int | None = None  # counted ones of each batch
    canary: bool = False
    canary_calls: int | None = None  # so many; None: ten, all of the first batch where it has fewer
    canary_user: str | None = None  # of that user; None: the first ones
    in_doubt: Decision | None = None  # what becomes of batches in doubt past the window; None: the run stops
    gates: Gates = field(default_factory=Gates)  # of the command line: they stand in place of the job's
    keep_spool: bool = False
    abandon: bool = False
    only_new: bool = False
    only_prepare: bool = False  # nothing is sent, and nobody asked: it ends with the plan, once the gates are passed
    plans: tuple[str, ...] = ()  # nothing else is to be sent; none: whatever is prepared
    retry_rejected: bool = False  # what the target refused is to be sent again
    together: bool = False  # other processes may deliver the same run at once, where its state can be shared
    scheduler: str = ""  # of the cluster of dask that prepares; empty: this process does
    run_id: str = ""  # of a run beside the job's own: of mended rejects
    rows: int | None = None  # of the source, the first: of a rehearsal; None: all

    @property
    def chooses(self) -> bool:
        """Whether the canary is another than the first ten calls."""
        return self.canary_calls is not None or self.canary_user is not None


@frozen
class RunContext:
    """What a run works in: where its state is, who hears it, what may stop it."""

    store: RunStore
    stop: threading.Event = field(default_factory=threading.Event)  # finish what is in flight, then end
    abort: threading.Event = field(default_factory=threading.Event)  # end at once
    #: Set while staging: nothing is in flight, and a statement that does not heed `stop` may be ended with the process.
    staging: threading.Event = field(default_factory=threading.Event)
    sending: threading.Event = field(default_factory=threading.Event)  # set while requests may be in flight
    signal_code: Callable[[], ExitCode] = lambda: ExitCode.INTERRUPTED  # of the signal that stopped it
    progress: Progress = field(default_factory=NoProgress)
    say: Callable[[str], None] = lambda _text: None
    #: Told the state folder where this process has made it.
    on_state_made: Callable[[Path], None] = lambda _folder: None
    #: Told the endpoint of the sandbox that this run is sent to, as soon as it is reached.
    on_sandbox: Callable[[str], None] = lambda _endpoint: None
    #: Told each time that it is this run's turn: of several jobs all are prepared before the first is delivered.
    on_turn: Callable[[], None] = lambda: None
    #: Told the plans of all jobs, in their order, once they are complete and before anybody is asked.
    on_planned: Callable[[Sequence[tuple[StoredRun, JobPlan]]], None] = lambda _plans: None
    #: Asked once before the first request, for all live runs; returns whether to go on.
    confirm: Callable[[Sequence[Confirmation]], bool] = lambda _confirmations: True
    clock: Clock = field(default_factory=Clock)

    def check_stop(self) -> None:
        """Raise InterruptedRunError where a signal came."""
        if self.stop.is_set():
            raise InterruptedRunError("interrupted")


@frozen
class RunRequest:
    """One job to one target."""

    job: Job
    target: Target
    options: Options
    context: RunContext


@frozen
class RunResult:
    """How a run stands at the end of this process; its counts are in its ledger."""

    record: RunRecord
    run: StoredRun
    exit_code: ExitCode
    seconds: float
    totals: DeliveryTotals = field(default_factory=DeliveryTotals)  # of this process
    error: BackfillError | None = None  # why it ended early, where it did
    canary: tuple[CanaryCall, ...] = ()  # what --canary was to send
    repeated: bool = False  # it had been finished before: nothing was done
    kept_back: str | None = None  # why it was not sent, though it is prepared: what became of others; None: it was
    not_read_again: NotReadAgain | None = None  # its live database, where it had been finished before
    together: bool = False  # `totals` are its share of what several processes sent at once
    sandbox_duplicates: int | None = None  # calls sent that a sandbox had already; None where none was asked
