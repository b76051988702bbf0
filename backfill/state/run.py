"""One run in a state folder: a folder with its ledger (SQLite), spool, rejects and snapshot."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from backfill.disk import FileLock, make_folder
from backfill.errors import LedgerError
from backfill.frozen import frozen
from backfill.records import RunRecord
from backfill.state.place import DRY_RUNS_FOLDER, LOCKS_FOLDER, lock_file
from backfill.state.reject_files import RejectFiles

if TYPE_CHECKING:
    from backfill.ledger import Ledger, LedgerReader
    from backfill.spool import CountingSink, Spool

LEDGER_FILE = "ledger.sqlite3"
INTAKE_FOLDER = "intake"


@frozen
class RunFolder:
    """A `StoredRun`: the folder of one run, below runs/ or earlier/ of its state folder; it need not exist."""

    path: Path

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
        return self.path / "snapshot"

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
        return not self.ledger.is_file() and self.spool_folder.is_dir() and any(self.spool_folder.iterdir())

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

    def worked_on(self) -> bool:
        """Whether the process that took the run's lock last is there still.

        Told by the process id in the lock's file, which a process that ends by itself takes out: to try the lock would
        keep a process from it that begins at this moment.
        """
        holder = FileLock(self._state / LOCKS_FOLDER / lock_file(self.run_id)).holder()
        if holder is None:
            return False
        try:
            os.kill(holder, 0)
        except (OSError, OverflowError) as error:
            return isinstance(error, PermissionError)  # of another user
        return True

    def make(self) -> None:
        """Make the folder (mode 0700) where it is not there, durably."""
        make_folder(self.path)

    def create(self, record: RunRecord, *, clock: Callable[[], float] = time.time) -> Ledger:
        """Begin the run; see `Ledger.create`."""
        from backfill.ledger import Ledger  # noqa: PLC0415 (SQLite, for verbs that look at runs)

        return Ledger.create(self.ledger, record, clock=clock)

    def open(self, *, clock: Callable[[], float] = time.time) -> Ledger:
        """Its ledger, to be written; see `Ledger`."""
        from backfill.ledger import Ledger  # noqa: PLC0415 (as above)

        return Ledger.open(self.ledger, clock=clock)

    def read(self) -> LedgerReader:
        """Its ledger, to be read; see `LedgerReader`. Raises as `begun` does where it is lost."""
        from backfill.ledger import LedgerReader  # noqa: PLC0415 (as above)

        self.begun()
        return LedgerReader(self.ledger)

    def spool(self) -> Spool:
        """Its prepared bytes; the folder is made where it is missing."""
        from backfill.spool import Spool  # noqa: PLC0415 (polars, for verbs that look at bytes)

        return Spool(self.spool_folder)

    def counting_sink(self) -> CountingSink:
        """The sink of a dry run; the folder of the rejects is made where it is missing."""
        from backfill.spool import CountingSink  # noqa: PLC0415 (as above)

        return CountingSink(self.spool_folder)

    def rejects(self) -> RejectFiles:
        """Its rows that are not sent."""
        return RejectFiles(self.spool_folder)

    @property
    def _state(self) -> Path:
        return self.path.parent.parent
