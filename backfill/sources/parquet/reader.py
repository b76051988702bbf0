"""Parquet: what the footers of all files say, and the files' records as batches that a snapshot can hold."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa  # type: ignore[import-untyped]

from backfill.errors import JobError, SourceError
from backfill.job.models import ColumnSpec, Job
from backfill.records import FILE_COLUMN, RECORD_COLUMN, SourceFile
from backfill.sources.arrow_types import UnsupportedType, cast, common_type, intervals, is_json, snapshot_type, unfit
from backfill.sources.columns import SourceColumn, aligned, check_names, declared, united
from backfill.sources.origins.content import Watch, unwatched
from backfill.sources.parquet.file import batch_rows, check_rows, in_turn, opened, raw_batches, stated_rows
from backfill.sources.reader import CompleteReader, Unreadable, UnreadableSink

Numbers = npt.NDArray[np.uint64]


@dataclass(frozen=True, slots=True)
class Field:
    """A column of one file: how a snapshot holds it."""

    type: pa.DataType  # null where it is refused
    is_json: bool = False
    is_interval: bool = False
    refused: str = ""  # what it is that no snapshot holds

    def __str__(self) -> str:
        return self.refused or ("JSON" if self.is_json else str(self.type))


def _common(one: Field, other: Field) -> Field | None:
    """The field that holds the values of both: one without any value, as pandas writes it, has no type of its own."""
    if other in {one, _VALUELESS}:
        return one
    if one == _VALUELESS:
        return other
    if one.refused or other.refused or (one.is_json, one.is_interval) != (other.is_json, other.is_interval):
        return None
    kind = common_type(one.type, other.type)
    return None if kind is None else replace(one, type=kind)


_VALUELESS = Field(pa.null())


@dataclass(frozen=True, slots=True)
class Footer:
    """What the footer of one file says."""

    fields: dict[str, Field]
    rows: int
    batch_rows: int  # that are read at once


def read_footer(file: SourceFile) -> Footer:
    """The file's columns and rows.

    Raises:
        SourceError: the file is damaged, says two things of how many rows it has, or has no columns that can be named.
        JobError: its columns cannot be told apart.
    """
    with opened(file) as content:
        rows = stated_rows(file, content)
        schema = content.schema_arrow
        _refuse_names(file, schema.names)
        check_names(schema.names)
        return Footer(_fields(schema, content.schema), rows, batch_rows(content.metadata))


def _refuse_names(file: SourceFile, names: Sequence[str]) -> None:
    """Raise SourceError where a file has no columns, or one that nothing behind this can have the name of."""
    if not names:
        raise SourceError(f"{file.name} has no columns", hint="write it again with them, or leave it out of `path`")
    if any("\0" in name for name in names):
        raise SourceError(f"{file.name}: the name of a column holds U+0000", hint="write it again with another name")


def _fields(schema: pa.Schema, own: Any) -> dict[str, Field]:  # noqa: ANN401
    stated = (own.column(place) for place in range(len(own)))
    intervals_held = {leaf.path for leaf in stated if leaf.converted_type == "INTERVAL"}
    return {field.name: _field(field.type, is_interval=field.name in intervals_held) for field in schema}


def _field(kind: pa.DataType, *, is_interval: bool) -> Field:
    if is_interval:
        return Field(pa.month_day_nano_interval(), is_interval=True)
    try:
        return Field(snapshot_type(kind), is_json=is_json(kind))
    except UnsupportedType as refusal:
        return Field(pa.binary(), refused=str(refusal))


@dataclass(frozen=True, slots=True)
class ParquetReader(CompleteReader):
    """The records of Parquet files (see reader.Reader)."""

    files: tuple[SourceFile, ...]
    footers: tuple[Footer, ...]
    fields: dict[str, Field]
    columns: tuple[SourceColumn, ...]
    watch: Watch

    def batches(self, unreadable: UnreadableSink) -> Iterator[pa.RecordBatch]:
        """All records in order; those with a value that is not what its type says are unreadable.

        Raises:
            SourceError: a file is damaged or gone, or has not as many rows as its footer says.
        """
        schema = pa.schema([(name, field.type) for name, field in self.fields.items()])
        for index, (file, footer) in enumerate(zip(in_turn(self.files), self.footers, strict=True)):
            rows = 0
            for batch in raw_batches(file, footer.batch_rows):
                kept, numbers = _readable(batch, index, rows, unreadable)
                rows += batch.num_rows
                self.watch(file.bytes * batch.num_rows // max(footer.rows, 1))
                if len(numbers):
                    yield self._placed(kept, numbers, index, schema)
            check_rows(file, footer.rows, rows)

    def _placed(
        self,
        batch: pa.RecordBatch,
        numbers: Numbers,
        file: int,
        schema: pa.Schema,
    ) -> pa.RecordBatch:
        """The rows as a snapshot holds them, with their places."""
        columns = [
            _column(values, self.fields[name]) for name, values in zip(batch.schema.names, batch.columns, strict=True)
        ]
        rows = aligned(pa.RecordBatch.from_arrays(columns, batch.schema.names), schema)
        places = [pa.array(np.full(len(numbers), file, np.uint32)), pa.array(numbers)]
        return pa.RecordBatch.from_arrays([*rows.columns, *places], [*schema.names, FILE_COLUMN, RECORD_COLUMN])


def _column(values: pa.Array, field: Field) -> pa.Array:
    if field.refused or pa.types.is_null(values.type):
        return pa.nulls(len(values), field.type)
    return intervals(values) if field.is_interval else cast(values, field.type)


def _readable(
    batch: pa.RecordBatch, file: int, before: int, unreadable: UnreadableSink
) -> tuple[pa.RecordBatch, Numbers]:
    """The rows whose values all are what their types say, with their record numbers; the others are noted."""
    numbers = np.arange(before + 1, before + batch.num_rows + 1, dtype=np.uint64)
    wrong: dict[int, tuple[str, str]] = {}
    for name, values in zip(batch.schema.names, batch.columns, strict=True):
        for place, what in unfit(values):
            wrong.setdefault(place, (name, what))
    if not wrong:
        return batch, numbers
    for place, (name, what) in sorted(wrong.items()):
        value = _shown(batch.column(name)[place])
        row = {column: _shown(batch.column(at)[place]) for at, column in enumerate(batch.schema.names)}
        original = json.dumps(row, ensure_ascii=False)
        message = f"{name} holds {what}"
        unreadable.add(Unreadable(file, int(numbers[place]), "BF009", message, original, column=name, value=str(value)))
    keep = np.ones(batch.num_rows, np.bool_)
    keep[list(wrong)] = False
    return batch.filter(pa.array(keep)), numbers[keep]


def _shown(value: pa.Scalar) -> object:
    """A value for people to see, whatever it is: odd bytes escaped, times that no day has as their numbers."""
    if not value.is_valid:
        return None
    if isinstance(value, pa.StructScalar):
        return {name: _shown(inner) for name, inner in value.items()}
    if isinstance(value, pa.MapScalar | pa.ListScalar | pa.FixedSizeListScalar | pa.LargeListScalar):
        return [_shown(inner) for inner in value.values]
    if hasattr(value, "as_buffer"):
        return bytes(value.as_buffer()).decode("utf-8", "backslashreplace")
    try:
        plain = value.as_py()
    except (ValueError, OverflowError, ArithmeticError):
        return str(getattr(value, "value", "a value that cannot be shown"))
    return plain if isinstance(plain, str | int | float | bool) else str(plain)


def parquet_reader(job: Job, files: Sequence[SourceFile], watch: Watch = unwatched) -> ParquetReader:
    """The reader of these files.

    Raises:
        SourceError: a file is damaged, or the files' columns differ.
        JobError: a column is declared that holds no text.
    """
    footers = tuple(_alike(map(read_footer, in_turn(files))))
    fields = united(job, [(file.name, footer.fields) for file, footer in zip(files, footers, strict=True)], _common)
    return ParquetReader(tuple(files), footers, fields, source_columns(job, fields), watch)


def _alike(footers: Iterable[Footer]) -> Iterator[Footer]:
    """The footers, those with the first one's fields sharing them: there may be ten thousand."""
    first: Footer | None = None
    for footer in footers:
        first = first or footer
        yield replace(footer, fields=first.fields) if footer.fields == first.fields else footer


def source_columns(job: Job, fields: dict[str, Field]) -> tuple[SourceColumn, ...]:
    """The columns, and the declared type of those that hold text.

    Raises:
        JobError: a column is declared that holds no text.
    """
    check_names(list(fields))
    specs = declared(job, list(fields))
    return tuple(
        SourceColumn(name, field.type, _spec(name, field, specs.get(name)), field.refused)
        for name, field in fields.items()
    )


def _spec(name: str, field: Field, spec: ColumnSpec | None) -> ColumnSpec | None:
    if spec is not None and (field.is_json or field.refused or not pa.types.is_string(field.type)):
        raise JobError(
            f"source.columns.{name}: the file says that it is {field}, so it cannot be declared",
            hint="declare only columns that hold text, or cast it in `sql`",
        )
    return ColumnSpec(type="json") if field.is_json else spec
