"""From the plans of all jobs to their ends: shown, held against the gates, confirmed once, delivered phase by phase."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from backfill.errors import BackfillError, ExitCode, InterruptedRunError
from backfill.pipeline.context import RunResult
from backfill.pipeline.deliver import canary_over, confirmation, deliver_run, nothing_to_send
from backfill.pipeline.gate import gate_error, gates_of_record
from backfill.pipeline.plans import plan_error
from backfill.pipeline.snapshot_cache import discard_snapshot
from backfill.pipeline.target_check import duplicates_held
from backfill.pipeline.together import deliver_together
from backfill.pipeline.turns import JobEnd, JobRun, may_go_on, take_turns
from backfill.records import JobPlan


def release(runs: Sequence[JobRun]) -> Iterator[JobRun]:
    """Deliver the runs, as they are prepared, where none has failed, all pass their gates and somebody confirms it.

    Gives each when it ends, last those that were kept back.
    """
    if may_go_on(runs):
        note_what_all_tell(runs)
        runs[0].context.on_planned([(one.run, plan_of(one)) for one in runs])
    last = (end_prepared,) if runs[0].options.only_prepare else (confirm_once, send_by_phase)
    for step in (weigh_all, *last):
        if may_go_on(runs) and not any(one.failed for one in runs):
            yield from step(runs)
    for one in runs:
        if one.end is None:
            one.end = keep_back(one, runs)
            yield one


def note_what_all_tell(runs: Sequence[JobRun]) -> None:
    """Note in each plan what only the plans of all jobs together tell."""
    planned = [one for one in runs if not one.failed]
    if len(planned) > 1:
        from backfill.pipeline.unidentified import Planned, note_unidentified  # noqa: PLC0415 (of one job nothing is said)

        note_unidentified([Planned(one.run, one.context, finished=one.end is not None) for one in planned])


def plan_of(one: JobRun) -> JobPlan:
    """What is planned of a run that is prepared, or was finished before."""
    if one.failed:
        return JobPlan(one.name, one.phase, None)
    with one.run.read() as reader:
        return JobPlan(one.name, one.phase, reader.counts(), finished=one.end is not None)


def weigh_all(runs: Sequence[JobRun]) -> Iterator[JobRun]:
    """Let the prepared runs pass their gates; gives those that do not."""
    return take_turns(runs, weigh)


def weigh(one: JobRun) -> RunResult | None:
    """Let a run pass its gates, and note what is to be confirmed of it; its result where it is not to be sent.

    That is: it is not the plan that was named, its canary was sent before, or a gate is not passed.
    """
    options, context = one.options, one.context
    with one.run.open(clock=context.clock.now) as ledger:
        record, counts = ledger.reader.status().record, ledger.reader.counts()
        stated = one.request.job.gates if one.request else gates_of_record(record)
        other = plan_error(ledger.reader, options.plans, context.store)
        over = canary_over(counts, one.target, options)
        error = other or over or gate_error(ledger.reader, stated.with_those_of(options.gates), one.run.run_id)
        if error is not None:
            return unsent(one, error)
        if options.canary:
            from backfill.pipeline.canary import choose_canary  # noqa: PLC0415 (polars, where there is one)

            one.canary = choose_canary(ledger.reader, one.run.spool(), options)
        if one.target.live and (options.retry_rejected or not nothing_to_send(counts)):
            one.asked = confirmation(ledger, one.target, options, context, canary=len(one.canary))
    return None


def end_prepared(runs: Sequence[JobRun]) -> Iterator[JobRun]:
    """End the runs where they are: nothing is sent, which is what was asked for."""
    for one in runs:
        if one.end is None:
            one.end = unsent(one)
            yield one


def confirm_once(runs: Sequence[JobRun]) -> Iterator[JobRun]:
    """Ask whether to send all that is live; where the answer is no, the first run that is left ends with it."""
    asked, context = [one.asked for one in runs if one.asked is not None], runs[0].context
    if asked and not context.confirm(asked) and not context.stop.is_set():
        first = next(one for one in runs if one.end is None)
        error = stopped(first, "nothing was sent, as the answer was no", runs)
        first.end = unsent(first, error, kept_back=apart(runs))
        yield first


def send_by_phase(runs: Sequence[JobRun]) -> Iterator[JobRun]:
    """Deliver one run after the other, each once those of an earlier phase before it are finished."""
    unfinished: dict[int, str] = {}
    for one in runs:
        before = next((name for phase, name in unfinished.items() if phase < one.phase), None)
        if one.end is None and before is not None:
            one.end = unsent(one, kept_back=f"{one.name} is not begun: {before}, of an earlier phase, is not finished.")
            yield one
        yield from take_turns([one], send)
        if one.context.stop.is_set():
            return
        if not (one.delivered or one.options.canary):
            unfinished.setdefault(one.phase, one.name)


def send(one: JobRun) -> RunResult:
    """Deliver a prepared run; a dry run's snapshot of its job is of no more use then."""
    held = duplicates_held(one.target)
    with one.run.open(clock=one.context.clock.now) as ledger:
        record = ledger.reader.status().record
        how, together = (one.run, one.target, one.options, one.context), ledger.together
        if together is None:
            code, totals, error = deliver_run(ledger, *how, one.canary)
        else:
            code, totals, error = deliver_together(ledger, together, *how)
    now = duplicates_held(one.target)
    duplicates = None if held is None or now is None else now - held
    if error is None and one.request is not None:
        discard_snapshot(one.context.store, one.request.job)
    told = tuple(chosen.call for chosen in one.canary)
    shared = together is not None
    return RunResult(
        *(record, one.run, code, one.seconds, totals, error, told), together=shared, sandbox_duplicates=duplicates
    )


def keep_back(one: JobRun, runs: Sequence[JobRun]) -> JobEnd:
    """The end of a run that was not sent for what became of others, or as a signal came; None without a plan."""
    told = any(isinstance(error_of(other), InterruptedRunError) for other in runs)
    silent = told or not one.context.stop.is_set()
    interrupted = None if silent else stopped(one, "interrupted; nothing was sent", runs)
    if not one.prepared:
        return interrupted
    failed = [other.name for other in runs if other.failed and not isinstance(error_of(other), InterruptedRunError)]
    why = f"Nothing of any job was sent, since all are or none: see {', '.join(failed)}. What was prepared is kept."
    return unsent(one, interrupted, kept_back=why if failed else apart(runs))


def apart(runs: Sequence[JobRun]) -> str | None:
    """That a run was kept back, where there are others; one alone is told in full."""
    return "" if len(runs) > 1 else None


def error_of(one: JobRun) -> BackfillError | None:
    """The error with which a run has ended."""
    return one.end.error if isinstance(one.end, RunResult) else one.end


def stopped(one: JobRun, message: str, runs: Sequence[JobRun]) -> InterruptedRunError:
    """The error of a run that is not sent for now, and stands for all of them."""
    onward = (
        f"`backfill resume {one.run.run_id}` goes on with it" if len(runs) == 1 else "the same command goes on with it"
    )
    return InterruptedRunError(message, hint=f"what was prepared is kept: {onward}" if one.prepared else "")


def unsent(one: JobRun, error: BackfillError | None = None, *, kept_back: str | None = None) -> RunResult:
    """The result of a run that is prepared, and not sent for that error, or for another run."""
    with one.run.read() as reader:
        record, counts = reader.status().record, reader.counts()
    code = ExitCode.REJECTS if counts.rejected + counts.unreadable else ExitCode.DELIVERED
    code = ExitCode(error.exit_code) if error else code
    return RunResult(record, one.run, code, one.worked, error=error, kept_back=kept_back)
