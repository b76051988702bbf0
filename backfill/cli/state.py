"""`backfill state`: what is done with the place of runs as a whole."""

from __future__ import annotations

from pathlib import Path

import click

from backfill.cli.options import FOLDER, voice_options
from backfill.cli.session import Session
from backfill.records import RunStore


@click.command("state", short_help="Move runs between a folder and a database.")
@click.argument("action", type=click.Choice(["copy"]), metavar="copy")
@click.argument("source", metavar="FROM")
@click.argument("target", metavar="TO")
@click.argument("runs", nargs=-1, metavar="[RUN...]")
@click.option(
    "--state-dir", type=FOLDER, help="The state directory of this machine, for the bytes of runs in a database."
)
@voice_options
def command(
    session: Session, *, action: str, source: str, target: str, runs: tuple[str, ...], state_dir: Path | None
) -> None:
    """\b
    backfill state copy .backfill postgresql://db.internal/backfill
    backfill state copy postgresql://db.internal/backfill .backfill RUN

    Move runs, all where none is named: each is copied, read back and compared, and then taken off the list where it
    was. What it was copied from is left there, out of use, and named. The same command goes on after an interruption.

    FROM and TO are state directories or URLs of databases.
    """  # noqa: D205, D301, D415
    from backfill.cli.arguments import choose_state_folder
    from backfill.state import open_store
    from backfill.state.copying import Moved, movable, move_runs
    from backfill.state.stated import checked_database, is_url

    assert action == "copy"
    here = choose_state_folder(session, state_dir)

    def store(place: str, name: str) -> RunStore:
        database = checked_database(place, name) if is_url(place) else None
        return open_store(here if database else Path(place).absolute(), database=database)

    origin, goal = store(source, "FROM"), store(target, "TO")

    def tell(one: Moved) -> None:
        session.say(f"{one.run_id} is in {goal.name}. It was copied from {one.left_at}, which nothing reads now.")

    if not move_runs(movable(origin), movable(goal), runs, tell):
        session.say(f"There are no runs in {origin.name}.")
