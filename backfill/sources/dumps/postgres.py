r"""A plain dump of PostgreSQL (pg_dump, or pg_restore -f): COPY blocks and INSERTs of one table and of its partitions.

pg_dump writes first what defines tables and types, then the rows, then indexes. `SET` says how texts are written, and
the last line that the dump is complete. The rows of a partitioned table stand below the names of its partitions, or
with --load-via-partition-root below its own, several times: all of them are its rows, in the order of the dump.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from backfill.errors import JobError, SourceError
from backfill.job.models import ColumnSpec
from backfill.sources.dumps.copy import pass_block, read_block
from backfill.sources.dumps.definitions import NAME, Definition, Name, attached, names, table_of, type_of
from backfill.sources.dumps.inserts import Insert, insert_at, read_inserts, same_again
from backfill.sources.dumps.postgres_types import type_of_column
from backfill.sources.dumps.rows import Rows
from backfill.sources.dumps.script import POSTGRES, POSTGRES_ESCAPES, Script

_BEGUN, _COMPLETE = "-- PostgreSQL database dump", "-- PostgreSQL database dump complete"
_DATA = re.compile(r"-- (?:Data for )?Name: (?P<name>.*); Type: TABLE DATA; Schema: (?P<schema>[^;]*);")
_COPY = re.compile(
    rf"COPY\s+(?P<name>{NAME})\s*(?:\((?P<columns>.*)\))?\s+FROM\s+(?P<source>\S+)\s*(?P<options>.*)", re.DOTALL
)
_SET = re.compile(r"SET\s+(?P<name>\w+)\s*(?:=|TO)\s*(?P<value>.*)", re.IGNORECASE | re.DOTALL)
_SEARCH_PATH = re.compile(r"SELECT\s+pg_catalog\.set_config\('search_path',\s*'(?P<value>[^']*)'", re.IGNORECASE)
_DEFINING = ("CREATE", "ALTER", "SET ", "SELECT PG_CATALO")
_COMPOUND = re.compile(r"CREATE\s+(?:OR\s+REPLACE\s+)?(?:FUNCTION|PROCEDURE|RULE)\b", re.IGNORECASE)
#: PostgreSQL's names of encodings ("Character Set Support") that Python calls otherwise.
_CODECS = {
    "sql_ascii": "utf-8",
    "utf8": "utf-8",
    "unicode": "utf-8",
    "euc_jis_2004": "euc_jis_2004",
    "shift_jis_2004": "shift_jis_2004",
    "sjis": "cp932",
    "mskanji": "cp932",
    "uhc": "cp949",
    "euc_cn": "gb2312",
    "koi8": "koi8_r",
    "koi8r": "koi8_r",
    "koi8u": "koi8_u",
    "win": "cp1251",
    "alt": "cp866",
    "abc": "cp1258",
    "tcvn": "cp1258",
    "vscii": "cp1258",
    "latin1": "iso8859_1", "latin2": "iso8859_2", "latin3": "iso8859_3", "latin4": "iso8859_4", "latin5": "iso8859_9",
    "latin6": "iso8859_10", "latin7": "iso8859_13", "latin8": "iso8859_14", "latin9": "iso8859_15",
    "latin10": "iso8859_16",
}  # fmt: skip


#: Tables that an error lists.
_SHOWN = 8
_TEXTS = re.compile(rb"'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\"|(\$\w*\$).*?\1", re.DOTALL)


class PostgresDump:
    """A dump opened at its beginning; see reader.OpenDump."""

    def __init__(self, pieces: Iterator[bytes], name: str, table: Name) -> None:
        self._script = Script(pieces, name, POSTGRES)
        self._asked = table
        self._tables: dict[Name, Definition] = {}
        self._parents: dict[Name, Name] = {}
        self._types: dict[Name, str] = {}
        self._path: Name = ()
        self._listed: set[Name] = set()  # tables whose rows the dump says to hold
        self._begun = self._complete = 0
        self._meant: Name | None = None  # the table that the job names
        self._seen: list[Name] = []  # tables whose rows came
        self._insert: Insert | None = None  # that the script stands at; None: it stands in a COPY
        self._copy_is_text = True

    def columns(self) -> dict[str, tuple[ColumnSpec | None, str]]:
        """The table's columns; see reader.OpenDump."""
        while head := self._next():
            if not _is_data(head):
                self._define(head)
                continue
            if self._tables:
                break
            table, columns = self._data_here()
            if self._is_meant(table):
                if not columns:
                    hint = "dump the definition with the rows: leave `--data-only` out"
                    raise SourceError(f"{self._script.name} does not say what the columns of its rows are", hint=hint)
                return dict.fromkeys(columns, (None, ""))
            self._pass_data(table)
        defined = self._tables[self._chosen()].columns
        return {one.name: type_of_column(one.type, self._types) for one in defined if not one.computed}

    def rows(self, wanted: frozenset[str]) -> Iterator[Rows]:
        """All rows of the table; see reader.OpenDump."""
        while head := self._next():
            if not _is_data(head):
                self._define(head)
                continue
            table, columns = self._data_here()
            if not self._is_meant(table):
                self._pass_data(table)
            elif head.startswith(b"COPY "):
                yield from self._copied(table, columns)
            else:
                yield from self._inserted(table, columns, wanted)
        self._refuse_incomplete()

    def family(self) -> list[Name]:
        """The table that is meant and its partitions, as far as they are known."""
        return [table for table in self._tables if self._is_meant(table)]

    def _next(self) -> bytes:
        """The first bytes of the next statement; what comments say is noted."""
        while True:
            comments, head = self._script.next_statement()
            for comment in comments:
                self._begun += comment == _BEGUN
                self._complete += comment == _COMPLETE
                if found := _DATA.match(comment):
                    self._listed.add((found["schema"], found["name"]))
            if not head.startswith(b"\\"):
                return head
            self._script.pass_line()

    def _define(self, head: bytes) -> None:
        """Take note of a statement that is no data."""
        script = self._script
        if not head.decode("ascii", "replace").upper().startswith(_DEFINING):
            script.pass_statement()
            return
        statement = script.statement().decode("utf-8", "surrogateescape")
        if table := table_of(statement, fold=True):
            self._add_table(table)
        elif partition := attached(statement):
            self._parents[self._whole(partition[1])] = self._whole(partition[0])
        elif kind := type_of(statement):
            self._types[kind[0]] = self._types[kind[0][-1:]] = kind[1]
        elif found := _SEARCH_PATH.match(statement) or _SET.match(statement):
            self._set(found.groupdict().get("name", "search_path").lower(), found["value"])
        elif _COMPOUND.match(statement):
            self._pass_inner(statement)

    def _pass_inner(self, statement: str) -> None:
        """Pass what is left of a statement that has statements in it: a function's body, a rule's actions."""
        plain = _TEXTS.sub(b"", statement.encode("utf-8", "surrogateescape"))
        if b"BEGIN ATOMIC" in plain:
            while (head := self._script.next_statement()[1]) and not head.startswith(b"END"):
                self._script.pass_statement()
            self._script.pass_statement()
            return
        depth = plain.count(b"(") - plain.count(b")")
        while depth > 0:
            self._script.next_statement()
            plain = _TEXTS.sub(b"", self._script.statement())
            depth += plain.count(b"(") - plain.count(b")")

    def _add_table(self, table: Definition) -> None:
        name = self._whole(table.name)
        if name in self._tables and name == self._meant:
            raise SourceError(
                f"{self._script.name}, line {self._script.line}: the table {'.'.join(name)} is defined twice",
                hint="is it a dump of several databases? dump the one that is meant by pg_dump",
            )
        if table.parent is not None:
            parent = self._whole(table.parent)
            self._parents[name] = parent
            table = Definition(name, self._tables[parent].columns if parent in self._tables else (), parent)
        above = (self._tables.get(self._whole(one)) for one in table.inherits)
        columns = {one.name: one for each in above if each is not None for one in each.columns}
        columns |= {one.name: one for one in table.columns}
        self._tables[name] = replace(table, columns=tuple(columns.values()))

    def _set(self, name: str, value: str) -> None:
        value = value.strip().strip("'")
        if name == "search_path":
            self._path = names(value, fold=True)
        elif name == "standard_conforming_strings":
            self._script.lexis = POSTGRES if value.lower() in {"on", "true", "1"} else POSTGRES_ESCAPES
        elif name == "client_encoding":
            codec = _codec(value)
            if codec is None:
                hint = "write it again by `pg_dump --encoding=UTF8`"
                raise SourceError(f"{self._script.name} is in the encoding {value}, which is not read", hint=hint)
            if codec != "utf-8":
                self._script.decode(codec)

    def _whole(self, name: Name) -> Name:
        """A name with its schema."""
        schema = next((part for part in self._path if part != "pg_catalog"), "public")
        return name[-2:] if len(name) > 1 else (schema, *name)

    def _fits(self, name: Name) -> bool:
        return name[-len(self._asked) :] == self._asked

    def _is_meant(self, table: Name) -> bool:
        """Whether rows of a table are rows of the one that is meant."""
        if self._meant is None:
            if self._tables:
                self._meant = self._chosen()
            elif self._fits(table):
                self._meant = table
        seen = {table}
        while table != self._meant and table in self._parents and self._parents[table] not in seen:
            table = self._parents[table]
            seen.add(table)
        return table == self._meant

    def _chosen(self) -> Name:
        """The table that the job names, of those defined; raises where there is none, or it may be one of several."""
        fitting = [name for name in self._tables if self._fits(name)]
        asked = ".".join(self._asked)
        if len(fitting) > 1:
            several = " or ".join(_written(name) for name in fitting)
            raise JobError(f"source.table: {asked} may be {several}", hint="name it with its schema")
        if not fitting:
            there = sorted(self._tables or set(self._seen))
            near = [name for name in there if name[-1].lower() == self._asked[-1].lower()]
            listed = ", ".join(_written(name) for name in (near or there)[:_SHOWN])
            raise SourceError(f"{self._script.name} holds no table {asked}", hint=f"it has {listed}" if listed else "")
        return fitting[0]

    def _data_here(self) -> tuple[Name, Name]:
        """The table of the COPY or INSERT that the script stands at, and the columns that it names."""
        script = self._script
        self._insert = None
        if not script.text.startswith(b"COPY ", script.place):
            self._insert = insert_at(script, fold=True)
            return self._whole(self._insert.table), self._insert.columns
        statement = script.statement().decode("utf-8", "surrogateescape")
        script.pass_line()
        found = _COPY.match(statement)
        if found is None:
            raise SourceError(f"{script.name}, line {script.line}: a COPY that is not read")
        self._copy_is_text = found["source"].lower() == "stdin" and not found["options"].strip()
        return self._whole(names(found["name"], fold=True)), names(found["columns"] or "", fold=True)

    def _pass_data(self, table: Name) -> None:
        self._seen += [table] * (table not in self._seen)
        if self._insert is not None:
            self._script.pass_statement(same_again(self._insert))
        elif self._copy_is_text:
            pass_block(self._script)

    def _copied(self, table: Name, columns: Name) -> Iterator[Rows]:
        self._seen.append(table)
        if not self._copy_is_text:
            raise SourceError(
                f"{self._script.name}, line {self._script.line}: a COPY whose rows are not below it as text",
                hint="name what pg_restore or pg_dump wrote, not a script of a tar archive",
            )
        yield from read_block(self._script, self._known(columns or self._defined(table, computed=False)))

    def _inserted(self, table: Name, columns: Name, wanted: frozenset[str]) -> Iterator[Rows]:
        self._seen.append(table)
        assert self._insert is not None
        columns = self._known(columns or self._defined(table, computed=True))
        flags = np.array([name in wanted for name in columns], np.bool_)
        yield from read_inserts(self._script, self._insert, columns, flags)

    def _defined(self, table: Name, *, computed: bool) -> Name:
        defined = self._tables.get(table)
        if defined is None:
            raise SourceError(f"{self._script.name} does not say what the columns of {_written(table)} are")
        return tuple(one.name for one in defined.columns if computed or not one.computed)

    def _known(self, columns: Name) -> Name:
        """The columns, if the table has each of them."""
        meant = self._tables.get(self._meant or ())
        odd = [name for name in columns if meant is not None and all(name != one.name for one in meant.columns)]
        if odd:
            raise SourceError(
                f"{self._script.name}, line {self._script.line}: rows of {_written(self._meant or ())} with a column "
                f"{odd[0]!r}, which its definition does not have"
            )
        return columns

    def _refuse_incomplete(self) -> None:
        """Raise where the dump is cut, or says nothing of the table's rows."""
        if self._complete < self._begun:
            raise self._script.cut_off(f"without the line `{_COMPLETE}`")
        if self._meant is None:
            self._meant = self._chosen()
        if not any(self._is_meant(table) for table in {*self._seen, *self._listed}):
            raise SourceError(
                f"{self._script.name} holds no rows of {_written(self._meant)}: it was dumped without them",
                hint="dump it without `--schema-only` and `--exclude-table-data`",
            )


def _is_data(head: bytes) -> bool:
    return head.startswith((b"COPY ", b"INSERT "))


def _written(name: Name) -> str:
    return ".".join(part if re.fullmatch("[a-z_][a-z0-9_]*", part) else f'"{part}"' for part in name)


def _codec(encoding: str) -> str | None:
    """Python's name of an encoding; None where it has none for text."""
    wanted = encoding.lower()
    wanted = _CODECS.get(wanted, _CODECS.get(wanted.replace("_", ""), wanted))
    for name in (wanted, wanted.replace("win", "cp", 1), wanted.replace("iso_8859_", "iso8859_")):
        try:
            return codecs.lookup(name).name
        except (LookupError, ValueError):  # no text that could be a name, too
            continue
    return None
