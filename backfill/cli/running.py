"""What `run` and `resume` share: several jobs one after the other, each shown when it ends, one exit code for all."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import groupby
from pathlib import Path

from backfill.cli import arguments
from backfill.cli.confirm import ask, refuse_without_terminal
from backfill.cli.handler import explain, tell_notice
from backfill.cli.here import display_path
from backfill.cli.interrupts import Interrupts
from backfill.cli.options import SendOptions, TargetOptions
from backfill.cli.progress import ProgressBars
from backfill.cli.session import Session
from backfill.errors import BackfillError, ExitCode, InterruptedRunError, UsageError, worst
from backfill.job.gates import Gates, parse_gate
from backfill.job.models import Job
from backfill.pipeline import Confirmation, Options, RunContext, RunRequest, RunResult
from backfill.pipeline.check import refuse_unfit
from backfill.records import Counts, Decision, RunRecord, RunStore, StoredRun
from backfill.report import Subject, failure_json, total_text
from backfill.state import open_store
from backfill.targets import Target, parse_rate


@dataclass(slots=True)
class JobSeries:
    """The jobs of one command line: how many there are, and what became of those that ended."""

    jobs: int = 1
    begun: int = 0
    ended: list[Counts] = field(default_factory=list)

    def name(self, job: str) -> str:
        """The job's name as its bars have it; of several with which of them it is."""
        return job if self.jobs == 1 else f"{self.begun}/{self.jobs} {job}"


@dataclass(frozen=True, slots=True)
class DeliveryCommand:
    """What the command line says of how to deliver and how to tell it, for all its jobs."""

    session: Session
    options: Options
    yes: bool
    output: str
    progress: bool
    several: JobSeries = field(default_factory=JobSeries)


def run_options(
    asked: SendOptions, *, abandon: bool = False, retry_rejected: bool = False, only_new: bool = False
) -> Options:
    """The options of a delivery, their texts read.

    Raises:
        UsageError: A rate or a gate is not one.
    """
    calls_per_second = parse_rate(asked.rate) if asked.rate else None
    return Options(
        rate=calls_per_second,
        unlimited=asked.rate is not None and calls_per_second is None,
        concurrency=asked.concurrency,
        gzip=asked.gzip,
        attempts=asked.attempts,
        in_doubt=Decision(asked.in_doubt) if asked.in_doubt else None,
        canary=asked.canary,
        gates=parse_gates(asked.gates, asked.max_rejects),
        keep_spool=asked.keep_spool,
        abandon=abandon,
        plans=tuple(plan.lower() for plan in asked.plan),
        retry_rejected=retry_rejected,
        only_new=only_new,
    )


def parse_gates(stated: Sequence[str], max_rejects: str | None) -> Gates:
    """The gates of the command line: each `--gate NAME=VALUE`, and --max-rejects.

    Raises:
        UsageError: One is none.
    """
    found: dict[str, object] = {}
    for text in [*stated, *([f"max_rejects={max_rejects}"] if max_rejects else [])]:
        name, _, value = text.partition("=")
        try:
            parse_gate(name.strip(), value)
        except UsageError as error:
            raise UsageError(f"--gate {text}: {error.message}", hint=error.hint) from None
        found[name.strip()] = value
    return Gates.of(found)


def deliver_all(
    delivery: DeliveryCommand, jobs: Sequence[Job], target: TargetOptions, state: Path | None, interrupts: Interrupts
) -> ExitCode:
    """Run every job, one after the other; returns the one exit code that stands for all.

    A job that cannot be run does not keep the next from running; a signal does.

    Raises:
        JobError: A job is wrong, or does not fit its source; then none is run.
        UsageError: The target is wrong, or it is live and could not be confirmed.
    """
    targets = [arguments.load_chosen_target(target, Path(job.path).parent) for job in jobs]
    live = any(one.live for one in targets)
    if live:
        refuse_without_terminal(yes=delivery.yes)
    refuse_unfit(jobs, partial(tell_notice, delivery.session), live=live)
    target_of = {job.path: one for job, one in zip(jobs, targets, strict=True)}

    def one(job: Job, folder: Path) -> ExitCode:
        return deliver_one(delivery, job, target_of[job.path], folder, interrupts)

    return run_one_by_one(delivery, jobs, state, interrupts, one, waits=not delivery.options.canary)


def run_one_by_one(
    delivery: DeliveryCommand,
    jobs: Sequence[Job],
    state: Path | None,
    interrupts: Interrupts,
    one: Callable[[Job, Path], ExitCode],
    *,
    waits: bool = False,
) -> ExitCode:
    """Do `one` with each job and its state directory, then tell the total of several; returns their one exit code.

    With `waits`, a job is not begun while one of an earlier phase before it is not finished.
    """
    delivery.several.jobs = len(jobs)
    if len({job.phase for job in jobs}) > 1:
        delivery.session.say(f"The order of the jobs: {order_text(jobs)}.")
    codes: list[ExitCode] = []
    unfinished: dict[int, str] = {}  # phase -> a job of it
    for job in jobs:
        delivery.several.begun += 1
        if before := next((name for phase, name in unfinished.items() if phase < job.phase), None):
            delivery.session.say(f"{job.name} is not begun: {before}, of an earlier phase, is not finished.", "warning")
            continue
        delivery.session.here.job = display_path(job.path)
        codes.append(one(job, arguments.choose_state_folder(delivery.session, state, Path(job.path))))
        if waits and codes[-1] not in (ExitCode.DELIVERED, ExitCode.REJECTS):
            unfinished.setdefault(job.phase, job.name)
        if interrupts.stop.is_set():
            break
    if len(jobs) > 1 and delivery.output == "text":
        delivery.session.data(total_text(len(jobs), delivery.several.ended))
    return worst(codes)


def order_text(jobs: Sequence[Job]) -> str:
    """The jobs with their phases, in the order in which they run."""
    groups = groupby(jobs, lambda job: job.phase)
    return "; ".join(f"phase {phase}: {', '.join(job.name for job in group)}" for phase, group in groups)


def deliver_one(delivery: DeliveryCommand, job: Job, target: Target, state: Path, interrupts: Interrupts) -> ExitCode:
    """Run one job, show how it ended, and return its exit code."""
    from backfill.pipeline import run_job

    run_id = delivery.options.run_id or (
        open_store(state).find(job.name, target.kind, target.identity, job.generation).run_id
    )
    return run_and_show(
        delivery,
        interrupts,
        lambda around: run_job(RunRequest(job, target, delivery.options, around)),
        state,
        Subject(run_id, job.name, target.name, target.live),
    )


def resume_one(
    delivery: DeliveryCommand,
    state: RunStore,
    folder: StoredRun,
    target: Target,
    record: RunRecord,
    interrupts: Interrupts,
) -> ExitCode:
    """Send what a run has prepared, show how it ended, and return its exit code."""
    from backfill.pipeline import resume_run

    return run_and_show(
        delivery,
        interrupts,
        lambda around: resume_run(state, folder, target, delivery.options, around),
        state.path,
        Subject(folder.run_id, record.job_name, record.target_name, record.live),
    )


def run_and_show(
    delivery: DeliveryCommand,
    interrupts: Interrupts,
    work: Callable[[RunContext], RunResult],
    state: Path,
    subject: Subject,
    *,
    dry: bool = False,
) -> ExitCode:
    """Do the work with progress bars, then show how it ended or why it could not; returns its exit code."""
    from backfill.cli.showing import show_end

    session = delivery.session
    session.here.run_id = subject.run_id
    with ProgressBars(session, shown=delivery.progress, name=delivery.several.name(subject.job)) as bars:
        try:
            end = work(run_context(delivery, state, interrupts, bars))
        except BackfillError as error:
            bars.end()
            explain(session, error)
            if delivery.output == "json":
                session.record(failure_json(subject, error))
            return interrupts.exit_code if isinstance(error, InterruptedRunError) else ExitCode(error.exit_code)
    code, counts = show_end(session, end, output=delivery.output, interrupted=interrupts.exit_code, dry=dry)
    delivery.several.ended.append(counts)
    return code


def run_context(delivery: DeliveryCommand, state: Path, interrupts: Interrupts, bars: ProgressBars) -> RunContext:
    """Where the run's state is, who hears it and what stops it."""

    def show_plan() -> None:
        from backfill.cli.showing import show_problems

        bars.end()
        show_problems(delivery.session, open_store(state).run(delivery.session.here.run_id))

    def confirm(asked: Confirmation) -> bool:
        return ask(delivery.session, asked, yes=delivery.yes, stop=interrupts.stop)

    return RunContext(
        store=open_store(state),
        stop=interrupts.stop,
        abort=interrupts.abort,
        staging=interrupts.staging,
        sending=interrupts.sending,
        signal_code=lambda: interrupts.exit_code,
        progress=bars,
        say=delivery.session.say,
        on_state_made=delivery.session.tell_made,
        on_planned=show_plan,
        confirm=confirm,
    )
