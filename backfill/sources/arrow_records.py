"""Records of a format whose columns have types, as a snapshot can hold them: any batches of Arrow will do.

What `arrow_types` says of each type is done here to columns, rows and files: which of the values are what their types
say, what files of one source have in common, which columns may be declared.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType

import numpy as np
import numpy.typing as npt
import pyarrow as pa  # type: ignore[import-untyped]

from backfill.arrays import arrow_array
from backfill.errors import JobError, SourceError
from backfill.frozen import frozen
from backfill.job.models import ColumnSpec, Job
from backfill.records import FILE_COLUMN, RECORD_COLUMN, SourceFile
from backfill.sources.arrow_types import UnsupportedType, cast, common_type, intervals, is_json, snapshot_type, unfit
from backfill.sources.columns import SourceColumn, aligned, check_names, declared
from backfill.sources.origins.content import origin_of
from backfill.sources.reader import Unreadable, UnreadableSink

Numbers = npt.NDArray[np.uint64]
#: Places of rows in a batch -> the column at fault, and what it holds.
Wrong = Mapping[int, tuple[str, str]]


def sought(file: SourceFile) -> pa.NativeFile:
    """The file, opened for a library of Arrow to seek in; of an object only what it asks for is fetched in a look."""
    origin = origin_of(file)
    return pa.PythonFile(origin.seekable(), mode="r") if file.pin else pa.OSFile(str(origin.local_path()))


@frozen
class Field:
    """A column of one file: how a snapshot holds it."""

    type: pa.DataType  # null where it is refused
    is_json: bool = False
    is_interval: bool = False
    refused: str = ""  # what it is that no snapshot holds

    def __str__(self) -> str:
        return self.refused or ("JSON" if self.is_json else str(self.type))


_VALUELESS = Field(pa.null())


def field_of(kind: pa.DataType, *, is_interval: bool = False) -> Field:
    """How a snapshot holds a column of that type; `is_interval` for one that holds Parquet's intervals as bytes."""
    if is_interval:
        return Field(pa.month_day_nano_interval(), is_interval=True)
    try:
        return Field(snapshot_type(kind), is_json=is_json(kind))
    except UnsupportedType as refusal:
        return Field(pa.binary(), refused=str(refusal))


def common_field(one: Field, other: Field) -> Field | None:
    """The field that holds the values of both: one without any value, as pandas writes it, has no type of its own."""
    if other in {one, _VALUELESS}:
        return one
    if one == _VALUELESS:
        return other
    if one.refused or other.refused or (one.is_json, one.is_interval) != (other.is_json, other.is_interval):
        return None
    kind = common_type(one.type, other.type)
    return None if kind is None else replace(one, type=kind)


def refuse_names(file: SourceFile, names: Sequence[str]) -> None:
    """Look at the names of a file's columns.

    Raises:
        SourceError: there are none, or one that no column behind this can have.
        JobError: they cannot be told apart in SQL.
    """
    if not names:
        raise SourceError(f"{file.name} has no columns", hint="write it again with them, or leave it out of `path`")
    if any("\0" in name for name in names):
        raise SourceError(f"{file.name}: the name of a column holds U+0000", hint="write it again with another name")
    check_names(names)


def typed_columns(job: Job, fields: dict[str, Field]) -> tuple[SourceColumn, ...]:
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


class Placing:
    """Makes rows of a snapshot, with their files and record numbers, of the batches of a source's files."""

    def __init__(self, fields: dict[str, Field], unreadable: UnreadableSink) -> None:
        self._fields, self._unreadable = fields, unreadable
        self._schema = pa.schema([(name, field.type) for name, field in fields.items()])

    def place(
        self, batch: pa.RecordBatch, file: int, before: int, wrong: Wrong = MappingProxyType({})
    ) -> pa.RecordBatch | None:
        """The rows of a batch with `before` records before it; None for none.

        Rows with unfit values are noted, as are those known to be `wrong`: column and what it holds, by their places.
        """
        kept, numbers = _readable(batch, file, before, wrong, self._unreadable)
        if not len(numbers):
            return None
        columns = [
            _column(values, self._fields[name]) for name, values in zip(kept.schema.names, kept.columns, strict=True)
        ]
        rows = aligned(pa.RecordBatch.from_arrays(columns, kept.schema.names), self._schema)
        places = [arrow_array(np.full(len(numbers), file, np.uint32)), arrow_array(numbers)]
        return pa.RecordBatch.from_arrays([*rows.columns, *places], [*rows.schema.names, FILE_COLUMN, RECORD_COLUMN])


def _column(values: pa.Array, field: Field) -> pa.Array:
    if field.refused or pa.types.is_null(values.type):
        return pa.nulls(len(values), field.type)
    return intervals(values) if field.is_interval else cast(values, field.type)


def _readable(
    batch: pa.RecordBatch, file: int, before: int, known: Wrong, unreadable: UnreadableSink
) -> tuple[pa.RecordBatch, Numbers]:
    """The rows whose values all are what their types say, with their record numbers; the others are noted."""
    numbers = np.arange(before + 1, before + batch.num_rows + 1, dtype=np.uint64)
    wrong = dict(known)
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
        shown = "" if value is None else str(value)
        unreadable.add(Unreadable(file, int(numbers[place]), "BF009", message, original, column=name, value=shown))
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
