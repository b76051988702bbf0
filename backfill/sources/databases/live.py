"""What live databases share: one query, read once in one state of the database, as a format and its reader.

A database's own module connects and gives a Session. Its rows are read by a thread ahead of who takes them, so that
waiting for a server is interrupted at once, and that reading and writing happen at the same time.
"""

from __future__ import annotations

import threading
import time
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from queue import Empty, Full, Queue
from typing import TYPE_CHECKING, Protocol

from backfill.errors import JobError, SourceError
from backfill.frozen import frozen
from backfill.job.models import ColumnSpec, Job
from backfill.records import SourceFile
from backfill.sources.databases.address import Address, address_of
from backfill.sources.origins.content import POLL_SECONDS, Watch, unwatched
from backfill.sources.reader import CompleteReader, Described, Format, Reader, UnreadableSink

if TYPE_CHECKING:
    import pyarrow as pa  # type: ignore[import-untyped]

    from backfill.sources.columns import SourceColumn

#: Batches read ahead.
_AHEAD = 2
#: Seconds that a server is given to end a query that was cancelled.
_ENDING_SECONDS = 2.0


@frozen
class ResultColumn:
    """One column of a query's result: as what its session gives it, and what it is."""

    name: str
    type: pa.DataType  # of the session's batches
    said: str  # the database's own name of its type
    spec: ColumnSpec | None = None  # what its text is to be read as, where the job declares nothing
    refused: str = ""  # why no snapshot holds it, with the cast to write; its values are then left out as null
    sound: bool = False  # the database makes sure that each text is what `spec` says


class Session(Protocol):
    """A connection that reads one query, in one state of the database."""

    @property
    def columns(self) -> tuple[ResultColumn, ...]:
        """The result's columns, found out without reading a row."""

    def batches(self) -> Iterator[pa.RecordBatch]:
        """All rows in the query's order, once; the arrays stand in the order of `columns`, and are of their types.

        Runs in a thread of its own.

        Raises:
            ConnectionLostError: the server is gone, or ended the query for its own reasons.
            JobError: the query fails on a row.
            SourceError: the database refuses to be read.
        """

    def cancel(self) -> None:
        """End the query at the server, from any thread; `batches` then raises whatever it likes."""


class LiveDatabase(Format):
    """A database that a server answers for."""

    packable = False
    is_database = True

    @abstractmethod
    def connect(self, job: Job, address: Address, most: int | None) -> AbstractContextManager[Session]:
        """A session for the job's query or table, or for its first `most` rows; closed when the block is left.

        Raises:
            SourceError: the database cannot be reached or refuses.
            JobError: the query is not one that only reads, or the database does not understand it.
            UsageError: the extra that reads it is not installed.
        """

    def open(
        self, job: Job, files: Sequence[SourceFile], *, watch: Watch = unwatched, sample: int | None = None
    ) -> Reader:
        """A reader of the query's rows; a row's record number is its place in the result."""
        del files
        with self.connect(job, address_of(job), 0) as session:
            columns = session.columns
        return LiveReader(self, job, columns, watch, sample)

    def describe(self, job: Job, files: Sequence[SourceFile]) -> Described:
        """The columns, which the server tells without reading a row."""
        del files
        with self.connect(job, address_of(job), 0) as session:
            return Described(source_columns(job, session.columns))


class LiveReader(CompleteReader):
    """One query's rows. Each call of `batches` is a connection of its own, which reads one state of the database."""

    def __init__(
        self, database: LiveDatabase, job: Job, columns: tuple[ResultColumn, ...], watch: Watch, most: int | None
    ) -> None:
        self.database, self.job, self.result, self.watch, self.most = database, job, columns, watch, most
        self.columns = source_columns(job, columns)

    def batches(self, unreadable: UnreadableSink) -> Iterator[pa.RecordBatch]:
        """All rows; raises as Session.batches does, and SourceError where the columns are no longer the same."""
        from backfill.sources.arrow_records import Field, Placing

        fields = {column.name: Field(column.type, refused=column.refused) for column in self.result}
        placing, done = Placing(fields, unreadable), 0
        with self.database.connect(self.job, address_of(self.job), self.most) as session:
            if session.columns != self.result:
                message = "the query gave other columns than a moment ago"
                raise SourceError(message, hint="run again once nothing alters the tables")
            with read_ahead(session, self.watch) as ahead:
                for batch in ahead:
                    placed = placing.place(batch.rename_columns(list(fields)), 0, done)
                    done += batch.num_rows
                    self.watch(batch.nbytes)
                    if placed is not None:
                        yield placed


def source_columns(job: Job, columns: Sequence[ResultColumn]) -> tuple[SourceColumn, ...]:
    """The columns as the job declares them, else as the database's types say.

    Raises:
        JobError: a column is declared that is no text, or there are no columns, or two that SQL cannot tell apart.
    """
    import pyarrow as pa

    from backfill.sources.columns import SourceColumn, declared

    if not columns:
        raise JobError("source.query gives no columns", hint="name them: SELECT id, email FROM ...")
    specs = declared(job, [column.name for column in columns])
    found = []
    for column in columns:
        spec = specs.get(column.name)
        if spec is not None and not (pa.types.is_string(column.type) and not column.refused):
            raise JobError(
                f"source.columns.{column.name}: the database says that it is {column.said}: it cannot be declared",
                hint=f"leave it out of `columns`, or cast it to text in the query to have it read as {spec.type}",
            )
        sound = column.sound and spec is None
        found.append(SourceColumn(column.name, column.type, spec or column.spec, column.refused, sound))
    return tuple(found)


@dataclass(slots=True)
class _Ahead:
    """A session's batches on their way from the thread that reads them."""

    session: Session
    batches: Queue[pa.RecordBatch | None] = field(default_factory=lambda: Queue(_AHEAD))
    ended: threading.Event = field(default_factory=threading.Event)  # nobody takes any more
    failure: BaseException | None = None

    def read(self) -> None:
        """Read until the end, or until nobody takes any more; whatever fails is for the taker."""
        try:
            for batch in self.session.batches():
                self._give(batch)
                if self.ended.is_set():
                    return
        except BaseException as error:  # noqa: BLE001 (raised where the batches are taken)
            self.failure = error
        self._give(None)

    def _give(self, batch: pa.RecordBatch | None) -> None:
        while not self.ended.is_set():
            try:
                self.batches.put(batch, timeout=POLL_SECONDS)
            except Full:
                continue
            return

    def take(self, watch: Watch) -> Iterator[pa.RecordBatch]:
        """The batches as they come; `watch` is asked all the time whether to go on."""
        while True:
            watch(0)
            try:
                batch = self.batches.get(timeout=POLL_SECONDS)
            except Empty:
                continue
            if batch is None:
                break
            yield batch
        if self.failure is not None:
            raise self.failure


@contextmanager
def read_ahead(session: Session, watch: Watch) -> Iterator[Iterator[pa.RecordBatch]]:
    """The session's batches, read by a thread; where the block is left before their end, the query is cancelled."""
    ahead = _Ahead(session)
    thread = threading.Thread(target=ahead.read, name="database", daemon=True)
    thread.start()
    try:
        yield ahead.take(watch)
    finally:
        ahead.ended.set()
        end = time.monotonic() + _ENDING_SECONDS
        while thread.is_alive() and time.monotonic() < end:
            session.cancel()  # in vain, where the server has not got the query yet
            thread.join(POLL_SECONDS)
