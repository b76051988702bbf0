"""`backfill init`: a folder to begin in."""

from __future__ import annotations

from pathlib import Path

import click

from backfill.cli.here import display_path, shell_word
from backfill.cli.options import FOLDER, voice_options
from backfill.cli.session import Session


@click.command("init", short_help="A folder to begin in, with a first job.")
@click.argument("folder", type=FOLDER, default=Path())
@voice_options
def command(session: Session, *, folder: Path) -> None:
    """\b
    backfill init shop

    Make what a project begins with in FOLDER (the current one): targets.yaml, a first job over a small sample, an
    ignore file for git, and the job file's schema, by which editors complete and check. No file that is there is
    touched.
    """  # noqa: D205, D301, D415
    from backfill.guess.starter import FIRST_JOB, make

    made = make(folder)
    for name in made.new:
        session.data(f"made   {display_path(folder / name)}")
    for name in made.there:
        session.data(f"there  {display_path(folder / name)}")
    job = shell_word(display_path(folder / FIRST_JOB))
    mine = shell_word(display_path(folder / "jobs" / "mine.yaml"))
    for line in (
        "Next, the first job, which sends nothing but to a sandbox in this process:",
        f"  backfill check {job}",
        f"  backfill preview {job}",
        f"  backfill run {job} --target sandbox",
        "Then a job for data of yours:",
        f"  backfill guess DATA -o {mine}",
    ):
        session.say(line)
