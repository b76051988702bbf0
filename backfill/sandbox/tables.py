"""The sandbox's SQLite file: what is kept, and the statements that put it there.

One connection does everything: older SQLites can lose a WAL where two write or checkpoint. And each statement handles
many rows: Python's sqlite3 lets go of the interpreter lock at every step, and a thread that must have it back
a thousand times a request waits behind the busy ones each time.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import orjson

from backfill.errors import BackfillError, LedgerError, StoppedError
from backfill.sandbox.schema import COLUMNS, FROM_VERSION_1, NEW, SCHEMA_VERSION

#: Rows of one INSERT; SQLite takes 32,766 parameters a statement.
_ROWS_AT_ONCE = 1_000
#: SQLite's errors of a disk that has no room, fails, or takes nothing; those of them that are of a damaged file.
_DISK = frozenset((sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_READONLY))
_DAMAGED = (sqlite3.SQLITE_IOERR_SHORT_READ, sqlite3.SQLITE_IOERR_CORRUPTFS)


class Tables:
    """An open database; used by one thread. Every write is between `begin` and `commit`."""

    def __init__(self, file: str) -> None:
        """Open, or create.

        Raises:
            LedgerError: the file is not ours, damaged, or of a later version.
            StoppedError: the disk is full, read-only or failing.
        """
        self._connection = sqlite3.connect(file, isolation_level=None)
        try:
            self._prepare(file)
        except sqlite3.DatabaseError as error:
            self._connection.close()
            raise opening_failure(file, error) from error
        except LedgerError:
            self._connection.close()
            raise

    def _prepare(self, file: str) -> None:
        version = self._number("PRAGMA user_version")
        new = version == 0 and self._number("SELECT count(*) FROM sqlite_schema") == 0
        if not new and version not in {1, SCHEMA_VERSION}:  # of somebody else: the next statement would alter it
            raise unusable_file(file, f"it is not of version {SCHEMA_VERSION}, but says {version}")
        for pragma in ("journal_mode = WAL", "synchronous = FULL", "wal_autocheckpoint = 16384"):
            self._connection.execute(f"PRAGMA {pragma}")
        if new:
            self._connection.executescript(NEW)
        elif version == 1:
            self._connection.executescript(FROM_VERSION_1)

    def begin(self) -> None:
        """Start a group of writes."""
        self._connection.execute("BEGIN IMMEDIATE")

    def commit(self) -> None:
        """Make the group durable: it is on disk when this returns."""
        self._connection.execute("COMMIT")

    def roll_back(self) -> None:
        """Undo the group, where one is open."""
        if self._connection.in_transaction:
            self._connection.execute("ROLLBACK")

    def close(self) -> None:
        """Close; what was committed stays."""
        self._connection.close()

    def last_number(self, table: str) -> int:
        """The highest number in a table, 0 where it is empty."""
        return self._number(f"SELECT coalesce(max(number), 0) FROM {table}")  # noqa: S608 our own table names

    def insert(self, table: str, rows: Sequence[tuple[Any, ...]]) -> None:
        """Add these rows, each with its members in the order of the table's columns."""
        width = len(COLUMNS[table])
        for start in range(0, len(rows), _ROWS_AT_ONCE):
            some = rows[start : start + _ROWS_AT_ONCE]
            places = ",".join([f"({','.join('?' * width)})"] * len(some))
            self._connection.execute(
                f"INSERT INTO {table} VALUES {places}",  # noqa: S608 our own table names
                [value for row in some for value in row],
            )

    def add_counts(self, counts: Iterable[tuple[str, int]]) -> None:
        """Add to named counts."""
        self._connection.executemany(
            "INSERT INTO counts VALUES (?, ?) ON CONFLICT DO UPDATE SET value = value + excluded.value", counts
        )

    def counts(self) -> dict[str, int]:
        """Every count by its name."""
        return dict(self._connection.execute("SELECT name, value FROM counts ORDER BY name").fetchall())

    def ids_at(self, numbers: Sequence[int]) -> list[tuple[int, str, int]]:
        """(number, message id, received_ms) of these rows of ids, in no order."""
        # One row of JSON, not one row for each id: see the top of the file. It also keeps U+0000 in an id.
        found = self._connection.execute(
            "SELECT json_group_array(json_array(number, message_id, received_ms)) FROM ids "
            "WHERE number IN (SELECT value FROM json_each(?))",
            (orjson.dumps(numbers).decode(),),
        ).fetchone()
        return [(number, message_id, received_ms) for number, message_id, received_ms in orjson.loads(found[0])]

    def receive_again(self, numbers: Sequence[int], received_ms: int) -> None:
        """These ids came again after the window: their window starts anew."""
        self._connection.execute(
            "UPDATE ids SET received_ms = ? WHERE number IN (SELECT value FROM json_each(?))",
            (received_ms, orjson.dumps(numbers).decode()),
        )

    def page(self, table: str, *, after: int, limit: int, reason: str | None = None) -> list[dict[str, Any]]:
        """At most `limit` rows numbered above `after`, in order; of drops only those of one reason, if named."""
        columns = COLUMNS[table]
        where, values = ("", [after, limit]) if reason is None else ("AND reason = ?", [after, reason, limit])
        rows = self._connection.execute(
            f"SELECT {', '.join(columns)} FROM {table} WHERE number > ? {where} ORDER BY number LIMIT ?",  # noqa: S608 our own names
            values,
        )
        return [dict(zip(columns, row, strict=True)) for row in rows.fetchall()]

    def ids(self, *, after: int, limit: int) -> list[str]:
        """At most `limit` message ids from the one after this number on; numbers have no gaps."""
        found = self._connection.execute(
            "SELECT json_group_array(message_id) FROM "
            "(SELECT message_id FROM ids WHERE number > ? ORDER BY number LIMIT ?)",
            (after, limit),
        ).fetchone()
        return list(orjson.loads(found[0]))

    def all_ids(self, at_once: int = 50_000) -> Iterator[tuple[int, list[str]]]:
        """Every id in order, in parts, each with the number of its first."""
        after = 0
        while part := self.ids(after=after, limit=at_once):
            yield after + 1, part
            after += len(part)

    def mark(self, name: str) -> int:
        """A number that was noted; 0 where it was not."""
        found = self.all("SELECT value FROM marks WHERE name = ?", name)
        return int(found[0][0]) if found else 0

    def set_marks(self, **values: int) -> None:
        """Note numbers by their names."""
        self.change("INSERT INTO marks VALUES (?, ?) ON CONFLICT DO UPDATE SET value = excluded.value", values.items())

    def all(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        """The rows of a query that reads."""
        return self._connection.execute(statement, values).fetchall()

    def change(self, statement: str, rows: Iterable[tuple[Any, ...]]) -> None:
        """Do what the statement says with each of the rows."""
        self._connection.executemany(statement, rows)

    def _number(self, statement: str) -> int:
        return int(self._connection.execute(statement).fetchone()[0])


def opening_failure(file: str, error: sqlite3.Error) -> BackfillError:
    """The error for a store that cannot be opened: the disk's, or that of its file."""
    extended: int = getattr(error, "sqlite_errorcode", 0)
    if extended & 0xFF in _DISK and extended not in _DAMAGED:
        return StoppedError(
            f"the sandbox's store {file} cannot be written: {error}",
            hint="free some space, or make it possible to write there; then run the same command again",
        )
    return unusable_file(file, str(error))


def unusable_file(file: str, why: str) -> LedgerError:
    """The error for a file that is no store of ours, or a damaged one."""
    return LedgerError(f"{file} cannot be used as a sandbox's store: {why}", hint="name another --store")
