"""The ledger of a run in PostgreSQL, as its readers and its writer have it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from backfill.ledger.connection import Connection
from backfill.ledger.postgres import deliverers
from backfill.ledger.postgres.database import Database, PostgresConnection, until_connected
from backfill.ledger.postgres.errors import postgres_errors
from backfill.ledger.postgres.pace import PaceTable
from backfill.ledger.postgres.patience import no_answer
from backfill.ledger.postgres.processes import this_process
from backfill.ledger.postgres.schema import check_version
from backfill.ledger.postgres.transactions import PostgresTransactions
from backfill.ledger.reader import SqlReader
from backfill.ledger.schema import SCHEMA_VERSION
from backfill.ledger.writer import SqlLedger
from backfill.records import Batch, DeliveryStep, SharedDelivery

if TYPE_CHECKING:
    from backfill.ledger.postgres.leases import Lease

T = TypeVar("T")

#: How many batches a process takes in hand at once: what it dies with is not sent by others until that is noticed, and
#: at the end of a run the others have nothing to do while it sends them.
BATCHES_IN_HAND = 4


class PostgresReader(SqlReader):
    """A view of a run's schema that never writes."""

    def __init__(self, database: Database, schema: str, name: str, lease: Lease | None = None) -> None:
        """Open it; `lease` is that of the writer it belongs to, if any: where it may have ended nothing is waited for.

        Raises:
            LedgerError: There is none, or it is of a version this program does not know.
            StoppedError: The database cannot be reached.
        """
        self.name = name
        self._database, self._schema, self._lease = database, schema, lease
        self._closed = False
        self._lock = threading.Lock()
        self._connection = self._connect()

    def close(self) -> None:
        """Close the connection; again does nothing."""
        self._closed = True
        self._connection.close()

    def _connect(self) -> PostgresConnection:
        gives_up = self._lease.gives_up if self._lease else no_answer
        connection = self._database.connect(self._schema, writes=False, gives_up=gives_up)
        try:
            with postgres_errors(self.name):
                connection.script("SET default_transaction_read_only = on")
                check_version(connection, self.name)
        except BaseException:
            connection.close()
            raise
        return connection

    def _rows(self, query: str, *values: object) -> list[Any]:
        with postgres_errors(self.name):
            try:
                return self._connection.execute(query, values).fetchall()
            except Exception:
                if self._connection.usable or self._closed:
                    raise
        with self._lock:
            if not self._connection.usable:  # else another thread has done it
                self._connection.close()
                self._connection = until_connected(self._connect, self._hopeless)
        with postgres_errors(self.name):  # it only reads: to ask again does no harm
            return self._connection.execute(query, values).fetchall()

    def _hopeless(self) -> bool:
        swallowed = self._connection.given_up and self._lease is not None and self._lease.silent
        return self._closed or swallowed

    def _version(self) -> int:
        return SCHEMA_VERSION  # of what a file has, too: no other is read


class PostgresLedger(SqlLedger):
    """A run's schema, as the one process that holds the run's lease writes it."""

    def __init__(
        self,
        database: Database,
        schema: str,
        name: str,
        *,
        lease: Lease,
        marks: Path,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Open it; attempts without an end become `unknown`. `lease` and `marks` are those of PostgresTransactions.

        Raises:
            LedgerError: There is none, it is damaged or has lost commits, or is of a version that is not known.
            LockedError: The run is another's by now.
            StoppedError: The database cannot be reached.
        """
        transactions = PostgresTransactions(database, schema, name, lease, marks)
        super().__init__(transactions, lambda: PostgresReader(database, schema, name, lease), clock=clock)


class DeliveringLedger(PostgresLedger):
    """The same, as one of several processes writes it that deliver the run at once: `lease` is that of a deliverer."""

    def __init__(
        self,
        database: Database,
        schema: str,
        name: str,
        *,
        lease: Lease,
        marks: Path,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Open it; attempts without an end that nobody at work has under way become `unknown`. As PostgresLedger."""
        assert lease.deliverer is not None
        self._token, self._us = lease.deliverer.token, this_process()
        self._pace = PaceTable(database, schema, name, lease)
        super().__init__(database, schema, name, lease=lease, marks=marks, clock=clock)

    def close(self) -> None:
        """Make everything recorded durable and let go of it; again does nothing."""
        self._pace.close()
        super().close()

    @property
    def together(self) -> SharedDelivery:
        """This."""
        return self

    def next_batches(self, limit: int) -> list[Batch]:
        """A few batches still to be delivered that no other process has in hand, in plan order."""
        return self._commits.submit(partial(deliverers.claim, token=self._token, limit=min(limit, BATCHES_IN_HAND)))

    def begin(self) -> None:
        """Let the run be delivered, unless it is over."""
        self._commits.submit(lambda connection: deliverers.begin(connection, self._clock()))

    def next_step(self) -> DeliveryStep:
        """What this process does next."""
        return self._commits.submit(partial(deliverers.next_step, token=self._token, us=self._us))

    def leave(self, exit_code: int, detail: str, *, for_all: bool = False) -> None:
        """Give back what this process has in hand; the last one stops the run, and so does whoever ends it for all."""
        leaving = partial(deliverers.leave, exit_code=exit_code, detail=detail, for_all=for_all)
        self._commits.submit(lambda connection: leaving(connection, self._token, self._us, at=self._clock()))

    def change_pace(self, change: Callable[[str, float], tuple[str, T]]) -> T:
        """Change what is kept of the pace; the time is the server's."""
        return self._pace.change(change)

    def _end_orphans(self, connection: Connection) -> int:
        return deliverers.end_nobodys(connection)
