"""What a job compiles to, in words and SQL: nothing is read for it but the job file."""

from __future__ import annotations

import re
from collections.abc import Iterator

from backfill.job.fields import Role
from backfill.job.leaves import parts, walk
from backfill.job.models import (
    Call,
    ColumnValue,
    ConstantValue,
    Job,
    ObjectSpec,
    ShapedValue,
    SqlValue,
    Star,
    TimestampSpec,
)

_INDENT = "  "
#: A text in the SQL of a shape that says nothing to a reader, as the digits of all scripts; its beginning is shown.
_TABLE = re.compile("'([^']{16})[^']{200,}'")


def explain_text(job: Job) -> str:
    """The job's source and calls: each value with the column, the constant or the DuckDB SQL that it is."""
    lines = [f"{job.name}, generation {job.generation}, phase {job.phase}", *source_lines(job)]
    for place, call in enumerate(job.calls):
        lines += ["", *call_lines(job, call, place)]
    return "\n".join(lines)


def source_lines(job: Job) -> Iterator[str]:
    """Where rows come from, and what is done with them before calls are made, in that order."""
    source = job.source
    yield f"source: {', '.join(source.path) or 'a database'}"
    yield from _sql("query", source.query)
    if job.explode is not None:
        yield f"{_INDENT}explode: a row for each element of {job.explode}, which stands at {job.position}"
    yield from _sql("where", job.where)
    if job.latest is not None:
        by, on = ", ".join(job.latest.by), job.latest.on
        yield f"{_INDENT}latest: of the rows of one ({by}) the one of the greatest {on}, of several the last"


def call_lines(job: Job, call: Call, place: int) -> Iterator[str]:
    """One call, field by field."""
    yield f"calls[{place}]: {call.type}" + (f", {call.label}" if call.label else "")
    yield from _sql("when", call.when)
    yield f"{_INDENT}messageId: {_recipe(job, call)}"
    yield f"{_INDENT}timestamp: {_timestamp(call.timestamp)}"
    base = f"calls[{place}]"
    for path, role, value in parts(call, base):
        for at, inner in walk(value, path, literal=role is Role.OPTIONS):
            name = at.removeprefix(f"{base}.")
            if isinstance(inner, ObjectSpec):
                yield from _whole(name, inner)
            else:
                yield from _value(name, inner)


def _recipe(job: Job, call: Call) -> str:
    if call.message_id is not None:
        return "as it is in message_id"
    namespace = f'uuid5(ROOT, ["<id scope>", "{job.name}", "{call.scope}", "{job.generation}"])'
    key = {"content": "SHA-256 of the call's JSON", "row": "the file's path and the record's number"}
    what = key.get(call.message_key, "") if isinstance(call.message_key, str) else "the values of message_key"
    return f"uuid5({namespace}, {what})"


def _timestamp(time: TimestampSpec) -> str:
    what = f"column {time.column}" if time.column else f"SQL: {time.sql}" if time.sql else f"{time.value}"
    said = [f"{name} {value}" for name in ("format", "timezone") if (value := getattr(time, name))]
    return ", ".join([what, *said])


def _whole(name: str, spec: ObjectSpec) -> Iterator[str]:
    if spec.column is not None:
        yield f"{_INDENT}{name}: all members of column {spec.column.column}"
    if spec.star is not None:
        yield f"{_INDENT}{name}.*: every column that is named nowhere in it, and hashed nowhere{_without(spec.star)}"


def _without(star: Star) -> str:
    return f", without {', '.join(star.exclude)}" if star.exclude else ""


def _value(name: str, value: ColumnValue | SqlValue | ConstantValue) -> Iterator[str]:
    if isinstance(value, ConstantValue):
        yield f"{_INDENT}{name}: the constant {value.value!r}"
    elif isinstance(value, ColumnValue):
        yield f"{_INDENT}{name}: column {value.column}{_options(value)}"
    elif isinstance(value, ShapedValue):
        of = f"column {value.column}" if value.column else "an expression"
        yield f"{_INDENT}{name}: {of}, {value.shape}{_options(value)}"
        sql = _TABLE.sub(r"'\1...'", value.sql)
        yield from (f"{_INDENT}{line}" for line in _sql("as", sql))
    else:
        yield from _sql(f"{name}{_options(value)}", value.sql)


def _options(value: ColumnValue | SqlValue) -> str:
    said = [f"as {value.as_}"] if value.as_ else []
    said += ["nulls are sent"] * (value.nulls == "keep") + ["left out where it is bad"] * (value.on_bad == "omit")
    return f" ({', '.join(said)})" if said else ""


def _sql(name: str, text: str | None) -> Iterator[str]:
    if text is not None:
        first, *rest = text.strip().splitlines()
        yield f"{_INDENT}{name}: SQL: {first}"
        yield from (f"{_INDENT * 3}{line}" for line in rest)
