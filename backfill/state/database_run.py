"""One run whose ledger is in PostgreSQL. Its bytes, rejects and snapshot are those of a run in a folder.

The folder has the name of the run's schema in it, which no other run ever had: so it stays where it is when a later
run takes the id, and what another machine discarded is never taken for the run's.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from backfill.disk import make_folder
from backfill.errors import LedgerError, UsageError
from backfill.records import RunHolder, RunRecord, RunRejects, RunSpool, ShardSink
from backfill.state.run import RunFolder
from backfill.state.shared_run import SharedRun, told_place

if TYPE_CHECKING:
    from backfill.ledger.postgres import PostgresLedger, PostgresReader, RegisteredRun
    from backfill.ledger.transfer import Contents
    from backfill.state.database_store import DatabaseStore

#: Below the folder of bytes: the numbers of the newest commits that this machine knows of.
MARKS_FOLDER = "marks"


class DatabaseRun:
    """A `StoredRun` of a DatabaseStore."""

    is_dry = False

    def __init__(self, store: DatabaseStore, run_id: str, row: RegisteredRun | None = None) -> None:
        self.run_id = run_id
        self._store = store
        self._row = row

    @property
    def path(self) -> Path:
        """The folder of its bytes."""
        return self._files.path

    @property
    def snapshot(self) -> Path:
        """The folder of the frozen source."""
        return self._files.snapshot

    @property
    def work(self) -> Path:
        """The folder for what preparing needs only while it is under way."""
        return self._files.work

    @property
    def intake(self) -> Path:
        """The folder for the copy of standard input: by the id alone, since it is made before the run is."""
        return self._store.files.run(self.run_id).intake

    @property
    def ledger(self) -> str:
        """The database and the schema."""
        row = self.row()
        return f"{self._store.name}, schema {row.schema}" if row else self._store.name

    @property
    def lost(self) -> bool:
        """Whether there are prepared batches here, and no ledger of them in the database."""
        row = self.row(anew=True)
        return (row is None or row.state is None) and bool(self._store.prepared_without_ledger(self.run_id, row))

    def begun(self) -> bool:
        """Whether its ledger is in the database.

        Raises:
            LedgerError: It is lost.
            UsageError: It is in the state folder of this machine, and has sent something: to begin it sends that again.
        """
        row = self.row(anew=True)
        if row is not None and row.state is not None:
            return True
        if left := self._store.prepared_without_ledger(self.run_id, row):
            raise LedgerError(
                f"{left[0]} holds prepared batches, but their ledger is gone from {self._store.name}",
                hint="name the database that has it with --state, or put that back; or, if nothing was sent or 24"
                " hours of doubled calls do no harm, remove the folder",
            )
        if self._store.was_sent_from_folder(self.run_id):
            raise UsageError(
                f"the run {self.run_id} is in {self._store.path}, and has sent calls:"
                f" begun anew in {self._store.name} it would send them again",
                hint=f"move it: `backfill state copy {self._store.path} {self._store.name} {self.run_id}`",
            )
        return False

    def holders(self) -> list[RunHolder]:
        """The process that has its lease, or those that share it."""
        return self._store.holders(self.run_id)

    def make(self) -> None:
        """Put it into the table of runs, with the place of its bytes, and make its folder."""
        row = self.row(anew=True) or self._store.registry.reserve(self.run_id, self._store.begun_at())
        self._row = row
        self._files.make()
        place = told_place(self.path)
        if place and not row.place:
            self._store.registry.share(row, place)
            self.row(anew=True)

    def create(self, record: RunRecord, *, clock: Callable[[], float] = time.time) -> PostgresLedger:
        """Begin the run."""
        from backfill.ledger.sql_plan import insert_run  # noqa: PLC0415 (as below)

        self.make()
        row = self._known()
        fill = partial(insert_run, record=record)
        self._store.registry.create(row, fill, self._store.lease(self.run_id), self.ledger)
        return self.open(clock=clock)

    @property
    def has_ledger(self) -> bool:
        """Whether its ledger is in the database."""
        row = self.row(anew=True)
        return row is not None and row.state is not None

    @property
    def place_text(self) -> str:
        """What tells where its bytes are shared."""
        row = self.row()
        return row.place if row else ""

    def begin_with(self, held: Contents, place_text: str) -> None:
        """Begin it with what another ledger held."""
        from backfill.ledger.transfer import fill  # noqa: PLC0415 (for runs that are moved)

        row = self._known()
        if place_text:
            self._store.registry.share(row, place_text)
        self._store.registry.create(row, partial(fill, held=held), self._store.lease(self.run_id), self.ledger)
        self.row(anew=True)

    @property
    def moving_to(self) -> str:
        """The name of the place to which it is being moved; empty where it is not."""
        return self._store.registry.moving_to(self._known())

    def bar(self, to: str) -> None:
        """Let nothing go on with it here from now on, as it is moved there."""
        self._store.registry.bar(self._known(), self._store.lease(self.run_id), to)

    def open(self, *, clock: Callable[[], float] = time.time) -> PostgresLedger:
        """Its ledger, to be written; see `PostgresLedger`."""
        from backfill.ledger.postgres import (  # noqa: PLC0415 (psycopg, for verbs that look at runs)
            DeliveringLedger,
            PostgresLedger,
        )

        row, marks = self._known(), self._store.files.path / MARKS_FOLDER
        make_folder(marks)
        if row.place:
            make_folder(self.path)  # where another machine began it
        lease = self._store.lease(self.run_id)
        kind = PostgresLedger if lease.deliverer is None else DeliveringLedger
        return kind(self._store.database, row.schema, self.ledger, lease=lease, marks=marks, clock=clock)

    def read(self) -> PostgresReader:
        """Its ledger, to be read; see `PostgresReader`. Raises as `begun` does where it is lost."""
        from backfill.ledger.postgres import PostgresReader  # noqa: PLC0415 (as above)

        self.begun()
        return PostgresReader(self._store.database, self._known().schema, self.ledger)

    @property
    def bytes_at(self) -> str:
        """Where its bytes are shared, for people; empty where they are on one machine alone."""
        return self._files.bytes_at

    @property
    def bytes_here(self) -> int | None:
        """How many more of its prepared bytes may come to stay on this machine; None: all."""
        return self._files.bytes_here

    @property
    def shared(self) -> SharedRun | None:
        """Where its bytes are, if that is not this machine."""
        return self._files.shared

    def spool(self, *, stopping: Callable[[], bool] = lambda: False) -> RunSpool:
        """Its prepared bytes.

        Raises:
            UsageError: They are on another machine.
        """
        return self._files_here().spool(stopping=stopping)

    def has_snapshot(self) -> bool:
        """Whether it has a snapshot still, on this machine or where that is shared."""
        return self._files.has_snapshot()

    def keep_snapshot(self, *, stopping: Callable[[], bool] = lambda: False) -> None:
        """Share the snapshot where the run's bytes are shared."""
        self._files.keep_snapshot(stopping=stopping)

    def bring_snapshot(self) -> None:
        """Make the shared snapshot whole on this machine."""
        self._files.bring_snapshot()

    def free_snapshot(self) -> None:
        """Remove what is on this machine of a snapshot that is shared."""
        self._files.free_snapshot()

    def forget_snapshot(self) -> None:
        """Remove the snapshot."""
        self._files.forget_snapshot()

    def counting_sink(self) -> ShardSink:
        """The sink of a dry run."""
        return self._files.counting_sink()

    def rejects(self) -> RunRejects:
        """Its rows that are not sent; raises as `spool` does."""
        return self._files_here().rejects()

    def row(self, *, anew: bool = False) -> RegisteredRun | None:
        """It in the table of runs, as it was found last; None where it is not there."""
        if anew or self._row is None:
            self._row = self._store.registry.find(self.run_id)
        return self._row

    def _known(self) -> RegisteredRun:
        row = self.row()
        if row is None:
            raise LedgerError(
                f"there is no ledger of {self.run_id} in {self._store.name}",
                hint="`backfill status` lists the runs there are",
            )
        return row

    @property
    def _files(self) -> RunFolder:
        return self._store.files_of(self.run_id, self.row())

    def _files_here(self) -> RunFolder:
        files, row = self._files, self.row()
        if row is not None and not row.place and not files.path.is_dir():
            raise UsageError(
                f"the prepared bytes of {self.run_id} are not here, but below {row.bytes_at}",
                hint="go on there, or with that folder in this machine's reach as its --state-dir",
            )
        return files
