"""Opening the SQLite file of a ledger, turning its errors into ours, and noticing commits that were lost.

Beside the file stands the mark, with the number of its newest commit: SQLite takes a log that is gone or damaged for a
short one, and to go on from there would send again what was delivered, at any age.
"""

from __future__ import annotations

import errno
import sqlite3
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from urllib.parse import quote

from backfill.disk import PRIVATE_FILE, aside, sync_file, sync_folder
from backfill.errors import BackfillError, LedgerError, StoppedError
from backfill.ledger.mark import Loss, check_newest
from backfill.ledger.migrations import migrate
from backfill.ledger.schema import APPLICATION_ID, DAMAGED, JOB_CALLS, SCHEMA_VERSION, TABLES, sqlite_time, views

#: What SQLite puts beside a database: its log, the index of that, and the journal of the other mode.
_BESIDE = ("-wal", "-shm", "-journal", "-mark")
#: Input and output that failed because the file ends too early: damage, not the disk.
_SHORT = (sqlite3.SQLITE_IOERR_SHORT_READ, sqlite3.SQLITE_IOERR_CORRUPTFS)
_SCHEMA = "SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL ORDER BY type, name"
#: How long to wait, in seconds, each time a reader comes between two steps of a writer.
_PAUSES = (0.01, 0.1, 0.5)


def create_database(path: Path, fill: Callable[[sqlite3.Connection], None]) -> None:
    """Make a ledger that `fill` gives its first rows: at `path` stands a whole one, or none.

    It is in WAL mode before it is seen, and stays so: a switch of modes beside a reader fails one of the two, and one
    cut short leaves a journal that a reader cannot recover.

    Raises:
        LedgerError: There is one already, or the file system does not allow WAL.
        StoppedError: The disk is full.
    """
    if path.exists():
        raise LedgerError(f"{path} exists already", hint="resume its run, or abandon it")
    temporary = aside(path)
    temporary.unlink(missing_ok=True)
    for name in (temporary, path):
        _remove_beside(name)
    with sqlite_errors(path):
        temporary.touch(mode=PRIVATE_FILE)
        with closing(sqlite3.connect(temporary, isolation_level=None)) as connection:
            connection.executescript(
                f"PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {SCHEMA_VERSION};"
                f"BEGIN; {TABLES} {JOB_CALLS} {views(sqlite_time)}"
            )
            connection.execute("UPDATE mark SET schema = ?", (_schema_sum(connection),))
            fill(connection)
            connection.execute("COMMIT")
            # Last, so that all of it stands in the file itself, whatever becomes of the log that is opened here.
            _use_wal(connection, path)
        sync_file(temporary)
        temporary.replace(path)
        sync_folder(path.parent)


def connect_to_write(path: Path) -> sqlite3.Connection:
    """The one connection that writes and checkpoints. The caller holds the run's lock.

    WAL, so that readers never wait; synchronous FULL, so that a commit is durable when it returns
    (https://www.sqlite.org/pragma.html#pragma_synchronous). No second one, ever: SQLite before 3.51.3 can damage a
    file in WAL mode that two connections write or checkpoint at once (https://www.sqlite.org/wal.html#walresetbug).

    Raises:
        LedgerError: There is none, it is damaged, or of a version this program does not know.
    """

    def prepare(connection: sqlite3.Connection) -> None:
        check_version(connection, path)
        check_whole(connection, path)
        check_newest(connection, path, _lost(path))
        _use_wal(connection, path)  # it is, but for a copy that another program made
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA foreign_keys = ON")
        _upgrade(connection)

    with sqlite_errors(path):
        _look(path)
        return _connect(path, "mode=rw", prepare)


def _look(path: Path) -> None:
    """Raise LedgerError where the ledger or its log is damaged, leaving both as they are.

    The last connection that may write removes the log when it closes, and with it what could still be had of it.
    """
    try:
        if not path.with_name(path.name + "-wal").stat().st_size:
            return
        connection = _connect(path, "mode=ro", lambda _: None)
    except (OSError, sqlite3.Error):
        return  # opening it to write raises the error
    with closing(connection):
        check_version(connection, path)
        check_whole(connection, path)
        check_newest(connection, path, _lost(path))


def connect_to_read(path: Path) -> sqlite3.Connection:
    """A connection that cannot write or checkpoint, usable from any thread.

    SQLite makes the log and its index beside the ledger where they are missing, also to read. Where it may not, and
    there is no log, the file alone is the ledger: it is read as one that does not change, as it does not until a
    writer comes (https://www.sqlite.org/wal.html#read_only_databases). Such a connection is to be short-lived.

    Raises:
        LedgerError: There is none, it is damaged, has lost its newest commits, or is of a version this program does not
            know; or it may not be read.
    """

    def prepare(connection: sqlite3.Connection) -> None:
        check_version(connection, path)
        check_newest(connection, path, _lost(path))

    with sqlite_errors(path):
        for pause in _PAUSES:
            try:
                return _connect(path, "mode=ro", prepare)
            except sqlite3.OperationalError as error:
                if not path.exists():  # put away while it was opened, which SQLite calls an error of the disk
                    raise _missing(path) from error
                moved = getattr(error, "sqlite_errorcode", 0) == sqlite3.SQLITE_IOERR_FSTAT  # and another is there
                if not moved and _code(error) not in (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY):
                    raise
            if _at_rest(path):
                return _connect(path, "mode=ro&immutable=1", prepare)
            time.sleep(pause)  # a writer may be between making the log and its index
    raise LedgerError(
        f"{path} cannot be read: its newest commits stand in {path.name}-wal, and their index cannot be made there",
        hint="read it as a user who may write to its folder, or copy the folder to where that is so",
    )


def close_to_write(connection: sqlite3.Connection) -> None:
    """Close the one that writes, with every commit in the file itself as far as no reader is in the middle of one.

    The last to close removes the log; a reader that is still connected keeps it there, empty.
    """
    with suppress(sqlite3.Error):  # what stays in the log is as durable, and the next process finds it
        connection.execute("PRAGMA busy_timeout = 0")  # a reader is not waited for
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    connection.close()


def _upgrade(connection: sqlite3.Connection) -> None:
    """Bring a ledger of an earlier version to this one, in one commit; a reader beside it sees the one or the other."""
    if connection.execute("PRAGMA user_version").fetchone()[0] == SCHEMA_VERSION:
        return
    connection.execute("BEGIN IMMEDIATE")
    migrate(connection)
    connection.execute("UPDATE mark SET schema = ?, commits = commits + 1", (_schema_sum(connection),))
    connection.execute("COMMIT")


def _use_wal(connection: sqlite3.Connection, path: Path) -> None:
    (mode,) = connection.execute("PRAGMA journal_mode = WAL").fetchone()
    if mode != "wal":
        raise LedgerError(
            f"{path} cannot be in WAL mode on this file system", hint="choose a local disk with --state-dir"
        )


def _remove_beside(path: Path) -> None:
    """Remove the logs of a database that is not there: SQLite would take them for those of the next of that name."""
    beside = [path.with_name(path.name + suffix) for suffix in _BESIDE]
    left = [file for file in beside if file.exists()]
    for file in left:
        file.unlink()
    if left:
        sync_folder(path.parent)


def _at_rest(path: Path) -> bool:
    """Whether the file alone is the whole ledger: no log with commits, no journal to roll back."""
    for suffix in ("-wal", "-journal"):
        try:
            if path.with_name(path.name + suffix).stat().st_size:
                return False
        except FileNotFoundError:
            continue
    return True


def _connect(path: Path, options: str, prepare: Callable[[sqlite3.Connection], None]) -> sqlite3.Connection:
    if not path.exists():
        raise _missing(path)
    connection = sqlite3.connect(
        f"file:{quote(str(path.absolute()))}?{options}",
        uri=True,
        isolation_level=None,
        check_same_thread=False,  # SQLite is built serialised, and each connection has one owner
        timeout=30,
    )
    try:
        connection.row_factory = sqlite3.Row
        prepare(connection)
    except BaseException:
        connection.close()
        raise
    return connection


def _lost(path: Path) -> Loss:
    """How commits can be lost: SQLite takes a log that is gone or damaged for a short one."""
    reason = f"{path.name}-wal is damaged or gone, or the file is an older copy"
    return Loss(str(path), reason, "put both back")


def _missing(path: Path) -> LedgerError:
    return LedgerError(f"there is no ledger at {path}", hint="`backfill status` lists the runs there are")


def check_version(connection: sqlite3.Connection, path: Path) -> None:
    """Raise LedgerError where this is no ledger, one of a version this program does not know, or of damaged tables."""
    connection.execute("BEGIN")  # a process may bring it to another version meanwhile
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if application != APPLICATION_ID:
        raise LedgerError(f"{path} is not a ledger of backfill", hint=DAMAGED)
    if not 1 <= version <= SCHEMA_VERSION:
        raise LedgerError(
            f"{path} has version {version}; this backfill knows version {SCHEMA_VERSION}",
            hint="use the version of backfill that made it, or a later one",
        )
    if connection.execute("SELECT schema FROM mark").fetchone()[0] != _schema_sum(connection):
        raise LedgerError(f"{path} is damaged: its tables are not those it was made with", hint=DAMAGED)
    connection.execute("COMMIT")


def _schema_sum(connection: sqlite3.Connection) -> int:
    """CRC-32 of what the tables, indexes and views were made with: a column of another name is no error to SQLite."""
    return zlib.crc32("\n".join(str(sql) for (sql,) in connection.execute(_SCHEMA)).encode())


def check_whole(connection: sqlite3.Connection, path: Path) -> None:
    """Raise LedgerError where SQLite finds the file damaged (https://www.sqlite.org/pragma.html#pragma_integrity_check).

    Its quick check would not look at the indexes, which say what is still to be delivered, and in which order.
    """
    (result,) = connection.execute("PRAGMA integrity_check(1)").fetchone()
    if result != "ok":
        raise LedgerError(f"{path} is damaged: {result}", hint=DAMAGED)


@contextmanager
def sqlite_errors(path: Path) -> Iterator[None]:
    """Turn SQLite's errors into ours: a full disk stops the run, all else is a ledger that cannot be trusted."""
    try:
        yield
    except sqlite3.Error as error:
        raise _ours(error, path) from error
    except UnicodeDecodeError as error:  # what SQLite says of a schema that is none
        raise _no_text(path) from error
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise _full(path) from error


def _ours(error: sqlite3.Error, path: Path) -> BackfillError:
    code = _code(error)
    if str(error).startswith("Could not decode"):  # and the text, which may be long, and anything
        return _no_text(path)
    if code == sqlite3.SQLITE_FULL:
        return _full(path)
    extended: int = getattr(error, "sqlite_errorcode", 0)
    if code == sqlite3.SQLITE_READONLY or (code == sqlite3.SQLITE_IOERR and extended not in _SHORT):
        return StoppedError(
            f"the ledger {path}: {error}",
            hint="see that the disk has room, works and may be written to, then resume: what was recorded is kept",
        )
    if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_IOERR):
        return LedgerError(f"{path} is damaged: {error}", hint=DAMAGED)
    return LedgerError(f"{path}: {error}", hint="nothing unrecorded was counted; resume when the cause is gone")


def _code(error: sqlite3.Error) -> int:
    """Its primary result code; 0 for those of the sqlite3 module itself (a closed connection), which have none."""
    code: int = getattr(error, "sqlite_errorcode", 0)
    return code & 0xFF


def _no_text(path: Path) -> LedgerError:
    return LedgerError(f"{path} is damaged: it holds invalid text", hint=DAMAGED)


def _full(path: Path) -> StoppedError:
    return StoppedError(
        f"no space left for the ledger {path}", hint="free some space, then resume: what was recorded is kept"
    )
