"""A dump of SQLite: `.dump` of its shell, or `iterdump` of Python; INSERTs of one table.

A table's definition stands as its author wrote it, its rows right behind it. `COMMIT;` is the last statement; where the
shell met damage it writes `ROLLBACK`, or says so in a comment. Types belong to values in SQLite: what a column is read
as goes by the affinity of its declared type ("Datatypes In SQLite", 3.1), and a value of another type is a bad one.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from backfill.errors import SourceError
from backfill.job.models import ColumnSpec
from backfill.sources.dumps.definitions import Definition, Name, table_of
from backfill.sources.dumps.inserts import Insert, insert_at, read_inserts, same_again
from backfill.sources.dumps.rows import Rows
from backfill.sources.dumps.script import SQLITE, Script

_DAMAGED = ("CORRUPTION ERROR", "ERROR:")


class SqliteDump:
    """A dump opened at its beginning; see reader.OpenDump."""

    def __init__(self, pieces: Iterator[bytes], name: str, table: Name) -> None:
        self._script = Script(pieces, name, SQLITE)
        self._asked = table[-1].lower()
        self._table: Definition | None = None
        self._others: list[str] = []
        self._open = False  # inside of its transaction

    def columns(self) -> dict[str, tuple[ColumnSpec | None, str]]:
        """The table's columns; see reader.OpenDump."""
        while (head := self._next()) and self._table is None:
            insert = insert_at(self._script, fold=False) if _is_insert(head) else None
            self._pass(head, insert)
        if self._table is None:
            listed = ", ".join(self._others[:8])
            raise SourceError(
                f"{self._script.name} holds no table {self._asked}", hint=f"it has {listed}" if listed else ""
            )
        return {one.name: type_of_column(one.type) for one in self._table.columns if not one.computed}

    def rows(self, wanted: frozenset[str]) -> Iterator[Rows]:
        """All rows of the table; see reader.OpenDump."""
        while head := self._next():
            insert = insert_at(self._script, fold=False) if _is_insert(head) else None
            if insert is None or insert.table[-1].lower() != self._asked:
                self._pass(head, insert)
                continue
            if self._table is None:
                raise SourceError(f"{self._script.name}: rows of {self._asked} before its definition")
            columns = insert.columns or tuple(one.name for one in self._table.columns if not one.computed)
            flags = np.array([name in wanted for name in columns], np.bool_)
            yield from read_inserts(self._script, insert, columns, flags)
        if self._open:
            raise self._script.cut_off("without `COMMIT;`")

    def _next(self) -> bytes:
        comments, head = self._script.next_statement()
        if any(sign in comment for comment in comments for sign in _DAMAGED) or head.startswith(b"ROLLBACK"):
            raise SourceError(
                f"{self._script.name}, line {self._script.line}: SQLite met damage when it wrote this dump",
                hint="mend the database (`.recover` of its shell), and dump it again",
            )
        return head

    def _pass(self, head: bytes, insert: Insert | None) -> None:
        """Take note of a statement that holds no row of the table."""
        words = head.upper()
        if insert is not None:
            self._script.pass_statement(same_again(insert))
        elif words.startswith((b"BEGIN", b"COMMIT")):
            self._open = words.startswith(b"BEGIN")
            self._script.pass_statement()
        elif words.startswith(b"CREATE TRIGGER"):
            self._pass_trigger()
        elif words.startswith(b"CREATE"):
            table = table_of(self._script.statement().decode("utf-8", "surrogateescape"), fold=False)
            if table is not None and table.name[-1].lower() == self._asked:
                self._table = table
            elif table is not None:
                self._others.append(table.name[-1])
        else:
            self._script.pass_statement()

    def _pass_trigger(self) -> None:
        """Pass a trigger, whose body is statements up to END."""
        self._script.pass_statement()
        while (head := self._script.next_statement()[1]) and not head.upper().startswith(b"END"):
            self._script.pass_statement()
        self._script.pass_statement()


def _is_insert(head: bytes) -> bool:
    return head.upper().startswith(b"INSERT ")


def type_of_column(kind: str) -> tuple[ColumnSpec | None, str]:
    """What to read a column as (None: text), and what it holds where it is refused."""
    name = kind.upper()
    if "INT" in name:
        return ColumnSpec(type="integer"), ""
    if any(part in name for part in ("CHAR", "CLOB", "TEXT")):
        return None, ""
    if "BLOB" in name:
        return None, "bytes"
    if any(part in name for part in ("REAL", "FLOA", "DOUB")):
        return ColumnSpec(type="number"), ""
    if name.startswith(("NUM", "DEC")):
        return ColumnSpec(type="decimal"), ""
    return None, ""
