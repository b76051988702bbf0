"""`backfill status`: runs, how far they are, what is in doubt."""

from __future__ import annotations

import json
from pathlib import Path

import click

from backfill.cli.options import output_option, speaking, state_option
from backfill.cli.session import Session


@click.command("status", short_help="Runs, progress, counts, in-doubt batches.")
@click.argument("run", required=False)
@state_option
@output_option
@speaking
def command(session: Session, *, run: str | None, state_dir: Path | None, output: str) -> None:
    """\b
    backfill status
    backfill status orders-2019-2024-segment-g1-3f9a1c20

    Every run there is, the latest first; or one run in full.

    The beginning of a run's id is enough where it is the only one. A run under way can be looked at, too.
    """  # noqa: D205, D301, D415
    from backfill.cli.runs import dry_runs, named_run, standing_of
    from backfill.cli.settings import state_folder
    from backfill.report import run_summary, runs_table, standing_text
    from backfill.state import StateFolder

    state = StateFolder(state_folder(session, state_dir))
    folders = [named_run(state, run, dry=True)[0]] if run else state.runs()
    found = [standing_of(state, folder) for folder in folders]
    if output == "json":
        for standing in found:
            session.data(json.dumps(run_summary(standing).as_json(), ensure_ascii=False))
    elif run:
        session.data(standing_text(found[0]))
    elif found:
        session.data(runs_table(found))
    else:
        dry = ", ".join(one.run_id for one in dry_runs(state))
        session.say(f"There are no runs in {state.path}{f', only dry runs: {dry}' if dry else ''}.")
