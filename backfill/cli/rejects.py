"""`backfill rejects`: rows that were not sent, and why."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from backfill.cli.options import speaking, state_option
from backfill.cli.session import Session
from backfill.errors import counted


@click.command("rejects", short_help="Rows that were not sent, each with its reason.")
@click.argument("run", required=False)
@click.option(
    "--export",
    type=click.Path(dir_okay=False, writable=True, path_type=Path),
    metavar="FILE",
    help="Write all of them with the rows' own columns: .csv, .parquet or .ndjson.",
)
@click.option("--force", is_flag=True, help="Let --export overwrite a file that is there.")
@state_option
@speaking
def command(session: Session, *, run: str | None, export: Path | None, force: bool, state_dir: Path | None) -> None:
    """\b
    backfill rejects
    backfill rejects users-sandbox-g1-1b2c3d4e --export rejects.csv

    List the rows that were not sent, of all runs or of one; a dry run's where it is named.
    """  # noqa: D205, D301, D415
    from backfill.cli.runs import located, named_run
    from backfill.cli.settings import state_folder
    from backfill.report import FORMATS, export_rejects, rejects_table
    from backfill.state import StateFolder

    state = StateFolder(state_folder(session, state_dir))
    folders = [named_run(state, run, dry=True)[0]] if run else state.runs()
    if export is not None:
        from backfill.pipeline.export_place import export_place

        export = export_place(export, state, suffixes=FORMATS, force=force)
    if not folders:
        session.say(f"There are no runs in {state.path}.")
        return
    with damage_told(state.path):
        frames = {folder.run_id: located(folder) for folder in folders}
        if export is not None:
            count = export_rejects(list(frames.values()), export)
            session.say(f"{counted(count, 'reject', 'rejects')} written to {export}")
            return
        for run_id, frame in frames.items():
            table = rejects_table([frame])
            if table:
                session.data(f"{run_id}\n{table}\n")
            else:
                session.say(f"{run_id}: every row was sent.")


@contextmanager
def damage_told(state: Path) -> Iterator[None]:
    """Tell a file of rejects that polars cannot read as what it is: damage (or another run's file)."""
    import polars as pl

    from backfill.errors import LedgerError

    try:
        yield
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        raise LedgerError(
            f"a file of rejects in {state} is damaged", hint="name a run to see which; the runs themselves are not hurt"
        ) from error
