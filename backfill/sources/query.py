"""Staging of a job with a `query`: the source's rows first, then the query over them, frozen once."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import duckdb

from backfill.errors import BackfillError, JobError, SourceError, counted
from backfill.frozen import frozen
from backfill.job.models import ColumnSpec, Job, Source
from backfill.records import (
    FILE_COLUMN,
    INTERNAL_PREFIX,
    RECORD_COLUMN,
    Column,
    Kind,
    Severity,
    Snapshot,
    SnapshotPart,
    SourceFile,
    Zone,
)
from backfill.rules import severity
from backfill.sources.columns import check_names
from backfill.sources.files import extra_files
from backfill.sources.reader import ORIGINAL_CHARACTERS, VALUE_CHARACTERS
from backfill.sources.schema import SqlFault
from backfill.sources.sql.casts import SQL_DECIMAL_TYPE, instants_in_sql, json_loses_digits, seen_by_sql
from backfill.sources.sql.check import SqlFaultsError, binder_fault, bound_layout, refusal_fault, refused_message
from backfill.sources.sql.duckdb_types import has_json, twins, without_form
from backfill.sources.sql.engine import PARQUET, Engine, literal, own_parquet, quoted, reason, storage_failure
from backfill.sources.sql.layout import Layout, SqlColumn, place_columns
from backfill.sources.sql.rules import check_query
from backfill.sources.sql.syntax import SqlRefusal, enclosed, makes_json, parse, takes_json
from backfill.sources.sql_tokens import without_end
from backfill.sources.staging import Staging, refine_columns

LOG = logging.getLogger(__name__)
SOURCE = "source"
_READ = ", in a column that the query reads"
#: The columns of records.REJECT_COLUMNS with their types.
_REJECT_COLUMNS = {
    "file": "VARCHAR",
    "record": "UBIGINT",
    "line": "UBIGINT",
    "call": "VARCHAR",
    "code": "VARCHAR",
    "severity": "VARCHAR",
    "column": "VARCHAR",
    "value": "VARCHAR",
    "message": "VARCHAR",
    "message_id": "VARCHAR",
    "original": "VARCHAR",
}
#: What the columns of a source that were cast from text are read as.
Specs = Mapping[str, ColumnSpec]
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
    for name, file in further.items():
        _add_input(staging, name, file, freeze_rows)
    reads = query_reads(engine, job, _own(rows))
    read = [column for column in _own(rows) if column.raw and column.name in reads]
    _refuse_zoneless(read, specs, job)
    bad = [_misfit(column, specs, job) for column in read]
    if takes_json(parse(engine, job.source.query or "")) and severity("BF133", dict(job.rules)) is Severity.ERROR:
        bad += [_rounded(column) for column in _own(rows) if column.name in reads and column.kind is Kind.JSON]
    keep = f" WHERE NOT ({' OR '.join(each.test for each in bad)})" if bad else ""
    engine.run(f"CREATE VIEW {SOURCE} AS SELECT {_values(rows, specs, job)} FROM {_relation(rows)}{keep}")
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


def input_job(job: Job, file: SourceFile) -> Job:
    """A job that reads a further input of a query without declared types: text formats as text."""
    return _bare(job, Source(path=(file.path,)))


def _bare(job: Job, source: Source) -> Job:
    return job.model_copy(update={"source": source, "where": None, "explode": None, "latest": None, "calls": ()})


def query_relation(job: Job) -> str:
    """SQL: the query as a relation."""
    return enclosed(job.source.query or "")


def query_reads(engine: Engine, job: Job, columns: Sequence[SqlColumn | Column]) -> tuple[str, ...]:
    """The columns of `source` that the query reads; raises JobError where it is refused, or one of them is."""
    text = job.source.query or ""
    unheld = {
        column.name: column.refused or (twins(column.type) if isinstance(column, SqlColumn) else "")
        for column in columns
    }
    try:
        reads = check_query(engine, text, [SOURCE, *job.source.files], [column.name for column in columns])
    except SqlRefusal as refusal:
        known = {column.name: "" for column in columns}
        raise SqlFaultsError(job, [refusal_fault(engine, "source.query", text, refusal, known)]) from refusal
    refused = [refused_message(name, unheld[name]) for name in reads if unheld[name]]
    if refused:
        raise SqlFaultsError(job, [SqlFault("source.query", text, 0, message) for message in refused])
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


def _add_input(staging: Staging, name: str, file: SourceFile, freeze_rows: FreezeRows) -> None:
    """Make a further input a table of that name; raises SourceError where not all of it can be read."""
    job = input_job(staging.job, file)
    below = _below(staging, job, [file], f"{SOURCE}/input-{name}")
    rows = freeze_rows(below)
    if rows.unreadable:
        records = counted(rows.unreadable, "record", "records")
        raise SourceError(f"{file.name}: {records} cannot be read", hint="an input of a query has to be whole")
    staging.engine.run(f"CREATE VIEW {quoted(name)} AS SELECT {_values(rows, below.specs, job)} FROM {_relation(rows)}")


def _own(rows: Snapshot) -> list[Column]:
    return [column for column in rows.columns if not column.name.startswith(INTERNAL_PREFIX)]


def _relation(rows: Snapshot) -> str:
    return own_parquet([part.path for part in rows.parts])


def _values(rows: Snapshot, specs: Specs, job: Job) -> str:
    """SQL: the select list of the source's own columns as SQL is to see them."""
    return ", ".join(f"{value_in_sql(column, specs, job)} AS {quoted(column.name)}" for column in _own(rows))


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


@frozen
class Bad:
    """What keeps a row from a query: a test in SQL, and what is said of it; `why` is SQL too."""

    test: str
    code: str
    column: str
    value: str
    why: str


def _misfit(column: Column, specs: Specs, job: Job) -> Bad:
    """A value that does not fit its declared type, or is a local time that is no one instant."""
    raw = quoted(column.raw or "")
    why = (
        f"CASE WHEN {quoted(column.name)} IS NULL THEN 'a value that does not fit its declared type' "
        f"ELSE 'a local time that occurs twice or never, or has no zone' END || {literal(_READ)}"
    )
    return Bad(f"({raw} IS NOT NULL AND {value_in_sql(column, specs, job)} IS NULL)", "BF007", column.name, raw, why)


def _rounded(column: Column) -> Bad:
    """A number in JSON that would be rounded."""
    name = quoted(column.name)
    return Bad(
        json_loses_digits(name), "BF133", column.name, name, literal(f"a number with more digits than SQL keeps{_READ}")
    )


def save_unreadable(staging: Staging, rows: Snapshot, bad: Sequence[Bad]) -> int:
    """Write what was unreadable before and the rows with something bad; returns how many that is."""
    selects = [f"SELECT * FROM {own_parquet([rows.unreadable_file])}"] if rows.unreadable_file else []
    count = rows.unreadable
    if bad:
        asked = " OR ".join(each.test for each in bad)
        left_out = int(staging.engine.run(f"SELECT count(*) FROM {_relation(rows)} WHERE {asked}")[0][0])
        count += left_out
        if left_out:
            selects.append(_left_out(rows, bad, asked))
    if selects:
        _save_rejects(staging.engine, selects, staging.unreadable_file)
    return count


def _left_out(rows: Snapshot, bad: Sequence[Bad], asked: str) -> str:
    """SQL: the rows with a bad value that the query would have read, as unreadable records."""
    file = f"{literal([file.name for file in rows.files])}[{FILE_COLUMN} + 1]"

    def first(said: Iterable[str]) -> str:
        return f"CASE {' '.join(f'WHEN {each.test} THEN {one}' for each, one in zip(bad, said, strict=True))} END"

    members = ", ".join(f"{quoted(own.name)} := {_as_read(own)}" for own in _own(rows))
    row = _unreadable_row(
        file,
        RECORD_COLUMN,
        "0",
        first(literal(each.code) for each in bad),
        first(each.why for each in bad),
        f"CAST(to_json(struct_pack({members})) AS VARCHAR)",
        column=first(literal(each.column) for each in bad),
        value=first(each.value for each in bad),
    )
    return f"SELECT {row} FROM {_relation(rows)} WHERE {asked}"


def _as_read(column: Column) -> str:
    """SQL: the text as read, or the value where it prints as that."""
    name = quoted(column.name)
    return name if column.raw is None else f"coalesce({quoted(column.raw)}, CAST({name} AS VARCHAR))"


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


def _unreadable_row(
    file: str, record: str, line: str, code: str, message: str, original: str, *, column: str = "''", value: str = ""
) -> str:
    """SQL: the select list of one unreadable record, in the order of records.REJECT_COLUMNS, of SQL values."""
    shown = value or original
    values = (
        *(file, record, line, "''", code, "'error'", column, f"left({shown}, {VALUE_CHARACTERS})", message, "NULL"),
        f"left({original}, {ORIGINAL_CHARACTERS})",
    )
    pairs = zip(_REJECT_COLUMNS.items(), values, strict=True)
    return ", ".join(f"CAST({text} AS {kind}) AS {quoted(name)}" for (name, kind), text in pairs)


def _save_rejects(engine: Engine, selects: Sequence[str], path: Path) -> None:
    """Write the file of unreadable records, in the order given; some of them may be in it now."""
    made = path.with_suffix(".new")
    engine.run(f"COPY ({' UNION ALL '.join(f'({select})' for select in selects)}) TO {literal(str(made))} ({PARQUET})")
    made.replace(path)
