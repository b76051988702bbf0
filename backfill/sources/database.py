"""SQLite through ADBC: the job's query in the database's own SQL, read-only, streamed, with every value as it is.

Rules
1) The ADBC driver takes a column's type from its first rows and alters or refuses what comes later. So the storage
   classes of each column are asked for first, and the result is then asked for with NULL told apart by a second
   column, so that no first row misleads.
2) A column of integers and reals is a number where every integer fits a double exactly. Any other mixture of storage
   classes is an error of the source: which of them is meant, the query has to say.
3) The query is one SELECT and reaches no other file.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import adbc_driver_manager
import adbc_driver_sqlite

from backfill.errors import JobError, SourceError
from backfill.records import SourceFile
from backfill.sources.checksum import never, until
from backfill.sources.engine import quoted

#: What a column of each storage class holds in place of NULL, so that its type is plain from the first row on.
_FILLING = {"integer": "0", "real": "0.0", "text": "''", "blob": "x''"}
#: DuckDB's type for each.
TYPES = {"integer": "BIGINT", "real": "DOUBLE", "text": "VARCHAR", "blob": "BLOB", "null": "VARCHAR"}
_ALLOWED = frozenset({sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION, sqlite3.SQLITE_RECURSIVE})
#: Functions that answer differently at each run, or reach out of the database (https://sqlite.org/lang_corefunc.html).
_REFUSED_FUNCTIONS = frozenset({
    "random", "randomblob", "changes", "total_changes", "last_insert_rowid", "load_extension", "current_date",
    "current_time", "current_timestamp", "readfile", "writefile", "edit", "fts3_tokenizer",
})  # fmt: skip
_EXACT_INTEGER = 2**53
#: SQLite's own steps between two looks at whether it is to go on: some milliseconds.
_STEPS_BETWEEN_LOOKS = 100_000
#: What a sample costs at most: rows, and looks, which is a second or two.
_SAMPLE_ROWS = 10_000
_SAMPLE_LOOKS = 200
#: https://sqlite.org/lang_datefunc.html: the time value 'now', and calls without any.
_NOW = re.compile(r"'\s*now\s*'|\b(?:date|time|datetime|julianday|unixepoch)\s*\(\s*\)", re.IGNORECASE)
#: SQLite renames the second column of a name to name:1 where a query stands in another.
_RENAMED = re.compile(r":\d+$")


@dataclass(frozen=True, slots=True)
class Result:
    """A query's columns with the storage class of their values: integer, real, text, blob, or null for none."""

    query: str
    columns: tuple[tuple[str, str], ...]


def describe(file: SourceFile, query: str) -> list[str]:
    """The names of the query's columns.

    Raises:
        JobError: the query is not one SELECT, or SQLite does not take it.
        SourceError: the file is no SQLite database, or not all of it is in the file.
    """
    _refuse_unsettled(file)
    if _NOW.search(query):
        raise JobError("source.query reads the clock, so it does not give the same rows again", hint="state a date")
    refused: list[str] = []
    connection = sqlite3.connect(_uri(file), uri=True)
    try:
        connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    except sqlite3.Error as error:
        connection.close()
        raise SourceError(f"{file.name} cannot be read: {error}") from error
    try:
        connection.set_authorizer(lambda *action: _authorise(action, refused))
        cursor = connection.execute(f"SELECT * FROM (\n{_bare(query)}\n) LIMIT 0")
        connection.execute(f"EXPLAIN {_bare(query)}")
    except (sqlite3.Error, sqlite3.Warning) as error:
        said = f"{refused[0]} has no place in a query that is to give the same rows again" if refused else str(error)
        raise JobError(f"source.query: {said}", hint="one SELECT in SQLite's own SQL is wanted") from error
    finally:
        connection.close()
    names = [str(column[0]) for column in cursor.description]
    repeated = [name for name in names if _RENAMED.search(name) and _RENAMED.sub("", name) in names]
    if repeated:
        name = _RENAMED.sub("", repeated[0])
        raise JobError(f"source.query gives two columns called {name!r}", hint="name one otherwise with AS")
    return names


def ask_classes(file: SourceFile, query: str, names: Sequence[str], cancelled: Callable[[], bool] = never) -> Result:
    """The storage class of every column, by all rows.

    Raises:
        SourceError: a column mixes classes, or the database cannot be read.
        InterruptedRunError: `cancelled` became true.
    """
    tests = ", ".join(
        [f"count(*) FILTER (WHERE typeof(c{index}) = '{kind}')" for index in range(len(names)) for kind in _FILLING]
        + [f"count(*) FILTER (WHERE {_long(index)})" for index in range(len(names))]
    )
    ask = until(cancelled)
    try:
        with closing(sqlite3.connect(_uri(file), uri=True)) as connection:
            connection.set_progress_handler(cancelled, _STEPS_BETWEEN_LOOKS)
            counts = connection.execute(f"{_with(query, names)} SELECT {tests} FROM __bf_rows").fetchone()
    except sqlite3.Error as error:
        ask(0)  # which raises where that is why
        raise SourceError(f"{file.name} cannot be read: {error}") from error
    held = [dict(zip(_FILLING, counts[4 * index : 4 * index + 4], strict=True)) for index in range(len(names))]
    return _result(file, query, names, held, counts[4 * len(names) :])


def sample_classes(file: SourceFile, query: str, names: Sequence[str]) -> tuple[Result, bool]:
    """The storage classes by the first rows, as many as SQLite gives for a bounded effort; and whether that was all.

    Raises:
        SourceError: a column mixes classes, or the database cannot be read.
    """
    held: list[dict[str, int]] = [dict.fromkeys(_FILLING, 0) for _ in names]
    long = [0] * len(names)
    asked = ", ".join(f"typeof(c{index}), {_long(index)}" for index in range(len(names)))
    seen, looks = 0, iter(range(_SAMPLE_LOOKS))
    try:
        with closing(sqlite3.connect(_uri(file), uri=True)) as connection:
            connection.set_progress_handler(lambda: next(looks, None) is None, _STEPS_BETWEEN_LOOKS)
            for row in connection.execute(f"{_with(query, names)} SELECT {asked} FROM __bf_rows LIMIT {_SAMPLE_ROWS}"):
                seen += 1
                for index, kind in enumerate(row[::2]):
                    held[index][kind] = held[index].get(kind, 0) + 1
                    long[index] += row[2 * index + 1]
        complete = seen < _SAMPLE_ROWS
    except sqlite3.Error as error:
        if next(looks, None) is not None:
            raise SourceError(f"{file.name} cannot be read: {error}") from error
        complete = False
    return _result(file, query, names, held, long), complete


def _long(index: int) -> str:
    """SQL: the column's value is an integer that no double holds exactly."""
    return f"typeof(c{index}) = 'integer' AND c{index} NOT BETWEEN -{_EXACT_INTEGER} AND {_EXACT_INTEGER}"


def _result(
    file: SourceFile, query: str, names: Sequence[str], held: Sequence[Mapping[str, int]], long: Sequence[int]
) -> Result:
    """The classes by how many values of each there are; raises SourceError for a mixture."""
    classes = []
    for index, name in enumerate(names):
        found = [kind for kind in _FILLING if held[index][kind]]
        if len(found) > 1 and (set(found) != {"integer", "real"} or long[index]):
            said = " and ".join(f"{held[index][kind]} of type {kind}" for kind in found)
            raise SourceError(
                f"{file.name}: the column {name!r} mixes values: {said}",
                hint=f'say in the query which is meant, for example CAST("{name}" AS TEXT) AS "{name}"',
            )
        classes.append("real" if len(found) > 1 else (found or ["null"])[0])
    return Result(query, tuple(zip(names, classes, strict=True)))


@contextmanager
def streamed(file: SourceFile, result: Result) -> Iterator[Any]:
    """The result as an Arrow stream, of the columns v0, n0, v1, n1 ...: the value, and whether it is NULL."""
    names = [name for name, _ in result.columns]
    values = []
    for index, (_, kind) in enumerate(result.columns):
        value = f"CAST(c{index} AS REAL)" if kind == "real" else f"c{index}"
        filled = f"coalesce({value}, {_FILLING[kind]})" if kind != "null" else "0"
        values.append(f"{filled} AS v{index}, c{index} IS NULL AS n{index}")
    with _statement(file, f"{_with(result.query, names)} SELECT {', '.join(values)} FROM __bf_rows") as statement:
        yield statement.execute_query()[0]


def arrow_relation(name: str, result: Result) -> str:
    """SQL: the relation of a registered stream, with the query's own names."""
    columns = ", ".join(
        f"CASE WHEN n{index} = 0 THEN CAST(v{index} AS {TYPES[kind]}) END AS {quoted(column)}"
        for index, (column, kind) in enumerate(result.columns)
    )
    return f"(SELECT {columns} FROM {name})"


def _bare(query: str) -> str:
    return query.strip().rstrip(";").rstrip()


def _with(query: str, names: Sequence[str]) -> str:
    """The query as a table of columns c0, c1 ...: names of results may be repeated or odd."""
    return f"WITH __bf_rows({', '.join(f'c{index}' for index in range(len(names)))}) AS (\n{_bare(query)}\n)"


def _uri(file: SourceFile) -> str:
    return f"file:{quote(file.path)}?mode=ro&immutable=1"


def _refuse_unsettled(file: SourceFile) -> None:
    """Raise SourceError where a part of the database is in a journal beside it."""
    for suffix in ("-wal", "-journal"):
        beside = Path(file.path + suffix)
        if beside.exists() and beside.stat().st_size:
            raise SourceError(
                f"{file.name} is in use, or was not closed well: {beside.name} holds changes",
                hint="close the program that writes to it, or copy it with `sqlite3 shop.db '.backup copy.db'`",
            )


def _authorise(action: Sequence[Any], refused: list[str]) -> int:
    """SQLite's authorizer: reading only, and steady functions."""
    code, _, function = action[:3]
    if code in _ALLOWED and (code != sqlite3.SQLITE_FUNCTION or str(function).lower() not in _REFUSED_FUNCTIONS):
        return sqlite3.SQLITE_OK
    refused.append(f"{function}()" if code == sqlite3.SQLITE_FUNCTION else "anything but reading")
    return sqlite3.SQLITE_DENY


@contextmanager
def _statement(file: SourceFile, sql: str) -> Iterator[Any]:
    """An ADBC statement over the database, closed with all that belongs to it."""
    manager = adbc_driver_manager
    try:
        with (
            manager.AdbcDatabase(driver=adbc_driver_sqlite._driver_path(), uri=_uri(file)) as database,  # noqa: SLF001
            manager.AdbcConnection(database) as connection,
            manager.AdbcStatement(connection) as statement,
        ):
            statement.set_sql_query(sql)
            yield statement
    except manager.Error as error:
        raise SourceError(f"{file.name} cannot be read: {str(error).partition(chr(10))[0]}") from error
