"""`backfill guess`: a job file proposed from a sample of data, each choice with its evidence."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from backfill.cli.here import display_path
from backfill.cli.options import voice_options
from backfill.cli.session import Session
from backfill.errors import counted

if TYPE_CHECKING:
    from backfill.guess import Asked, Guess

TYPES = ("identify", "track", "page", "screen", "group", "alias")


@click.command("guess", short_help="A job file proposed from a sample of data.")
@click.argument("data", nargs=-1, metavar="[DATA...]", type=click.Path())
@click.option(
    "--type", "kind", type=click.Choice(TYPES), help="Of the call that a row makes [default: by the columns]."
)
@click.option("-o", "--output", type=click.Path(dir_okay=False, path_type=Path), help="Write the job file there.")
@click.option(
    "--database", metavar="URL", help="A database in place of files: postgresql://host/shop, sqlite:///shop.db."
)
@click.option("--table", metavar="NAME", help="Which table of the database or dump, or sheet of the workbook.")
@click.option("--query", metavar="SQL", help="The database's own SQL in place of a table.")
@voice_options
def command(
    session: Session,
    *,
    data: tuple[str, ...],
    kind: str | None,
    output: Path | None,
    database: str | None,
    table: str | None,
    query: str | None,
) -> None:
    """\b
    backfill guess orders.csv -o orders.yaml
    backfill guess --database postgresql://host/shop --table orders

    Look at the first 1,000 records and write a job file: format, columns, who, when, what, and why. What they do not
    decide and would cost data is left blank, for `backfill check` to refuse until it is filled.

    Without -o the job file goes to stdout. Over a job file that is there, only columns that are new are added.
    """  # noqa: D205, D301, D415
    from backfill.cli.interrupts import run_interruptibly
    from backfill.guess import Asked

    asked = Asked(data, database, table, query, kind)
    run_interruptibly(session, lambda interrupts: propose(session, asked, output, interrupts))


def propose(session: Session, asked: Asked, output: Path | None, interrupts: object) -> None:
    """Guess, and write or print what was guessed."""
    from backfill.cli.progress import sample_context
    from backfill.guess import guess

    place = output or Path("job.yaml")
    around = sample_context(session, interrupts, shown=False)  # type: ignore[arg-type]
    found = guess(asked, place.absolute(), said(asked), around)
    if output is None:
        session.data(found.text.rstrip("\n"), raw=True)
        return
    write(session, found, output)


def said(asked: Asked) -> str:
    """What was named, as comments call it: no URL of a database, which may hold a password."""
    if asked.database is not None:
        return f"{asked.database.partition(':')[0]}, {asked.table or 'by a query'}"
    return ", ".join(asked.data[:3]) + (" ..." if len(asked.data) > 3 else "")  # noqa: PLR2004


def write(session: Session, found: Guess, output: Path) -> None:
    """Put the guess where it is wanted, and tell what is left to do."""
    from backfill.guess import added, save

    if not output.exists():
        save(output, found.text)
        session.say(f"{display_path(output)} is new.")
        tell_blanks(session, found, output)
        return
    text, columns = added(found, output)
    if columns:
        save(output, text)
        session.say(
            f"{display_path(output)} has {counted(len(columns), 'new column', 'new columns')}: {', '.join(columns)}."
        )
    else:
        session.say(f"{display_path(output)} is as it was: the data has no column that it does not name.")


def tell_blanks(session: Session, found: Guess, output: Path) -> None:
    """Say what somebody has to fill in."""
    session.here.job = display_path(output)
    if found.blanks:
        blanks = counted(len(found.blanks), "blank", "blanks")
        lines = f"line{'s' * (len(found.blanks) > 1)} {', '.join(map(str, found.blanks))}"
        session.say(f"{blanks} to fill, on {lines}; then `backfill check JOB`.")
    else:
        session.say("Nothing is left blank: `backfill check JOB`.")
