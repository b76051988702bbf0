"""`status --watch`: look at runs again and again, on whatever machines they are worked on, until none is under way."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from time import monotonic, sleep
from typing import TYPE_CHECKING, Final

from backfill.cli.session import Session
from backfill.errors import BackfillError, ExitCode, worst

if TYPE_CHECKING:
    from backfill.records import StoredRun
    from backfill.report import RunView
    from backfill.report.speed import Speed, Speeds

#: Seconds between two looks.
LOOK_SECONDS = 2.0
#: The cursor to the first place, and all behind it cleared (ECMA-48).
_CLEAR: Final = "\x1b[H\x1b[J"


def watch(session: Session, runs: Callable[[], Sequence[StoredRun]], output: str) -> int:
    """Show the runs at each look, on a terminal in one place, else where something has changed.

    Returns the exit code once no process is at work on any of them, or on Ctrl-C: nothing is wrong with looking away.
    """
    from backfill.report.runs import UNDER_WAY
    from backfill.report.speed import Speeds

    speeds, last = Speeds(), ""
    try:
        while True:
            views, broken = _read(runs())
            last = _show(session, views, _seen(speeds, views), output, last)
            if not any(view.status.state in UNDER_WAY and not view.process_gone for view in views):
                return _explain(session, broken)
            sleep(LOOK_SECONDS)
    except KeyboardInterrupt:
        return ExitCode.DELIVERED


def _seen(speeds: Speeds, views: Sequence[RunView]) -> dict[str, Speed | None]:
    """The speed of each run by its id."""
    now = monotonic()
    return {one.status.record.run_id: speeds.seen(one.status.record.run_id, one.counts, now) for one in views}


def _read(runs: Sequence[StoredRun]) -> tuple[list[RunView], list[BackfillError]]:
    """What can be read of the runs, and why the others cannot."""
    from backfill.report import read_run_view

    found, broken = [], list[BackfillError]()
    for run in runs:
        try:
            found.append(read_run_view(run))
        except BackfillError as error:
            broken.append(error)
    return found, broken


def _explain(session: Session, broken: Sequence[BackfillError]) -> ExitCode:
    from backfill.cli.handler import explain

    for fault in broken:
        explain(session, fault)
    return worst([ExitCode(fault.exit_code) for fault in broken])


def _show(session: Session, views: Sequence[RunView], speeds: dict[str, Speed | None], output: str, last: str) -> str:
    """Show them; returns the text shown last."""
    from backfill.report import run_json, runs_table

    if output == "json":
        for view in views:
            speed = speeds[view.status.record.run_id]
            moving = {
                "calls_per_second": speed.calls_per_second if speed else None,
                "seconds_left": speed.seconds_left if speed else None,
            }
            session.record(run_json(view, listed=False) | moving)
        return ""
    text = runs_table(views, speeds)
    if sys.stdout.isatty():
        sys.stdout.write(_CLEAR)
    elif text == last:
        return last
    session.data(text)
    sys.stdout.flush()
    return text
