"""A source's columns: their names, which types are declared of them, and those of files that differ."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

import pyarrow as pa  # type: ignore[import-untyped]

from backfill.errors import JobError, SourceError
from backfill.frozen import frozen
from backfill.job.models import ColumnSpec, Job
from backfill.records import INTERNAL_PREFIX

Kind = TypeVar("Kind")

_UNION_HINT = "`union: by_name` under `source` takes what a file lacks for null; or make a job of each"


@frozen
class SourceColumn:
    """One column as a reader gives it.

    `spec` is its declared type, for text that is to be cast. `refused` says what it holds where no snapshot can hold
    it: such a column can be listed, but a job that reads it is refused. The source makes sure that every text of a
    `sound` one is of its type.
    """

    name: str
    type: pa.DataType
    spec: ColumnSpec | None = None
    refused: str = ""
    sound: bool = False


def check_names(names: Sequence[str]) -> None:
    """Raise JobError where names are repeated, equal but for case, empty, or backfill's own."""
    seen: dict[str, str] = {}
    for name in names:
        if not name:
            raise JobError("the source has a column without a name", hint="give it one in the source or its query")
        if name.lower() in seen:
            raise JobError(
                f"the source has two columns that SQL cannot tell apart: {seen[name.lower()]!r} and {name!r}",
                hint="rename one of them in the source, or select with another name in its query",
            )
        if name.lower().startswith(INTERNAL_PREFIX):
            raise JobError(f"the source has a column {name!r}: names with {INTERNAL_PREFIX} are backfill's own")
        seen[name.lower()] = name


def declared(job: Job, names: Sequence[str]) -> dict[str, ColumnSpec]:
    """The declared columns that are to be cast; some may not be among the names (see absent_columns).

    Raises:
        JobError: the source's names cannot be used.
    """
    check_names(names)
    return {name: spec for name, spec in job.source.columns.items() if spec.type != "text"}


def text_columns(job: Job, names: Sequence[str]) -> tuple[SourceColumn, ...]:
    """Columns of a format that holds text only; raises JobError as `declared` does."""
    specs = declared(job, names)
    return tuple(SourceColumn(name, pa.string(), specs.get(name)) for name in names)


def absent_columns(job: Job, names: Sequence[str]) -> tuple[str, ...]:
    """The declared columns that the source does not have; raises JobError where its names cannot be used."""
    check_names(names)
    known = set(names)
    return tuple(name for name in job.source.columns if name not in known)


def refuse_absent(job: Job, names: Sequence[str]) -> None:
    """Raise JobError where a column is declared that the source does not have, or its names cannot be used."""
    absent = absent_columns(job, names)
    if absent:
        raise JobError(f"source.columns.{absent[0]}: the source has no such column", hint=f"it has {', '.join(names)}")


def _same(one: Kind, other: Kind) -> Kind | None:
    return one if one == other else None


def united(
    job: Job,
    files: Sequence[tuple[str, Mapping[str, Kind]]],
    common: Callable[[Kind, Kind], Kind | None] = _same,
) -> dict[str, Kind]:
    """The columns of all files, each given by its name and its columns with their types.

    `common` gives the type that can hold the values of two, None where there is none.

    They stand in the order of the first file; with `union: by_name` those that it lacks follow as they come. Without it
    all files have the same columns, in any order.

    Raises:
        SourceError: the columns differ and are not to be united, or one name has two types.
    """
    leader, first = files[0]
    columns = dict(first)
    source_of = dict.fromkeys(first, leader)
    for name, found in files:
        if found.keys() != first.keys() and job.source.union is None:
            raise SourceError(f"{name} {_difference(first, found)}, unlike {leader}", hint=_UNION_HINT)
        for column, kind in found.items():
            known = columns.setdefault(column, kind)
            other = source_of.setdefault(column, name)
            both = common(known, kind)
            if both is None:
                raise SourceError(
                    f"{name} differs from {other}: the column {column} is {kind} here, {known} there",
                    hint="export them alike, or make a job of each",
                )
            columns[column] = both
    return columns


def _difference(first: Mapping[str, object], found: Mapping[str, object]) -> str:
    lost, new = sorted(first.keys() - found.keys()), sorted(found.keys() - first.keys())
    said = [f"lacks {', '.join(lost)}"] * bool(lost) + [f"has {', '.join(new)}"] * bool(new)
    return " and ".join(said)


def aligned(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    """The batch with the columns of the schema in its order, by name; those that it lacks are null."""
    if batch.schema.equals(schema):
        return batch
    places = [batch.schema.get_field_index(name) for name in schema.names]
    columns = [
        batch.column(place) if place >= 0 else pa.nulls(batch.num_rows, field.type)
        for place, field in zip(places, schema, strict=True)
    ]
    return pa.RecordBatch.from_arrays(columns, schema=schema)
