"""Columns that the names of folders give, such as `year=2024`: as Hive, Spark and DuckDB write partitions.

Rules
1) What counts are the folders on the way from the job file's folder to the file, those named in `path` included. So
   a project can be moved as a whole, and a folder far above it makes no column.
2) The value is the text behind the first `=`, percent-decoded in both halves as Hive does it (a `+` stays a `+`), and
   null where it is Hive's word for that. It is text in every format, unless `columns` says otherwise.
3) A column that the files themselves hold wins: the record knows better than its folder.
4) Folders inside a table of Delta or Iceberg give no columns: its log has their values, and may have renamed them.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from urllib.parse import unquote_to_bytes

import pyarrow as pa  # type: ignore[import-untyped]

from backfill.errors import SourceError
from backfill.frozen import frozen
from backfill.job.models import Job
from backfill.records import FILE_COLUMN, RECORD_COLUMN, SourceFile
from backfill.sources.columns import SourceColumn
from backfill.sources.files import base_folder
from backfill.sources.origins.standard_input import STANDARD_INPUT
from backfill.sources.reader import Reader, UnreadableSink

#: What Hive calls the folder of rows whose value is null or empty.
HIVE_NULL = "__HIVE_DEFAULT_PARTITION__"
_TABLES = ("delta", "iceberg")
_PARTITION = re.compile(r"([^=]+)=(.*)", re.DOTALL)

#: Column name -> its value in each file.
Partitions = Mapping[str, tuple[str | None, ...]]


def partitions_of(job: Job, files: Sequence[SourceFile], base: Path) -> Partitions:
    """The columns of folders' names, in the order of the folders; `base` is the job file's folder.

    Raises:
        SourceError: files lie in folders of different names and are not to be united, one name stands twice on the
            way to a file, or a name is encoded wrongly.
    """
    if job.source.database is not None or not any("=" in file.path for file in files):
        return {}
    way: dict[str, dict[str, str | None]] = {}  # folders are shared by many files
    is_table = job.source.format in _TABLES
    found = [_of_file(file, base, way, is_table=is_table) for file in files]
    names = tuple(dict.fromkeys(name for values in found for name in values))
    if job.source.union is None:
        _refuse_different(files, found, names)
    return {name: tuple(values.get(name) for values in found) for name in names}


def _of_file(
    file: SourceFile, base: Path, way: dict[str, dict[str, str | None]], *, is_table: bool = False
) -> dict[str, str | None]:
    """The names and values on the way to a file, or to the table that it is of, below which its key begins."""
    if file.key == STANDARD_INPUT:
        return {}
    folder = os.path.dirname(file.path)  # noqa: PTH120 (of text, for ten thousand files)
    if is_table:
        folder = file.path.removesuffix(f"/{file.key}")
    if folder not in way:
        folders = folder.split("/") if file.pin else Path(os.path.relpath(folder, base)).parts
        way[folder] = _values(folders, file.name)
    return way[folder]


def _values(folders: Sequence[str], shown: str) -> dict[str, str | None]:
    values: dict[str, str | None] = {}
    for found in filter(None, map(_PARTITION.fullmatch, folders)):
        name, value = _decoded(found[1], shown), _decoded(found[2], shown)
        if name in values:
            raise SourceError(
                f"{shown}: two folders on the way to it say what {name} is", hint="rename one of them, or name the file"
            )
        values[name] = None if value == HIVE_NULL else value
    return values


def _decoded(text: str, shown: str) -> str:
    """The text with its %XX undone."""
    if "%" not in text:
        return text
    try:
        return unquote_to_bytes(text).decode()
    except UnicodeDecodeError:
        raise SourceError(
            f"{shown}: the folder name {text} is percent-encoded, and not as UTF-8", hint="rename the folder"
        ) from None


def _refuse_different(files: Sequence[SourceFile], found: Sequence[Mapping[str, object]], names: Sequence[str]) -> None:
    """Raise SourceError where a file lacks a column that another's folders give."""
    for file, values in zip(files, found, strict=True):
        lost = [name for name in names if name not in values]
        if lost:
            other = next(other.name for other, has in zip(files, found, strict=True) if lost[0] in has)
            raise SourceError(
                f"{file.name} lies in no folder {lost[0]}=..., unlike {other}",
                hint="`union: by_name` under `source` makes the column null there; or make a job of each",
            )


_PLACES = (FILE_COLUMN, RECORD_COLUMN)


def with_partitions(reader: Reader, job: Job, files: Sequence[SourceFile]) -> Reader:
    """The reader, with the columns of the folders behind its own.

    Raises:
        SourceError: the folders do not agree (see partitions_of).
    """
    found = partitions_of(job, files, base_folder(job))
    own = {column.name.casefold() for column in reader.columns}
    further = {name: values for name, values in found.items() if name.casefold() not in own}
    return PartitionedReader(reader, job, files, further) if further else reader


def with_partition_columns(
    columns: Sequence[SourceColumn], job: Job, files: Sequence[SourceFile]
) -> tuple[SourceColumn, ...]:
    """The same for columns alone."""
    own = {column.name.casefold() for column in columns}
    names = [name for name in partitions_of(job, files, base_folder(job)) if name.casefold() not in own]
    return (*columns, *(_column(name, job) for name in names))


@frozen
class PartitionedReader:
    """Adds constant columns of text to the rows of each file."""

    reader: Reader
    job: Job
    files: Sequence[SourceFile]
    partitions: Partitions

    @property
    def columns(self) -> tuple[SourceColumn, ...]:
        """The reader's own columns, then those of the folders."""
        return (*self.reader.columns, *(_column(name, self.job) for name in self.partitions))

    @property
    def complete(self) -> bool:
        """As the reader says: folders' names are known."""
        return self.reader.complete

    def completed(self) -> Reader:
        """The same beside the reader that knows all columns."""
        return self if self.complete else with_partitions(self.reader.completed(), self.job, self.files)

    def batches(self, unreadable: UnreadableSink) -> Iterator[pa.RecordBatch]:
        """The reader's batches, each row with what the folders of its file say; raises what the reader does."""
        values = {name: pa.array(texts, pa.string()) for name, texts in self.partitions.items()}
        for batch in self.reader.batches(unreadable):
            places = {name: batch.column(batch.schema.get_field_index(name)) for name in _PLACES}
            rows = batch.drop_columns(_PLACES)
            columns = [*rows.columns, *(texts.take(places[FILE_COLUMN]) for texts in values.values())]
            yield pa.RecordBatch.from_arrays([*columns, *places.values()], [*rows.schema.names, *values, *places])


def _column(name: str, job: Job) -> SourceColumn:
    spec = job.source.columns.get(name)
    return SourceColumn(name, pa.string(), spec if spec is not None and spec.type != "text" else None)
