"""`backfill verify`: what is kept of a run against its source, every call made a second time."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from backfill.cli.options import RUN, dry_option, output_option, state_option, voice_options
from backfill.cli.session import Session
from backfill.errors import UsageError

if TYPE_CHECKING:
    from backfill.cli.interrupts import Interrupts
    from backfill.records import RunStore, StoredRun
    from backfill.verify.result import Verified

WHOLE = 100.0


@click.command("verify", short_help="What is kept of a run against its source.")
@click.argument("run", type=RUN, metavar="RUN|JOB")
@click.option("--sample", metavar="N%", help="Compare only that share of the rows; the result says so.")
@dry_option
@state_option
@output_option
@voice_options
def command(
    session: Session, *, run: str, sample: str | None, dry_run: bool, state_dir: Path | None, output: str
) -> int:
    """\b
    backfill verify jobs/01-users.yaml
    backfill verify shop-users-segment-g1-90494e30 --sample 5%

    Make every id and call of a run a second time, by a code that shares nothing with the one that prepared it, and
    compare them with what ledger and spool hold: missing, surplus and different calls are named.

    The rows are those of the run's snapshot, or of its source where that has not changed. Exit 3 where something
    differs, 6 where the source is another.
    """  # noqa: D205, D301, D415
    from backfill.cli.arguments import open_state
    from backfill.cli.interrupts import run_interruptibly
    from backfill.pipeline.plan_calls import find_prepared
    from backfill.report.verify import verify_json, verify_text

    share = WHOLE if sample is None else parse_share(sample)
    state = open_state(session, run, state_dir)
    folder = find_prepared(state, run, dry=dry_run)
    session.here.run_id = folder.run_id
    result = run_interruptibly(session, lambda interrupts: verified(session, interrupts, state, folder, share))
    if output == "json":
        session.record(verify_json(folder.run_id, result))
    else:
        session.data(verify_text(folder.run_id, result))
    return result.exit_code


def verified(session: Session, interrupts: Interrupts, state: RunStore, folder: StoredRun, share: float) -> Verified:
    """Compare; raises as `verify_run` does."""
    from backfill.cli.progress import sample_context
    from backfill.pipeline.verify import verify_run

    return verify_run(folder, sample_context(session, interrupts, shown=False, store=state), sample=share)


def parse_share(text: str) -> float:
    """The percent of `N%` (above 0, up to 100); raises UsageError."""
    try:
        share = float(text.removesuffix("%"))
    except ValueError:
        share = 0
    if not 0 < share <= WHOLE:
        raise UsageError(f"--sample {text}: that is no share of the rows", hint="say a percentage, such as 5%")
    return share
