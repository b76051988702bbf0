"""`backfill report`: a plan or a run as one page of HTML."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from backfill.cli.here import display_path
from backfill.cli.options import FILE, RUN, dry_option, state_option, voice_options
from backfill.cli.session import Session

if TYPE_CHECKING:
    from backfill.job.models import Job
    from backfill.records import RunStore, StoredRun

#: Of a report's file.
SUFFIXES = (".html", ".htm")


@click.command("report", short_help="A plan or a run as one page of HTML.")
@click.argument("run", type=RUN, metavar="RUN|JOB")
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    default=Path("report.html"),
    show_default=True,
    metavar="FILE",
    help="Where to write it.",
)
@click.option(
    "--reconciled",
    type=FILE,
    metavar="FILE",
    help="Show what `reconcile RUN --output json` has written there, too.",
)
@click.option("--force", is_flag=True, help="Overwrite the file.")
@dry_option
@state_option
@voice_options
def command(
    session: Session,
    *,
    run: str,
    output: Path,
    reconciled: Path | None,
    force: bool,
    dry_run: bool,
    state_dir: Path | None,
) -> None:
    """\b
    backfill report jobs/01-users.yaml
    backfill report shop-users-dry-g1-12c2be53 -o plan.html

    Write what a plan holds, and how its delivery went, as one file that loads nothing: charts inside, light and dark.

    RUN is the id of a run, a dry run or a plan. A job file means its run, else its dry run.
    """  # noqa: D205, D301, D415
    from backfill.cli.arguments import open_state
    from backfill.pipeline.export_place import export_place
    from backfill.pipeline.plan_calls import find_prepared

    state = open_state(session, run, state_dir)
    folder = find_prepared(state, run, dry=dry_run)
    session.here.run_id = folder.run_id
    place = export_place(output, state, force=force, option="-o", formats=SUFFIXES)
    write_report(session, state, folder, place, reconciled)


def place_of_report(session: Session, file: Path, jobs: Sequence[Job], state_dir: Path | None) -> Path:
    """Where `--report FILE` is to write when the job has ended; judged before it begins.

    Raises:
        UsageError: There are several jobs, the file may not be written there, or the extra is missing.
    """
    from backfill.cli.arguments import choose_state_folder, store_at
    from backfill.errors import UsageError
    from backfill.pipeline.export_place import export_place
    from backfill.report.page import need_libraries

    if len(jobs) > 1:
        raise UsageError(
            f"--report {file}: there are {len(jobs)} jobs, and a report is of one",
            hint="`backfill report JOB -o FILE` writes one of each",
        )
    need_libraries()
    state = store_at(session, choose_state_folder(session, state_dir, Path(jobs[0].path)))
    return export_place(file, state, force=False, option="--report", formats=SUFFIXES)


def write_report(
    session: Session, state: RunStore, folder: StoredRun, place: Path, reconciled: Path | None = None
) -> None:
    """Write the report of a run or dry run, with what `reconcile` has written to a file.

    Raises:
        UsageError: The extra is missing; or the file is no such result, or of another run.
        LedgerError: The ledger cannot be read.
    """
    from backfill.cli.replays import readable, readable_replays
    from backfill.disk import fill_beside
    from backfill.pipeline.requeues import own_requeues
    from backfill.report.held import read_held
    from backfill.report.page import report_page

    held = None if reconciled is None else read_held(reconciled, folder.run_id)
    beside = {
        "replays": readable_replays(state, folder) or (),
        "requeues": readable(own_requeues(state, folder)[1]) or (),
    }
    page = report_page(folder, now=time.time(), held=held, **beside).encode()
    fill_beside(place, lambda unfinished: unfinished.write_bytes(page))
    session.say(f"The report of {folder.run_id} is in {display_path(place)}.")
