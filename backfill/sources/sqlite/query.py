"""SQLite: the job's query in the database's own SQL, and what its result holds.

Rules
1) Types belong to values in SQLite, and the ADBC driver takes a column's from its first rows and alters or refuses what
   comes later. So the storage classes of each column are asked for before the rows are read.
2) A column of integers and reals is a number where every integer fits a double exactly. Any other mixture of storage
   classes is an error of the source: which of them is meant, the query has to say.
3) The query is one SELECT, reaches no other file, and reads no clock.
4) The names of its columns are the query's own: SQLite gives others where a query stands in another.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Mapping, Sequence
from functools import partial

from backfill.errors import JobError, SourceError
from backfill.frozen import frozen
from backfill.records import SourceFile
from backfill.sources.origins.content import Watch, unwatched
from backfill.sources.sql_tokens import NAME, TEXT, tokens, without_end
from backfill.sources.sqlite.session import Session, refuse_in_use, session

#: What a column of each storage class holds in place of NULL, so that its type is plain from the first row on.
FILLING = {"integer": "0", "real": "0.0", "text": "''", "blob": "x''"}
_EXACT_INTEGER = 2**53
#: How many columns an error names.
_NAMED = 8
#: What a sample costs at most: rows, and looks, which is a second or two.
_SAMPLE_ROWS = 10_000
_SAMPLE_LOOKS = 200
#: Columns of a result: SQLite takes 2,000, and there are more of ours beside them.
MOST_COLUMNS = 1_900
#: Columns whose classes are asked for at once, five questions each.
_ASKED_COLUMNS = 300
#: https://www.sqlite.org/lang_keywords.html, https://www.sqlite.org/lang_comment.html
_TOKENS = tokens(TEXT, NAME, r"\[[^\]]*\]", r"`(?:[^`]|``)*`", end=r"(?:\*/|\Z)")
#: How SQLite renames columns where a query stands in another: repeated names, and those like true.
_RENAMED = re.compile(r"(?P<name>.*):\d+|column\d+", re.IGNORECASE | re.DOTALL)


@frozen
class Result:
    """A query's columns with the storage class of their values: integer, real, text, blob, or null for none."""

    query: str
    columns: tuple[tuple[str, str], ...]
    rows: int = 0


def describe_query(file: SourceFile, query: str) -> list[str]:
    """The names of the query's columns.

    Raises:
        JobError: the query is not one SELECT, or SQLite does not take it.
        SourceError: the file is no SQLite database, or not all of it is in the file.
    """
    refuse_in_use(file)
    with session(file) as opened:
        try:
            inner = opened.connection.execute(f"SELECT * FROM (\n{bare(query)}\n) LIMIT 0").description
            opened.connection.execute(f"EXPLAIN {bare(query)}")
            names = _own_names(opened, query, [str(column[0]) for column in inner])
        except (sqlite3.Error, sqlite3.Warning) as error:
            raise opened.failure(error) from error
    if len(names) > MOST_COLUMNS:
        raise JobError(
            f"source.query gives too many columns: {len(names):,}, and {MOST_COLUMNS:,} is the most", hint="name fewer"
        )
    seen: set[str] = set()
    for name in names:
        if name.lower() in seen:
            message = f"source.query gives two columns called {name!r}, in any case"
            raise JobError(message, hint="name one otherwise with AS")
        seen.add(name.lower())
    return names


def refuse_damaged(file: SourceFile, query: str, watch: Watch = unwatched) -> None:
    """Look through the tables that the query reads, as SQLite itself reads many a damaged page as other rows.

    Raises:
        SourceError: a page of these tables is damaged.
        InterruptedRunError: `watch` raised it.
    """
    with session(file) as opened:
        opened.connection.execute(f"EXPLAIN {bare(query)}")
        tables = sorted(opened.tables)
        opened.unguard()
        opened.bounded(partial(_look, watch))
        try:
            for table in tables:
                held = opened.connection.execute(
                    "SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND rootpage > 0 AND name = ?", (table,)
                ).fetchone()[0]
                said = opened.connection.execute(f"PRAGMA quick_check({_text(table)})").fetchone()[0] if held else "ok"
                if said != "ok":
                    raise SourceError(f"{file.name} is damaged: {said}", hint="put it back from a backup")
        except sqlite3.Error as error:
            watch(0)
            raise SourceError(f"{file.name} is damaged: {error}", hint="put it back from a backup") from error


def _look(watch: Watch) -> bool:
    """Ask the watch whether to go on, in the middle of a statement: SQLite ends one where this raises."""
    watch(0)
    return False


def _text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"


def _own_names(opened: Session, query: str, inner: Sequence[str]) -> list[str]:
    """The names that the query itself gives, which SQLite tells once it has a first row."""
    if not any(map(_RENAMED.fullmatch, inner)):
        return list(inner)
    looks = iter(range(_SAMPLE_LOOKS))
    opened.bounded(lambda: next(looks, None) is None)
    try:
        return [str(column[0]) for column in opened.connection.execute(bare(query)).description]
    except sqlite3.Error as error:
        if next(looks, None) is not None:
            raise
        renamed = next(filter(_RENAMED.fullmatch, inner))
        message = f"source.query: the column {renamed!r} may have got its name from SQLite"
        raise JobError(message, hint="give every column a name of its own with AS") from error


def ask_classes(
    file: SourceFile,
    query: str,
    names: Sequence[str],
    watch: Watch = unwatched,
    most: int | None = None,
    *,
    cast_where: str = "in the query",
) -> Result:
    """The storage class of every column, by all rows, or by the first `most`.

    `cast_where` is where an error is to say that the types of mixed columns are stated.

    Raises:
        SourceError: a column mixes classes, or the database cannot be read.
        JobError: the query fails on a row, or reads the clock.
        InterruptedRunError: `watch` raised it.
    """
    rows, held, long = 0, [], []
    with session(file) as opened:
        opened.bounded(partial(_look, watch))
        try:
            for start in range(0, len(names), _ASKED_COLUMNS):
                some = range(start, min(start + _ASKED_COLUMNS, len(names)))
                tests = [f"count(*) FILTER (WHERE typeof(c{at}) = '{kind}')" for at in some for kind in FILLING]
                tests += [f"count(*) FILTER (WHERE {_long(at)})" for at in some]
                select = f"{as_table(query, names, most)} SELECT count(*), {', '.join(tests)} FROM __bf_rows"
                rows, *counts = opened.connection.execute(select).fetchone()
                held += [dict(zip(FILLING, counts[4 * at : 4 * at + 4], strict=True)) for at in range(len(some))]
                long += counts[4 * len(some) :]
        except sqlite3.Error as error:
            watch(0)  # which raises where that is why
            raise opened.failure(error) from error
    _refuse_mixtures(file, names, held, long, cast_where)
    return _result(query, names, held, rows)


def sample_classes(
    file: SourceFile, query: str, names: Sequence[str], *, cast_where: str = "in the query"
) -> tuple[Result, bool]:
    """The storage classes by the first rows, as many as SQLite gives for a bounded effort; and whether that was all.

    Raises:
        SourceError: a column mixes classes, or the database cannot be read.
        JobError: the query fails on a row, or reads the clock.
    """
    held: list[dict[str, int]] = [dict.fromkeys(FILLING, 0) for _ in names]
    long = [0] * len(names)
    asked = ", ".join(f"typeof(c{index}) || ({_long(index)})" for index in range(len(names)))
    seen, looks = 0, iter(range(_SAMPLE_LOOKS))
    with session(file) as opened:
        opened.bounded(lambda: next(looks, None) is None)
        try:
            for row in opened.connection.execute(
                f"{as_table(query, names, _SAMPLE_ROWS)} SELECT {asked} FROM __bf_rows"
            ):
                seen += 1
                for index, said in enumerate(row):
                    held[index][said[:-1]] = held[index].get(said[:-1], 0) + 1
                    long[index] += said[-1] == "1"
            complete = seen < _SAMPLE_ROWS
        except sqlite3.Error as error:
            if next(looks, None) is not None:
                raise opened.failure(error) from error
            complete = False
    _refuse_mixtures(file, names, held, long, cast_where)
    return _result(query, names, held, seen), complete


def _long(index: int) -> str:
    """SQL: the column's value is an integer that no double holds exactly."""
    return f"typeof(c{index}) = 'integer' AND c{index} NOT BETWEEN -{_EXACT_INTEGER} AND {_EXACT_INTEGER}"


def _refuse_mixtures(
    file: SourceFile, names: Sequence[str], held: Sequence[Mapping[str, int]], long: Sequence[int], cast_where: str
) -> None:
    """Raise SourceError where columns hold a mixture of storage classes that is no number, for all of them at once."""
    told = []
    for name, counts, inexact in zip(names, held, long, strict=True):
        found = [kind for kind in FILLING if counts[kind]]
        if len(found) < 2 or (set(found) == {"integer", "real"} and not inexact):  # noqa: PLR2004 (two are a mixture)
            continue
        said = " and ".join(f"{counts[kind]} of type {kind}" for kind in found)
        why = (
            f" ({inexact} of the integers cannot be held exactly as a real)"
            if set(found) == {"integer", "real"}
            else ""
        )
        told.append((name, f"{said}{why}"))
    if not told:
        return
    shown = "; ".join(f"the column {name!r} mixes values: {said}" for name, said in told[:_NAMED])
    more = f"; and {len(told) - _NAMED} more columns" if len(told) > _NAMED else ""
    casts = ", ".join(f'CAST("{name}" AS TEXT) AS "{name}"' for name, _ in told[:_NAMED])
    raise SourceError(f"{file.name}: {shown}{more}", hint=f"say {cast_where} which type is meant, for example {casts}")


def _result(query: str, names: Sequence[str], held: Sequence[Mapping[str, int]], rows: int) -> Result:
    """The classes by how many values of each there are; integers among reals are reals."""
    found = [[kind for kind in FILLING if counts[kind]] or ["null"] for counts in held]
    classes = ["real" if len(kinds) > 1 else kinds[0] for kinds in found]
    return Result(query, tuple(zip(names, classes, strict=True)), rows)


def as_table(query: str, names: Sequence[str], most: int | None = None) -> str:
    """SQL: the query as a table __bf_rows of columns c0, c1 ...: names of results may be repeated or odd.

    A query with a limit, and be it none, keeps its order and works each value out once, however often it is asked of.
    """
    columns = ", ".join(f"c{index}" for index in range(len(names)))
    limit = -1 if most is None else most
    return f"WITH __bf_rows({columns}) AS (SELECT * FROM (\n{bare(query)}\n) LIMIT {limit})"


def bare(query: str) -> str:
    """The query without what it ends with and means nothing."""
    return without_end(query, _TOKENS)
