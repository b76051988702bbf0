"""The replays of a run's rejects, as `status`, `rejects` and `report` of the run tell of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from backfill.cli.session import Session
from backfill.errors import BackfillError

if TYPE_CHECKING:
    from backfill.records import RunStore, StoredRun
    from backfill.report import RunView


def tell_replays(session: Session, state: RunStore, run: StoredRun, view: RunView) -> None:
    """Say of each replay of a run what it came to, and of all of them together what became of the run's rows."""
    from backfill.pipeline.runs import own_replays
    from backfill.report import together, together_text

    views = [tell_run(session, "Mended rejects of it are", one) for one in own_replays(state, run)]
    read = [one for one in views if one is not None]
    if read and len(read) == len(views):
        session.say(f"{run.run_id} and {'it' if len(read) == 1 else 'they'} {together_text(together(view, read))}.")


def tell_run(session: Session, what: str, run: StoredRun) -> RunView | None:
    """Say what a run beside another one came to; returns it, None where it cannot be read."""
    from backfill.report import accounts_text, read_run_view

    view = None
    try:
        view = read_run_view(run)
        told = accounts_text(view)
    except BackfillError as error:  # `status` of it tells more
        told = error.message
    session.say(f"{what} {run.run_id}: {told}.")
    return view


def readable_replays(state: RunStore, run: StoredRun) -> list[RunView] | None:
    """The replays of a run; None where one of them cannot be read, so that nothing is known of all."""
    from backfill.pipeline.runs import own_replays

    return readable(own_replays(state, run))


def readable(runs: Sequence[StoredRun]) -> list[RunView] | None:
    """These runs; None where one of them cannot be read."""
    from backfill.report import read_run_view

    try:
        return [read_run_view(one) for one in runs]
    except BackfillError:
        return None
