"""`explode` as SQL: a row for each element of a list, before anything else is computed of it.

The column then holds the element, another one its position from 1. A row whose list is empty or null gives one row that
is marked EMPTY, one whose value is no list one that is NO_LIST, so that whoever writes the rows can count them all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from backfill.document import suggest
from backfill.job.models import Job
from backfill.records import Severity
from backfill.rules import severity
from backfill.sources.schema import SqlFault
from backfill.sources.sql.casts import json_loses_digits, strict_json
from backfill.sources.sql.check import SqlFaultsError
from backfill.sources.sql.engine import Engine, quoted
from backfill.sources.sql.layout import SqlColumn, empty_relation

#: What a row is, and for one that is no element the text of its value.
FLAG, VALUE = "__bf_exploded", "__bf_exploded_value"
ELEMENT, EMPTY, NO_LIST, ROUNDED = range(4)
_LIST, _OTHERS = "__bf_list", "list array"


def exploded_columns(engine: Engine, job: Job, columns: Sequence[SqlColumn]) -> tuple[SqlColumn, ...]:
    """The columns of the exploded rows; the same where nothing is exploded, or there is no such column.

    Raises:
        JobError: the column holds no lists.
    """
    column = _column(job, columns)
    if column is None:
        return tuple(columns)
    if not _is_json(column) and column.type.id not in _OTHERS.split():
        kind = column.spec.type if column.spec is not None else str(column.type)
        hint = "declare it as json under `columns`" if kind == "VARCHAR" else ""
        fault = SqlFault("explode", "", None, f'column "{column.name}" holds {kind}, not lists', advice=hint)
        raise SqlFaultsError(job, [fault])
    if any(other.name == job.position for other in columns):
        raise SqlFaultsError(job, [SqlFault("explode", "", None, f'there is a column "{job.position}" already')])
    relation = exploded(job, columns, empty_relation(columns))
    names = f"{quoted(column.name)}, {quoted(job.position)}"
    element, position = engine.connection.sql(f"SELECT {names} FROM {relation}").types
    made = replace(column, type=element, spec=None, computed=_is_json(column), made=True)
    return (*(made if other is column else other for other in columns), SqlColumn(job.position, position))


def exploded(job: Job, columns: Sequence[SqlColumn], relation: str) -> str:
    """SQL: the rows of a relation of those columns exploded, with FLAG and VALUE; itself where nothing is exploded."""
    column = _column(job, columns)
    if column is None:
        return relation
    name, lists, flags = quoted(column.name), quoted(column.name), [(EMPTY, f"{quoted(column.name)} IS NULL")]
    if _is_json(column):
        sound = strict_json(f"CAST({name} AS VARCHAR)")
        lists = f"CASE WHEN {sound} AND json_type({name}) = 'ARRAY' THEN CAST({name} AS JSON[]) END"
        flags.append((NO_LIST, f"NOT {sound}"))
        flags.append((EMPTY, f"json_type({name}) = 'NULL'"))
        flags.append((NO_LIST, f"json_type({name}) <> 'ARRAY'"))
        if severity("BF133", dict(job.rules)) is Severity.ERROR:
            flags.append((ROUNDED, json_loses_digits(f"CAST({name} AS VARCHAR)")))
    flags.append((EMPTY, f"coalesce(len({_LIST}), 0) = 0"))
    cases = " ".join(f"WHEN {test} THEN {flag}" for flag, test in flags)
    listed = f"(SELECT *, {lists} AS {_LIST} FROM {relation})"
    flagged = f"(SELECT *, CASE {cases} ELSE {ELEMENT} END AS {FLAG} FROM {listed})"
    several = f"CASE WHEN {FLAG} = {ELEMENT} THEN {_LIST} ELSE {_LIST}[1:0] || [NULL] END"
    return (
        f"(SELECT * EXCLUDE ({_LIST}) REPLACE (unnest({several}) AS {name}), "
        f"unnest(range(1, CASE WHEN {FLAG} = {ELEMENT} THEN len({_LIST}) ELSE 1 END + 1)) AS {quoted(job.position)}, "
        f"CASE WHEN {FLAG} >= {NO_LIST} THEN CAST({name} AS VARCHAR) END AS {VALUE} FROM {flagged})"
    )


def _column(job: Job, columns: Sequence[SqlColumn]) -> SqlColumn | None:
    return next((column for column in columns if column.name == job.explode), None)


def _is_json(column: SqlColumn) -> bool:
    return str(column.type) == "JSON" or (column.spec is not None and column.spec.type == "json")


def refuse_absent_list(job: Job, columns: Sequence[SqlColumn]) -> None:
    """Raise JobError where there is no such column."""
    if job.explode is not None and _column(job, columns) is None:
        names = [column.name for column in columns]
        message = f'the source has no column "{job.explode}"'
        raise SqlFaultsError(job, [SqlFault("explode", "", None, message, advice=suggest(job.explode, names))])
