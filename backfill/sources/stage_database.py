"""Staging of a database's query: its rows streamed into Parquet."""

from __future__ import annotations

import duckdb

from backfill.errors import JobError
from backfill.job.models import Job
from backfill.records import Snapshot, SnapshotPart
from backfill.sources import database
from backfill.sources.binding import bound_layout
from backfill.sources.engine import Engine, quoted
from backfill.sources.layout import SourceColumn, declared, place_columns, refuse_absent, settled_zones
from backfill.sources.staging import Staging


def freeze_database(staging: Staging) -> Snapshot:
    """One part, of the query's rows in the query's order; a row's record number is its place in the result."""
    job, engine, file = staging.job, staging.engine, staging.files[0]
    names = database.describe(file, own_query(job))
    result = database.ask_classes(file, own_query(job), names, engine.cancelled)
    layout = bound_layout(engine, job, database_columns(engine, job, result))
    path = staging.part(0)
    with database.streamed(file, result) as stream:
        engine.connection.register("__bf_stream", stream)
        relation = database.arrow_relation("__bf_stream", result)
        try:
            read = staging.copy(layout.select(_as_declared(relation, job, result), filtered=False), path, file.bytes)
        except duckdb.Error as error:
            raise staging.failure(layout, error, "", file.name) from error
        engine.connection.unregister("__bf_stream")
    staging.advance(read, file.bytes)
    described = settled_zones(engine, [path], layout.columns)
    kept = read
    if layout.keep is not None:
        described = (*described, *place_columns(file=False))
        kept = staging.number(layout, path, read, [])
    return Snapshot((SnapshotPart(path, kept, 0),), described, staging.files, read, read - kept, 0, in_place=False)


def own_query(job: Job) -> str:
    """The job's query; raises JobError where there is none."""
    if job.source.query is None:
        raise JobError("source.query is missing", hint="say which rows: `query: SELECT * FROM orders ORDER BY id`")
    return job.source.query


def database_columns(engine: Engine, job: Job, result: database.Result) -> tuple[SourceColumn, ...]:
    """The result's columns; declared ones as the text of their values.

    Raises:
        JobError: a declared column is none, or holds floating-point numbers, whose text is not the database's.
    """
    names = [name for name, _ in result.columns]
    refuse_absent(job, names)
    specs = declared(job, names)
    columns = []
    for name, kind in result.columns:
        spec = specs.get(name)
        if spec is not None and kind in ("real", "blob"):
            raise JobError(
                f"source.columns.{name}: the query gives {kind} values, so it cannot be declared as {spec.type}",
                hint=f'cast it in the query, for example CAST("{name}" AS TEXT) AS "{name}"',
            )
        types = engine.connection.sql(f"SELECT CAST(NULL AS {'VARCHAR' if spec else database.TYPES[kind]})").types
        columns.append(SourceColumn(name, types[0], spec))
    return tuple(columns)


def _as_declared(relation: str, job: Job, result: database.Result) -> str:
    """The relation with integers that are declared as something else in text."""
    names = [name for name, kind in result.columns if kind == "integer" and _casts(job, name)]
    if not names:
        return relation
    replaced = ", ".join(f"CAST({quoted(name)} AS VARCHAR) AS {quoted(name)}" for name in names)
    return f"(SELECT * REPLACE ({replaced}) FROM {relation})"


def _casts(job: Job, name: str) -> bool:
    spec = job.source.columns.get(name)
    return spec is not None and spec.type != "text"
