"""Opening the SQLite file of a ledger: how, and how its faults are told."""

from __future__ import annotations

import errno
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.parse import quote

from backfill.disk import PRIVATE_FILE, aside, sync_file, sync_folder
from backfill.errors import BackfillError, LedgerError, StoppedError
from backfill.ledger.schema import APPLICATION_ID, SCHEMA_VERSION, TABLES, VIEWS

_DAMAGED = "restore the file from a copy if there is one; a new run needs a higher generation, and sends all again"


def create_database(path: Path, fill: Callable[[sqlite3.Connection], None]) -> None:
    """Make a ledger that `fill` gives its first rows: at `path` stands a whole one, or none.

    Raises:
        LedgerError: There is one already.
        StoppedError: The disk is full.
    """
    if path.exists():
        raise LedgerError(f"{path} exists already", hint="resume its run, or abandon it")
    temporary = aside(path)
    temporary.unlink(missing_ok=True)
    temporary.touch(mode=PRIVATE_FILE)
    with told(path):
        with closing(sqlite3.connect(temporary, isolation_level=None)) as connection:
            connection.executescript(
                f"PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {SCHEMA_VERSION};"
                f"BEGIN; {TABLES} {VIEWS}"
            )
            fill(connection)
            connection.execute("COMMIT")
        sync_file(temporary)
        temporary.replace(path)
        sync_folder(path.parent)


def connect_to_write(path: Path) -> sqlite3.Connection:
    """The one connection that writes. The caller holds the run's lock.

    WAL, so that readers never wait; synchronous FULL, so that a commit is durable when it returns
    (https://www.sqlite.org/pragma.html#pragma_synchronous).

    Raises:
        LedgerError: There is none, it is damaged, or of a version this program does not know.
    """
    connection = _connect(path, "rw")
    try:
        with told(path):
            check_version(connection, path)
            check_whole(connection, path)
            connection.execute("PRAGMA journal_mode = WAL").fetchone()
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("PRAGMA foreign_keys = ON")
    except BackfillError:
        connection.close()
        raise
    return connection


def connect_to_read(path: Path) -> sqlite3.Connection:
    """A connection that cannot write, usable from any thread.

    Raises:
        LedgerError: There is none, it is damaged, or of a version this program does not know.
    """
    connection = _connect(path, "ro")
    try:
        with told(path):
            check_version(connection, path)
    except BackfillError:
        connection.close()
        raise
    return connection


def _connect(path: Path, mode: str) -> sqlite3.Connection:
    if not path.exists():
        raise LedgerError(f"there is no ledger at {path}", hint="`backfill status` lists the runs there are")
    with told(path):
        connection = sqlite3.connect(
            f"file:{quote(str(path.absolute()))}?mode={mode}",
            uri=True,
            isolation_level=None,
            check_same_thread=False,  # SQLite is built serialised, and each connection has one owner
            timeout=30,
        )
    connection.row_factory = sqlite3.Row
    return connection


def check_version(connection: sqlite3.Connection, path: Path) -> None:
    """Raise LedgerError where this is no ledger, or one of a version this program does not know."""
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if application != APPLICATION_ID:
        raise LedgerError(f"{path} is not a ledger of backfill", hint=_DAMAGED)
    if version != SCHEMA_VERSION:
        raise LedgerError(
            f"{path} has version {version}; this backfill knows version {SCHEMA_VERSION}",
            hint="use the version of backfill that made it, or a later one",
        )


def check_whole(connection: sqlite3.Connection, path: Path) -> None:
    """Raise LedgerError where SQLite finds the file damaged (https://www.sqlite.org/pragma.html#pragma_quick_check)."""
    (result,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    if result != "ok":
        raise LedgerError(f"{path} is damaged: {result}", hint=_DAMAGED)


@contextmanager
def told(path: Path) -> Iterator[None]:
    """Turn SQLite's errors into ours: a full disk stops the run, all else is a ledger that cannot be trusted."""
    try:
        yield
    except sqlite3.Error as error:
        raise _ours(error, path) from error
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise _full(path) from error


def _ours(error: sqlite3.Error, path: Path) -> BackfillError:
    # Errors of the sqlite3 module itself (a closed connection) have no code.
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code == sqlite3.SQLITE_FULL:
        return _full(path)
    if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return LedgerError(f"{path} is damaged: {error}", hint=_DAMAGED)
    return LedgerError(f"{path}: {error}", hint="nothing unrecorded was counted; resume when the cause is gone")


def _full(path: Path) -> StoppedError:
    return StoppedError(
        f"no space left for the ledger {path}", hint="free some space, then resume: what was recorded is kept"
    )
