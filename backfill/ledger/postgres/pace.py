"""What is kept of the pace at which several processes deliver a run: one row, changed by one of them at a time."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from backfill.ledger.postgres.database import Database, PostgresConnection, until_connected
from backfill.ledger.postgres.errors import postgres_errors

if TYPE_CHECKING:
    from backfill.ledger.postgres.leases import Lease

T = TypeVar("T")

_LOOK = "SELECT state, changes, extract(epoch FROM clock_timestamp())::float8 FROM pace"
_CHANGE = "UPDATE pace SET state = ?, changes = changes + 1 WHERE changes = ?"


class PaceTable:
    """That row, over a connection of its own, made when it is first needed. Thread-safe.

    A crash of the server may take back the last turns, which is less than it takes to start it again: so no disk is
    waited for.
    """

    def __init__(self, database: Database, schema: str, name: str, lease: Lease) -> None:
        self._database, self._schema, self._name, self._lease = database, schema, name, lease
        self._lock = threading.Lock()
        self._connection: PostgresConnection | None = None
        self._closed = False

    def change(self, change: Callable[[str, float], tuple[str, T]]) -> T:
        """As `SharedPace.change_pace`.

        Raises:
            StoppedError: The database cannot be reached.
        """
        with self._lock:
            for last in (False, True):
                connection = self._connected()
                try:
                    with postgres_errors(self._name):
                        return _changed(connection, change)
                except Exception:
                    if last or connection.usable:
                        raise
            raise AssertionError

    def close(self) -> None:
        """Close the connection, also while it is waited for; again does nothing."""
        self._closed = True
        if self._connection is not None:
            self._connection.close()

    def _connected(self) -> PostgresConnection:
        if self._connection is None:
            self._connection = self._connect()
        elif not self._connection.usable:
            self._connection = until_connected(self._connect, lambda: self._closed or self._lease.lost)
        return self._connection

    def _connect(self) -> PostgresConnection:
        connection = self._database.connect(self._schema, writes=True, gives_up=self._lease.gives_up)
        connection.script("SET synchronous_commit = off")
        return connection


def _changed(connection: PostgresConnection, change: Callable[[str, float], tuple[str, T]]) -> T:
    """Change it as it was read, and again where another was faster: whoever hangs in between keeps nobody waiting."""
    while True:
        ((state, changes, now),) = connection.execute(_LOOK).fetchall()
        kept, result = change(state, now)
        if connection.execute(_CHANGE, (kept, changes)).rowcount:
            return result
