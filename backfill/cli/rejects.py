"""`backfill rejects`: rows that were not sent, and why."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from backfill.cli.here import display_path
from backfill.cli.options import RUN, dry_option, state_option, voice_options
from backfill.cli.session import Session
from backfill.errors import BackfillError, ExitCode, counted, worst

if TYPE_CHECKING:
    from backfill.records import RunStore, StoredRun


@click.command("rejects", short_help="Rows that were not sent, each with its reason.")
@click.argument("run", required=False, type=RUN, metavar="[RUN|JOB]")
@click.option(
    "--export",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Write all of them with the rows' own columns: .csv, .parquet or .ndjson.",
)
@click.option(
    "--duplicates",
    is_flag=True,
    help="Instead, the rows that made the very call of another row, with that row; such a call is sent once.",
)
@click.option("--force", is_flag=True, help="Let --export overwrite a file that is there.")
@dry_option
@state_option
@voice_options
def command(
    session: Session,
    *,
    run: str | None,
    export: Path | None,
    duplicates: bool,
    force: bool,
    dry_run: bool,
    state_dir: Path | None,
) -> int:
    """\b
    backfill rejects
    backfill rejects jobs/01-users.yaml --export rejects.csv
    backfill rejects jobs/01-users.yaml --dry-run
    backfill rejects jobs/01-users.yaml --duplicates

    List the rows that were not sent: of all runs, of one, or of those of a job file.
    """  # noqa: D205, D301, D415
    from backfill.cli.arguments import open_state
    from backfill.pipeline.runs import find_runs

    state = open_state(session, run, state_dir)
    folders = find_runs(state, run, dry=dry_run)
    if export is not None:
        write_export(session, state, folders, export, duplicates=duplicates, force=force)
        return ExitCode.DELIVERED
    if not folders:
        show_no_runs(session, state, dry=dry_run)
    return worst([show_rejects(session, state, folder, duplicates=duplicates) for folder in folders])


def show_no_runs(session: Session, state: RunStore, *, dry: bool) -> None:
    """Say that there are no runs, where they were looked for, and what there is instead."""
    from backfill.pipeline.runs import list_ids, others_hint

    session.say(f"There are no {'dry runs' if dry else 'runs'} in {display_path(state.name)}.")
    other = list_ids(state.runs() if dry else state.dry_runs.runs())
    if other:
        session.say(f"There are {f'runs: {other}' if dry else f'dry runs: {other} (--dry-run shows them)'}.")
    else:
        session.say(f"Hint: {others_hint(state, [])}")


def write_export(
    session: Session, state: RunStore, folders: list[StoredRun], export: Path, *, duplicates: bool, force: bool
) -> None:
    """Write the rejects, or the duplicates, of the runs to a file.

    Raises:
        UsageError: The file is one that is not to be overwritten.
        LedgerError: A run is damaged.
    """
    from backfill.pipeline.export_place import export_place

    place = export_place(export, state, force=force)
    if not folders:
        show_no_runs(session, state, dry=False)
        return
    from backfill.report import export_rejects

    count = export_rejects(folders, place, duplicates=duplicates)
    written = counted(count, "duplicate", "duplicates") if duplicates else counted(count, "reject", "rejects")
    session.say(f"{written} written to {display_path(place)}")


def show_rejects(session: Session, state: RunStore, folder: StoredRun, *, duplicates: bool) -> ExitCode:
    """List the rejects, or the duplicates, of one run and say what became of its other rows; returns the exit code."""
    from backfill.cli.arguments import source_paths
    from backfill.cli.handler import explain
    from backfill.cli.replays import tell_replays
    from backfill.report import accounts_text, list_rejects, read_run_view, reject_lines

    session.here.run_id = folder.run_id
    try:
        view = read_run_view(folder)
        listing = list_rejects(folder, duplicates=duplicates)
        option = " --duplicates" if duplicates else ""
        more = f"`backfill rejects RUN{option} --export FILE` writes them all"
        lines = reject_lines(listing, source_paths(folder), more=more)
    except BackfillError as error:
        explain(session, error)
        return ExitCode(error.exit_code)
    if lines:
        session.data("\n".join([folder.run_id, *(f"  {line}" for line in lines)]))
    if duplicates and view.counts.duplicate > listing.total:
        with folder.read() as reader:
            older = reader.profile() is None  # than profiles, which came after these lists
        untold = "was not kept by the version that prepared it" if older else "is lost: their list is gone or cut short"
        session.say(f"{folder.run_id}: which rows they are {untold}.")
    session.say(f"{folder.run_id}: {accounts_text(view)}")
    if not duplicates:
        tell_replays(session, state, folder, view)
    return ExitCode.DELIVERED
