"""Files of one source whose columns differ: an error, or united by name where the job says `union: by_name`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

import pyarrow as pa  # type: ignore[import-untyped]

from backfill.errors import SourceError
from backfill.job.models import Job

Kind = TypeVar("Kind")

_HINT = "`union: by_name` under `source` takes what a file lacks for null; or make a job of each"


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
            raise SourceError(f"{name} {_difference(first, found)}, unlike {leader}", hint=_HINT)
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
