"""The job's expressions against DuckDB's binder: all that is wrong with them, each with its field and place."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import duckdb

from backfill.document import suggest
from backfill.errors import JobError
from backfill.job import fault_at
from backfill.job.columns import REFUSED_HINT
from backfill.job.fields import Role
from backfill.job.models import Job
from backfill.job.references import Reference, references
from backfill.records import INTERNAL_PREFIX
from backfill.sources.columns import refuse_absent
from backfill.sources.schema import SqlFault
from backfill.sources.sql.advice import PLAIN_NAME, advise
from backfill.sources.sql.casts import DECIMAL_PLACES
from backfill.sources.sql.duckdb_types import has_json, twins, without_form
from backfill.sources.sql.engine import Engine, quoted, reason
from backfill.sources.sql.layout import Expression, Layout, SqlColumn, binding_scope, lay_out
from backfill.sources.sql.rules import PREFIX, check_expression
from backfill.sources.sql.syntax import (
    SqlRefusal,
    called,
    column_path,
    enclosed,
    made_text,
    makes_json,
    parse,
    place,
    takes_json,
    walk,
)

#: What was bound in this process, by its text, the relation it was bound in and the zone of that.
_BOUND: dict[tuple[str, str, str | None], Expression] = {}
_CANDIDATES = re.compile(r"Candidate bindings: (.*)|Did you mean (.*)")
_FLOATS = ("double", "float")
#: What DuckDB says of a name that it does not find.
_ABSENCE = "not found"
_QUOTED = re.compile(r'"([^"]+)"')
_UNKNOWN = re.compile(r'column "([^"]+)" not found|Function with name "?([\w.]+)"? does not exist')


def bound_layout(
    engine: Engine, job: Job, columns: Sequence[SqlColumn], *, in_query: Sequence[str] = (), trimmed: bool = False
) -> Layout:
    """The layout of the job over those columns (see lay_out).

    Raises:
        JobError: expressions are wrong, with every fault; or a column is declared that the source does not have.
    """
    refuse_absent(job, [column.name for column in columns])
    bound, faults = bind(engine, job, columns, trimmed=trimmed)
    if faults:
        raise SqlFaultsError(job, faults)
    return lay_out(job, columns, bound, in_query=in_query, trimmed=trimmed)


class SqlFaultsError(JobError):
    """The job's SQL is wrong, each fault with its place in the job file where there is one."""

    def __init__(self, job: Job, faults: Sequence[SqlFault]) -> None:
        file = Path(job.path)
        located = [fault_at(file, one.path, one.message, one.hint, offset=one.offset) for one in faults if job.path]
        super().__init__(
            f"{faults[0].path}: {faults[0].message}", tuple(located), hint="" if located else faults[0].hint
        )
        self.faults_of_sql = tuple(faults)


def bind(
    engine: Engine, job: Job, columns: Sequence[SqlColumn], *, trimmed: bool = False
) -> tuple[dict[str, Expression], tuple[SqlFault, ...]]:
    """What the job's expressions are over those columns, and all that is wrong with them, in the order of the file.

    With `trimmed` the columns are computed of declared decimals, as in lay_out.
    """
    scope = (binding_scope(job, columns), job.source.timezone)
    names = [column.name for column in columns]
    bound: dict[str, Expression] = {}
    unheld = {column.name: said for column in columns if (said := column.refused or twins(column.type))}
    decimals = {column.name for column in columns if column.spec is not None and column.spec.type == "decimal"}
    types = {column.name: str(column.type) if column.spec is None else column.spec.type for column in columns}
    faults = []
    for reference in references(job):
        text = reference.sql
        if text is None:
            continue
        if reference.shaped and reference.shaped.column and reference.shaped.column not in names:
            absent = reference.shaped.column
            message, advice = f'the source has no column "{absent}"', suggest(absent, names)
            faults.append(SqlFault(reference.path, text, None, message, advice=advice, absence=True))
            continue
        try:
            bound[text] = _bind_one(engine, text, scope, names)
        except SqlRefusal as refusal:
            faults.append(refusal_fault(engine, reference.path, text, refusal, types, PREFIX))
        except duckdb.Error as error:
            fault = binder_fault(engine, reference.path, text, error, types, PREFIX)
            faults.append(replace(fault, offset=None) if reference.shaped else fault)
        else:
            kind = bound[text].type
            scaled = trimmed or not decimals.isdisjoint(bound[text].reads)
            faults += _other_text(engine, scope[0], reference, scaled=scaled)
            if without_form(kind):
                message = f"is {without_form(kind)}, which has no exact form in JSON: cast it to the type that is meant"
                faults.append(SqlFault(reference.path, text, 0, message))
            if reference.role is Role.CONDITION and kind.id not in ("boolean", "null"):
                message = f"is {kind}, where true or false is wanted"
                faults.append(SqlFault(reference.path, text, 0, message))
            faults += [
                SqlFault(reference.path, text, 0, refused_message(name, unheld[name]))
                for name in bound[text].reads
                if name in unheld
            ]
    return bound, tuple(dict.fromkeys(faults))


def _other_text(engine: Engine, relation: str, reference: Reference, *, scaled: bool) -> list[SqlFault]:
    """The fault of a shape that would look up and hash another text than the source has.

    A float 2 prints as 2.0; with `scaled` a decimal is made of declared ones, and prints with the nine places that they
    have in SQL; a timestamp prints in the database's own form, on the clock of the source's zone.
    """
    shaped = reference.shaped
    if shaped is None:
        return []
    kind = engine.connection.sql(f"SELECT {shaped.of} FROM {relation}").types[0]
    if kind.id in _FLOATS:
        told = "number, whose text is not that of the source: 2 would be 2.0"
        advice = "declare it as text or integer under `columns`, or cast it to one of them in SQL"
    elif scaled and kind.id == "decimal" and int(str(dict(kind.children)["scale"])) >= DECIMAL_PLACES:
        told = "decimals as SQL has declared ones, whose text is not that of the source: 12.50 would be 12.500000000"
        advice = "declare it as text under `columns`, or say its places in SQL, as in CAST(... AS DECIMAL(18, 2))"
    elif kind.id.startswith("timestamp"):
        told = "timestamps, whose text in SQL is the database's own: 2024-01-31 12:00:00+00"
        advice = "declare it as text under `columns`, or write it in SQL with strftime(...)"
    else:
        return []
    what = f'column "{shaped.column}"' if shaped.column else "the expression"
    return [SqlFault(reference.path, shaped.sql, None, f"{what} holds {told}", advice=advice)]


def decimals_as_text(engine: Engine, job: Job, columns: Sequence[SqlColumn]) -> tuple[SqlFault, ...]:
    """Where the job's expressions, all of them sound, make text of a declared decimal, which has nine places there."""
    decimals = {one.name.lower() for one in columns if one.spec is not None and one.spec.type == "decimal"}
    found = []
    for reference in references(job) if decimals else ():
        text = reference.sql or ""
        for node in made_text(parse(engine, PREFIX + text)) if text and not reference.shaped else ():
            name = column_path(node)[-1]
            if name in decimals:
                at = place(node, PREFIX + text)
                message = f'"{name}" is declared as decimal, whose text in SQL has nine places: 12.50 is 12.500000000'
                advice = f"declare it as text, or write CAST({quoted(name)} AS DECIMAL(18, 2)) for two places"
                found.append(
                    SqlFault(reference.path, text, None if at is None else at - len(PREFIX), message, advice=advice)
                )
    return tuple(dict.fromkeys(found))


def _bind_one(engine: Engine, text: str, scope: tuple[str, str | None], names: Sequence[str]) -> Expression:
    """The expression bound in a relation; raises SqlRefusal and duckdb.Error.

    A run looks at its source before it stages it, which gives the same columns: what was bound then is not again.
    """
    known = _BOUND.get((text, *scope))
    if known is not None:
        return known
    reads = check_expression(engine, text, names)
    kind = engine.connection.sql(f"SELECT {enclosed(text)} FROM {scope[0]}").types[0]
    if not reads:  # the same on every row, so what fails is the job, not a row
        engine.rows(f"SELECT CAST({enclosed(text)} AS VARCHAR)")
    tree = parse(engine, PREFIX + text)
    found = Expression(reads, kind, computed=has_json(kind) and makes_json(tree), takes_json=takes_json(tree))
    _BOUND[text, *scope] = found
    return found


def refused_message(name: str, refused: str) -> str:
    """What to say where SQL reads a column that no snapshot holds."""
    return f'column "{name}" holds {refused}, which cannot be read as it is: {REFUSED_HINT}'


def refusal_fault(
    engine: Engine, path: str, text: str, refusal: SqlRefusal, types: Mapping[str, str], prefix: str = ""
) -> SqlFault:
    """The fault for SQL that is refused; `types` are those of the columns that it may read."""
    advice = advise(text, refusal.message, types, lambda other: _parses(engine, prefix + other))
    return SqlFault(path, text, refusal.offset, refusal.message, _as_sql(engine, refusal.candidates), advice)


def binder_fault(
    engine: Engine, path: str, text: str, error: duckdb.Error, types: Mapping[str, str], prefix: str = ""
) -> SqlFault:
    """What the binder says, with the place of the name that it does not know; `prefix` makes the text a query."""
    said = _CANDIDATES.search(str(error))
    candidates = [name for name in _QUOTED.findall(said.group()) if INTERNAL_PREFIX not in name] if said else []
    unknown = _UNKNOWN.search(str(error))
    offset = None
    if unknown:
        name = next(filter(None, unknown.groups())).lower()
        offset = _place(engine, prefix + text, name, len(prefix))
    advice = advise(text, reason(error), types, lambda other: _parses(engine, prefix + other))
    why = reason(error)
    return SqlFault(path, text, offset, why, _as_sql(engine, candidates), advice, absence=_ABSENCE in why)


def _as_sql(engine: Engine, names: Iterable[str]) -> tuple[str, ...]:
    """The names as SQL takes them: in double quotes where they are not one word, or a word of SQL."""
    return tuple(
        name if PLAIN_NAME.fullmatch(name) and _parses(engine, PREFIX + name) else quoted(name) for name in names
    )


def _parses(engine: Engine, text: str) -> bool:
    try:
        parse(engine, text)
    except SqlRefusal:
        return False
    return True


def _place(engine: Engine, text: str, name: str, shift: int) -> int | None:
    """Where a column or function of that name stands in the text, in characters behind the shift."""
    for node in walk(parse(engine, text)):
        if name in (*column_path(node), called(node)):
            found = place(node, text)
            return None if found is None else found - shift
    return None
