"""`backfill reconcile`: what a warehouse or destination holds, compared with what a run has delivered, id by id."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from backfill.cli.here import display_path
from backfill.cli.options import FILE, RUN, output_option, state_option, voice_options
from backfill.cli.session import Session
from backfill.errors import ExitCode, UsageError, counted

if TYPE_CHECKING:
    from backfill.cli.interrupts import Interrupts
    from backfill.pipeline.requeue import Requeued
    from backfill.reconcile.result import Reconciled
    from backfill.reconcile.source import Against
    from backfill.records import RunStore, StoredRun
    from backfill.targets.asked import AskTarget

SUFFIXES = (".txt", ".csv")


@click.command("reconcile", short_help="What a warehouse holds against what a run delivered.")
@click.argument("run", type=RUN, metavar="RUN|JOB")
@click.option(
    "--against",
    "data",
    multiple=True,
    metavar="SOURCE",
    help="Files, a database's URL, or a YAML file with a `source:`; several files each with its own.",
)
@click.option("--ask", metavar="NAME", help="Instead of a SOURCE: ask what `ask` of targets.yaml has by that name.")
@click.option("--targets", type=FILE, help="That file [default: as `resume` finds it].")
@click.option("--table", metavar="NAME", help="Which table of the database or dump, or sheet of the workbook.")
@click.option("--query", metavar="SQL", help="The database's own SQL in place of a table.")
@click.option("--message-id", metavar="COLUMN", help="[default: message_id, messageId or id]")
@click.option("--timestamp", metavar="COLUMN", help="[default: original_timestamp, originalTimestamp or timestamp]")
@click.option("--received-at", metavar="COLUMN", help="[default: received_at or receivedAt]")
@click.option("--sent-at", metavar="COLUMN", help="[default: sent_at or sentAt]")
@click.option("--event", metavar="COLUMN", help="[default: event_text, event or name]")
@click.option("--timezone", metavar="ZONE", default="UTC", show_default=True, help="Of times that have none.")
@click.option(
    "--tolerance",
    metavar="DURATION",
    help="Dates may differ by it [default: 1s of an original timestamp, else 2m].",
)
@click.option(
    "--late", metavar="DURATION", default="1h", show_default=True, help="Received so long after it was sent is late."
)
@click.option(
    "--missing",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Write the ids of missing calls there, one a line.",
)
@click.option("--force", is_flag=True, help="Overwrite the file.")
@click.option("--requeue", is_flag=True, help="Plan what is missing again, as a run of its own, which `resume` sends.")
@click.option("--none-there", is_flag=True, help="With --requeue: though SOURCE has no call that was sent.")
@state_option
@output_option
@voice_options
def command(
    session: Session,
    *,
    run: str,
    data: tuple[str, ...],
    ask: str | None,
    targets: Path | None,
    table: str | None,
    query: str | None,
    timezone: str,
    tolerance: str | None,
    late: str,
    missing: Path | None,
    force: bool,
    requeue: bool,
    none_there: bool,
    state_dir: Path | None,
    output: str,
    **columns: str | None,
) -> int:
    """\b
    backfill reconcile jobs/01-users.yaml --against 'warehouse/*.parquet'
    backfill reconcile RUN --against postgresql://host/dwh --table segment.tracks
    backfill reconcile RUN --ask NAME

    Compare the ids in a warehouse or export with those that a run has delivered: missing, doubled, unknown, dated
    differently, late. Columns are found by their names, or said.

    --requeue plans what is not there again, the same ids and bytes, as a run of its own. Nothing is sent by this:
    `backfill resume` sends that run, and asks before.

    Exit 3 where a delivered call is missing, doubled or on another date, 9 where SOURCE cannot be read, 8 where what
    is asked refuses the token.
    """  # noqa: D205, D301, D415
    from backfill.cli.arguments import open_state
    from backfill.cli.interrupts import run_interruptibly
    from backfill.pipeline.export_place import export_place
    from backfill.pipeline.plan_calls import find_prepared
    from backfill.reconcile.source import Against
    from backfill.reconcile.text import reconciled_json, reconciled_text

    said = {name: column for name, column in columns.items() if column is not None}
    against = Against(data, table, query, said, zone(timezone), milliseconds("--late", late))
    tolerated = None if tolerance is None else milliseconds("--tolerance", tolerance)
    if bool(data) == (ask is not None):
        raise UsageError("say what to compare with: either --against SOURCE, or --ask NAME")
    if none_there and not requeue:
        raise UsageError("--none-there says that --requeue may plan all calls: it means nothing without that")
    state = open_state(session, run, state_dir)
    folder = find_prepared(state, run)
    session.here.run_id = folder.run_id
    target = None if ask is None else asked_target(ask, targets, state, folder)
    if missing is not None:
        missing = export_place(missing, state, force=force, option="--missing", formats=SUFFIXES)
    if target is not None and is_counted(target):
        if missing is not None or requeue:
            raise UsageError(f"--ask {ask}: it counts, and knows no ids: --missing and --requeue need them")
        return run_interruptibly(
            session, lambda interrupts: tell_counts(session, interrupts, state, folder, target, output)
        )
    result = run_interruptibly(
        session,
        lambda interrupts: reconciled(
            session,
            *(interrupts, state, folder, against, tolerated, missing),
            again=requeue,
            none_there=none_there,
            target=target,
        ),
    )
    if output == "json":
        session.record(reconciled_json(folder.run_id, result))
    else:
        session.data(reconciled_text(folder.run_id, result))
    if missing is not None:
        ids = counted(result.ids_written, "missing call", "missing calls")
        session.say(f"The ids of {ids} are in {display_path(missing)}.")
    if result.requeued is not None:
        tell_requeued(session, state, result.requeued)
    return result.exit_code


def reconciled(
    session: Session,
    interrupts: Interrupts,
    state: RunStore,
    folder: StoredRun,
    against: Against,
    tolerance_ms: int | None,
    missing: Path | None,
    *,
    again: bool = False,
    none_there: bool = False,
    target: AskTarget | None = None,
) -> Reconciled:
    """Compare with a source, or with what a target is asked for; raises as `reconcile_run` does."""
    from backfill.cli.progress import sample_context
    from backfill.reconcile.run import reconcile_run

    context = sample_context(session, interrupts, shown=False, store=state)
    compare = partial(
        reconcile_run, folder, tolerance_ms=tolerance_ms, missing=missing, again=again, none_there=none_there
    )
    if target is None:
        return compare(against, context, shown=shown_source(against))
    from backfill.reconcile.ask.run import holder_of, rows_of

    holder = holder_of(target, context)
    with rows_of(folder, holder, against, context) as asked:
        result = compare(asked, context, shown=holder.what)
    result.notes += holder.notes
    return result


def asked_target(name: str, file: Path | None, state: RunStore, folder: StoredRun) -> AskTarget:
    """What is asked, as targets.yaml has it.

    Raises:
        JobError: The file is wrong.
        UsageError: It has nothing of that name, or a token is missing.
    """
    import os

    from backfill.pipeline.runs import status_of, targets_folders
    from backfill.targets import find_targets
    from backfill.targets.asked import load_asked

    folders = targets_folders(status_of(folder).record, state)
    found = file or next((one for one in map(find_targets, folders) if one is not None), None)
    return load_asked(name, found, os.environ)


def is_counted(target: AskTarget) -> bool:
    """Whether it knows no ids."""
    return target.kind == "segment" or (target.kind == "posthog" and not target.message_id)


def tell_counts(
    session: Session, interrupts: Interrupts, state: RunStore, folder: StoredRun, target: AskTarget, output: str
) -> ExitCode:
    """Compare with counts, and tell it; raises as `count_run` does."""
    from backfill.cli.progress import sample_context
    from backfill.reconcile.ask.run import count_run, counter_of
    from backfill.reconcile.ask.text import counted_json, counted_text

    context = sample_context(session, interrupts, shown=False, store=state)
    result = count_run(folder, counter_of(target, context), context)
    if output == "json":
        session.record(counted_json(folder.run_id, result))
    else:
        session.data(counted_text(folder.run_id, result))
    return result.exit_code


def tell_requeued(session: Session, state: RunStore, requeued: Requeued) -> None:
    """Say how what was planned again is sent, now or before."""
    from backfill.pipeline.runs import status_of

    if requeued.run_id:
        session.say(f"Nothing was sent by this command: `backfill resume {requeued.run_id}` sends what is planned.")
    for run_id in requeued.taken:
        if not status_of(state.run(run_id)).over:
            session.say(f"{run_id} is not finished: `backfill resume {run_id}` sends what it has planned.")
        else:
            again = f"`backfill reconcile {run_id} --against SOURCE --requeue`"
            session.say(f"{run_id} has sent its calls: {again} plans those that are missing after that, too.")


def shown_source(against: Against) -> str:
    """What was named, without what may be secret in a database's URL."""
    from backfill.cli.here import display_source

    some = ", ".join(display_source(one) if "://" in one else one for one in against.data[:3])
    more = " ..." if len(against.data) > 3 else ""  # noqa: PLR2004
    return some + more + (f", {against.table}" if against.table else "")


def milliseconds(option: str, text: str) -> int:
    """A duration in ms; raises UsageError that names the option."""
    from backfill.targets.forms import parse_duration

    try:
        return round(1000 * parse_duration(text))
    except UsageError as error:
        raise UsageError(f"{option}: {error.message}", hint="such as 1s, 2m, 24h or 7d") from None


def zone(name: str) -> str:
    """A time zone's name; raises UsageError where there is none of that name."""
    from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

    try:
        return ZoneInfo(name).key
    except (ValueError, OSError, ZoneInfoNotFoundError):
        raise UsageError(f"--timezone {name}: there is no such zone", hint="such as UTC or Europe/Berlin") from None
