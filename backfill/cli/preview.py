"""`backfill preview`: rows in, calls out."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from backfill.cli.here import shown_files
from backfill.cli.options import JOB, TargetOptions, progress_option, target_options, voice_options
from backfill.cli.session import Session
from backfill.errors import ExitCode, counted

if TYPE_CHECKING:
    from backfill.job.models import Job
    from backfill.pipeline import Preview
    from backfill.records import Problem


@click.command("preview", short_help="Rows in, calls out; nothing sent.")
@click.argument("job", type=JOB)
@click.option("-n", "--rows", type=click.IntRange(1), default=5, show_default=True, help="How many rows to show.")
@click.option(
    "--record", type=click.IntRange(1), metavar="N", help="Instead, the record of that number in the first file."
)
@click.option("--where", metavar="SQL", help="Only rows for which this DuckDB SQL is true, beside the job's `where`.")
@click.option("--unmasked", is_flag=True, help="Show the columns, too, that the job masks.")
@target_options
@progress_option
@voice_options
def command(
    session: Session,
    *,
    job: Path,
    rows: int,
    record: int | None,
    where: str | None,
    unmasked: bool,
    target: TargetOptions,
    no_progress: bool,
) -> int:
    """\b
    backfill preview jobs/01-users.yaml -n 3
    backfill preview jobs/01-users.yaml --record 262
    backfill preview jobs/05-orders.yaml --where "total > 1000"

    Show the first rows of the source and the calls they become, or why they do not become any.

    No more of the source is read than is shown, unless it has a `query` over files, which may need all of it.
    """  # noqa: D205, D301, D415
    from backfill.cli.arguments import expand_job_paths, load_dry_run_target, load_jobs
    from backfill.cli.handler import tell_notice
    from backfill.cli.interrupts import run_interruptibly
    from backfill.cli.progress import sample_context
    from backfill.pipeline.check import refuse_unfit

    (loaded,) = load_jobs(expand_job_paths([job]))
    loaded = narrowed(loaded, where)
    if unmasked:
        loaded = loaded.model_copy(update={"mask": ()})
    chosen = load_dry_run_target(session, target, job.parent)
    refuse_unfit([loaded], partial(tell_notice, session))
    if loaded.needs_all:
        session.say(f"The source is read whole: its {loaded.needs_all} may need all of it.")
    from backfill.pipeline import preview_job  # polars: not for a job that does not fit its source
    from backfill.report import preview_text

    found = run_interruptibly(
        session,
        lambda interrupts: preview_job(
            loaded,
            sample_context(session, interrupts, shown=not no_progress),
            rows,
            id_scope=chosen.id_scope,
            limits=chosen.limits,
            record=record,
        ),
    )
    found = with_shown_files(found)
    show_unread(session, found, record)
    if found.rows:
        session.data(preview_text(found.rows, query=loaded.source.query is not None), raw=True)
    rejected = any(call.state == "rejected" for row in found.rows for call in row.calls)
    return ExitCode.REJECTS if rejected or found.unreadable else ExitCode.DELIVERED


def narrowed(job: Job, where: str | None) -> Job:
    """The job over those of its rows alone for which the SQL is true, too."""
    if where is None:
        return job
    both = f"({job.where}) AND ({where})" if job.where else where
    return job.model_copy(update={"where": both})


def with_shown_files(found: Preview) -> Preview:
    """The same with each file as it can be opened from where the user stands."""
    shown = shown_files(found.files)

    def problems(ones: Iterable[Problem]) -> tuple[Problem, ...]:
        return tuple(replace(one, file=shown.get(one.file, one.file)) for one in ones)

    rows = [
        replace(
            row,
            file=shown.get(row.file, row.file),
            calls=tuple(replace(call, problems=problems(call.problems)) for call in row.calls),
        )
        for row in found.rows
    ]
    return replace(found, rows=rows, unreadable=problems(found.unreadable))


def show_unread(session: Session, found: Preview, record: int | None) -> None:
    """Say which records could not be read, and why there is nothing to show where there is not."""
    from backfill.report import problem_line

    for problem in found.unreadable:
        session.say(f"{problem.code} {problem_line(problem)}", "warning")
    if not found.rows and record is not None:
        session.say(f"Record {record:,} makes no row: it is left out by `where`, unreadable, or not there.")
    elif not found.rows:
        left_out = f", {found.filtered:,} of them left out by `where`" if found.filtered else ""
        session.say(f"There is nothing to show: {counted(found.read, 'record', 'records')} read{left_out}.")
