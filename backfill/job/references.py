"""Every place where a job refers to a column or holds an expression, with the path of its field."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from backfill.frozen import frozen
from backfill.job.fields import Role
from backfill.job.leaves import expression_columns, parts, walk
from backfill.job.models import Call, ColumnValue, Job, ObjectSpec, ShapedValue, SqlValue
from backfill.records import Column


@frozen
class Reference:
    """One use of a column or of an expression; exactly one of `column` and `sql` is given."""

    path: str  # of the field, such as calls[0].properties.revenue
    role: Role
    call: int  # its place in Job.calls; -1 for the job's own `where`
    column: str | None = None
    sql: str | None = None
    as_: str | None = None
    shaped: ShapedValue | None = None  # what the expression is made for, which does not stand there itself


def references(job: Job) -> list[Reference]:
    """Every reference of the job in file order, those from `defaults` once for each call that takes them."""
    found = [Reference("where", Role.CONDITION, -1, sql=job.where)] if job.where else []
    if job.explode is not None:
        found.append(Reference("explode", Role.LIST, -1, column=job.explode))
    if job.latest is not None:
        found += [Reference(f"latest.by[{at}]", Role.KIND, -1, column=name) for at, name in enumerate(job.latest.by)]
        found.append(Reference("latest.on", Role.ORDER, -1, column=job.latest.on))
    for place, call in enumerate(job.calls):
        found.extend(call_references(call, place))
    return found


def expression_paths(job: Job) -> dict[str, str]:
    """Where each distinct expression of the job stands first: SQL text -> field path, `where` included."""
    paths: dict[str, str] = {}
    for reference in references(job):
        if reference.sql is not None:
            paths.setdefault(reference.sql, reference.path)
    return paths


def hashed_columns(job: Job, columns: Mapping[str, Column]) -> frozenset[str]:
    """The columns whose values the job hashes, in whatever call: no `"*"` sends beside a hash what it is made of.

    `columns`: by name, those of the job's expressions with what they read.
    """
    expressions = expression_columns(job)
    hashes = [one.shaped for one in references(job) if one.shaped is not None and one.shaped.hashed]
    read = (columns[name].reads for one in hashes if (name := expressions[one.sql]) in columns)
    return frozenset({one.column for one in hashes if one.column}.union(*read))


def call_references(call: Call, place: int) -> Iterator[Reference]:
    """The references of one call, those of `"*"` aside."""
    path, time = f"calls[{place}]", call.timestamp
    if call.when:
        yield Reference(f"{path}.when", Role.CONDITION, place, sql=call.when)
    if time.column or time.sql:
        yield Reference(f"{path}.timestamp", Role.TIME, place, time.column, time.sql)
    for inside, role, value in parts(call, path):
        within = Role.MEMBER if role in (Role.WHOLE, Role.OPTIONS) else role
        for at, each in walk(value, inside, literal=role is Role.OPTIONS):
            if isinstance(each, ColumnValue):
                yield Reference(at, within, place, column=each.column, as_=each.as_)
            elif isinstance(each, SqlValue):
                shaped = each if isinstance(each, ShapedValue) else None
                yield Reference(at, within, place, sql=each.sql, as_=each.as_, shaped=shaped)
            elif isinstance(each, ObjectSpec) and each.column is not None:
                yield Reference(f"{at}.column", Role.WHOLE, place, column=each.column.column)


def objects(call: Call, place: int) -> Iterator[tuple[str, ObjectSpec]]:
    """Every object of a call with its path, nested ones included."""
    for inside, role, value in parts(call, f"calls[{place}]"):
        if role is Role.WHOLE:
            yield from ((at, each) for at, each in walk(value, inside) if isinstance(each, ObjectSpec))
