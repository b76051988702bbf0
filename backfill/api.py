"""The program as a library: dry runs and runs from a scheduler, a notebook or a test, with the promises of the verbs.

Nothing here prints, asks or installs a signal handler. What a verb would end with is the outcome's `exit_code` and
`error`; only what makes a run impossible (a wrong job file, an unknown target, a lock) is raised: see
`backfill.errors`. A live target is sent to only where `live=True` says so, in place of the command line's confirmation.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from backfill.errors import BackfillError, ExitCode, Fault, UsageError
from backfill.frozen import frozen

if TYPE_CHECKING:
    from backfill.job.gates import Gates
    from backfill.job.models import Job as LoadedJob
    from backfill.pipeline.context import RunContext, RunRequest
    from backfill.pipeline.dry_run import DryRunRequest
    from backfill.pipeline.turns import JobEnd
    from backfill.records import Counts, RunReader, StoredRun
    from backfill.targets import Target


@frozen
class Job:
    """A job file that was read, and found in order by itself; whether it fits its source a run finds out."""

    loaded: LoadedJob

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Job:
        """The job in that file.

        Raises:
            JobError: With every fault of the file, each with its line.
        """
        return cls(load_job_file(Path(path)))

    @property
    def name(self) -> str:
        """Its name, which is part of every message id."""
        return self.loaded.name

    @property
    def path(self) -> Path:
        """The file."""
        return Path(self.loaded.path)


@frozen
class Outcome:
    """What a dry run or a run came to, by its ledger."""

    job: str
    run_id: str
    target: str
    live: bool
    state: str  # of the run: prepared, stopped, finished ...
    plan: str  # the plan's id, which `run` takes; empty where it is not complete
    counts: Counts
    problems: Mapping[str, int]  # code -> how often, warnings included
    exit_code: ExitCode  # that of the verb
    stored: StoredRun  # where it is kept
    error: BackfillError | None = None  # why it ended early, where it did

    @property
    def ledger(self) -> Path | str:
        """Its record, with the views of docs/ledger.md: a file of SQLite, or a place in a database."""
        return self.stored.ledger

    def details(self) -> dict[str, Any]:
        """What `status RUN --output json` tells of it, replays aside: what its plan holds, batches in doubt ...

        Raises:
            LedgerError: Its ledger cannot be read.
        """
        from backfill.report import read_contents, read_run_view, run_json

        return run_json(read_run_view(self.stored), listed=True, contents=read_contents(self.stored))

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong: every call that was planned is delivered, or in a dry run would be sent."""
        return self.exit_code is ExitCode.DELIVERED

    def check(self) -> Outcome:
        """Itself, so that a scheduler's task fails where it has to.

        Raises:
            BackfillError: That with which it ended early. Rejected rows are no error: `counts` and `problems` tell.
        """
        if self.error is not None:
            raise self.error
        return self


def dry_run(
    job: Job,
    *,
    target: str = "sandbox",
    limit: int | None = None,
    gates: Mapping[str, object] | None = None,
    targets: Path | None = None,
    state_dir: Path | None = None,
) -> Outcome:
    """Stage and prepare the job as a run would, to the very ids and bytes, and send nothing.

    Args:
        job: What is prepared.
        target: Whose ids and limits are taken; its key need not be there, the ids are then those of the sandbox.
        limit: Only so many rows, the first.
        gates: What the plan has to keep to, such as {"max_rejects": "1%"}, beside the job's own.
        targets: The file of profiles; else the nearest targets.yaml above the job file.
        state_dir: Where runs are kept; else as the command line finds it.

    Raises:
        JobError: The job does not fit its source, or targets.yaml is wrong.
        SourceError: The source cannot be read.
        LockedError: Another dry run of the job is under way.
        UsageError: There is no such target or gate.
    """
    from backfill.job.gates import Gates
    from backfill.pipeline.check import refuse_unfit
    from backfill.pipeline.dry_run import dry_run_job

    there = _target(job, target, targets, need_key=False)
    refuse_unfit([job.loaded], lambda _: None)
    context = _context(job, state_dir, threading.Event())
    end = dry_run_job(dry_run_request(job.loaded, context, there, limit=limit, gates=Gates.of(gates or {})))
    return _outcome(end.run, end.exit_code, end.error)


def run(
    job: Job,
    *,
    target: str = "sandbox",
    live: bool = False,
    plan: str | None = None,
    stop: threading.Event | None = None,
    targets: Path | None = None,
    state_dir: Path | None = None,
    state: str | None = None,
    spool: str | None = None,
    **options: Any,  # noqa: ANN401 (of several types)
) -> Outcome:
    """Bring the job's run as far as it goes: from nothing, or from where an earlier process left it.

    A run that was finished from the same job and source sends nothing, and gives its first exit code again.

    Args:
        job: What is sent.
        target: Where to: a profile, or sandbox, segment, segment-eu.
        live: Whether a target that is no sandbox may be sent to.
        plan: The id of the plan that is to be sent, and nothing else.
        stop: Once it is set, what is in flight is finished, and the run ends resumable; signals are the caller's.
        targets: The file of profiles; else the nearest targets.yaml above the job file.
        state_dir: Where runs are kept; else as the command line finds it.
        state: The same, or the URL of a database that has the ledgers, as `--state` says it.
        spool: Where a run that begins shares its bytes, as `--spool` says it; else they are kept with the run.
        options: Fields of `backfill.pipeline.Options`: only_new, canary, rate, concurrency, in_doubt ...

    Raises:
        JobError: The job does not fit its source, or targets.yaml is wrong.
        SourceError: The source cannot be read.
        RefusedError: The run was prepared from another job, source or key.
        LockedError: Another process holds the run.
        InterruptedRunError: `stop` was set before the plan was complete; the same call goes on.
        UsageError: There is no such target, or it is live and that was not said.
    """
    from backfill.pipeline import Options, RunRequest
    from backfill.pipeline.run import result_of

    there = _target(job, target, targets, need_key=True)
    if there.live and not live:
        raise UsageError(f"{there.name} is a live target", hint="run(job, target=..., live=True) sends to it")
    chosen = Options(plans=(plan.lower(),) if plan else (), **options)
    context = _context(job, state_dir, stop or threading.Event(), spool, state=state, targets=targets)
    request = RunRequest(job.loaded, there, chosen, context)
    [(_, told)] = run_requests([request])
    end = result_of(told)
    return _outcome(end.run, end.exit_code, end.error)


def plans(state_dir: Path | None = None) -> list[Outcome]:
    """The plans of the dry runs that are kept there, the latest first: what `run` takes as `plan`.

    `state_dir` is where runs are kept; else it is looked for from the current directory upward.

    Raises:
        LedgerError: A ledger cannot be read.
    """
    from backfill.state import open_store, state_folder_from

    store = open_store(state_dir or state_folder_from(Path.cwd()))
    found = [_outcome(one, None, None) for one in store.dry_runs.runs()]
    return [one for one in found if one.plan]


def runs(state_dir: Path | None = None) -> list[Outcome]:
    """The runs that are kept there, the latest first, each as it ended or stands; dry runs are among `plans`.

    `state_dir` is where runs are kept; else it is looked for from the current directory upward.

    Raises:
        LedgerError: A ledger cannot be read.
    """
    from backfill.state import open_store, state_folder_from

    return [_outcome(one, None, None) for one in open_store(state_dir or state_folder_from(Path.cwd())).runs()]


def load_job_file(path: Path) -> LoadedJob:
    """The job in that file, its `rules` judged by the table; raises JobError with every fault."""
    from backfill.job import load_job
    from backfill.rules import CODES

    return load_job(path, {code: rule.lowerable for code, rule in CODES.items()})


def run_requests(
    requests: Sequence[RunRequest], notice: Callable[[Fault], None] = lambda _fault: None
) -> Iterator[tuple[RunRequest, JobEnd]]:
    """Bring some jobs as far as they go, none of them where one does not fit its source; gives each when it ends.

    It is the verb `run`, but for what is shown and asked: that is for the context of each request. What looks like a
    slip in a job goes to `notice`. The ends are those of `backfill.pipeline.run_jobs`.

    Raises:
        JobError: With every fault of every job.
    """
    from backfill.pipeline.check import refuse_unfit

    refuse_unfit([one.job for one in requests], notice, live=any(one.target.live for one in requests))
    from backfill.pipeline import run_jobs  # polars: not for jobs that do not fit their sources

    yield from run_jobs(requests)


def dry_run_request(
    job: LoadedJob,
    context: RunContext,
    target: Target,
    *,
    limit: int | None,
    gates: Gates,
    left_out: str | None = None,
) -> DryRunRequest:
    """A dry run of the job as for that target; `left_out` is the identity of one whose delivered calls are left out."""
    from backfill.pipeline.dry_run import DryRunRequest

    return DryRunRequest(
        *(job, context, target.name, target.id_scope, target.limits, target.envelope),
        limit=limit,
        gates=gates,
        left_out=left_out,
        rate=target.rate,
    )


def _target(job: Job, name: str, targets: Path | None, *, need_key: bool) -> Target:
    from backfill.targets import find_targets, load_target

    file = targets or find_targets(job.path.parent)
    return load_target(name, targets_file=file, environ=os.environ, need_key=need_key)


def _context(
    job: Job,
    state_dir: Path | None,
    stop: threading.Event,
    spool: str | None = None,
    *,
    state: str | None = None,
    targets: Path | None = None,
) -> RunContext:
    from backfill.pipeline import RunContext
    from backfill.shared import place_url
    from backfill.state import SpoolChoice, open_store, state_folder_of_job
    from backfill.state.stated import named_place

    choice = SpoolChoice(place_url(spool) if spool else "")
    folder, database = named_place(state, job.path.parent, targets, os.environ)
    place = state_dir or folder or state_folder_of_job(job.path)
    return RunContext(store=open_store(place, choice, database), stop=stop)


def _outcome(run: StoredRun, code: ExitCode | None, error: BackfillError | None) -> Outcome:
    with run.read() as reader:
        return _read_outcome(run, reader, code, error)


def _read_outcome(run: StoredRun, reader: RunReader, code: ExitCode | None, error: BackfillError | None) -> Outcome:
    from backfill.records import PLAN_ID_DIGITS

    status, counts = reader.status(), reader.counts()
    problems: dict[str, int] = {}
    for (problem, _), count in reader.problems().items():
        problems[problem] = problems.get(problem, 0) + count
    if code is None and not run.is_dry and status.exit_code is not None:
        code = ExitCode(status.exit_code)
    if code is None:  # of a plan: as the dry run ended that made it, gates aside
        code = ExitCode.REJECTS if counts.rejected + counts.unreadable else ExitCode.DELIVERED
    record = status.record
    return Outcome(
        *(record.job_name, record.run_id, record.target_name, record.live, str(status.state)),
        plan=(status.plan_digest or "")[:PLAN_ID_DIGITS],
        counts=counts,
        problems=problems,
        stored=run,
        exit_code=ExitCode.UNEXPECTED if status.plan_digest and counts.faults() else code,
        error=error,
    )
