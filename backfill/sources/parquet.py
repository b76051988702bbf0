"""Parquet: footers, and whether the files can be read where they are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb

from backfill.errors import JobError, SourceError
from backfill.job.models import Job
from backfill.records import SourceFile
from backfill.sources.engine import Engine, literal, unreadable_source
from backfill.sources.in_place import are_small, computes
from backfill.sources.layout import SourceColumn, check_names, declared
from backfill.sources.storage import is_faithful


@dataclass(frozen=True, slots=True)
class Footers:
    """What the footers of all files say."""

    columns: tuple[SourceColumn, ...]
    rows: tuple[int, ...]
    group_rows: int  # of the largest row group
    group_bytes: int  # uncompressed, of the largest row group


def read_footers(engine: Engine, files: Sequence[SourceFile]) -> Footers:
    """Columns, rows and row groups; raises SourceError for a damaged file, and for columns that differ."""
    first: tuple[SourceColumn, ...] = ()
    rows: list[int] = []
    groups = (0, 0)
    for file in files:
        try:
            relation = engine.connection.sql(f"SELECT * FROM {clause(file, numbered=False)}")
            columns = tuple(
                SourceColumn(name, kind) for name, kind in zip(relation.columns, relation.types, strict=True)
            )
            rows.append(_rows(engine, file))
            groups = max(groups[0], _groups(engine, file)[0]), max(groups[1], _groups(engine, file)[1])
        except duckdb.Error as error:
            raise unreadable_source(file.name, error) from error
        first = first or columns
        _same_schema(files[0], first, file, columns)
    check_names(_names(files[0]) if files else [])
    check_names([column.name for column in first])
    return Footers(first, tuple(rows), *groups)


def clause(file: SourceFile, *, numbered: bool = True) -> str:
    """The relation of one file's rows, with `file_row_number` from 0 where numbered."""
    return f"read_parquet({literal(file.path)}{', file_row_number = true' if numbered else ''})"


def source_columns(job: Job, columns: Sequence[SourceColumn]) -> tuple[SourceColumn, ...]:
    """The columns, with the declared type of those that hold text.

    Raises:
        JobError: a column is declared that is none, or holds no text.
    """
    specs = declared(job, [column.name for column in columns])
    for column in columns:
        if column.name in specs and str(column.type) != "VARCHAR":
            raise JobError(
                f"source.columns.{column.name}: the file says that it is {column.type}, so it cannot be declared",
                hint="declare only columns that hold text, or cast it in `sql`",
            )
    return tuple(SourceColumn(column.name, column.type, specs.get(column.name)) for column in columns)


def can_stay(job: Job, footers: Footers) -> bool:
    """The files can be the snapshot: nothing is to be computed, and every column is read as it is."""
    texts = {column.name for column in footers.columns if str(column.type) == "VARCHAR"}
    parsed = any(source in texts for source, _ in job.time_columns())
    faithful = all(is_faithful(column.type) for column in footers.columns)
    return not computes(job) and not parsed and are_small(footers.group_rows, footers.group_bytes) and faithful


def _names(file: SourceFile) -> list[str]:
    """The columns' names as they are in the file: DuckDB gives others to those that SQL cannot tell apart."""
    from pyarrow import ArrowException  # type: ignore[import-untyped]
    from pyarrow.parquet import read_schema  # type: ignore[import-untyped]

    try:
        with Path(file.path).open("rb") as content:
            return list(read_schema(content).names)
    except (OSError, ArrowException):  # whatever it is that pyarrow does not know, DuckDB has read it
        return []


def _rows(engine: Engine, file: SourceFile) -> int:
    return int(engine.rows(f"SELECT num_rows FROM parquet_file_metadata({literal(file.path)})")[0][0])


def _groups(engine: Engine, file: SourceFile) -> tuple[int, int]:
    """Rows and uncompressed bytes of the file's largest row group."""
    largest = engine.rows(
        "SELECT coalesce(max(rows), 0), coalesce(max(size), 0) FROM (SELECT max(row_group_num_rows) AS rows, "
        f"sum(total_uncompressed_size) AS size FROM parquet_metadata({literal(file.path)}) GROUP BY row_group_id)"
    )[0]
    return int(largest[0]), int(largest[1])


def _same_schema(
    leader: SourceFile, expected: Sequence[SourceColumn], file: SourceFile, found: Sequence[SourceColumn]
) -> None:
    """Raise SourceError where a file's columns differ from the first file's, in name, type or order."""
    for index, column in enumerate(expected):
        other = found[index] if index < len(found) else None
        if other != column:
            has = f"has {other.name} {other.type}" if other else "has none"
            raise SourceError(
                f"{file.name} differs from {leader.name}: where that has {column.name} {column.type}, this {has}",
                hint="files of one source have the same columns: export them alike, or use two jobs",
            )
    if len(found) > len(expected):
        raise SourceError(f"{file.name} has a column {found[len(expected)].name} that {leader.name} has not")
