"""Formats whose files say the types of their columns: a module for each opens the files, the rest is alike.

Such a module has a function `open_files(job)` that gives an `arrow_reader.TypedFiles`.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from backfill.job.models import Job
from backfill.records import SourceFile
from backfill.sources.origins.content import Watch, unwatched
from backfill.sources.reader import Described, Format, Reader

if TYPE_CHECKING:
    from backfill.sources.arrow_reader import ArrowReader, TypedFiles


class TypedFormat(Format):
    """Columns with types; `home` is the module below backfill.sources that opens the files."""

    packable = False
    snapshot_per_byte = 1.0
    spool_per_byte = 2.0

    def __init__(self, name: str, home: str, *magic: bytes, is_table: bool = False) -> None:
        super().__init__(name)
        self.home, self.is_table, self.magic = home, is_table, magic  # type: ignore[misc]  # as of a subclass

    def open(
        self, job: Job, files: Sequence[SourceFile], *, watch: Watch = unwatched, sample: int | None = None
    ) -> Reader:
        """A reader by the heads of all files."""
        del sample  # rows come as they are asked for
        return self._reader(job, files, watch)

    def describe(self, job: Job, files: Sequence[SourceFile]) -> Described:
        """The columns by the heads."""
        return Described(self._reader(job, files).columns)

    def _reader(self, job: Job, files: Sequence[SourceFile], watch: Watch = unwatched) -> ArrowReader:
        from backfill.sources.arrow_reader import arrow_reader

        return arrow_reader(job, files, self._opened(job), watch)

    def lines(self, file: SourceFile, job: Job, records: Sequence[int]) -> dict[int, int]:
        """Where records stand, in formats that say it."""
        return self._opened(job).lines(file, records)

    def data_files(self, job: Job, path: Path) -> Sequence[Path] | None:
        """The files of a table, in formats of tables."""
        return self._opened(job).data_files(path) if self.is_table else None

    def _opened(self, job: Job) -> TypedFiles:
        opened: TypedFiles = import_module(f"backfill.sources.{self.home}").open_files(job)
        return opened


ARROW = TypedFormat("arrow", "arrow_ipc", b"ARROW1")
ORC = TypedFormat("orc", "orc", b"ORC")
EXCEL = TypedFormat("excel", "excel.files", b"PK\x03\x04", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1")
AVRO = TypedFormat("avro", "avro", b"Obj\x01")
DELTA = TypedFormat("delta", "parquet.delta", is_table=True)
ICEBERG = TypedFormat("iceberg", "parquet.iceberg", is_table=True)
