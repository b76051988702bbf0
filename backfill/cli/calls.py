"""`backfill calls`: the very calls of a run or dry run."""

from __future__ import annotations

import re
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import click

from backfill.cli.here import display_path
from backfill.cli.options import RUN, dry_option, state_option, voice_options
from backfill.cli.session import Session
from backfill.errors import UsageError, counted

if TYPE_CHECKING:
    from backfill.cli.interrupts import Interrupts
    from backfill.pipeline.plan_calls import PlanCall, Wanted
    from backfill.records import RunStore, StoredRun

#: How many calls are shown to people where it is not said.
SHOWN = 10
#: How many lines are written together.
AT_ONCE = 200
_RECORD = re.compile(r"(.+):(\d+)")


@click.command("calls", short_help="The very calls of a run or a dry run.")
@click.argument("run", type=RUN, metavar="RUN|JOB")
@click.option("--key", multiple=True, metavar="VALUE", help="Of that message_key: once for each value, in their order.")
@click.option("--user", metavar="ID", help="Of that userId or anonymousId.")
@click.option("--event", metavar="NAME", help="Of that event; of pages and screens, of that name.")
@click.option("--record", metavar="FILE:N", help="Made of that record of the source, as problems name them.")
@click.option("--limit", type=click.IntRange(1), metavar="N", help=f"At most so many [text: {SHOWN}, ndjson: all].")
@click.option(
    "-o",
    "--output",
    type=click.Choice(["text", "ndjson"]),
    default="text",
    help="For people, or each call on a line as it is sent.",
)
@dry_option
@state_option
@voice_options
def command(
    session: Session,
    *,
    run: str,
    key: tuple[str, ...],
    user: str | None,
    event: str | None,
    record: str | None,
    limit: int | None,
    output: str,
    dry_run: bool,
    state_dir: Path | None,
) -> None:
    """\b
    backfill calls jobs/01-users.yaml --user 000700
    backfill calls shop-users-dry-g1-12c2be53 --record users.csv:41
    backfill calls jobs/05-orders.yaml --dry-run -o ndjson | jq .properties

    Show calls of a plan as they are sent, in the order in which they are sent.

    RUN is the id of a run, a dry run or a plan. A job file means its run, else its dry run. What is not kept is
    made again, and proven to be the same: from the snapshot, or from the source where that has not changed.
    """  # noqa: D205, D301, D415
    from backfill.cli.arguments import open_state
    from backfill.cli.interrupts import run_interruptibly
    from backfill.pipeline.plan_calls import Wanted, find_prepared

    place = parse_record(record) if record else None
    state = open_state(session, run, state_dir)
    folder = find_prepared(state, run, dry=dry_run)
    wanted = Wanted(key, user, event, (files_meant(folder, place[0]), place[1]) if place else None)
    session.here.run_id = folder.run_id
    most = limit or (SHOWN if output == "text" else None)
    run_interruptibly(session, lambda interrupts: show_calls(session, interrupts, state, folder, wanted, output, most))


def parse_record(text: str) -> tuple[str, int]:
    """The file and number of FILE:N; raises UsageError."""
    match = _RECORD.fullmatch(text)
    if match is None:
        raise UsageError(f"--record {text}: that is no record", hint="say FILE:N, such as users.csv:41")
    return match[1], int(match[2])


def files_meant(folder: StoredRun, named: str) -> tuple[str, ...]:
    """The names, in problems, of the files of a source that are meant: by path, name, or last part of the name.

    Raises:
        UsageError: It has no such file.
        LedgerError: The ledger cannot be read.
    """
    from backfill.cli.arguments import source_paths

    shown = source_paths(folder) or {named: named}  # of standard input, or a plan that is not whole
    here = display_path(named)
    ways = (
        lambda name: shown[name] in (named, here),
        lambda name: name == named,
        lambda name: name.rpartition("/")[2] == named,
    )
    for fits in ways:
        if found := tuple(filter(fits, shown)):
            return found
    raise UsageError(
        f"--record: the source has no file {named}", hint=f"there are {', '.join(list(shown.values())[:5])}"
    )


def show_calls(
    session: Session,
    interrupts: Interrupts,
    state: RunStore,
    folder: StoredRun,
    wanted: Wanted,
    output: str,
    most: int | None,
) -> None:
    """Show the calls that are looked for; raises as `calls_of_plan` does."""
    from backfill.cli.progress import sample_context
    from backfill.pipeline.find_call import KEY_HINT
    from backfill.pipeline.plan_calls import calls_of_plan

    shown = 0
    found = calls_of_plan(folder, wanted, sample_context(session, interrupts, shown=False, store=state))
    at_once = 1 if output == "text" or most == 1 else AT_ONCE
    chosen = islice(found, most)
    while calls := list(islice(chosen, at_once)):
        shown += len(calls)
        lines = [call.text if output == "ndjson" else call_text(folder, call) for call in calls]
        session.data("\n".join(lines), raw=True)
    more = most is not None and shown == most and next(found, None) is not None
    rest = "; there are more: --limit shows them, or `-o ndjson` all" if more else ""
    session.say(f"{counted(shown, 'call', 'calls')} of {folder.run_id}, in {display_path(folder.path)}{rest}.")
    if wanted.key and not shown:
        session.say(f"Hint: {KEY_HINT}")


def call_text(folder: StoredRun, call: PlanCall) -> str:
    """One call for people: what became of it, and all that it holds."""
    from backfill.pipeline.plan_calls import standing_of
    from backfill.report.json_text import parse, pretty

    return f"--- {call.scope}: {standing_of(folder, call).replace('_', ' ')}\n{pretty(parse(call.text))}"
