"""Staging of a job with a `query`: the source's rows first, then the query over them, frozen once."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import duckdb

from backfill.errors import BackfillError, JobError, SourceError, counted
from backfill.frozen import frozen
from backfill.job.models import ColumnSpec, Job, Source
from backfill.records import (
    Column,
    Kind,
    Severity,
    Snapshot,
    SnapshotPart,
    SourceFile,
    Zone,
)
from backfill.rules import severity
from backfill.sources.bad_rows import Bad, own_columns, rows_relation, save_unreadable
from backfill.sources.columns import check_names
from backfill.sources.files import extra_files
from backfill.sources.formats import format_by_suffix, line_of
from backfill.sources.schema import SqlFault
from backfill.sources.sql.casts import SQL_DECIMAL_TYPE, instants_in_sql, json_loses_digits, seen_by_sql
from backfill.sources.sql.check import SqlFaultsError, binder_fault, bound_layout, refusal_fault, refused_message
from backfill.sources.sql.duckdb_types import has_json, twins, without_form
from backfill.sources.sql.engine import Engine, literal, own_parquet, quoted, reason, storage_failure
from backfill.sources.sql.layout import Layout, SqlColumn, place_columns
from backfill.sources.sql.rules import check_query, columns_read
from backfill.sources.sql.syntax import SqlRefusal, enclosed, makes_json, parse, takes_json
from backfill.sources.sql_tokens import without_end
from backfill.sources.staging import Staging, refine_columns

LOG = logging.getLogger(__name__)
SOURCE = "source"
_READ = ", in a column that the query reads"
#: What the columns of a source that were cast from text are read as.
Specs = Mapping[str, ColumnSpec]
#: A column as far as it is known before rows are staged, and then.
Known = TypeVar("Known", bound=SqlColumn | Column)
#: Stages rows without a query.
FreezeRows = Callable[[Staging], Snapshot]


def freeze_query(staging: Staging, freeze_rows: FreezeRows) -> Snapshot:
    """One part of the query's result; a row's record number is its place in it.

    Rows of the source that have a bad value in a column the query reads are left out of it and count as unreadable.
    """
    job, engine = staging.job, staging.engine
    own, further = extra_files(job, staging.files)
    source = _below(staging, rows_alone(job), own, SOURCE)
    rows = freeze_rows(source)
    specs = source.specs
    inputs = [_add_input(staging, name, file, freeze_rows) for name, file in further.items()]
    tables = {SOURCE: own_columns(rows), **{one.name: own_columns(one.rows) for one in inputs}}
    reads = query_reads(engine, job, tables)
    for one in inputs:
        _refuse_unreadable(one, _bad_values(reads[one.name], one.staging, job))
    _refuse_zoneless([column for column in reads[SOURCE] if column.raw], specs, job)
    bad = _bad_values(reads[SOURCE], source, job)
    keep = f" WHERE NOT ({' OR '.join(each.test for each in bad)})" if bad else ""
    engine.run(f"CREATE VIEW {SOURCE} AS SELECT {_values(rows, specs, job)} FROM {rows_relation(rows)}{keep}")
    unreadable = save_unreadable(staging, rows, bad)
    layout = query_layout(engine, job)
    try:
        count = staging.copy_counted(layout.select(query_relation(job), filtered=False), staging.part(0))
    except duckdb.Error as error:
        raise _failure(staging, layout, error) from error
    if count != rows.rows and staging.sample is None:
        there, made = (counted(number, "row", "rows") for number in (rows.rows, count))
        LOG.warning(
            "%s: the source has %s, its query gives %s: what it leaves out is not counted", job.name, there, made
        )
    kept = count if layout.keep is None else staging.number(layout, staging.part(0))
    described = refine_columns(engine, staging.part(0), layout, job)
    described = described if layout.keep is None else (*described, *place_columns(file=False))
    shutil.rmtree(staging.folder / SOURCE, ignore_errors=True)
    return Snapshot(
        parts=(SnapshotPart(staging.part(0), kept, 0),),
        columns=described,
        files=staging.files,
        read=count + unreadable,
        filtered=count - kept,
        unreadable=unreadable,
        in_place=False,
        unreadable_file=staging.unreadable_file if unreadable else None,
    )


def rows_alone(job: Job) -> Job:
    """The job without its query and all that reads the query's result."""
    return _bare(job, job.source.model_copy(update={"query": None, "files": {}}))


def input_job(job: Job, name: str, file: SourceFile) -> Job:
    """A job that reads a further input of a query without declared types: text formats as text.

    Raises:
        JobError: the file's name does not tell its format.
    """
    try:
        format_by_suffix(Path(file.path))
    except JobError as error:
        hint = "make it the source, whose format can be stated, or export it as CSV or Parquet"
        raise JobError(f"source.files.{name}: {str(error).partition(': ')[2]}", hint=hint) from error
    return _bare(job, Source(path=(file.path,)))


def _bare(job: Job, source: Source) -> Job:
    return job.model_copy(update={"source": source, "where": None, "explode": None, "latest": None, "calls": ()})


def query_relation(job: Job) -> str:
    """SQL: the query as a relation."""
    return enclosed(job.source.query or "")


def query_reads(engine: Engine, job: Job, tables: Mapping[str, Sequence[Known]]) -> dict[str, list[Known]]:
    """Of each table, which are `source` and the further inputs, the columns that the query reads.

    Raises:
        JobError: the query is refused, or one of those columns is.
    """
    text = job.source.query or ""
    own = [column.name for column in tables[SOURCE]]
    try:
        check_query(engine, text, [SOURCE, *job.source.files], own)
    except SqlRefusal as refusal:
        known = dict.fromkeys(own, "")
        raise SqlFaultsError(job, [refusal_fault(engine, "source.query", text, refusal, known)]) from refusal
    reads, faults = {}, []
    for table, columns in tables.items():
        names = columns_read(engine, text, [column.name for column in columns])
        reads[table] = [column for column in columns if column.name in names]
        for column in reads[table]:
            unheld = column.refused or (twins(column.type) if isinstance(column, SqlColumn) else "")
            if unheld:
                shown = column.name if table == SOURCE else f"{table}.{column.name}"
                faults.append(SqlFault("source.query", text, 0, refused_message(shown, unheld)))
    if faults:
        raise SqlFaultsError(job, faults)
    return reads


def query_layout(engine: Engine, job: Job) -> Layout:
    """The layout of the query's result; the tables that it reads exist.

    Raises:
        JobError: the query or an expression does not bind, or columns of the result cannot be told apart.
    """
    columns = query_columns(engine, job)
    return bound_layout(engine, undeclared(job), columns, trimmed=has_decimals(job))


def undeclared(job: Job) -> Job:
    """The job with no column declared: those of a query's result have their types."""
    return job.model_copy(update={"source": job.source.model_copy(update={"columns": {}})})


def has_decimals(job: Job) -> bool:
    """Decimals of the query's result may have the scale that declared ones have in SQL."""
    return any(spec.type == "decimal" for spec in job.source.columns.values())


def query_columns(engine: Engine, job: Job) -> tuple[SqlColumn, ...]:
    """The columns of the query's result; raises JobError where it does not bind."""
    try:
        result = engine.connection.sql(without_end(job.source.query or ""))
    except duckdb.Error as error:
        types = dict(engine.rows(f"SELECT column_name, column_type FROM (DESCRIBE {SOURCE})"))
        fault = binder_fault(engine, "source.query", job.source.query or "", error, types)
        raise SqlFaultsError(job, [fault]) from error
    check_names(result.columns)
    for name, kind in zip(result.columns, result.types, strict=True):
        if without_form(kind):
            message = f"source.query: column {name!r} is {without_form(kind)}, which has no exact form in JSON"
            own = quoted(name)
            hint = f"cast it in the query to the type that is meant, for example {own}::VARCHAR AS {own}"
            raise JobError(message, hint=hint)
    computed = makes_json(parse(engine, job.source.query or ""))
    return tuple(
        SqlColumn(name, kind, computed=computed and has_json(kind), made=True)
        for name, kind in zip(result.columns, result.types, strict=True)
    )


def _below(staging: Staging, job: Job, files: Sequence[SourceFile], name: str) -> Staging:
    """A staging of other rows, in a folder of its own."""
    folder = staging.folder / name
    folder.mkdir(exist_ok=True)
    return replace(staging, job=job, folder=folder, files=tuple(files), for_query=True)


@frozen
class Input:
    """A further input of a query, whose rows are staged."""

    name: str  # as the query calls it
    file: SourceFile
    staging: Staging
    rows: Snapshot


def _add_input(staging: Staging, name: str, file: SourceFile, freeze_rows: FreezeRows) -> Input:
    """Make a further input a table of that name, which may lack records and values (see _refuse_unreadable)."""
    job = input_job(staging.job, name, file)
    below = _below(staging, job, [file], f"{SOURCE}/input-{name}")
    rows = freeze_rows(below)
    values = _values(rows, below.specs, job)
    staging.engine.run(f"CREATE VIEW {quoted(name)} AS SELECT {values} FROM {rows_relation(rows)}")
    return Input(name, file, below, rows)


def _refuse_unreadable(one: Input, bad: Sequence[Bad]) -> None:
    """Raise SourceError for an input with records that cannot be read, or that have something bad, naming the first.

    A row of it is no row of the job: left out, it would change others that the query makes, and nothing would say so.
    """
    count = save_unreadable(one.staging, one.rows, bad)
    if not count:
        return
    (record, line, column, value, message, code), *_ = one.staging.engine.rows(
        'SELECT record, line, "column", nullif(value, left(original, length(value))), message, code '
        f"FROM {own_parquet([one.staging.unreadable_file])} ORDER BY record LIMIT 1"
    )
    line = line or line_of(one.file, one.staging.job, [record]).get(record, 0)
    place = f"record {record:,}" + (f" (line {line:,})" if line else "")
    place += f", column {column}" if column else ""
    place += f", {value!r}" if column and value else ""
    what = f"{counted(count, 'record', 'records')} of {one.name}, a further input of the query, cannot be read"
    advice = " or have the query leave the column alone" if code in ("BF007", "BF133") else ""
    advice += "; where doubles will do, say `rules: {BF133: ignore}`" if code == "BF133" else ""
    hint = f"a further input has to be whole: mend the file{advice}"
    raise SourceError(f"{one.file.name}: {what}; first {place}: {message}", hint=hint)


def _values(rows: Snapshot, specs: Specs, job: Job) -> str:
    """SQL: the select list of the source's own columns as SQL is to see them."""
    return ", ".join(f"{value_in_sql(column, specs, job)} AS {quoted(column.name)}" for column in own_columns(rows))


def value_in_sql(column: Column, specs: Specs, job: Job) -> str:
    """SQL: the value of a column of a snapshot as SQL sees it; NULL for one that is bad."""
    name = quoted(column.name)
    if column.kind is Kind.DECIMAL and column.raw is not None:
        return f"CAST({name} AS {SQL_DECIMAL_TYPE})"
    if column.kind is Kind.JSON:
        return f"CAST({name} AS JSON)"
    if column.kind is not Kind.TIMESTAMP or column.raw is None:
        return name
    spec, zone = specs[column.name], job.source.timezone
    if not instants_in_sql(spec, zone):
        return name
    flag = quoted(column.utc_flag) if column.utc_flag else literal(column.zone is Zone.UTC)
    return seen_by_sql(name, spec, zone, utc_flag=flag)


def _refuse_zoneless(read: Sequence[Column], specs: Specs, job: Job) -> None:
    """Raise JobError for a column by iso8601 that holds nothing but local times, where no zone is stated for them."""
    for column in read:
        spec = specs[column.name]
        zone = spec.timezone or job.source.timezone
        local = column.kind is Kind.TIMESTAMP and column.zone is Zone.NAIVE
        if local and zone is None and (spec.format or "iso8601") == "iso8601":
            message = f"the query reads column {column.name!r}, which holds local times, and no time zone is stated"
            raise JobError(message, hint="state `timezone:` on the source or the column")


def _bad_values(read: Sequence[Column], staging: Staging, job: Job) -> list[Bad]:
    """What may be bad in those columns of a staging, which the job's query reads."""
    bad = [_misfit(column, staging.specs, staging.job) for column in read if column.raw]
    if (
        takes_json(parse(staging.engine, job.source.query or ""))
        and severity("BF133", dict(job.rules)) is Severity.ERROR
    ):
        bad += [_rounded(column) for column in read if column.kind is Kind.JSON]
    return bad


def _misfit(column: Column, specs: Specs, job: Job) -> Bad:
    """A value that does not fit its declared type, or is a local time that is no one instant."""
    raw = quoted(column.raw or "")
    declared = "declared " if column.name in job.source.columns else ""
    why = (
        f"CASE WHEN {quoted(column.name)} IS NULL THEN 'a value that does not fit its {declared}type' "
        f"ELSE 'a local time that occurs twice or never, or has no zone' END || {literal(_READ)}"
    )
    return Bad(f"({raw} IS NOT NULL AND {value_in_sql(column, specs, job)} IS NULL)", "BF007", column.name, raw, why)


def _rounded(column: Column) -> Bad:
    """A number in JSON that would be rounded."""
    name = quoted(column.name)
    return Bad(
        json_loses_digits(name), "BF133", column.name, name, literal(f"a number with more digits than SQL keeps{_READ}")
    )


def _failure(staging: Staging, layout: Layout, error: duckdb.Error) -> BackfillError:
    """Whose fault it is: the disk's, the query's own, or an expression's over its result."""
    found = storage_failure(error)
    if found is not None:
        return found
    try:
        staging.engine.run(
            f"SELECT count(*) FROM (SELECT DISTINCT COLUMNS(*)::VARCHAR FROM {query_relation(staging.job)})"
        )
    except duckdb.Error as inner:
        hint = "guard it, for example with TRY_CAST, nullif or CASE WHEN"
        return storage_failure(inner) or JobError(f"source.query fails: {reason(inner)}", hint=hint)
    return staging.failing_expression(layout, query_relation(staging.job)) or SourceError(
        f"the query's result cannot be read: {reason(error)}"
    )
