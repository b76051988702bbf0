"""A job's source and SQL as DuckDB sees them, without a row of it being staged."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from backfill.job.models import Job
from backfill.records import SourceFile
from backfill.sources.columns import absent_columns
from backfill.sources.formats import one_format
from backfill.sources.partitions import with_partition_columns
from backfill.sources.reader import Described
from backfill.sources.schema import Schema, SqlFault
from backfill.sources.sql.check import SqlFaultsError, bind, decimals_as_text
from backfill.sources.sql.engine import Engine, quoted
from backfill.sources.sql.explode import exploded_columns
from backfill.sources.sql.kept import KeptEngine
from backfill.sources.sql.layout import SqlColumn, binding_scope, lay_out, sql_columns


def look(
    job: Job,
    files: Sequence[SourceFile],
    further: Mapping[str, SourceFile],
    kept: KeptEngine,
    stopping: Callable[[], bool],
) -> Schema:
    """The columns of the source's own `files`, or of its query over those and `further`; raises as `inspect` does.

    Declared columns that are missing are listed in the result, and the rest is checked without them.
    """
    with kept.lent(stopping) as engine:
        kind = one_format(job, files)
        seen = kind.describe(job, files)
        seen = replace(seen, columns=with_partition_columns(seen.columns, job, files))
        names = [column.name for column in seen.columns]
        absent = absent_columns(job, [*names, *seen.untyped])
        job = _without(job, absent)
        if job.source.query is None or kind.is_database:
            found = _bound(engine, job, sql_columns(engine, seen.columns), seen)
        else:
            found = _look_at_query(engine, job, seen, further)
        return replace(found, absent=absent, present=tuple(names), untyped=seen.untyped)


def _without(job: Job, absent: Sequence[str]) -> Job:
    """The job without the declarations of those columns."""
    columns = {name: spec for name, spec in job.source.columns.items() if name not in absent}
    return job.model_copy(update={"source": job.source.model_copy(update={"columns": columns})})


def _look_at_query(engine: Engine, job: Job, seen: Described, further: Mapping[str, SourceFile]) -> Schema:
    from backfill.sources.query import SOURCE, has_decimals, input_job, query_columns, query_reads, undeclared

    columns = sql_columns(engine, seen.columns)
    names = ", ".join(quoted(column.name) for column in columns)
    engine.run(f"CREATE VIEW source AS SELECT {names} FROM {binding_scope(job, columns)}")
    tables = {SOURCE: columns}
    for name, file in further.items():
        alone = input_job(job, name, file)
        inputs = sql_columns(engine, one_format(alone, [file]).describe(alone, [file]).columns)
        tables[name] = inputs
        own = ", ".join(quoted(column.name) for column in inputs)
        engine.run(f"CREATE VIEW {quoted(name)} AS SELECT {own} FROM {binding_scope(alone, inputs)}")
    try:
        query_reads(engine, job, tables)
        made = query_columns(engine, job)
    except SqlFaultsError as error:
        if seen.complete or not all(fault.absence for fault in error.faults_of_sql):
            raise
        doubts = tuple(replace(fault, offset=None, candidates=(), advice="") for fault in error.faults_of_sql)
        return Schema((), (), complete=False, records=seen.records, assumed=seen.assumed, doubts=doubts)
    return _bound(engine, undeclared(job), made, Described(()), trimmed=has_decimals(job))


def _bound(engine: Engine, job: Job, columns: Sequence[SqlColumn], seen: Described, *, trimmed: bool = False) -> Schema:
    if not columns:  # of a database's query that gave no row yet
        return Schema((), complete=seen.complete)
    columns = exploded_columns(engine, job, columns)
    bound, faults = bind(engine, job, columns, trimmed=trimmed)
    if faults:
        job = job.model_copy(update={"where": None, "calls": ()})
    doubts: tuple[SqlFault, ...] = ()
    if not seen.complete:  # what the sample lacks may come after it; staging, which sees all, will say if it does not
        doubts = tuple(fault for fault in faults if fault.absence)
        faults = tuple(fault for fault in faults if not fault.absence)
    laid_out = lay_out(job, columns, bound, trimmed=trimmed).columns
    made = tuple(replace(column, failed=None) for column in laid_out)  # no row was asked yet
    slips = () if faults or doubts else decimals_as_text(engine, job, columns)
    return Schema(made, faults, seen.complete, seen.records, seen.assumed, doubts, slips)
