"""Rows of very many columns frozen: DuckDB sees some columns at a time, as it holds 2,048 rows of all that it sees.

What the job's SQL reads is computed together; the other columns are cast and kept by groups, which need not know of
one another. All of it is done for some rows at a time, whose columns are then put together again.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import pyarrow as pa  # type: ignore[import-untyped]

from backfill.disk import close_writer, out_of_space
from backfill.frozen import frozen
from backfill.job.models import Job
from backfill.memory import ROW_GROUP_ROWS
from backfill.records import FILE_COLUMN, RECORD_COLUMN
from backfill.sources.sql.engine import Engine
from backfill.sources.sql.layout import KEEP, Layout, lay_out, sql_texts, typed_relation
from backfill.sources.staging import Staging

#: Sources of more columns are frozen this way.
WIDE_COLUMNS = 250
#: About as many values are computed at once, and make a row group.
_CELLS = 2**20
#: Rows of many columns come few at a time, when what Arrow needs for each column outweighs what it holds: so many
#: pieces are put together.
_PIECES = 2
_ROWS = "__bf_rows"


@frozen
class _Group:
    """Columns that are computed together."""

    names: list[str]
    select: str


def write_wide(
    staging: Staging,
    layout: Layout,
    batches: Iterable[pa.RecordBatch],
    path: Path,
    *,
    in_query: Sequence[str],
    schema: pa.Schema,
) -> int:
    """Write what the layout makes of the batches, which have that schema, as one part; returns its rows.

    Raises what the reader raises, and StoppedError where the disk is full.
    """
    import pyarrow.parquet as pq  # type: ignore[import-untyped]

    groups = _groups(staging.job, layout, in_query)
    names = [*(column.name for column in layout.columns), FILE_COLUMN, RECORD_COLUMN]
    writer, kept = None, 0
    try:
        for rows in _merge_some(batches, len(layout.source), schema):
            table = _computed(staging.engine, groups, rows, names)
            with out_of_space(path.parent):
                if writer is None:
                    options = {"compression": "zstd", "compression_level": 1, "store_schema": False}
                    writer = pq.ParquetWriter(path, table.schema, **options)
                if table.num_rows:
                    writer.write_table(table, row_group_size=ROW_GROUP_ROWS)
            kept += table.num_rows
            staging.progress(staging.rows, staging.bytes)
    finally:
        if writer is not None:
            close_writer(writer, path)
    return kept


def _groups(job: Job, layout: Layout, in_query: Sequence[str]) -> list[_Group]:
    """The columns that SQL and times read, then the others."""
    columns, bound = layout.source, layout.bound
    read = {name for text in sql_texts(job) for name in bound[text].reads}
    read |= {source for source, _ in job.time_columns()}
    if sql_texts(job) and not read:  # an expression of nothing is computed beside some column all the same
        read = {columns[0].name}
    together = [column for column in columns if column.name in read]
    others = [column for column in columns if column.name not in read]
    alone = job.model_copy(update={"where": None, "calls": ()})
    groups = [(job, together)]
    groups += [(alone, others[first : first + WIDE_COLUMNS]) for first in range(0, len(others), WIDE_COLUMNS)]
    return [
        _Group(
            [column.name for column in members],
            lay_out(of, members, bound, in_query=in_query).select(typed_relation(members, _ROWS), filtered=False),
        )
        for of, members in groups
        if members
    ]


def _merge_some(batches: Iterable[pa.RecordBatch], columns: int, schema: pa.Schema) -> Iterator[pa.Table]:
    """The batches, some together; one table without rows where there is no batch."""
    held: list[pa.RecordBatch] = []
    rows, none = 0, True
    for batch in batches:
        for first in range(0, max(batch.num_rows, 1), ROW_GROUP_ROWS):
            held.append(batch.slice(first, ROW_GROUP_ROWS))
            rows += held[-1].num_rows
            if len(held) > _PIECES:
                held = [pa.concat_batches(held)]
            if rows * columns >= _CELLS:
                yield pa.Table.from_batches(held)
                held, rows, none = [], 0, False
    if held or none:
        yield pa.Table.from_batches(held, None if held else schema)


def _computed(engine: Engine, groups: Sequence[_Group], rows: pa.Table, names: Sequence[str]) -> pa.Table:
    """What the layout makes of some rows."""
    found = {name: rows[name] for name in (FILE_COLUMN, RECORD_COLUMN)}
    for group in groups:
        connection = engine.connection
        connection.register(_ROWS, rows.select(group.names or [RECORD_COLUMN]))
        try:
            made = connection.sql(group.select).to_arrow_table()
        finally:
            connection.unregister(_ROWS)
        found |= zip(made.schema.names, made.columns, strict=True)
    table = pa.table({name: found[name] for name in names})
    return table.filter(found[KEEP]) if KEEP in found else table
