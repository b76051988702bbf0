"""Formats whose files say the types of their columns: a module for each opens the files, the rest is alike.

Such a module has a class that is an `arrow_reader.TypedFiles`, and an instance of it called FILES.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import TYPE_CHECKING

from backfill.job.models import Job
from backfill.records import SourceFile
from backfill.sources.origins.content import Watch, unwatched
from backfill.sources.reader import Described, Format, Reader

if TYPE_CHECKING:
    from backfill.sources.arrow_reader import ArrowReader


class TypedFormat(Format):
    """Columns with types; `home` is the module below backfill.sources that opens the files."""

    packable = False
    snapshot_per_byte = 1.0
    spool_per_byte = 2.0

    def __init__(self, name: str, home: str, magic: bytes = b"") -> None:
        super().__init__(name)
        self.home, self.magic = home, magic  # type: ignore[misc]  # as of a subclass

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

        return arrow_reader(job, files, import_module(f"backfill.sources.{self.home}").FILES, watch)


ARROW = TypedFormat("arrow", "arrow_ipc", b"ARROW1")
ORC = TypedFormat("orc", "orc", b"ORC")
AVRO = TypedFormat("avro", "avro", b"Obj\x01")
