"""What `run`, `dry-run`, `resume` and `deliver` share: jobs, each shown when it ends, one exit code for several."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from itertools import groupby, islice
from pathlib import Path
from typing import TYPE_CHECKING

from backfill.api import run_requests
from backfill.cli import arguments
from backfill.cli.confirm import ask, refuse_without_terminal
from backfill.cli.handler import explain, tell_notice
from backfill.cli.here import display_path
from backfill.cli.interrupts import Interrupts, run_interruptibly
from backfill.cli.metrics import MetricsOptions, telling_metrics
from backfill.cli.options import SendOptions, TargetOptions
from backfill.cli.page import PageServing
from backfill.cli.progress import ProgressBars
from backfill.cli.session import Session
from backfill.errors import BackfillError, ExitCode, InterruptedRunError, UsageError, worst
from backfill.frozen import frozen
from backfill.job.gates import Gates, parse_gate
from backfill.job.models import Job
from backfill.pipeline import Confirmation, Options, RunContext, RunRequest, RunResult
from backfill.records import Counts, Decision, JobPlan, RunRecord, RunStore, StoredRun
from backfill.report import Subject, failure_json, plan_table, total_text
from backfill.state import SpoolChoice, open_store
from backfill.targets import Target, parse_rate

if TYPE_CHECKING:
    from backfill.pipeline import DryRunRequest


@dataclass(slots=True)
class JobSeries:
    """The jobs of one command line: how many there are, and the counts of those that ended; None of one without."""

    jobs: int = 1
    begun: int = 0
    ended: list[Counts | None] = field(default_factory=list)

    def name_next(self, job: str) -> str:
        """The name of the next job as its bars have it; of several with which of them it is."""
        self.begun += 1
        return job if self.jobs == 1 else f"{self.begun}/{self.jobs} {job}"


@frozen
class DeliveryCommand:
    """What the command line says of how to deliver and how to tell it, for all its jobs."""

    session: Session
    options: Options
    yes: bool
    output: str
    progress: bool
    several: JobSeries = field(default_factory=JobSeries)
    metrics: MetricsOptions = field(default_factory=MetricsOptions)
    spool: SpoolChoice = field(default_factory=SpoolChoice)
    report: Path | None = None  # where the page of the one job is to be written
    page: PageServing | None = None  # where the sandbox's page is to be shown

    def bars(self, job: str) -> ProgressBars:
        """The bars of the next job."""
        return ProgressBars(self.session, shown=self.progress, name=self.several.name_next(job))


def run_options(
    asked: SendOptions,
    *,
    abandon: bool = False,
    retry_rejected: bool = False,
    only_new: bool = False,
    scheduler: str | None = None,
) -> Options:
    """The options of a delivery, their texts read.

    Raises:
        UsageError: A rate or a gate is not one.
    """
    if asked.canary is not None and asked.canary.isdecimal() and not int(asked.canary):
        raise UsageError("--canary 0: a canary is of one call at least")
    calls_per_second = parse_rate(asked.rate) if asked.rate else None
    return Options(
        rate=calls_per_second,
        unlimited=asked.rate is not None and calls_per_second is None,
        concurrency=asked.concurrency,
        gzip=asked.gzip,
        attempts=asked.attempts,
        in_doubt=Decision(asked.in_doubt) if asked.in_doubt else None,
        canary=asked.canary is not None or asked.canary_user is not None,
        canary_calls=int(asked.canary) if asked.canary and asked.canary.isdecimal() else None,
        canary_user=asked.canary_user,
        gates=parse_gates(asked.gates, asked.max_rejects),
        keep_spool=asked.keep_spool,
        abandon=abandon,
        plans=tuple(plan.lower() for plan in asked.plan),
        retry_rejected=retry_rejected,
        only_new=only_new,
        scheduler=scheduler or "",
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
    """Prepare every job, then deliver all, as `run_jobs` does; returns the one exit code that stands for all.

    Raises:
        JobError: A job is wrong, or does not fit its source; then none is run.
        UsageError: The target is wrong, or it is live and could not be confirmed.
    """
    targets = [arguments.load_chosen_target(target, Path(job.path).parent) for job in jobs]
    if delivery.page is not None:
        delivery.page.refuse_live(targets)
    if any(one.live for one in targets) and not delivery.options.only_prepare:
        refuse_without_terminal(yes=delivery.yes)
    for job in jobs:
        tell_database(delivery, arguments.choose_state_folder(delivery.session, state, Path(job.path)))
    begin_series(delivery, jobs)
    with ExitStack() as drawn:
        requests, subjects = [], {}
        for job, there in zip(jobs, targets, strict=True):
            place = arguments.choose_state_folder(delivery.session, state, Path(job.path))
            subjects[job.path] = subject = subject_of(job, there, place, delivery.options)
            bars = drawn.enter_context(delivery.bars(job.name))
            context = run_context(delivery, place, interrupts, bars, job.path, subject.run_id)
            requests.append(RunRequest(job, there, delivery.options, context))
        ids = {subjects[one.job.path].run_id: one.context.store for one in requests}
        runs = partial(begun_runs, [store.run(run_id) for run_id, store in ids.items()])
        drawn.enter_context(telling_metrics(delivery.session, delivery.metrics, runs))
        ends = run_requests(requests, partial(tell_notice, delivery.session))
        codes = [
            show_outcome(delivery, interrupts, subjects[one.job.path], end) for one, end in islice(ends, len(requests))
        ]
        if delivery.options.only_prepare:
            tell_prepared(delivery.session, [store.run(run_id) for run_id, store in ids.items()], codes)
        tell_total(delivery)
        if delivery.page is not None:
            delivery.page.wait(delivery.session, interrupts, requests[0])
        for _ in ends:  # which ends the sandbox
            pass
    return worst(codes)


def begun_runs(runs: Sequence[StoredRun]) -> list[StoredRun]:
    """Those of the runs that there are by now; also one that is damaged: it cannot be read."""
    return [run for run in runs if run.lost or run.begun()]


def tell_prepared(session: Session, runs: Sequence[StoredRun], codes: Sequence[ExitCode]) -> None:
    """Say how what was prepared is sent, where all of it can be, and something is left to be."""
    from backfill.pipeline.runs import status_of

    good = worst(list(codes)) in (ExitCode.DELIVERED, ExitCode.REJECTS)
    if good and not all(status_of(run).over for run in runs):
        way = f"`backfill resume {runs[0].run_id}`" if len(runs) == 1 else "`backfill run` of the same jobs"
        session.say(f"Nothing was sent by this command: {way} sends what is prepared.")


def tell_database(delivery: DeliveryCommand, folder: Path) -> None:
    """Say, where a database has the ledgers, where the bytes are, which it has not."""
    session = delivery.session
    if session.here.database is not None:
        store = arguments.store_at(session, folder, delivery.spool)
        alone = f"{display_path(folder)} on this machine, which alone can go on with them; --spool shares them"
        session.say_once(
            f"Runs are kept in {store.name}. The bytes of one that begins now are in {store.bytes_at or alone}."
        )


def dry_run_all(
    delivery: DeliveryCommand,
    jobs: Sequence[Job],
    state: Path | None,
    interrupts: Interrupts,
    plan: Callable[[Job, RunContext], DryRunRequest],
) -> ExitCode:
    """Dry-run every job, one after the other; then show what each came to, and of several the plan of all.

    Returns the one exit code that stands for all.
    """
    from backfill.pipeline.dry_run import dry_run_jobs

    begin_series(delivery, jobs)
    with ExitStack() as drawn:
        requests = []
        for job in jobs:
            place = arguments.choose_state_folder(delivery.session, state, Path(job.path))
            bars = drawn.enter_context(delivery.bars(job.name))
            requests.append(plan(job, run_context(delivery, place, interrupts, bars, job.path)))
        ends = dry_run_jobs(requests)
    codes, plans = [], []
    for request, end in zip(requests, ends, strict=False):
        request.context.on_turn()  # commands that are told are of this job
        subject = Subject("", request.job.name, request.target_name, live=False)
        codes.append(show_outcome(delivery, interrupts, subject, end, dry=True))
        plans.append(JobPlan(request.job.name, request.job.phase, delivery.several.ended[-1]))
    if len(jobs) > 1 and delivery.output == "text":
        delivery.session.data(plan_table(plans))
    tell_total(delivery)
    return worst(codes)


def begin_series(delivery: DeliveryCommand, jobs: Sequence[Job]) -> None:
    """Count the jobs, and tell their order where they are of several phases."""
    delivery.several.jobs = len(jobs)
    if len({job.phase for job in jobs}) > 1:
        delivery.session.say(f"The order of the jobs: {order_text(jobs)}.")


def order_text(jobs: Sequence[Job]) -> str:
    """The jobs with their phases, in the order in which they run."""
    groups = groupby(jobs, lambda job: job.phase)
    return "; ".join(f"phase {phase}: {', '.join(job.name for job in group)}" for phase, group in groups)


def tell_total(delivery: DeliveryCommand) -> None:
    """Tell the sums over several jobs."""
    if delivery.several.jobs > 1 and delivery.output == "text":
        counted = [one for one in delivery.several.ended if one is not None]
        delivery.session.data(total_text(delivery.several.jobs, counted))


def subject_of(job: Job, target: Target, state: Path, options: Options) -> Subject:
    """What is told of a run of which nothing is known but what is asked."""
    own = open_store(state).find(job.name, target.kind, target.identity, job.generation)
    return Subject(options.run_id or own.run_id, job.name, target.name, target.live)


def send_prepared(
    delivery: DeliveryCommand, run: str | None, target: TargetOptions, state_dir: Path | None, spool_cache: str | None
) -> ExitCode:
    """Send what the run that is meant has prepared and not sent; returns the exit code.

    Raises:
        UsageError: No single run is meant, or it is live and could not be confirmed.
    """
    from backfill.pipeline.plans import check_plan_ids
    from backfill.pipeline.runs import find_run_to_resume

    session, options = delivery.session, delivery.options
    check_plan_ids(options.plans, 1)
    state = arguments.open_state(session, run, state_dir, spool_cache=spool_cache)
    folder, status = find_run_to_resume(state, run, refused=options.retry_rejected)
    session.here.run_id, session.here.job = folder.run_id, display_path(status.record.job_file)
    access = arguments.load_run_target(state, status.record, target)
    if access.live:
        refuse_without_terminal(yes=delivery.yes)
    return run_interruptibly(
        session, lambda interrupts: resume_one(delivery, state, folder, access, status.record, interrupts)
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

    told = telling_metrics(delivery.session, delivery.metrics, lambda: [folder])
    with told, delivery.bars(record.job_name) as bars:
        around = run_context(delivery, state.path, interrupts, bars, record.job_file, folder.run_id)
        end = outcome_of(lambda: resume_run(state, folder, target, delivery.options, around))
    subject = Subject(folder.run_id, record.job_name, record.target_name, record.live)
    return show_outcome(delivery, interrupts, subject, end)


def outcome_of(work: Callable[[], RunResult]) -> RunResult | BackfillError:
    """What the work returns, or the error that it raises."""
    try:
        return work()
    except BackfillError as error:
        return error


def show_outcome(
    delivery: DeliveryCommand,
    interrupts: Interrupts,
    subject: Subject,
    end: RunResult | BackfillError | None,
    *,
    dry: bool = False,
) -> ExitCode:
    """Show how a job ended, or why it could not be run; returns its exit code.

    None is the end of a job whose turn did not come: that has no exit code of its own.
    """
    from backfill.cli.report import write_report
    from backfill.cli.showing import show_end

    session = delivery.session
    if isinstance(end, RunResult):
        code, counts = show_end(session, end, output=delivery.output, interrupted=interrupts.exit_code, dry=dry)
        delivery.several.ended.append(counts)
        if delivery.report is not None:
            assert session.here.state is not None  # it was the run's turn
            write_report(session, arguments.store_at(session, session.here.state), end.run, delivery.report)
        return code
    delivery.several.ended.append(None)
    if end is not None:
        if delivery.several.jobs > 1:
            session.say(f"{subject.job}:", "warning" if end.asked else "error")
        explain(session, end)
    if delivery.output == "json":
        session.record(failure_json(subject, end))
    if isinstance(end, InterruptedRunError):
        return interrupts.exit_code
    return ExitCode(end.exit_code) if end is not None else ExitCode.DELIVERED


def run_context(
    delivery: DeliveryCommand, state: Path, interrupts: Interrupts, bars: ProgressBars, job_file: str, run_id: str = ""
) -> RunContext:
    """Where the run's state is, who hears it and what stops it."""
    session = delivery.session

    def take_turn() -> None:
        session.here.state, session.here.job, session.here.run_id = state, display_path(job_file), run_id

    def show_plans(plans: Sequence[tuple[StoredRun, JobPlan]]) -> None:
        from backfill.cli.showing import show_problems

        for run, plan in plans:
            if plan.counts is not None and not plan.finished:
                show_problems(session, run, f"{plan.job}:" if len(plans) > 1 else "")
        if len(plans) > 1:
            session.say(f"The plan:\n{plan_table([plan for _, plan in plans])}", lines=True)

    def confirm(asked: Sequence[Confirmation]) -> bool:
        return ask(session, asked, yes=delivery.yes, stop=interrupts.stop)

    take_turn()
    return RunContext(
        store=arguments.store_at(session, state, delivery.spool),
        stop=interrupts.stop,
        abort=interrupts.abort,
        staging=interrupts.staging,
        sending=interrupts.sending,
        signal_code=lambda: interrupts.exit_code,
        progress=bars,
        say=session.say,
        on_sandbox=delivery.page.tell(session) if delivery.page else lambda _: None,
        on_state_made=session.tell_made if session.here.database is None else lambda _: None,  # `tell_database`
        on_turn=take_turn,
        on_planned=show_plans,
        confirm=confirm,
    )
