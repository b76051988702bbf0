"""Moving runs from one place to another: a folder to a database, or back."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Protocol, cast

from backfill.disk import fill_durably, make_folder, sync_folder
from backfill.errors import LedgerError, UsageError
from backfill.frozen import frozen
from backfill.ledger.reader import SqlReader
from backfill.ledger.transfer import Contents, contents
from backfill.records import RunStore, StoredRun
from backfill.state.folder import EARLIER_MARK

#: What of a run's folder is the run's; all else only saves time.
_KEPT = ("spool", "snapshot")


class MovableRun(StoredRun, Protocol):
    """A run that can be moved."""

    @property
    def has_ledger(self) -> bool:
        """Whether its ledger is there; there may be bytes without one, of a copy that was interrupted."""

    @property
    def place_text(self) -> str:
        """What tells where its bytes are shared; empty where they are in its folder."""

    def read(self) -> SqlReader:
        """Its ledger, to be read."""

    @property
    def moving_to(self) -> str:
        """The name of the place to which it is being moved; empty where it is not."""

    def bar(self, to: str) -> None:
        """Let nothing go on with it here from now on, durably, as it is moved to the place of that name.

        Raises:
            UsageError: It is being moved to another one.
        """

    def begin_with(self, held: Contents, place_text: str) -> None:
        """Begin it with what another ledger held, whole or not at all; its bytes are there."""


class MovingStore(RunStore, Protocol):
    """A store out of which and into which runs are moved."""

    def kept(self, run_id: str) -> MovableRun:
        """The run of that id, also one in whose place another came."""

    def retire(self, run: MovableRun) -> str:
        """Take a run that is elsewhere by now off the list, and leave it; returns where it is, for people."""


def movable(store: RunStore) -> MovingStore:
    """The store as one out of which and into which runs are moved: every one that `open_store` gives is."""
    return cast("MovingStore", store)


@frozen
class Moved:
    """A run that was moved."""

    run_id: str
    left_at: str  # where the one that it was copied from is still, out of use; empty where it had been moved before


def move_runs(
    source: MovingStore, target: MovingStore, run_ids: Sequence[str], tell: Callable[[Moved], None]
) -> list[Moved]:
    """Move these runs, all where none is named, with those in whose place they came; `tell` is told of each.

    Each is copied, read back and compared, and then taken off the list of the source, which nothing goes on with from
    before its copy is there: at no moment two ledgers could send. What was moved before an interruption is not moved
    again.

    Raises:
        UsageError: There is no such run; or its bytes are on another machine.
        LockedError: A process is at work on one of them.
        LedgerError: A ledger is damaged, or the target has another run of that id.
    """
    target.make_usable()
    there = {run.run_id for run in (*source.runs(), *source.earlier())}
    if unknown := [run_id for run_id in run_ids if run_id not in there]:
        raise UsageError(f"there is no run {unknown[0]} in {source.name}", hint=f"there are {', '.join(sorted(there))}")
    moved = []
    for run_id in sorted(there):
        base = run_id.partition(EARLIER_MARK)[0]
        if not run_ids or run_id in run_ids or base in run_ids:
            with ExitStack() as held:
                held.enter_context(source.lock(base))
                held.enter_context(target.lock(base))
                moved.append(_move(source, target, run_id))
            tell(moved[-1])
    return moved


def _move(source: MovingStore, target: MovingStore, run_id: str) -> Moved:
    run, copy = source.kept(run_id), target.kept(run_id)
    with run.read() as reader:
        held = contents(reader)
    if not copy.has_ledger:
        if not run.place_text and not run.path.is_dir():
            run.spool()  # raises what tells where they are
        copy.make()
        _copy_bytes(run.path, copy.path)
        run.bar(target.name)
        copy.begin_with(held, run.place_text)
    with copy.read() as reader:
        there = contents(reader)
    if there != held and not (run.moving_to == target.name and _has_gone_on(there, held)):
        raise LedgerError(
            f"the run {run_id} in {target.name} is not the one in {source.name}",
            hint="one of them is to go: where nothing was sent from it, `--abandon` it or remove it",
        )
    run.bar(target.name)
    if there == held:
        _check_bytes(run.path, copy.path)
    return Moved(run_id, source.retire(run))


def _has_gone_on(there: Contents, held: Contents) -> bool:
    """Whether a copy, made before an interruption, has been gone on with."""
    before = held["history"]
    return len(there["history"]) > len(before) and there["history"][: len(before)] == before


def _check_bytes(folder: Path, target: Path) -> None:
    for path in _files(folder):
        other = target / path.relative_to(folder)
        if not other.is_file() or other.stat().st_size != path.stat().st_size:
            raise LedgerError(f"{other} is missing or short", hint="remove the copy of the run, and move it again")


def _copy_bytes(folder: Path, target: Path) -> None:
    """Copy what is a run's own of its folder, durably, over whatever an interrupted copy has left."""
    for path in _files(folder):
        place = target / path.relative_to(folder)
        make_folder(place.parent)
        fill_durably(place, lambda aside, path=path: shutil.copyfile(path, aside))  # type: ignore[misc]
        sync_folder(place.parent)


def _files(folder: Path) -> Iterator[Path]:
    for name in _KEPT:
        yield from (path for path in sorted((folder / name).rglob("*")) if path.is_file())
