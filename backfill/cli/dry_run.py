"""`backfill dry-run`: every row, every problem, the plan; nothing sent."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from backfill.cli.options import (
    TargetOptions,
    gate_option,
    jobs_argument,
    output_option,
    progress_option,
    replay_option,
    report_option,
    state_option,
    target_options,
    voice_options,
)
from backfill.cli.session import Session

if TYPE_CHECKING:
    from backfill.job.models import Job
    from backfill.pipeline import DryRunRequest, RunContext
    from backfill.targets import Target


@click.command("dry-run", short_help="Every row, every problem, the plan; nothing sent.")
@jobs_argument
@click.option("--limit", type=click.IntRange(1), metavar="N", help="Only the first N rows that `where` lets through.")
@click.option(
    "--only-new",
    is_flag=True,
    help="Leave out every call that runs of the job have delivered to --target, as `run --only-new` does.",
)
@replay_option
@target_options
@state_option
@gate_option
@output_option
@progress_option
@report_option
@voice_options
def command(
    session: Session,
    *,
    jobs: tuple[Path, ...],
    limit: int | None,
    only_new: bool,
    replay_rejects: Path | None,
    target: TargetOptions,
    state_dir: Path | None,
    gates: tuple[str, ...],
    max_rejects: str | None,
    output: str,
    no_progress: bool,
    report: Path | None,
) -> int:
    """\b
    backfill dry-run jobs/01-users.yaml
    backfill dry-run jobs/01-users.yaml --target segment --max-rejects 0.5%
    backfill dry-run jobs

    Stage and prepare the jobs as a run would, to the very ids and bytes, and send nothing.
    """  # noqa: D205, D301, D415
    from backfill.api import dry_run_request
    from backfill.cli.arguments import expand_job_paths, in_phases, load_dry_run_target, load_jobs, replayed
    from backfill.cli.handler import tell_notice
    from backfill.cli.interrupts import run_interruptibly
    from backfill.cli.report import place_of_report
    from backfill.cli.running import DeliveryCommand, dry_run_all, parse_gates
    from backfill.pipeline import Options
    from backfill.pipeline.check import refuse_unfit

    loaded = in_phases(load_jobs(expand_job_paths(jobs)), jobs)
    stated = parse_gates(gates, max_rejects)
    folders = dict.fromkeys(Path(job.path).parent for job in loaded)
    chosen = {folder: load_dry_run_target(session, target, folder) for folder in folders}
    left_out = {folder: identity_to_leave_out(target.name, one) if only_new else None for folder, one in chosen.items()}
    if replay_rejects is not None:
        loaded = [replayed(session, loaded, next(iter(chosen.values())), state_dir, replay_rejects).job]
        left_out = {folder: one.identity for folder, one in chosen.items()}
    place = place_of_report(session, report, loaded, state_dir) if report else None
    delivery = DeliveryCommand(session, Options(), yes=True, output=output, progress=not no_progress, report=place)
    refuse_unfit(loaded, partial(tell_notice, session))

    def plan(job: Job, around: RunContext) -> DryRunRequest:
        folder = Path(job.path).parent
        return dry_run_request(job, around, chosen[folder], limit=limit, gates=stated, left_out=left_out[folder])

    return run_interruptibly(session, lambda interrupts: dry_run_all(delivery, loaded, state_dir, interrupts, plan))


def identity_to_leave_out(named: str, target: Target) -> str:
    """The identity of the target whose delivered calls are to be left out.

    Raises:
        UsageError: It was not named, or its message ids cannot be known.
    """
    from backfill.errors import UsageError

    if not named:
        raise UsageError("--only-new needs --target: what was delivered differs from target to target")
    if target.live and not target.ids_are_live:
        raise UsageError(
            f"--only-new needs the message ids of {target.name}: its write key is not set",
            hint="set the key, or state id_scope in the profile",
        )
    return target.identity
