"""The rows of one table of dumps, in the order of the files; a row's record number is its place among the table's rows.

The columns are those of CREATE TABLE, or that the INSERTs name, with its types; where the dump has none of it (written
with --no-create-info), those that an earlier file or the job says.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain, islice

import numpy as np
import pyarrow as pa  # type: ignore[import-untyped]

from backfill.errors import JobError, SourceError
from backfill.frozen import frozen
from backfill.job.models import Job
from backfill.records import FILE_COLUMN, RECORD_COLUMN, SourceFile
from backfill.sources.columns import SourceColumn, check_names, united
from backfill.sources.dumps.mysql.columns import columns_of, encoding_of
from backfill.sources.dumps.mysql.script import Insert, Script, Table, View
from backfill.sources.dumps.mysql.types import reading, table_columns
from backfill.sources.dumps.mysql.values import Block, Fields, WrongRowsError, fields_of
from backfill.sources.mysql_types import TableColumn
from backfill.sources.origins.content import PIECE, Watch, origin_of, plain_pieces, unwatched
from backfill.sources.reader import ORIGINAL_CHARACTERS, CompleteReader, Described, Unreadable, UnreadableSink

#: Plain bytes of a file in which `check` looks for the table.
LOOK_BYTES = 128 * 2**20
#: Tables listed where the one that is meant is not there.
_SHOWN = 20


@frozen
class Shape:
    """The columns of a table's rows, as one file has them."""

    columns: tuple[TableColumn, ...]
    is_utc: bool = False  # values of TIMESTAMP are UTC

    def __str__(self) -> str:
        return ", ".join(column.name for column in self.columns)


@dataclass(slots=True)
class _Found:
    """What a dump told of the table so far."""

    wanted: str
    created: tuple[TableColumn, ...] = ()
    databases: list[str] = field(default_factory=list)
    others: dict[str, None] = field(default_factory=dict)  # in their order
    is_view: bool = False

    def is_meant(self, database: str, name: str) -> bool:
        """The table is the one of the job; raises JobError where a second database has one of that name."""
        if self.wanted not in (name, f"{database}.{name}"):
            self.others[name] = None
            return False
        if database not in self.databases:
            self.databases.append(database)
        if len(self.databases) > 1:
            both = " and ".join(f"{one}.{name}" for one in self.databases)
            raise JobError(f"source.table: {self.wanted} is in several databases: {both}", hint="say which one")
        return True


@frozen
class DumpReader(CompleteReader):
    """The rows of a table; see reader.Reader."""

    columns: tuple[SourceColumn, ...]
    job: Job
    files: Sequence[SourceFile]
    watch: Watch = unwatched
    begun: list[_Dump] = field(default_factory=list)  # the lone file, read up to its first rows

    def batches(self, unreadable: UnreadableSink) -> Iterator[pa.RecordBatch]:
        """All rows in source order; raises as the protocol says."""
        known: tuple[TableColumn, ...] = ()
        for index, file in enumerate(self.files):
            dump = self.begun.pop() if self.begun else _Dump(file, self.job, known, self.watch)
            for rows in dump.begun or dump.rows():
                yield from self._batch(rows, index, unreadable)
            known = dump.found.created or known

    def _batch(self, rows: _Rows, file: int, unreadable: UnreadableSink) -> Iterator[pa.RecordBatch]:
        readings = [reading(self.job, column, is_utc=rows.shape.is_utc) for column in rows.shape.columns]
        fields = rows.fields(self.files[file])
        made, wrong = columns_of(fields, readings, rows.charset)
        for row in sorted(wrong):
            place, code, message = wrong[row]
            column = rows.shape.columns[place]
            original, line = rows.shown(row)
            said = f"{column.name}: {message}" if code == "BF004" else f"{column.name} holds {message}"
            unreadable.add(Unreadable(file, rows.first + row, code, said, original, line, column.name))
        held = dict(zip((one.column.name for one in readings), made, strict=True))
        arrays = [held.get(one.name, pa.nulls(fields.rows, one.type)) for one in self.columns]
        numbers = np.arange(rows.first, rows.first + fields.rows, dtype=np.uint64)
        places = [pa.array(np.full(fields.rows, file, np.uint32)), pa.array(numbers)]
        names = [*(one.name for one in self.columns), FILE_COLUMN, RECORD_COLUMN]
        batch = pa.RecordBatch.from_arrays([*arrays, *places], names)
        if wrong:
            keep = np.ones(fields.rows, np.bool_)
            keep[list(wrong)] = False
            batch = batch.filter(pa.array(keep))
        yield batch


@frozen
class _Rows:
    """Some rows of the table."""

    block: Block
    head: bytes
    shape: Shape
    first: int  # the number of the first one
    charset: list[str] | None

    def fields(self, file: SourceFile) -> Fields:
        """The rows taken apart; raises SourceError where they hold something else than literal values."""
        try:
            return fields_of(self.block, self.head)
        except WrongRowsError as error:
            line = self.block.line + self.block.text.count(b"\n", 0, error.place)
            message = f"{file.name}, line {line}: {error}"
            raise SourceError(message, hint="make the dump again with mysqldump") from error

    def shown(self, row: int) -> tuple[str, int]:
        """A row as it stands there, and its line."""
        start = int(self.block.starts()[row])
        end = min(int(self.block.signs[self.block.closes[row]]) + 1, start + 4 * ORIGINAL_CHARACTERS)
        return self.block.text[start:end].decode("utf-8", "replace"), self.block.lines([row])[0]


class _Dump:
    """One file, read once."""

    def __init__(self, file: SourceFile, job: Job, known: tuple[TableColumn, ...], watch: Watch = unwatched) -> None:
        self.file, self.job, self.known = file, job, known
        self.script = Script(file.name, grouped(plain_pieces(origin_of(file), watch)))
        self.found = _Found(job.source.table or "")
        self.count = 0
        self.names: frozenset[str] = frozenset()
        self.begun: Iterator[_Rows] | None = None  # the rows, once `shape` has looked at the first

    def rows(self) -> Iterator[_Rows]:
        """The table's rows; raises SourceError where the file is damaged or has no such table."""
        for insert in self.inserts():
            yield from self._inserted(insert)

    def inserts(self) -> Iterator[Insert]:
        """The INSERTs of the table; raises as `rows` does."""
        for statement in self.script.statements():
            if not isinstance(statement, Insert):
                self._note(statement)
            elif self.found.is_meant(statement.database, statement.name):
                yield statement
        if not self.found.databases:
            raise self._missing()

    def _note(self, statement: Table | View) -> None:
        """Take note of what is defined."""
        is_meant = self.found.is_meant(statement.database, statement.name)
        if is_meant and isinstance(statement, View):
            self.found.is_view = True
            self.found.databases.clear()
        elif is_meant and isinstance(statement, Table):
            if not statement.text:
                raise self._wrong("has an INSERT without literal rows (INSERT ... SELECT, or SET)")
            self.found.created = table_columns(statement.text.decode("utf-8", "replace"))

    def _inserted(self, insert: Insert) -> Iterator[_Rows]:
        settings = self.script.settings
        charset = encoding_of(settings.encoding, self.file.name)
        shape = None
        for block in insert.blocks():
            if shape is None:
                shape = Shape(self._columns(insert, int(block.closes[0] - block.opens[0])), settings.is_utc)
                self._refuse_others(shape)
            if (block.closes - block.opens != len(shape.columns)).any():
                raise self._wrong(f"has rows of another number of values than columns ({len(shape.columns)})")
            yield _Rows(block, insert.head, shape, self.count + 1, charset)
            self.count += len(block.opens)

    def _refuse_others(self, shape: Shape) -> None:
        """Raise SourceError where an INSERT has other columns than the first: what it lacks is a default, not null."""
        names = frozenset(column.name for column in shape.columns)
        self.names = self.names or names
        if names != self.names:
            raise self._wrong(f"has INSERTs of different columns: {', '.join(sorted(names ^ self.names))} not in all")

    def _columns(self, insert: Insert, fields: int) -> tuple[TableColumn, ...]:
        """The columns of an INSERT's rows, which have so many values."""
        created = self.found.created or self.known
        if insert.columns is not None:
            known = {column.name: column for column in created}
            return tuple(known.get(name, TableColumn(name, "text")) for name in insert.columns)
        if not created:
            created = tuple(TableColumn(name, "text") for name in self.job.source.columns)
            if not created:
                raise JobError(
                    f"source.columns: {self.file.name} does not tell the columns of {insert.name}, and they are not "
                    "declared",
                    hint="list every column under `source.columns`, in the table's order; or dump with CREATE TABLE",
                )
        own = tuple(column for column in created if not column.generated)
        return own if len(own) == fields else created

    def _missing(self) -> SourceError:
        wanted = self.found.wanted
        if self.found.is_view:
            return SourceError(f"{self.file.name}: {wanted} is a view, of which a dump has no rows")
        if not self.found.others:
            return SourceError(f"{self.file.name} has no table at all", hint="is it a dump of mysqldump?")
        shown = ", ".join(islice(self.found.others, _SHOWN))
        return SourceError(f"{self.file.name} has no table {wanted}", hint=f"it has: {shown}")

    def _wrong(self, message: str) -> SourceError:
        return SourceError(
            f"{self.file.name}, line {self.script.line}: {self.found.wanted} {message}",
            hint="make the dump again with mysqldump",
        )

    def shape(self) -> Shape | None:
        """The columns, by the file up to the table's first row; None where it has neither rows nor CREATE TABLE."""
        rows = self.rows()
        first = next(rows, None)
        self.begun = chain([] if first is None else [first], rows)
        if first is not None:
            return first.shape
        return Shape(self.found.created) if self.found.created else None


def grouped(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """The same bytes in pieces of some megabytes: small ones cost as much as large ones."""
    held: list[bytes] = []
    for piece in pieces:
        held.append(piece)
        if sum(map(len, held)) >= 2 * PIECE:
            yield b"".join(held)
            held = []
    if held:
        yield b"".join(held)


class _Enough(Exception):  # noqa: N818 (no error)
    """So much of a file is not to be read to tell its columns."""


def _begun(job: Job, files: Sequence[SourceFile], watch: Watch) -> Iterator[tuple[_Dump, Shape]]:
    """Each file that has any columns, read up to its first rows, and its columns."""
    known: tuple[TableColumn, ...] = ()
    for file in files:
        dump = _Dump(file, job, known, watch)
        shape = dump.shape()
        known = dump.found.created or known
        if shape is not None:
            yield dump, shape


def _columns(
    job: Job, shapes: Sequence[tuple[SourceFile, Shape]], files: Sequence[SourceFile]
) -> tuple[SourceColumn, ...]:
    if not shapes:
        raise SourceError(f"{files[0].name} does not tell the columns of {job.source.table}")
    readings = [
        (file.name, {column.name: reading(job, column, is_utc=shape.is_utc) for column in shape.columns})
        for file, shape in shapes
    ]
    for _, one in readings:
        check_names(list(one))
    return tuple(one.column for one in united(job, readings).values())


def open_dump(job: Job, files: Sequence[SourceFile], watch: Watch) -> DumpReader:
    """A reader of the job's table; raises as Format.open says. A lone file goes on to be read from where it is."""
    begun = _begun(job, files, watch)
    if len(files) == 1:
        lone = list(begun)
        columns = _columns(job, [(dump.file, shape) for dump, shape in lone], files)
        return DumpReader(columns, job, files, watch, [dump for dump, _ in lone])
    return DumpReader(_columns(job, [(dump.file, shape) for dump, shape in begun], files), job, files, watch)


def describe(job: Job, files: Sequence[SourceFile]) -> Described:
    """The columns, or that nothing is known where the table is not soon found; raises as Format.describe says."""
    seen = 0

    def watch(size: int) -> None:
        nonlocal seen
        seen += size
        if seen > LOOK_BYTES:
            raise _Enough

    try:
        return Described(open_dump(job, files, watch).columns)
    except _Enough:
        return Described((), complete=False)


def lines_of(file: SourceFile, job: Job, wanted: Sequence[int]) -> dict[int, int]:
    """The lines, from 1, that records of those numbers begin at; `wanted` is ascending."""
    found: dict[int, int] = {}
    first = 1
    for insert in _Dump(file, job, ()).inserts():
        for block in insert.blocks():
            last = first + len(block.opens)
            here = [record for record in wanted[len(found) :] if record < last]
            found |= zip(here, block.lines([record - first for record in here]), strict=True)
            if len(found) == len(wanted):
                return found
            first = last
    return found
