"""Runs whose ledgers are in a PostgreSQL database, so that any machine that reaches it can go on with them.

Their bytes are below a state folder of this machine, in `bytes`, or shared, as the table of runs tells; dry runs, which
nobody else needs, are runs of that state folder.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from backfill.errors import LedgerError
from backfill.records import ArchivedIds, DeliveredArchive, RunHolder, RunRecord, RunStore, StoredRun
from backfill.state.database_run import DatabaseRun
from backfill.state.folder import EARLIER_MARK, StateFolder, run_id
from backfill.state.place import RUNS_FOLDER
from backfill.state.run import RunFolder

if TYPE_CHECKING:
    from backfill.ledger.postgres import Lease, RegisteredRun

#: The name of a run's folder: the id that it had when it began, and its schema.
_FOLDER = re.compile(r"(?P<run_id>.+)\.(?P<schema>backfill_[0-9a-f]+)")


class DatabaseStore:
    """A `RunStore` in a database. Making the object touches nothing."""

    def __init__(self, url: str, folder: StateFolder, files: StateFolder) -> None:
        """`folder` is the state folder of this machine, `files` the one in it for the bytes of these runs."""
        from backfill.ledger.postgres import Database, Registry  # noqa: PLC0415 (for those who name a database)

        self.database = Database(url)
        self.registry = Registry(self.database)
        self.files = files
        self._folder = folder
        self._leases: dict[str, Lease] = {}

    @property
    def path(self) -> Path:
        """The state folder of this machine."""
        return self._folder.path

    @property
    def name(self) -> str:
        """The database."""
        return self.database.name

    @property
    def bytes_at(self) -> str:
        """The place where runs that begin share their bytes; empty where they keep them on this machine alone."""
        return self.files.bytes_at

    @property
    def dry_runs(self) -> RunStore:
        """Those of this machine's state folder."""
        return self._folder.dry_runs

    def make_usable(self) -> bool:
        """Make the tables of all runs and the folders of this machine, and remove what discarded runs have left there.

        Returns whether the folders are new.

        Raises:
            UsageError: The folder cannot be there, or the database has something else in the schema `backfill`.
            StoppedError: The database cannot be used; the disk is full.
        """
        self.registry.make()
        new = self._folder.make_usable()
        self.files.make_usable()
        here = {folder["schema"]: folder[0] for folder in self._folders()}
        for schema in self.registry.discarded(list(here)):  # whose process ended, or was another machine's
            self.files.discard(self.files.run(here[schema]))
        return new

    def look(self) -> str:
        """The server, its version, and how long it takes to answer."""
        server, seconds = self.database.look()
        new = "" if self.registry.is_there() else "; a first run makes its tables"
        return f"{self.name}: {server}, answers in {seconds * 1000:.1f} ms{new}"

    def run(self, run_id: str) -> DatabaseRun:
        """The run of that id, begun or not."""
        return DatabaseRun(self, run_id)

    def find(self, job_name: str, target_kind: str, target_identity: str, generation: int) -> DatabaseRun:
        """The run of that job to that target, begun or not."""
        return self.run(run_id(job_name, target_kind, target_identity, generation))

    def runs(self, *, lost: bool = False) -> list[StoredRun]:
        """Every run with a ledger, the latest to change its state first.

        With `lost` also those of which only bytes are here, behind all others; without it such a one is a LedgerError.
        """
        found: list[StoredRun] = [self._made(row) for row in self.registry.begun(EARLIER_MARK)]
        begun = {run.run_id for run in found}
        for name in sorted({folder["run_id"] for folder in self._folders()} - begun):
            run = self.run(name)
            if lost and run.lost:
                found.append(run)
            elif not lost:
                run.begun()
        return found

    def earlier(self, run_id: str | None = None) -> list[StoredRun]:
        """The runs in whose place a later one came (of that id, where given), the oldest first."""
        rows = self.registry.put_away(EARLIER_MARK, run_id)
        return [self._made(row) for row in sorted(rows, key=lambda row: _order(row.run_id))]

    @contextmanager
    def lock(self, run_id: str, *, together: bool = False) -> Iterator[None]:
        """Hold the lease of that run; `together`: or share it with others that deliver it, where there is a ledger.

        Raises:
            LockedError: Another process (or another lock of this one) holds it.
            StoppedError: The database cannot be used.
        """
        from backfill.ledger.postgres import share_lease, take_lease  # noqa: PLC0415 (as above)

        self.make_usable()  # where another machine began it nothing is here yet
        row = self.registry.find(run_id) if together else None
        if row is not None and row.state is not None:
            lease = share_lease(self.database, run_id, row.schema, f"{self.name}, schema {row.schema}")
        else:
            lease = take_lease(self.database, run_id)
        self._leases[run_id] = lease
        try:
            yield
        finally:
            del self._leases[run_id]
            lease.release()

    def lease(self, run_id: str) -> Lease:
        """The lease that this store holds of the run, or of the one that came in its place."""
        lease = self._leases.get(run_id.partition(EARLIER_MARK)[0])
        if lease is None:
            raise LedgerError(f"the lock of {run_id} is not held", hint="this is a fault of backfill")
        return lease

    def holders(self, run_id: str) -> list[RunHolder]:
        """The process that has the lease of a run, or those that share it."""
        from backfill.ledger.postgres import holders_of  # noqa: PLC0415 (as above)

        return holders_of(self.database, run_id) if self.registry.is_there() else []

    def discard(self, run: StoredRun) -> None:
        """Throw a run away: its ledger, where it is ours still, then its bytes. Hold its lock."""
        row = self.registry.find(run.run_id)
        files = self.files_of(run.run_id, row)
        if row is not None:
            self.registry.discard(row, self.lease(run.run_id))
        files.remove_shared()
        self.files.discard(files)

    def put_away(self, run: StoredRun) -> DatabaseRun:
        """Make room for a later run of the same id; its folder stays where it is. Hold its lock."""
        row = self.registry.find(run.run_id)
        if row is None:
            raise LedgerError(f"there is no ledger of {run.run_id} in {self.name}", hint="this is a fault of backfill")
        number = max((_order(one.run_id)[1] for one in self.earlier(run.run_id)), default=0) + 1
        later = f"{run.run_id}{EARLIER_MARK}{number}"
        self.registry.rename(row, later, self.lease(run.run_id))
        return DatabaseRun(self, later)

    def kept(self, run_id: str) -> DatabaseRun:
        """The run of that id, also one in whose place another came."""
        return self.run(run_id)

    def retire(self, run: StoredRun) -> str:
        """Put a run that is elsewhere by now out of use; returns its schema, which stays."""
        row = self.registry.find(run.run_id)
        if row is None:
            raise LedgerError(f"there is no ledger of {run.run_id} in {self.name}", hint="this is a fault of backfill")
        self.registry.retire(row, self.lease(run.run_id))
        return f"{self.name}, schema {row.schema}"

    def archive(self, record: RunRecord, *, stopping: Callable[[], bool] = lambda: False) -> DeliveredArchive:
        """The archive to which the delivered ids of such a run belong, on this machine: an index over the ledgers."""
        return self.files.archive(record, stopping=stopping)

    def archives(self) -> Iterator[ArchivedIds]:
        """The ids of every archive that can be read."""
        return self.files.archives()

    def files_of(self, run_id: str, row: RegisteredRun | None) -> RunFolder:
        """The folder of a run's bytes; of one that is not in the table yet a place where nothing is."""
        if row is None:
            return self.files.run(run_id)
        return replace(self.files.run(f"{run_id.partition(EARLIER_MARK)[0]}.{row.schema}"), place=row.place)

    def was_sent_from_folder(self, run_id: str) -> bool:
        """Whether the state folder of this machine has a live run of that id that has sent something."""
        run = self._folder.run(run_id)
        if not run.has_ledger:
            return False
        with run.read() as reader:
            return reader.status().record.live and reader.counts().requests > 0

    def begun_at(self) -> str:
        """Where runs of this store are begun, for people."""
        return f"{self.path} on {socket.gethostname()}"

    def prepared_without_ledger(self, run_id: str, row: RegisteredRun | None) -> list[Path]:
        """The folders of prepared batches of a run of that id of which the database knows nothing."""
        ours = [folder for folder in self._folders() if folder["run_id"] == run_id]
        known = self.registry.known([folder["schema"] for folder in ours]) - {row.schema if row else ""}
        left = [self.files.run(folder[0]) for folder in ours if folder["schema"] not in known]
        if row is not None and row.place:
            left.append(self.files_of(run_id, row))
        return [run.path for run in left if run.lost]

    def _made(self, row: RegisteredRun) -> DatabaseRun:
        return DatabaseRun(self, row.run_id, row)

    def _folders(self) -> list[re.Match[str]]:
        place = self.files.path / RUNS_FOLDER
        names = [path.name for path in place.iterdir()] if place.is_dir() else []
        return [found for name in names if (found := _FOLDER.fullmatch(name))]


def _order(earlier: str) -> tuple[str, int]:
    """The id that an earlier run had, and which of the earlier ones it is, from 1."""
    base, _, number = earlier.rpartition(EARLIER_MARK)
    return base, int(number) if number.isdigit() else 0
