"""One run in a state folder: a folder with its ledger (SQLite), spool, rejects and snapshot."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from backfill.disk import FileLock, make_folder, sync_folder, write_durably
from backfill.errors import LedgerError, barred
from backfill.frozen import frozen
from backfill.records import RunHolder, RunRecord, RunRejects, RunSpool
from backfill.state.place import CACHE_FOLDER, DRY_RUNS_FOLDER, LOCKS_FOLDER, lock_file
from backfill.state.reject_files import RejectFiles
from backfill.state.shared_run import (
    SNAPSHOT_FOLDER,
    SharedRun,
    SpoolChoice,
    share,
    shared_run,
    told_place,
    write_place,
)

if TYPE_CHECKING:
    from backfill.ledger import Ledger, LedgerReader
    from backfill.ledger.transfer import Contents
    from backfill.spool import CountingSink

LEDGER_FILE = "ledger.sqlite3"
INTAKE_FOLDER = "intake"
#: In the folder of a run that is moved: where to. Nothing goes on with it here.
MOVING_FILE = "moving"


@frozen
class RunFolder:
    """A `StoredRun`: the folder of one run, below runs/ or earlier/ of its state folder; it need not exist.

    Where its bytes are shared, a file in it tells where; `choice` is for one that begins, and for the cache.
    """

    path: Path
    choice: SpoolChoice = field(default=SpoolChoice(), compare=False)
    place: str = ""  # what that file says, where it is known from elsewhere

    @property
    def run_id(self) -> str:
        """The run's id, which is the folder's name."""
        return self.path.name

    @property
    def ledger(self) -> Path:
        """The ledger's file."""
        return self.path / LEDGER_FILE

    @property
    def spool_folder(self) -> Path:
        """The folder of segments, calls and rejects."""
        return self.path / "spool"

    @property
    def snapshot(self) -> Path:
        """The folder of the frozen source."""
        return self.path / SNAPSHOT_FOLDER

    @property
    def work(self) -> Path:
        """The folder for what preparing needs only while it is under way."""
        return self.path / "work"

    @property
    def intake(self) -> Path:
        """The folder for the copy of standard input, outside of the run's: it is made before that."""
        return self._state / INTAKE_FOLDER / self.run_id

    @property
    def is_dry(self) -> bool:
        """Whether it is in a state folder of dry runs."""
        return self._state.name == DRY_RUNS_FOLDER

    @property
    def lost(self) -> bool:
        """Whether its ledger is missing: there are prepared batches."""
        if self.ledger.is_file():
            return False
        shared = self.shared
        return (shared is not None and not shared.is_empty()) or (
            self.spool_folder.is_dir() and any(self.spool_folder.iterdir())
        )

    def begun(self) -> bool:
        """Whether there is a run: its ledger is the first thing made, whole or not at all.

        Raises:
            LedgerError: It is lost.
        """
        if self.lost:
            # What was sent stands in the ledger alone: to begin afresh would send it again.
            raise LedgerError(
                f"{self.path} holds prepared batches, but its ledger {LEDGER_FILE} is gone",
                hint="put it back; or, if nothing was sent or 24 hours of doubled calls do no harm, remove the folder",
            )
        return self.ledger.is_file()

    def holders(self) -> list[RunHolder]:
        """The process that took the run's lock last and is there still.

        Told by the process id in the lock's file, which a process that ends by itself takes out: to try the lock would
        keep a process from it that begins at this moment.
        """
        holder = FileLock(self._state / LOCKS_FOLDER / lock_file(self.run_id)).holder()
        if holder is None:
            return []
        try:
            os.kill(holder, 0)
        except PermissionError:
            pass  # of another user
        except (OSError, OverflowError):
            return []
        return [RunHolder(holder)]

    def make(self) -> None:
        """Make the folder (mode 0700) where it is not there, durably; its bytes have their place from then on."""
        make_folder(self.path)
        if self.choice.url and self.shared is None and not self.ledger.is_file():
            share(self.path, self.choice.url, self._state / CACHE_FOLDER)

    def create(self, record: RunRecord, *, clock: Callable[[], float] = time.time) -> Ledger:
        """Begin the run; see `Ledger.create`."""
        from backfill.ledger import Ledger  # noqa: PLC0415 (SQLite, for verbs that look at runs)

        return Ledger.create(self.ledger, record, clock=clock)

    @property
    def has_ledger(self) -> bool:
        """Whether its ledger is there."""
        return self.ledger.is_file()

    @property
    def place_text(self) -> str:
        """What tells where its bytes are shared."""
        return self.place or told_place(self.path)

    def begin_with(self, held: Contents, place_text: str) -> None:
        """Begin it with what another ledger held."""
        from backfill.ledger.sqlite_file import create_database  # noqa: PLC0415 (for runs that are moved)
        from backfill.ledger.transfer import fill  # noqa: PLC0415 (as above)

        if place_text:
            write_place(self.path, place_text)
        create_database(self.ledger, partial(fill, held=held))

    @property
    def moving_to(self) -> str:
        """The name of the place to which it is being moved; empty where it is not."""
        with suppress(FileNotFoundError):
            return (self.path / MOVING_FILE).read_text("utf-8")
        return ""

    def bar(self, to: str) -> None:
        """Let nothing go on with it here from now on, as it is moved there."""
        if self.moving_to not in ("", to):
            raise barred(self.run_id, self.moving_to)
        write_durably(self.path / MOVING_FILE, to.encode())
        sync_folder(self.path)

    def open(self, *, clock: Callable[[], float] = time.time) -> Ledger:
        """Its ledger, to be written; see `Ledger`. Raises UsageError where it is being moved."""
        from backfill.ledger import Ledger  # noqa: PLC0415 (as above)

        if self.moving_to:
            raise barred(self.run_id, self.moving_to)
        return Ledger.open(self.ledger, clock=clock)

    def read(self) -> LedgerReader:
        """Its ledger, to be read; see `LedgerReader`. Raises as `begun` does where it is lost."""
        from backfill.ledger import LedgerReader  # noqa: PLC0415 (as above)

        self.begun()
        return LedgerReader(self.ledger)

    @property
    def shared(self) -> SharedRun | None:
        """Where its bytes are, if that is not this machine."""
        return shared_run(self.path, self._state / CACHE_FOLDER, self.choice.cache_bytes, self.place)

    @property
    def bytes_at(self) -> str:
        """Where its bytes are shared, for people; empty where they are on this machine alone."""
        shared = self.shared
        return f"{shared.url}/{shared.prefix}" if shared else ""

    @property
    def bytes_here(self) -> int | None:
        """How many more of its prepared bytes may come to stay on this machine; None: all."""
        shared = self.shared
        return shared.room() if shared else None

    def spool(self, *, stopping: Callable[[], bool] = lambda: False) -> RunSpool:
        """Its prepared bytes; the folder is made where it is missing."""
        if (shared := self.shared) is not None:
            return shared.spool(stopping)
        from backfill.spool import Spool  # noqa: PLC0415 (polars, for verbs that look at bytes)

        return Spool(self.spool_folder)

    def has_snapshot(self) -> bool:
        """Whether it has a snapshot still, on this machine or where that is shared."""
        shared = self.shared
        return self.snapshot.exists() or (shared is not None and shared.has_snapshot())

    def keep_snapshot(self, *, stopping: Callable[[], bool] = lambda: False) -> None:
        """Share the snapshot where the run's bytes are shared."""
        if (shared := self.shared) is not None:
            shared.keep_snapshot(stopping)

    def bring_snapshot(self) -> None:
        """Make the shared snapshot whole on this machine."""
        if (shared := self.shared) is not None:
            shared.bring_snapshot()

    def free_snapshot(self) -> None:
        """Remove what is on this machine of a snapshot that is shared."""
        if (shared := self.shared) is not None and shared.has_snapshot():
            shutil.rmtree(self.snapshot, ignore_errors=True)

    def forget_snapshot(self) -> None:
        """Remove the snapshot."""
        if (shared := self.shared) is not None:
            shared.forget_snapshot()
        shutil.rmtree(self.snapshot, ignore_errors=True)

    def counting_sink(self) -> CountingSink:
        """The sink of a dry run; the folder of the rejects is made where it is missing."""
        from backfill.spool import CountingSink  # noqa: PLC0415 (as above)

        return CountingSink(self.spool_folder)

    def rejects(self) -> RunRejects:
        """Its rows that are not sent."""
        shared = self.shared
        return RejectFiles(self.spool_folder) if shared is None else shared.rejects()

    def remove_shared(self) -> None:
        """Remove what is shared of it."""
        if (shared := self.shared) is not None:
            shared.remove()

    @property
    def _state(self) -> Path:
        return self.path.parent.parent
