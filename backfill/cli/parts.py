"""A part of a run that several processes prepare, and how it is told: --shards of `backfill prepare`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from backfill.cli import arguments
from backfill.cli.handler import tell_notice
from backfill.cli.interrupts import Interrupts
from backfill.cli.metrics import telling_metrics
from backfill.cli.options import TargetOptions
from backfill.cli.running import (
    DeliveryCommand,
    begun_runs,
    run_context,
    show_outcome,
    subject_of,
    tell_database,
    tell_prepared,
)
from backfill.errors import BackfillError, ExitCode, UsageError, counted
from backfill.job.models import Job

if TYPE_CHECKING:
    from backfill.pipeline import PartResult


def prepare_one_part(
    delivery: DeliveryCommand, jobs: Sequence[Job], target: TargetOptions, state: Path | None, shards: str
) -> Callable[[Interrupts], ExitCode]:
    """What prepares the part that `shards` names of the only job, and returns the exit code.

    Raises:
        UsageError: It names none, or there are several jobs, or the run would be given up by each process.
    """
    from backfill.pipeline import Part, RunRequest, RunResult, prepare_part

    part = Part.parse(shards)
    if len(jobs) > 1:
        raise UsageError(f"--shards is of one job, and {len(jobs)} are named", hint="call it once for each job")
    if delivery.options.scheduler:
        raise UsageError("--shards and --scheduler are two ways to the same: give one of them")
    if delivery.options.abandon:
        raise UsageError(
            "--abandon with --shards: each process would give up what the others prepare",
            hint="`backfill prepare JOB --abandon` without --shards begins the run afresh",
        )
    (job,), session = jobs, delivery.session

    def work(interrupts: Interrupts) -> ExitCode:
        there = arguments.load_chosen_target(target, Path(job.path).parent)
        place = arguments.choose_state_folder(session, state, Path(job.path))
        tell_database(delivery, place)
        subject = subject_of(job, there, place, delivery.options)
        with delivery.bars(job.name) as bars:
            context = run_context(delivery, place, interrupts, bars, job.path, subject.run_id)
            run = context.store.run(subject.run_id)
            with telling_metrics(session, delivery.metrics, partial(begun_runs, [run])):
                try:
                    end = prepare_part(
                        RunRequest(job, there, delivery.options, context), part, partial(tell_notice, session)
                    )
                except BackfillError as error:
                    bars.end()
                    return show_outcome(delivery, interrupts, subject, error)
        if not isinstance(end, RunResult):
            tell_part(delivery, end)
            return ExitCode.DELIVERED
        code = show_outcome(delivery, interrupts, subject, end)
        tell_prepared(session, [run], [code])
        return code

    return work


def tell_part(delivery: DeliveryCommand, end: PartResult) -> None:
    """Tell how far a run is of which this process has prepared a part, and others not all of theirs."""
    record = end.record
    if delivery.output == "json":
        facts = {"run_id": record.run_id, "job": record.job_name, "target": record.target_name, "live": record.live}
        shards = {"own": end.shards, "made": end.made, "prepared": end.prepared, "of": end.of}
        delivery.session.record(
            {**facts, "state": "preparing", "part": str(end.part), "shards": shards, "rows": end.rows}
        )
        return
    were = end.shards - end.made
    before = f", {were} of them before" if were else ""
    delivery.session.data(
        f"{record.job_name}: part {end.part} is prepared: {counted(end.shards, 'shard', 'shards')} of"
        f" {counted(end.rows, 'row', 'rows')}{before}. Of all {counted(end.of, 'shard', 'shards')} {end.prepared} are."
    )
    delivery.session.say("Whoever prepares the last shard completes the plan; nothing was sent.")
