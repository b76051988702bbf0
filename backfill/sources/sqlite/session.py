"""A guarded look into a SQLite database with Python's sqlite3: reading only, and nothing that differs between runs.

The file is read as one that does not change (immutable): without locks, which make files beside it where its folder can
be written. So what SQLite would see by itself is looked at here first, by https://www.sqlite.org/fileformat.html: that
the file is whole, was closed well, and that no program is in the middle of a change to it.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

from backfill.errors import JobError, SourceError
from backfill.records import SourceFile
from backfill.sources.origins.content import origin_of

_MAGIC = b"SQLite format 3\x00"
_HEADER_BYTES = 100
#: Journals that are kept for later have their first bytes set to zero.
_JOURNAL_MAGIC_BYTES = 8
_IN_USE_HINT = "close the program that writes to it, or copy it with `sqlite3 shop.db '.backup copy.db'`"


def uri(file: SourceFile) -> str:
    """The URI that reads the database as a file that does not change."""
    return f"file:{quote(_real(file))}?mode=ro&immutable=1"


def refuse_in_use(file: SourceFile) -> None:
    """Make sure that the file holds the whole database and nothing that may yet be undone.

    Raises:
        SourceError: it is cut short, changes to it stand in a journal beside it, or a program is writing to it.
    """
    real = Path(_real(file))
    log, journal = (real.with_name(real.name + suffix) for suffix in ("-wal", "-journal"))
    try:
        with real.open("rb") as opened:
            header, size = opened.read(_HEADER_BYTES), os.fstat(opened.fileno()).st_size
        in_log = log.exists() and log.stat().st_size > 0
        in_journal = journal.exists() and any(_beginning(journal))
    except OSError as error:
        raise SourceError(f"{file.name} cannot be read: {error.strerror}") from error
    if in_log or in_journal:
        message = f"{file.name} is in use, or was not closed well: {(log if in_log else journal).name} holds changes"
        raise SourceError(message, hint=_IN_USE_HINT)
    if header.startswith(_MAGIC) and len(header) == _HEADER_BYTES:
        _refuse_cut(file, header, size)
        if header[18:20] != b"\x02\x02":  # in that mode, writing goes to the log
            _refuse_written(file, real)


def _real(file: SourceFile) -> str:
    """The path behind any links: SQLite keeps its journals beside that."""
    return os.path.realpath(origin_of(file).local_path())


def _beginning(journal: Path) -> bytes:
    with journal.open("rb") as opened:
        return opened.read(_JOURNAL_MAGIC_BYTES)


def _refuse_cut(file: SourceFile, header: bytes, size: int) -> None:
    """Raise SourceError where the file has less than the pages that its header counts, or a part of a page."""
    page = int.from_bytes(header[16:18], "big")
    page = 65_536 if page == 1 else page
    counted = header[24:28] == header[92:96]  # else a version of SQLite before 3.7.0 wrote it, without a count
    pages = int.from_bytes(header[28:32], "big") if counted else size // page if page else 0
    if not page or size % page or size < pages * page:
        message = f"{file.name} is cut short or damaged: {size:,} bytes are not its {pages:,} pages of {page:,} bytes"
        raise SourceError(message, hint="copy it again, or put it back from a backup")


def _refuse_written(file: SourceFile, real: Path) -> None:
    """Raise SourceError where a program holds a lock to write, which may leave no other trace than half a change."""
    try:
        with closing(sqlite3.connect(f"file:{quote(str(real))}?mode=ro", uri=True, timeout=0)) as connection:
            connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    except sqlite3.Error as error:
        if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_BUSY:
            raise SourceError(f"{file.name} is in use: a program is writing to it", hint=_IN_USE_HINT) from error


_ALLOWED = frozenset({sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION, sqlite3.SQLITE_RECURSIVE})
#: Functions that answer differently at each run, or reach out of the database (https://sqlite.org/lang_corefunc.html).
_REFUSED_FUNCTIONS = frozenset({
    "random", "randomblob", "changes", "total_changes", "last_insert_rowid", "load_extension", "current_date",
    "current_time", "current_timestamp", "readfile", "writefile", "edit", "fts3_tokenizer",
})  # fmt: skip
#: Functions of times, each with the place of its time (https://sqlite.org/lang_datefunc.html).
_TIME_FUNCTIONS = {
    "date": 0, "time": 0, "datetime": 0, "julianday": 0, "unixepoch": 0, "strftime": 1, "timediff": 0,
}  # fmt: skip
#: Times that are read off the clock, if none is given.
_CLOCK_WORDS = frozenset({"now", "subsec", "subsecond"})
#: SQLite's own steps between two looks at whether it is to go on: some milliseconds.
_STEPS_BETWEEN_LOOKS = 100_000
#: Results of SQLite that tell of the file; any other tells of the query.
_OF_THE_FILE = frozenset({
    sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_NOMEM, sqlite3.SQLITE_PROTOCOL, sqlite3.SQLITE_PERM, sqlite3.SQLITE_AUTH, sqlite3.SQLITE_FORMAT,
})  # fmt: skip
_Value = str | bytes | int | float | None
_PRIMARY_CODE = 0xFF
_HINT = "one SELECT in SQLite's own SQL is wanted"


@dataclass(slots=True, repr=False, eq=False)
class Session:
    """One connection that only reads. What is refused is noted, as SQLite tells of it in other words."""

    file: SourceFile
    connection: sqlite3.Connection
    refused: list[str] = field(default_factory=list)
    tables: set[str] = field(default_factory=set)  # that statements read
    _clock: sqlite3.Connection = field(default_factory=lambda: sqlite3.connect(":memory:", check_same_thread=False))

    def guard(self) -> None:
        """From now on refuse what does more than read, or reads the clock."""
        self.connection.set_authorizer(self._authorise)
        there = {name for (name,) in self._clock.execute("SELECT name FROM pragma_function_list")}
        for name in there.intersection(_TIME_FUNCTIONS):
            place = _TIME_FUNCTIONS[name]
            self.connection.create_function(name, -1, self._steady(name, place), deterministic=True)

    def unguard(self) -> None:
        """From now on run statements of our own."""
        self.connection.set_authorizer(None)

    def _steady(self, name: str, place: int) -> Callable[..., _Value]:
        """The function of times, refused where it would read the clock; its answers are those of SQLite."""

        def answer(*arguments: _Value) -> _Value:
            times = arguments[place : place + (2 if name == "timediff" else 1)]
            if not times or any(isinstance(time, str) and time.lower() in _CLOCK_WORDS for time in times):
                self.refused.append(f"{name}() reads the clock, so it")
                raise ValueError(name)
            marks = ", ".join("?" * len(arguments))
            found: tuple[_Value] = self._clock.execute(f"SELECT {name}({marks})", arguments).fetchone()
            return found[0]

        return answer

    def _authorise(self, code: int, table: str | None, function: str | None, *_: str | None) -> int:
        if code == sqlite3.SQLITE_READ and table:
            self.tables.add(table)
        if code in _ALLOWED and (code != sqlite3.SQLITE_FUNCTION or str(function).lower() not in _REFUSED_FUNCTIONS):
            return sqlite3.SQLITE_OK
        self.refused.append(f"{function}()" if code == sqlite3.SQLITE_FUNCTION else "anything but reading")
        return sqlite3.SQLITE_DENY

    def failure(self, error: Exception) -> JobError | SourceError:
        """What to raise for an error of SQLite: the job's where the query is at fault, else the source's."""
        if self.refused:
            message = f"source.query: {self.refused[0]} has no place in a query that is to give the same rows again"
            return JobError(message, hint="state a date" if "clock" in message else _HINT)
        code = getattr(error, "sqlite_errorcode", None)
        if code is not None and code & _PRIMARY_CODE in _OF_THE_FILE:
            return SourceError(f"{self.file.name} cannot be read: {error}")
        if "user-defined" in str(error):
            return SourceError(f"{self.file.name}: a function of times was given text that is not UTF-8")
        return JobError(f"source.query: {error}", hint=_HINT)

    def bounded(self, looks: Callable[[], bool]) -> None:
        """Ask every some milliseconds whether to end a statement."""
        self.connection.set_progress_handler(looks, _STEPS_BETWEEN_LOOKS)


@contextmanager
def session(file: SourceFile) -> Iterator[Session]:
    """A guarded session over a database that is one.

    Raises:
        SourceError: the file is no SQLite database.
    """
    with closing(sqlite3.connect(uri(file), uri=True, check_same_thread=False)) as connection:
        opened = Session(file, connection)
        try:
            connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
        except sqlite3.Error as error:
            raise SourceError(f"{file.name} cannot be read: {error}") from error
        opened.guard()
        with closing(opened._clock):  # noqa: SLF001
            yield opened
