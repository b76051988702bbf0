"""`backfill dry-run`: every row, every problem, the plan; nothing sent."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from backfill.cli.options import (
    JOB,
    gate_option,
    output_option,
    progress_option,
    speaking,
    state_option,
    target_options,
)
from backfill.cli.session import Session

if TYPE_CHECKING:
    from backfill.targets import Target


@click.command("dry-run", short_help="Every row, every problem, the plan; nothing sent.")
@click.argument("job", type=JOB)
@click.option("--limit", type=click.IntRange(1), metavar="N", help="Only the first N rows that `where` lets through.")
@click.option(
    "--only-new",
    is_flag=True,
    help="Leave out every call that runs of the job have delivered to --target, as `run --only-new` does.",
)
@target_options
@state_option
@gate_option
@output_option
@progress_option
@speaking
def command(
    session: Session,
    *,
    job: Path,
    limit: int | None,
    only_new: bool,
    target: str | None,
    targets: Path | None,
    endpoint: str | None,
    state_dir: Path | None,
    max_rejects: str | None,
    output: str,
    no_progress: bool,
) -> int:
    """\b
    backfill dry-run jobs/01-users.yaml
    backfill dry-run jobs/01-users.yaml --target segment --max-rejects 0.5%

    Stage and prepare the job as a run would, to the very ids and bytes, and send nothing.
    """  # noqa: D205, D301, D415
    from backfill.cli.handler import tell_notice
    from backfill.cli.interrupts import interruptible
    from backfill.cli.running import Delivery, told
    from backfill.cli.settings import TargetOptions, load_jobs, rehearsal_target, state_folder
    from backfill.pipeline import Gate, Options, Rehearsal, dry_run
    from backfill.pipeline.checking import refuse_unfit
    from backfill.report import Subject

    (loaded,) = load_jobs([job])
    gate = Gate.parse(max_rejects) if max_rejects else None
    chosen = rehearsal_target(session, TargetOptions(target or "", targets, endpoint), job.parent)
    left_out = told_apart(target, chosen) if only_new else None
    delivery = Delivery(session, Options(), yes=True, output=output, progress=not no_progress)
    state = state_folder(session, state_dir, job)
    refuse_unfit([loaded], partial(tell_notice, session))
    return interruptible(
        session,
        lambda interrupts: told(
            delivery,
            interrupts,
            lambda around: dry_run(
                Rehearsal(loaded, around, chosen.name, chosen.id_scope, chosen.limits, limit, gate, left_out)
            ),
            state,
            Subject("", loaded.name, chosen.name, live=False),
            dry=True,
        ),
    )


def told_apart(named: str | None, target: Target) -> str:
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
