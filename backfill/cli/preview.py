"""`backfill preview`: rows in, calls out."""

from __future__ import annotations

from pathlib import Path

import click

from backfill.cli.options import JOB, progress_option, speaking, state_option, target_options
from backfill.cli.session import Session


@click.command("preview", short_help="Rows in, calls out; nothing sent.")
@click.argument("job", type=JOB)
@click.option("-n", "--rows", type=click.IntRange(1), default=5, show_default=True, help="So many rows.")
@target_options
@state_option
@progress_option
@speaking
def command(
    session: Session,
    *,
    job: Path,
    rows: int,
    target: str | None,
    targets: Path | None,
    endpoint: str | None,
    state_dir: Path | None,
    no_progress: bool,
) -> None:
    """\b
    backfill preview jobs/01-users.yaml -n 3

    Show the first rows of the source and the calls they become, or why they do not become any.

    The source is staged whole, once: a dry run or a run after it uses what was staged.
    """  # noqa: D205, D301, D415
    from backfill.cli.checking import refuse_unfit
    from backfill.cli.interrupts import interruptible
    from backfill.cli.running import staging_around
    from backfill.cli.settings import TargetOptions, load_jobs, rehearsal_target, state_folder
    from backfill.pipeline import Rehearsal, preview_job
    from backfill.report import preview_text

    (loaded,) = load_jobs([job])
    chosen = rehearsal_target(session, TargetOptions(target or "", targets, endpoint), job.parent)
    state = state_folder(session, state_dir, job)
    refuse_unfit([loaded])
    found = interruptible(
        session,
        lambda interrupts: preview_job(
            Rehearsal(
                loaded,
                staging_around(session, state, interrupts, shown=not no_progress),
                chosen.name,
                chosen.id_scope,
                chosen.limits,
            ),
            rows,
        ),
    )
    session.data(preview_text(found, query=loaded.source.query is not None))
