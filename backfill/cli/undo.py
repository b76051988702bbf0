"""`backfill undo`: what takes a run back as far as others allow, written to a folder; sends nothing."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import click

from backfill.cli.here import display_path
from backfill.cli.options import RUN, output_option, state_option, voice_options
from backfill.cli.session import Session
from backfill.errors import UsageError

if TYPE_CHECKING:
    from backfill.cli.interrupts import Interrupts
    from backfill.records import RunStore, StoredRun
    from backfill.undo.result import Undo

#: Names that need no escape in any of the scripts.
SCHEMA = re.compile(r"[\w$.-]+")
FOLDER = click.Path(path_type=Path)


@click.command("undo", short_help="What takes a run back, as files; sends nothing.")
@click.argument("run", type=RUN, metavar="RUN|JOB")
@click.option("-o", "folder", type=FOLDER, metavar="FOLDER", help="A new folder for the files [default: undo-RUN].")
@click.option(
    "--schema", metavar="NAME", default="", help="The warehouse's schema or dataset, as the SQL is to name it."
)
@click.option("--suppress", is_flag=True, help="Let the requests also block what comes of these users from then on.")
@state_option
@output_option
@voice_options
def command(
    session: Session,
    *,
    run: str,
    folder: Path | None,
    schema: str,
    suppress: bool,
    state_dir: Path | None,
    output: str,
) -> None:
    """\b
    backfill undo shop-orders-segment-g1-50ece48f --schema shop
    backfill undo jobs/05-orders.yaml -o taken-back --output json

    Write what takes a run back: the ids of its calls and users, SQL that deletes exactly its rows from a warehouse,
    bodies of Segment's deletion requests for users that only this run made known, what its destinations say of
    deleting, and how to go on. Nothing is sent or deleted. docs/proof.md tells what cannot be taken back.
    """  # noqa: D205, D301, D415
    from backfill.cli.arguments import open_state
    from backfill.cli.interrupts import run_interruptibly
    from backfill.pipeline.plan_calls import find_prepared
    from backfill.pipeline.undo import look_at, undo_place
    from backfill.report.undo import undo_json

    if schema and not SCHEMA.fullmatch(schema):
        raise UsageError(f"--schema {schema}: that is no name of a schema", hint="letters, digits, and any of _ $ . -")
    state = open_state(session, run, state_dir)
    stored = find_prepared(state, run)
    found = look_at(stored, state)
    session.here.run_id = stored.run_id
    session.here.job = display_path(found.status.record.job_file)
    place = (folder or Path(f"undo-{stored.run_id}")).absolute()
    if not found.empty:
        place = undo_place(folder or Path(f"undo-{stored.run_id}"), state)
        found = run_interruptibly(
            session, lambda interrupts: written(session, interrupts, state, stored, place, schema, suppress=suppress)
        )
    if output == "json":
        session.record(undo_json(found, str(place)))
    else:
        session.data(text_here(session, found, place), raw=True)  # its commands are completed


def written(
    session: Session,
    interrupts: Interrupts,
    state: RunStore,
    stored: StoredRun,
    place: Path,
    schema: str,
    *,
    suppress: bool,
) -> Undo:
    """Write the folder; raises as `write_undo` does."""
    from backfill.cli.progress import sample_context
    from backfill.pipeline.undo import write_undo

    context = sample_context(session, interrupts, shown=False, store=state)
    return write_undo(
        stored,
        context,
        place,
        schema=schema,
        suppress_users=suppress,
        text=lambda found: text_here(session, found, place),
    )


def text_here(session: Session, found: Undo, place: Path) -> str:
    """What is told to people, its commands as they can be typed here."""
    from backfill.report.undo import undo_text

    return undo_text(found, f"{display_path(place)}/", session.here.completed)
