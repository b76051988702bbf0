"""A look into a SQLite database with Python's own sqlite3: reading only, and nothing that differs from run to run."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field

from backfill.errors import JobError, SourceError
from backfill.records import SourceFile
from backfill.sources.sqlite_file import uri

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


@dataclass(slots=True)
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
