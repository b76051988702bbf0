"""A query through any ADBC driver, by the interface that all of them have: its schema, its rows, its end.

What the driver makes of a type is what arrives: values are as exact as the driver is. Types of Arrow that no snapshot
holds are refused. A driver that does not tell a query's columns is asked to run it, and stopped before the first row.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import adbc_driver_manager
import pyarrow as pa  # type: ignore[import-untyped]

from backfill.errors import BackfillError, ConnectionLostError, JobError, SourceError
from backfill.job.models import ColumnSpec, Job
from backfill.sources.arrow_records import field_of
from backfill.sources.databases.address import Address
from backfill.sources.databases.live import ResultColumn

#: How errors begin that are the query's, where their class does not tell (DuckDB's are all INTERNAL).
_OF_THE_QUERY = (
    "Parser Error", "Catalog Error", "Binder Error", "Conversion Error", "Out of Range Error", "Invalid Input Error",
    "Permission Error", "Not implemented Error",
)  # fmt: skip
_FAILURES = (adbc_driver_manager.Error, pa.ArrowException, OSError)


@contextmanager
def connection(options: dict[str, str], failed: Callable[[Exception], BackfillError]) -> Iterator[Any]:
    """A connection of ADBC's by the driver's options; `failed` makes an error of the driver's one of ours."""
    try:
        database = adbc_driver_manager.AdbcDatabase(**options)
    except _FAILURES as error:
        raise failed(error) from None
    with database:
        try:
            opened = adbc_driver_manager.AdbcConnection(database)
        except _FAILURES as error:
            raise failed(error) from None
        with opened:
            yield opened


@dataclass(slots=True)
class AdbcSession:
    """One query over a connection. `columns` and `query` may be changed before the rows are read."""

    opened: Any
    query: str
    failed: Callable[[Exception], BackfillError]
    most: int | None = None
    columns: tuple[ResultColumn, ...] = ()
    _statement: Any = field(default=None)

    @contextmanager
    def stream(self, sql: str) -> Iterator[pa.RecordBatchReader]:
        """The result of a statement."""
        try:
            with adbc_driver_manager.AdbcStatement(self.opened) as self._statement:
                self._statement.set_sql_query(sql)
                with pa.RecordBatchReader.from_stream(self._statement.execute_query()[0]) as reader:
                    yield reader
        except _FAILURES as error:
            raise self.failed(error) from None

    def describe(self) -> None:
        """Find out the columns."""
        with self.stream(self.query) as reader:
            schema = reader.schema
            self.cancel()
        self.columns = tuple(map(result_column, schema))

    def batches(self) -> Iterator[pa.RecordBatch]:
        """All rows; raises as Session.batches says."""
        left = self.most
        with self.stream(self.query) as reader:
            for batch in reader:
                yield batch if left is None else batch.slice(0, left)
                left = None if left is None else left - batch.num_rows
                if left is not None and left <= 0:
                    return

    def cancel(self) -> None:
        """End the query, where the driver can."""
        with suppress(Exception):  # it has ended by itself
            self._statement.cancel()


def result_column(found: pa.Field) -> ResultColumn:
    """A column of Arrow's as a snapshot holds it."""
    held = field_of(found.type)
    spec = ColumnSpec(type="json") if held.is_json else None
    return ResultColumn(found.name, held.type, str(held), spec, held.refused)


def failure(job: Job, address: Address) -> Callable[[Exception], BackfillError]:
    """Makes errors of ours of those of a driver."""

    def made(error: Exception) -> BackfillError:
        said = address.without_secrets(str(error).partition("\n\n")[0])
        if isinstance(error, adbc_driver_manager.OperationalError):
            return ConnectionLostError(f"{address.shown} cannot be read: {said}")
        if isinstance(error, adbc_driver_manager.ProgrammingError) or any(words in said for words in _OF_THE_QUERY):
            path = "source.query" if job.source.query is not None else "source.table"
            return JobError(f"{path}: {said.removeprefix('INTERNAL: ')}", hint="one SELECT in its own SQL is wanted")
        return SourceError(f"{address.shown} cannot be read: {said}")

    return made


def quoted_table(name: str) -> str:
    """SQL for all rows of a table: parts of its name, with dots between them, are quoted as SQL's standard does."""
    parts = [part.strip('"').replace('"', '""') for part in name.split(".")]
    return "SELECT * FROM " + ".".join(f'"{part}"' for part in parts)
