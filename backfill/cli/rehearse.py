"""`backfill rehearse`: a job against an endpoint that fails, by processes that are killed, and the evidence."""

from __future__ import annotations

import secrets
import shlex
from functools import partial
from math import isnan
from pathlib import Path
from typing import TYPE_CHECKING

import click

from backfill.cli.here import display_path
from backfill.cli.options import JOB, output_option, voice_options
from backfill.cli.session import Session

if TYPE_CHECKING:
    from backfill.cli.interrupts import Interrupts
    from backfill.rehearse.run import Rehearsal, Wanted

MOST_ROWS = 100_000
ROWS = 10_000
KILLS = 5
MINUTES = 2.0


def number(_context: click.Context, _option: click.Parameter, value: float) -> float:
    """The value; raises BadParameter for `nan`, which is in any range."""
    if isnan(value):
        raise click.BadParameter("nan is no number.")
    return value


@click.command("rehearse", short_help="A job through faults and kills, and the evidence.")
@click.argument("job", type=JOB)
@click.option(
    "--faults", multiple=True, metavar="SCRIPT", help="Of the endpoint, as of `sandbox --fault`; or none. Repeatable."
)
@click.option(
    "--rows",
    type=click.IntRange(1, MOST_ROWS),
    default=ROWS,
    show_default=True,
    help="The first so many of the source.",
)
@click.option("--kills", type=click.IntRange(0, 50), default=KILLS, show_default=True, help="How often it is killed.")
@click.option(
    "--seed", type=click.IntRange(0), help="Of faults and kills, to have the same again [default: by chance]."
)
@click.option(
    "--minutes",
    type=click.FloatRange(0, 60, min_open=True),
    callback=number,
    default=MINUTES,
    show_default=True,
    help="Give up after that time.",
)
@output_option
@voice_options
def command(
    session: Session,
    *,
    job: Path,
    faults: tuple[str, ...],
    rows: int,
    kills: int,
    seed: int | None,
    minutes: float,
    output: str,
) -> int:
    """\b
    backfill rehearse jobs/01-users.yaml
    backfill rehearse jobs/05-orders.yaml --kills 10 --seed 7
    backfill rehearse jobs/01-users.yaml --faults lost=1/5

    Run a job against an endpoint inside this process that refuses, delays, resets and loses answers; kill the run at
    random instants, and let another process go on; then compare what arrived with what was planned, call by call and
    byte by byte. Nothing leaves the machine, and no run of yours is touched: all of it is in a temporary folder.

    Exit 0: proven; 3: it is not; 5: the time was over; else as a run ends.
    """  # noqa: D205, D301, D415
    from backfill.api import load_job_file
    from backfill.cli.handler import tell_notice
    from backfill.cli.interrupts import run_interruptibly
    from backfill.pipeline.check import refuse_unfit
    from backfill.rehearse.run import Wanted
    from backfill.rehearse.text import rehearsal_json, rehearsal_text

    loaded = load_job_file(job)
    session.here.job = display_path(job)
    refuse_unfit([loaded], partial(tell_notice, session))
    wanted = Wanted(loaded, secrets.randbelow(10**6) if seed is None else seed, rows, kills, minutes * 60, faults)
    found = run_interruptibly(session, lambda interrupts: rehearsed(session, interrupts, wanted))
    if output == "json":
        session.record(rehearsal_json(found))
    else:
        session.data(rehearsal_text(found, command_of(wanted, display_path(job))))
    return found.exit_code


def command_of(wanted: Wanted, job_file: str) -> str:
    """The command that has the same faults and kills."""
    words = ["backfill", "rehearse", job_file, "--seed", str(wanted.seed)]
    words += ["--rows", str(wanted.rows)] if wanted.rows != ROWS else []
    words += ["--kills", str(wanted.kills)] if wanted.kills != KILLS else []
    return shlex.join([*words, *(word for rule in wanted.faults for word in ("--faults", rule))])


def rehearsed(session: Session, interrupts: Interrupts, wanted: Wanted) -> Rehearsal:
    """Rehearse; raises as `rehearse` does."""
    from backfill.cli.progress import sample_context
    from backfill.rehearse.run import rehearse

    return rehearse(wanted, sample_context(session, interrupts, shown=False))
