"""`backfill status`: runs, how far they are, what is in doubt."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from backfill.cli.here import display_path
from backfill.cli.metrics import MetricsOptions, metrics_options, telling_metrics
from backfill.cli.options import RUN, dry_option, output_option, state_option, voice_options
from backfill.cli.session import Session
from backfill.errors import BackfillError, ExitCode, UsageError, worst

if TYPE_CHECKING:
    from backfill.records import RunStore, StoredRun
    from backfill.report import RunView


@click.command("status", short_help="Runs, progress, counts, in-doubt batches.")
@click.argument("run", required=False, type=RUN, metavar="[RUN|JOB]")
@click.option(
    "--message-id", metavar="ID", help="Whether and when the call of this message id went out, and the answer."
)
@click.option(
    "--key",
    multiple=True,
    metavar="VALUE",
    help="The same by the values of the job's message_key: one --key for each, in their order; with RUN.",
)
@click.option("--watch", is_flag=True, help="Look again every 2 s, until no process is at work on any of them.")
@dry_option
@state_option
@metrics_options
@output_option
@voice_options
def command(
    session: Session,
    *,
    run: str | None,
    message_id: str | None,
    key: tuple[str, ...],
    watch: bool,
    dry_run: bool,
    state_dir: Path | None,
    metrics: MetricsOptions,
    output: str,
) -> int:
    """\b
    backfill status
    backfill status jobs/orders.yaml
    backfill status orders-2019-2024-segment-g1-3f9a1c20
    backfill status orders-2019-2024-segment-g1 --key 1001

    Show all runs, the latest first; those of a job file; or one run in full, also while it is under way.

    The beginning of a run's id is enough where no other id begins so.

    --metrics with --watch serves the metrics of these runs, whatever machines are at work on them.
    """  # noqa: D205, D301, D415
    from backfill.cli.arguments import open_state
    from backfill.pipeline.runs import find_runs

    if message_id is not None or key:
        show_calls(session, state_dir, run, message_id, key, output)
        return ExitCode.DELIVERED
    state = open_state(session, run, state_dir)
    runs = find_runs(state, run, dry=dry_run)
    if watch or metrics.asked:
        return show_again(session, lambda: find_runs(state, run, dry=dry_run), output, metrics, watch=watch)
    if run is not None and len(runs) == 1:
        return show_run(session, state, runs[0], output)
    return show_runs(session, state, runs, output, dry=dry_run)


def show_again(
    session: Session, runs: Callable[[], list[StoredRun]], output: str, metrics: MetricsOptions, *, watch: bool
) -> int:
    """Watch the runs, or write their metrics once.

    Raises:
        UsageError: Metrics are to be served, and nobody waits until they are asked for.
    """
    from backfill.cli.watching import watch as watch_runs

    if metrics.at is not None and not watch:
        raise UsageError("status --metrics ends before anybody can ask", hint="say --watch, too, or --metrics-file")
    with telling_metrics(session, metrics, runs):
        return watch_runs(session, runs, output) if watch else ExitCode.DELIVERED


def show_run(session: Session, state: RunStore, folder: StoredRun, output: str) -> int:
    """Show one run in full; returns the exit code.

    Raises:
        LedgerError: Its ledger cannot be read.
    """
    from backfill.cli.replays import readable, readable_replays, tell_replays, tell_run
    from backfill.pipeline.requeues import own_requeues
    from backfill.pipeline.runs import own_replays
    from backfill.report import read_contents, read_run_view, run_json, run_text, together, together_json
    from backfill.report.requeues import requeued, requeued_json, requeued_text

    session.here.run_id = folder.run_id
    view, contents = read_run_view(folder), read_contents(folder)
    first, requeues = own_requeues(state, folder)
    own = readable(first)
    if output == "json":
        told = run_json(view, listed=True, contents=contents)
        told["replays"] = [one.run_id for one in own_replays(state, folder)]
        replays = readable_replays(state, folder)
        told["with_replays"] = together_json(together(view, replays)) if replays else None
        told["requeues"] = [one.run_id for one in requeues]
        told["with_requeues"] = requeued_json(requeued(view, own)) if own else None
        session.record(told)
        return ExitCode.DELIVERED
    session.data(run_text(view, ledger=display_path(folder.ledger), bytes_at=folder.bytes_at, contents=contents))
    earlier = ", ".join(one.run_id for one in state.earlier(folder.run_id))
    if earlier:
        session.say(f"Before it there were {earlier}.")
    tell_replays(session, state, folder, view)
    for one in requeues:
        tell_run(session, "Calls of it that were missing are planned again in", one)
    if own:
        session.say(f"{folder.run_id} and its {requeued_text(requeued(view, own))}.")
    return ExitCode.DELIVERED


def show_runs(session: Session, state: RunStore, runs: list[StoredRun], output: str, *, dry: bool) -> int:
    """Show every run that can be read, then say of each other why it cannot; returns the exit code, of these if any."""
    from backfill.cli.handler import explain
    from backfill.cli.rejects import show_no_runs
    from backfill.report import read_run_view, run_json, runs_table

    found: list[RunView] = []
    broken: list[BackfillError] = []
    for folder in runs:
        try:
            found.append(read_run_view(folder))
        except BackfillError as error:
            broken.append(error)
    if output == "json":
        for view in found:
            session.record(run_json(view, listed=False))
    elif found:
        session.data(runs_table(found))
    elif not broken:
        show_no_runs(session, state, dry=dry)
    for fault in broken:
        explain(session, fault)
    return worst([ExitCode(fault.exit_code) for fault in broken])


def show_calls(
    session: Session, state_dir: Path | None, run: str | None, message_id: str | None, key: tuple[str, ...], output: str
) -> None:
    """Show what became of the call of a message id, or of those of a key.

    Raises:
        UsageError: There is no such run, it is not said which one's key it is, or no call of it has such a key.
    """
    from backfill.cli.arguments import open_state
    from backfill.errors import UsageError
    from backfill.pipeline import find_calls, ids_of_key
    from backfill.pipeline.find_call import KEY_HINT, key_forms
    from backfill.pipeline.runs import find_runs, is_replay, list_ids, only_run, replays_of, requeues_of, status_of
    from backfill.report import whereabouts_json, whereabouts_text

    if message_id is not None and key:
        raise UsageError("--message-id and --key are two ways to ask: give one of them")
    state = open_state(session, run, state_dir)
    runs = find_runs(state, run)
    own = [one for one in runs if not is_replay(one)] or runs  # a run and its replays share their job, and so its ids
    record = status_of(only_run(own, run)).record if run else None
    within: list[str | None] = (
        [one.run_id for one in (*own, *replays_of(state, own[0]), *requeues_of(state, own[0].run_id))]
        if run
        else [None]
    )
    asked = [{"": message_id or ""}]
    if key:
        if record is None and len(own) != 1:
            raise UsageError(
                "--key needs RUN: a key is a call's only together with its job and target", hint=list_ids(runs)
            )
        asked = [ids_of_key(record or status_of(own[0]).record, form) for form in key_forms(key)]
    for call in asked[0]:
        for identity in dict.fromkeys(ids[call] for ids in asked):
            if found := [each for one in within for each in find_calls(state, identity, one)]:
                break
        if output == "json":
            session.record(whereabouts_json(identity, found, call=call))
        else:
            session.data(whereabouts_text(identity, found, call=call))
        if key and not found:
            session.say_once(f"Hint: {KEY_HINT}")
