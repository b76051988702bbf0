"""Tables of many Parquet files, whose log tells which of them a version is made of: what Delta and Iceberg share.

The files are read as Parquet is, each given the table's columns: one that a file lacks is null, or has the value that
the table tells for the whole file (a partition), and types that were widened since are those of the table.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import field
from functools import cache
from pathlib import Path
from typing import Any, Final

import pyarrow as pa  # type: ignore[import-untyped]

from backfill.errors import JobError, SourceError
from backfill.frozen import frozen
from backfill.job.models import Job
from backfill.records import SourceFile
from backfill.sources.arrow_reader import Head, TypedFiles, head_of
from backfill.sources.files import local_path
from backfill.sources.origins.content import origin_of
from backfill.sources.parquet.file import batch_rows, in_turn, opened, raw_batches, stated_rows

_FIELD_ID: Final = b"PARQUET:field_id"


@frozen
class Table:
    """One version of a table."""

    schema: pa.Schema
    files: Mapping[Path, Mapping[str, Any]]  # each with the values that hold for all of its rows: column -> value
    ids: Mapping[str, int] = field(default_factory=dict)  # of the columns, where files know them by numbers
    written: Mapping[str, int] = field(default_factory=dict)  # the numbers of columns by names, for files without any


class TableFiles(TypedFiles):
    """How the files of tables are opened."""

    def __init__(self, job: Job) -> None:
        self._folders = [local_path(job, written) for written in job.source.path]
        self._table = cache(lambda folder: self.read(folder, job.source.version))

    @abstractmethod
    def read(self, folder: Path, version: int | str | None) -> Table:
        """The table in a folder, as of a version; the latest where none is given.

        Raises:
            SourceError: there is none, or none of that version.
            JobError: it has something that is not read.
            UsageError: the extra is not installed.
        """

    def data_files(self, path: Path) -> Sequence[Path]:
        """The files of the version of the table in a folder."""
        return sorted(self._table(path).files)

    def head(self, file: SourceFile) -> Head:
        """The table's columns; the rows are the file's own."""
        table, _ = self._of(file)
        with opened(file) as content:
            _refuse_changed_inside(file, table, content.schema_arrow)
            head = head_of(file, table.schema, stated_rows(file, content))
            return Head(head.fields, head.rows, batch_rows(content.metadata))

    def batches(self, file: SourceFile, head: Head) -> Iterator[pa.RecordBatch]:
        """The file's rows with the table's columns."""
        table, constants = self._of(file)
        for batch in raw_batches(file, head.batch_rows):
            names = _own_names(table, batch.schema)
            try:
                arrays = [
                    batch.column(names[one.name]).cast(one.type)
                    if one.name in names
                    else pa.repeat(pa.scalar(constants.get(one.name), one.type), batch.num_rows)
                    for one in table.schema
                ]
            except pa.ArrowException as error:
                said = str(error).partition("\n")[0]
                raise SourceError(f"{file.name} has values that are not of the table's types: {said}") from error
            yield pa.RecordBatch.from_arrays(arrays, table.schema.names)

    def in_turn(self, files: Sequence[SourceFile]) -> Iterator[SourceFile]:
        """The files, footers given back on the way."""
        return in_turn(files)

    def _of(self, file: SourceFile) -> tuple[Table, Mapping[str, Any]]:
        """The table that a file belongs to, and the values that hold for the whole file."""
        path = origin_of(file).local_path()
        table = self._table(next(folder for folder in self._folders if path.is_relative_to(folder)))
        if path not in table.files:
            raise SourceError(
                f"{file.name} is no part of its table any more",
                hint="say which `version` under `source`, and run again",
            )
        return table, table.files[path]


def _own_names(table: Table, schema: pa.Schema) -> dict[str, str]:
    """The columns of the table that a file has -> their names in it, found by their numbers where it has any.

    Raises:
        SourceError: it has none, and the table does not say by which names it is read.
    """
    if not table.ids:
        return {name: name for name in table.schema.names if name in schema.names}
    numbers = {number: one.name for one in schema if (number := _number(one)) is not None}
    if not numbers and not table.written:
        raise SourceError(
            "a file's columns have no numbers, and the table no `schema.name-mapping.default` to know them by",
            hint="set that property of the table; or write a copy of it: CREATE TABLE ... AS SELECT * FROM ...",
        )
    numbers = numbers or {table.written[name]: name for name in schema.names if name in table.written}
    return {name: numbers[number] for name, number in table.ids.items() if number in numbers}


def _number(one: pa.Field) -> int | None:
    """The number of a column or member, where it has one."""
    found = (one.metadata or {}).get(_FIELD_ID)
    return None if found is None else int(found)


def _refuse_changed_inside(file: SourceFile, table: Table, schema: pa.Schema) -> None:
    """Raise JobError where a nested column has other members in the file than in the table."""
    for name, own in _own_names(table, schema).items():
        if not _alike_inside(schema.field(own).type, table.schema.field(name).type):
            raise JobError(
                f"{file.name}: the members of {name} have changed since the file was written, which is not read",
                hint="write a copy of the table: CREATE TABLE ... AS SELECT * FROM ...",
            )


def _alike_inside(one: pa.DataType, other: pa.DataType) -> bool:
    """The types have the same members inside, by their names and, where both have them, by their numbers."""
    if one.num_fields != other.num_fields:
        return False
    return all(
        (mine.name == its.name or not pa.types.is_struct(one))
        and (None in (_number(mine), _number(its)) or _number(mine) == _number(its))
        and _alike_inside(mine.type, its.type)
        for mine, its in ((one.field(place), other.field(place)) for place in range(one.num_fields))
    )
