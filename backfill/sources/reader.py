"""The one face of every format: how its files are recognised, described and read (see CONTRIBUTING, "Add a format").

A reader knows its format exactly: how many records there are, and which of them can be read. It hands out batches of
Arrow; what is done with them (casts, SQL, numbering, freezing) knows no format. A format opens no path: the bytes of a
file come from backfill.sources.origins.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Protocol, Self

from backfill.frozen import frozen
from backfill.job.models import Job
from backfill.records import Column, Snapshot, SourceFile
from backfill.sources.origins.content import Watch, unwatched

if TYPE_CHECKING:  # a look at lines or sizes loads no library for data
    import pyarrow as pa  # type: ignore[import-untyped]

    from backfill.sources.columns import SourceColumn

#: Characters kept of an unreadable record, and of the value at fault.
ORIGINAL_CHARACTERS, VALUE_CHARACTERS = 2_000, 80


@frozen
class Unreadable:
    """A record that cannot be read as a row."""

    file: int  # index into the source's files
    record: int  # from 1, unreadable ones counted
    code: str
    message: str
    original: str  # the record as it stands in the file, shortened when it is written
    line: int = 0  # from 1; 0 where the format has none
    column: str = ""
    value: str = ""


class UnreadableSink(Protocol):
    """Takes unreadable records, in source order."""

    def add(self, record: Unreadable) -> None:
        """Note one."""


class Reader(Protocol):
    """The records of a source's files."""

    @property
    def columns(self) -> tuple[SourceColumn, ...]:
        """The raw columns. One of Arrow's JSON type may come as text in the batches."""

    @property
    def complete(self) -> bool:
        """False where the columns come of a sample, so that there may be more: see `completed`."""

    def completed(self) -> Reader:
        """A reader that knows all columns; it may read all records for that. Itself where it is complete."""

    def batches(self, unreadable: UnreadableSink) -> Iterator[pa.RecordBatch]:
        """All records in source order: the raw columns, then FILE_COLUMN (uint32) and RECORD_COLUMN (uint64).

        Can be called again; each call begins at the start. A batch holds about BATCH_BYTES.

        Raises:
            MoreColumnsError: the reader was not complete, and the columns turned out to be others.
            SourceError: a file is corrupt, truncated or gone.
        """


class CompleteReader:
    """What readers share that know their columns from the start."""

    complete: ClassVar[bool] = True

    def completed(self) -> Self:
        """Itself."""
        return self


class MoreColumnsError(Exception):
    """The columns turned out to be others than a sample said; `reader` knows all of them."""

    def __init__(self, reader: Reader) -> None:
        super().__init__()
        self.reader = reader


@frozen
class Described:
    """A source's columns as far as a look at it tells them."""

    columns: tuple[SourceColumn, ...]
    complete: bool = True  # False: made of a sample, so there may be more columns
    records: int = 0  # in that sample, where it is the columns' names that are known by it
    assumed: frozenset[str] = frozenset()  # declared columns that no record of the sample has
    untyped: frozenset[str] = frozenset()  # columns whose values so far are all null: nothing is known of them


class InPlace(Protocol):
    """A source whose files can be their own snapshot."""

    @property
    def columns(self) -> tuple[Column, ...]:
        """The snapshot's columns."""

    def is_sound(self, watch: Watch, sample: int | None) -> bool:
        """Every value is what its type says, of the first `sample` rows if given; else the reader finds the bad rows.

        `watch` gets the bytes that are read.

        Raises:
            SourceError: a file is damaged or gone.
        """

    def snapshot(self) -> Snapshot:
        """The snapshot that the files are."""


class Format(ABC):
    """One format. A module of formats gives an instance for each name in backfill.job.formats.

    To import that module must be cheap: what it takes to read (pyarrow, say) is imported where it is used.
    """

    #: First bytes (of the unpacked file) that files of this format have; several where there are several.
    magic: ClassVar[bytes | tuple[bytes, ...]] = b""
    #: How scripts of this format begin, as the program that writes them has it: a regular expression.
    heading: ClassVar[bytes] = b""
    #: A file may be compressed as a whole; False for formats that compress their own pages.
    packable: ClassVar[bool] = True
    #: `source.query` is the database's own: it gives the records, and is not asked of them.
    is_database: ClassVar[bool] = False
    #: Where nothing is computed of the rows, files may be read where they are (see `in_place`).
    may_stay: ClassVar[bool] = False
    #: Bytes of snapshot and of spool for each plain byte of source, about, to forecast the disk that a run needs.
    snapshot_per_byte: ClassVar[float] = 0.3
    spool_per_byte: ClassVar[float] = 0.8

    def __init__(self, name: str) -> None:
        self.name = name

    @abstractmethod
    def open(
        self, job: Job, files: Sequence[SourceFile], *, watch: Watch = unwatched, sample: int | None = None
    ) -> Reader:
        """A reader of all records; with `sample`, only about that many of the first ones are wanted.

        `watch` gets the size of each piece that is read, and may raise to end the reading.

        Raises:
            SourceError: a file is of another kind, damaged or gone, or has other columns than the first.
            JobError: the job does not fit what is there.
        """

    @abstractmethod
    def describe(self, job: Job, files: Sequence[SourceFile]) -> Described:
        """The columns by headers, footers or a sample, within a second or two; raises as `open` does."""

    def begins(self, head: bytes) -> bool:
        """A file with those first bytes, unpacked, is surely of this format, whatever else begins like it."""
        return bool(self.magic) and head.startswith(self.magic)

    def data_files(self, job: Job, path: Path) -> Sequence[Path] | None:
        """The files with the rows, for a format whose path is a table of many; None where the path is as it is."""
        del job, path
        return None

    def lines(self, file: SourceFile, job: Job, records: Sequence[int]) -> dict[int, int]:
        """The line, from 1, that each of those records (ascending) begins at; empty for a format without lines."""
        del file, job, records
        return {}

    def in_place(self, job: Job, files: Sequence[SourceFile]) -> InPlace | None:
        """The source, if its files can be read where they are, as they are; None where they are to be staged."""
        del job, files
        return None

    def emptiness(self, job: Job) -> str:
        """What to add to the error for a source whose files are all empty."""
        del job
        return ""
