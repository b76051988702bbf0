"""The one face of every format: a source's records as Arrow batches, and those that cannot be read as values.

A reader knows its format exactly: how many records there are, and which of them can be read. DuckDB gets the batches,
never the file, and does with them what the job says (see freeze_stream).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol, Self

import pyarrow as pa  # type: ignore[import-untyped]

from backfill.disk import close_writer, out_of_space
from backfill.records import REJECT_COLUMNS, Severity, SourceFile
from backfill.sources.sql.layout import SourceColumn

if TYPE_CHECKING:
    import pyarrow.parquet as pq  # type: ignore[import-untyped]

#: About as many bytes of raw columns a batch holds, so that memory does not depend on the source.
BATCH_BYTES = 4 * 2**20
#: Unreadable records held before they are written.
HELD_RECORDS = 4_096
#: Characters kept of an unreadable record, and of the value at fault.
ORIGINAL_CHARACTERS, VALUE_CHARACTERS = 2_000, 80
_COUNTS = ("record", "line")
_SCHEMA = pa.schema([(name, pa.uint64() if name in _COUNTS else pa.string()) for name in REJECT_COLUMNS])


@dataclass(frozen=True, slots=True)
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
    """One format's view of a source's files."""

    @property
    def columns(self) -> tuple[SourceColumn, ...]:
        """The raw columns: names and DuckDB types. One of type JSON comes as text in the batches."""

    @property
    def complete(self) -> bool:
        """False where the columns come of a sample, so that there may be more."""

    def batches(self, unreadable: UnreadableSink) -> Iterator[pa.RecordBatch]:
        """All records in source order: the raw columns, then FILE_COLUMN (uint32) and RECORD_COLUMN (uint64).

        Can be called again; each call begins at the start. A batch holds about BATCH_BYTES.

        Raises:
            SourceError: a file is corrupt, truncated or gone.
        """


@dataclass(slots=True)
class UnreadableFile:
    """The unreadable records of a source as one Parquet file of REJECT_COLUMNS, written in bounded memory.

    A context manager; there is no file where nothing was added.
    """

    path: Path
    files: Sequence[SourceFile]
    count: int = 0
    _held: list[Unreadable] = field(default_factory=list)
    _writer: pq.ParquetWriter | None = None

    def add(self, record: Unreadable) -> None:
        """Note one; written when some have come together. Raises StoppedError where the disk is full."""
        self.count += 1
        self._held.append(record)
        if len(self._held) >= HELD_RECORDS:
            self._write()

    def _write(self) -> None:
        if not self._held:
            return
        import pyarrow.parquet as pq

        rows = pa.RecordBatch.from_pylist([self._row(one) for one in self._held], _SCHEMA)
        with out_of_space(self.path.parent):
            if self._writer is None:
                self._writer = pq.ParquetWriter(self.path, _SCHEMA, compression="zstd")
            self._writer.write_batch(rows)
        self._held.clear()

    def _row(self, one: Unreadable) -> dict[str, Any]:
        return {
            "file": self.files[one.file].name,
            "record": one.record,
            "line": one.line,
            "call": "",
            "code": one.code,
            "severity": Severity.ERROR.value,
            "column": one.column,
            "value": (one.value or one.original)[:VALUE_CHARACTERS],
            "message": one.message,
            "message_id": None,
            "original": one.original[:ORIGINAL_CHARACTERS],
        }

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        try:
            if error is None:
                self._write()
        finally:
            if self._writer is not None:
                close_writer(self._writer, self.path)


class Discarding:
    """A sink for a second look at records that are reported already."""

    def add(self, record: Unreadable) -> None:
        """Forget it."""
