"""The rows of a SQLite query as Arrow batches, through ADBC, and their staging.

The driver takes a column's type from its first rows. So NULL is replaced by a value of the column's class, and whether
it was one stands in further columns, one bit for each, so that no first row misleads.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager

import adbc_driver_manager
import adbc_driver_sqlite
import numpy as np
import numpy.typing as npt
import pyarrow as pa  # type: ignore[import-untyped]

from backfill.arrays import arrow_array
from backfill.errors import JobError, SourceError, counted
from backfill.job.models import Job
from backfill.memory import BATCH_BYTES
from backfill.records import FILE_COLUMN, RECORD_COLUMN, SourceFile
from backfill.sources.columns import SourceColumn, declared
from backfill.sources.origins.content import Watch
from backfill.sources.reader import CompleteReader, Described, Unreadable, UnreadableSink
from backfill.sources.sqlite.query import (
    FILLING,
    Result,
    as_table,
    ask_classes,
    describe_query,
    refuse_damaged,
    sample_classes,
)
from backfill.sources.sqlite.session import uri
from backfill.sources.utf8 import rows_not_utf8

#: The type of each storage class.
_TYPES = {"integer": pa.int64(), "real": pa.float64(), "text": pa.string(), "blob": pa.binary(), "null": pa.string()}
#: Bits of an integer that tell which columns are NULL.
_FLAGS = 60
_MOST_ROWS = 8_192
_MESSAGE = "text that is not UTF-8: SQLite takes any bytes for text"


class SqliteReader(CompleteReader):
    """One query's rows, in the query's order; a row's record number is its place in the result.

    `columns` are the result's, with those that are to be cast as text. A row with text that is not UTF-8 is unreadable.
    """

    def __init__(
        self,
        file: SourceFile,
        result: Result,
        columns: tuple[SourceColumn, ...],
        watch: Watch,
        *,
        most: int | None = None,
    ) -> None:
        self.file, self.result, self.columns, self.watch, self.most = file, result, columns, watch, most

    def batches(self, unreadable: UnreadableSink) -> Iterator[pa.RecordBatch]:
        """All rows; raises SourceError where the database cannot be read, or gives other rows than before."""
        names = [*(column.name for column in self.columns), FILE_COLUMN, RECORD_COLUMN]
        size, done = self.file.bytes // max(self.result.rows, 1), 0
        with _stream(self.file, self._select(), self._batch_rows()) as stream:
            for batch in stream:
                arrays = [self._column(batch, index) for index in range(len(self.columns))]
                records = np.arange(done + 1, done + batch.num_rows + 1, dtype=np.uint64)
                places = [arrow_array(np.zeros(batch.num_rows, np.uint32)), arrow_array(records)]
                done += batch.num_rows
                self.watch(size * batch.num_rows)
                yield self._readable(pa.RecordBatch.from_arrays([*arrays, *places], names), unreadable)
        if done != self.result.rows:
            now = counted(done, "row", "rows")
            message = f"{self.file.name} gave {now}, and a moment ago another number of them"
            raise SourceError(message, hint="run again once nothing writes to it")

    def _select(self) -> str:
        """SQL: every column's values v0, v1 ..., and which are NULL, n0, n1 ..., bit by bit."""
        values = []
        for index, (_, kind) in enumerate(self.result.columns):
            value = f"CAST(c{index} AS REAL)" if kind == "real" else f"c{index}"
            values.append(f"{f'coalesce({value}, {FILLING[kind]})' if kind != 'null' else '0'} AS v{index}")
        for start in range(0, len(self.columns), _FLAGS):
            some = range(start, min(start + _FLAGS, len(self.columns)))
            bits = " | ".join(f"((c{index} IS NULL) << {index - start})" for index in some)
            values.append(f"{bits} AS n{start // _FLAGS}")
        table = as_table(self.result.query, [name for name, _ in self.result.columns], self.most)
        return f"{table} SELECT {', '.join(values)} FROM __bf_rows"

    def _batch_rows(self) -> int:
        """Rows of a batch, so that it holds about BATCH_BYTES."""
        size = max(self.file.bytes // max(self.result.rows, 1), 1)
        return max(min(BATCH_BYTES // size, _MOST_ROWS), 1)

    def _column(self, batch: pa.RecordBatch, index: int) -> pa.Array:
        """A column's values as the reader gives them, NULL as null."""
        kind = self.result.columns[index][1]
        if kind == "null":
            return pa.nulls(batch.num_rows, pa.string())
        flags = batch.column(len(self.columns) + index // _FLAGS).to_numpy()
        null = (flags >> (index % _FLAGS)) & 1 == 1
        value = batch.column(index)
        if kind == "integer" and self.columns[index].spec is not None:
            value = value.cast(pa.string())
        return _with_nulls(value, null) if null.any() else value

    def _readable(self, batch: pa.RecordBatch, unreadable: UnreadableSink) -> pa.RecordBatch:
        """The batch without rows whose text is not UTF-8, which go to the sink."""
        bad: dict[int, str] = {}
        for index, (name, kind) in enumerate(self.result.columns):
            if kind == "text":
                bad |= dict.fromkeys(rows_not_utf8(batch.column(index)), name)
        if not bad:
            return batch
        for row in sorted(bad):
            one = [_shown(batch.column(index)[row]) for index in range(len(self.columns))]
            shown = dict(zip((column.name for column in self.columns), one, strict=True))
            unreadable.add(
                Unreadable(
                    file=0,
                    record=batch.column(len(self.columns) + 1)[row].as_py(),
                    code="BF004",
                    message=_MESSAGE,
                    original=json.dumps(shown, ensure_ascii=False),
                    column=bad[row],
                    value=str(shown[bad[row]]),
                )
            )
        return batch.filter(pa.array([row not in bad for row in range(batch.num_rows)]))


def _with_nulls(values: pa.Array, null: npt.NDArray[np.bool_]) -> pa.Array:
    """Values none of which is null, and of the same memory those that are not to be."""
    valid = np.packbits(np.concatenate([np.zeros(values.offset, np.bool_), ~null]), bitorder="little")
    buffers = [pa.py_buffer(valid), *values.buffers()[1:]]
    return pa.Array.from_buffers(values.type, len(values), buffers, offset=values.offset)


def _shown(value: pa.Scalar) -> object:
    """A value as people may see it, bytes that are no text as escapes."""
    if pa.types.is_string(value.type):
        return None if not value.is_valid else value.as_buffer().to_pybytes().decode(errors="backslashreplace")
    found = value.as_py()
    return found.hex() if isinstance(found, bytes) else found


@contextmanager
def _stream(file: SourceFile, sql: str, rows: int) -> Iterator[pa.RecordBatchReader]:
    """The result of a statement; closed with all that belongs to it."""
    manager = adbc_driver_manager
    try:
        with (
            manager.AdbcDatabase(driver=adbc_driver_sqlite._driver_path(), uri=uri(file)) as database,  # noqa: SLF001
            manager.AdbcConnection(database) as connection,
            manager.AdbcStatement(connection) as statement,
        ):
            statement.set_options(**{"adbc.sqlite.query.batch_rows": str(rows)})
            statement.set_sql_query(sql)
            with pa.RecordBatchReader.from_stream(statement.execute_query()[0]) as reader:
                yield reader
    except (manager.Error, pa.ArrowException) as error:
        raise SourceError(f"{file.name} cannot be read: {str(error).partition(chr(10))[0]}") from error


def open_sqlite(job: Job, file: SourceFile, watch: Watch, sample: int | None) -> SqliteReader:
    """A reader of the job's query; raises as Format.open says."""
    query = own_query(job)
    names = describe_query(file, query)
    refuse_damaged(file, query, watch)
    result = ask_classes(file, query, names, watch, sample, cast_where=_where_to_cast(job))
    return SqliteReader(file, result, database_columns(job, result), watch, most=sample)


def describe(job: Job, file: SourceFile) -> Described:
    """The columns by the first rows; raises as Format.describe says."""
    query = own_query(job)
    names = describe_query(file, query)
    result, complete = sample_classes(file, query, names, cast_where=_where_to_cast(job))
    columns = database_columns(job, result)
    if complete:
        return Described(columns)
    unknown = frozenset(name for name, kind in result.columns if kind == "null")
    known = tuple(column for column in columns if column.name not in unknown)
    return Described(known, complete=False, untyped=unknown)


def _where_to_cast(job: Job) -> str:
    return "in the query" if job.source.table is None else "by a `query` in place of `table`"


def own_query(job: Job) -> str:
    """The job's query, or that for all rows of its table; raises JobError where there is neither."""
    if job.source.table is not None:
        name = job.source.table.replace('"', '""')
        return f'SELECT * FROM "{name}"'
    if job.source.query is None:
        raise JobError("source.query is missing", hint="say which rows: `query: SELECT * FROM orders ORDER BY id`")
    return job.source.query


def database_columns(job: Job, result: Result) -> tuple[SourceColumn, ...]:
    """The result's columns; declared ones as the text of their values.

    Raises:
        JobError: a declared column holds floating-point numbers, whose text is not the database's.
    """
    names = [name for name, _ in result.columns]
    specs = declared(job, names)
    columns = []
    for name, kind in result.columns:
        spec = specs.get(name)
        if spec is not None and kind in ("real", "blob"):
            raise JobError(
                f"source.columns.{name}: the query gives {kind} values, so it cannot be declared as {spec.type}",
                hint=f'cast it in the query, for example CAST("{name}" AS TEXT) AS "{name}"',
            )
        columns.append(SourceColumn(name, pa.string() if spec else _TYPES[kind], spec))
    return tuple(columns)
