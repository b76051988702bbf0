"""A ledger in a SQLite file."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from functools import partial
from pathlib import Path
from typing import Any

from backfill.ledger import sql_plan
from backfill.ledger.connection import Connection
from backfill.ledger.mark import Mark, mark_path
from backfill.ledger.reader import SqlReader
from backfill.ledger.sqlite_file import (
    close_to_write,
    connect_to_read,
    connect_to_write,
    create_database,
    sqlite_errors,
)
from backfill.ledger.writer import SqlLedger
from backfill.records import RunRecord


class SqliteTransactions:
    """The `Transactions` of a ledger's file: the one connection that writes it, and its mark."""

    def __init__(self, path: Path) -> None:
        self.name = str(path)
        self._path = path
        self._connection = connect_to_write(path)
        self._mark = Mark(path)

    def errors(self) -> AbstractContextManager[None]:
        """As `sqlite_errors`."""
        return sqlite_errors(self._path)

    def commit(self, perform: Callable[[Connection], None]) -> None:
        """Do it in one transaction."""
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            perform(self._connection)
            (commits,) = self._connection.execute("UPDATE mark SET commits = commits + 1 RETURNING commits").fetchone()
            self._connection.execute("COMMIT")
        except BaseException:
            with suppress(sqlite3.Error):  # SQLite rolls back by itself where the file cannot be written any more
                self._connection.rollback()
            raise
        self._mark.put(commits)

    def close(self) -> None:
        """Close the file; where no reader has it open, it is one file then."""
        close_to_write(self._connection)
        self._mark.close()
        if not self._path.with_name(self._path.name + "-wal").exists():  # one file without a log to lose
            with suppress(OSError):
                mark_path(self._path).unlink(missing_ok=True)


class LedgerReader(SqlReader):
    """A read-only view of a ledger's file."""

    def __init__(self, path: Path) -> None:
        """Open it.

        Raises:
            LedgerError: There is none, it is damaged, or of a version this program does not know.
        """
        self.path = path
        self.name = str(path)
        self._connection = connect_to_read(path)

    def close(self) -> None:
        """Close the file; again does nothing."""
        self._connection.close()

    def _rows(self, query: str, *values: object) -> list[Any]:
        with sqlite_errors(self.path):
            return self._connection.execute(query, values).fetchall()

    def _version(self) -> int:
        return int(self._rows("PRAGMA user_version")[0][0])


class Ledger(SqlLedger):
    """A ledger's file, as the one process that holds the run's lock writes it."""

    def __init__(self, path: Path, *, clock: Callable[[], float] = time.time) -> None:
        """Open the ledger at `path`; attempts that an earlier process left without an end become `unknown`.

        Raises:
            LedgerError: There is none, it is damaged, or of a version this program does not know.
        """
        self.path = path
        super().__init__(SqliteTransactions(path), partial(LedgerReader, path), clock=clock)

    @classmethod
    def create(cls, path: Path, record: RunRecord, *, clock: Callable[[], float] = time.time) -> Ledger:
        """Make the ledger of a new run, in the state `staging`, and open it. At `path` stands a whole one, or none.

        Raises:
            LedgerError: There is one already.
            StoppedError: The disk is full.
        """
        create_database(path, partial(sql_plan.insert_run, record=record))
        return cls(path, clock=clock)

    @classmethod
    def open(cls, path: Path, *, clock: Callable[[], float] = time.time) -> Ledger:
        """Open the ledger of an existing run; see the constructor."""
        return cls(path, clock=clock)
