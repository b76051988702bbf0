"""Staging of a database's query."""

from __future__ import annotations

from backfill.errors import JobError
from backfill.job.models import Job
from backfill.records import Snapshot
from backfill.sources import database
from backfill.sources.engine import Engine
from backfill.sources.freeze_stream import freeze_stream
from backfill.sources.layout import SourceColumn, declared, refuse_absent
from backfill.sources.sqlite_reader import SqliteReader
from backfill.sources.staging import Staging


def freeze_database(staging: Staging) -> Snapshot:
    """One part, of the query's rows in the query's order; a row's record number is its place in the result."""
    job, engine, file = staging.job, staging.engine, staging.files[0]
    names = database.describe(file, own_query(job))
    database.refuse_damaged(file, own_query(job), engine.cancelled)
    result = database.ask_classes(file, own_query(job), names, engine.cancelled, staging.sample)
    columns = database_columns(engine, job, result)
    return freeze_stream(staging, SqliteReader(file, result, columns, staging.count, most=staging.sample))


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
