"""`backfill status`: runs, how far they are, what is in doubt."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from backfill.cli.options import output_option, speaking, state_option
from backfill.cli.session import Session
from backfill.errors import BackfillError, ExitCode, worst

if TYPE_CHECKING:
    from backfill.report import Standing
    from backfill.state import StateFolder


@click.command("status", short_help="Runs, progress, counts, in-doubt batches.")
@click.argument("run", required=False)
@click.option(
    "--message-id", metavar="ID", help="Whether and when the call of this message id went out, and the answer."
)
@click.option(
    "--key",
    multiple=True,
    metavar="VALUE",
    help="The same by the job's message_key: once for each value of the key, in their order; with RUN.",
)
@state_option
@output_option
@speaking
def command(
    session: Session,
    *,
    run: str | None,
    message_id: str | None,
    key: tuple[str, ...],
    state_dir: Path | None,
    output: str,
) -> int:
    """\b
    backfill status
    backfill status orders-2019-2024-segment-g1-3f9a1c20
    backfill status orders-2019-2024-segment-g1 --key 1001

    Every run there is, the latest first; or one run in full.

    The beginning of a run's id is enough where it is the only one. A run under way can be looked at, too.
    """  # noqa: D205, D301, D415
    from backfill.cli.settings import state_folder
    from backfill.state import StateFolder

    state = StateFolder(state_folder(session, state_dir))
    if message_id is not None or key:
        show_calls(session, state, run, message_id, key, output)
        return ExitCode.DELIVERED
    return show_run(session, state, run, output) if run else show_runs(session, state, output)


def show_run(session: Session, state: StateFolder, run: str, output: str) -> int:
    """Show one run in full; returns the exit code.

    Raises:
        UsageError: There is no such run.
        LedgerError: Its ledger cannot be read.
    """
    from backfill.cli.runs import named_run, standing_of
    from backfill.report import standing_json, standing_text

    folder, _ = named_run(state, run, dry=True)
    standing = standing_of(state, folder)
    if output == "json":
        session.data(json.dumps(standing_json(standing, listed=True), ensure_ascii=False))
        return ExitCode.DELIVERED
    session.data(standing_text(standing))
    earlier = ", ".join(one.run_id for one in state.earlier(folder.run_id))
    if earlier:
        session.say(f"Before it there were {earlier}.")
    return ExitCode.DELIVERED


def show_runs(session: Session, state: StateFolder, output: str) -> int:
    """Show every run that can be read, then say of each other why it cannot; returns the exit code, of these if any."""
    from backfill.cli.handler import explain
    from backfill.cli.runs import dry_runs, standing_of
    from backfill.report import runs_table, standing_json

    found: list[Standing] = []
    broken: list[BackfillError] = []
    for folder in state.runs(lost=True):
        try:
            found.append(standing_of(state, folder))
        except BackfillError as error:
            broken.append(error)
    if output == "json":
        for standing in found:
            session.data(json.dumps(standing_json(standing, listed=False), ensure_ascii=False))
    elif found:
        session.data(runs_table(found))
    elif not broken:
        dry = ", ".join(one.run_id for one in dry_runs(state))
        session.say(f"There are no runs in {state.path}{f', only dry runs: {dry}' if dry else ''}.")
    for fault in broken:
        explain(session, fault)
    return worst([ExitCode(fault.exit_code) for fault in broken])


def show_calls(
    session: Session, state: StateFolder, run: str | None, message_id: str | None, key: tuple[str, ...], output: str
) -> None:
    """Show what became of the call of a message id, or of those of a key.

    Raises:
        UsageError: There is no such run, it is not said which one's key it is, or no call of it has such a key.
    """
    from backfill.cli.runs import named_run, status_of
    from backfill.errors import UsageError
    from backfill.pipeline import find_call, ids_of_key
    from backfill.report import whereabouts_json, whereabouts_text

    if message_id is not None and key:
        raise UsageError("--message-id and --key are two ways to ask: give one of them")
    record = named_run(state, run, dry=True)[1].record if run else None
    ids = {"": message_id or ""}
    if key:
        runs = state.runs()
        if record is None and len(runs) != 1:
            raise UsageError(
                "--key needs RUN: a key is a call's only together with its job and target",
                hint=", ".join(one.run_id for one in runs[:5]),
            )
        ids = ids_of_key(record or status_of(runs[0]).record, key)
    for call, identity in ids.items():
        found = find_call(state, identity, record.run_id if record else None)
        if output == "json":
            session.data(json.dumps(whereabouts_json(identity, found, call=call), ensure_ascii=False))
        else:
            session.data(whereabouts_text(identity, found, call=call))
