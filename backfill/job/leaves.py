"""What the values of a call are made of: its parts, the leaves inside them, and the columns and SQL that these name."""

from __future__ import annotations

from collections.abc import Iterator

from backfill.job.fields import FIELDS, Role, of_role
from backfill.job.models import (
    Call,
    ColumnValue,
    ConstantValue,
    Job,
    ListValue,
    ObjectSpec,
    ObjectValue,
    ShapedValue,
    SqlValue,
    Value,
)


def label_of(value: ColumnValue | SqlValue) -> str:
    """What problems call a value: its column, else its expression."""
    if isinstance(value, SqlValue):
        return (value.column if isinstance(value, ShapedValue) else "") or value.sql
    return value.column


#: One value without others in it.
Leaf = ColumnValue | SqlValue | ConstantValue
#: In which the expressions of a call are numbered; a snapshot that is there already has them so.
_NUMBERED = (Role.ID, Role.NAME, Role.WHOLE, Role.KEY, Role.MESSAGE_ID, Role.OPTIONS)


def parts(call: Call, path: str) -> Iterator[tuple[str, Role, Value | ObjectSpec]]:
    """What the fields of a call hold, timestamp and `when` aside, each with its path; `path` is the call's."""
    for one in FIELDS:
        written, inside = getattr(call, one.name), f"{path}.{one.name}"
        if one.role is Role.KEY:
            for place, value in enumerate(written if isinstance(written, tuple) else ()):
                yield f"{inside}[{place}]", one.role, value
        elif one.role is Role.OPTIONS:
            for name, options in (written or {}).items():
                if isinstance(options, ObjectValue):
                    yield f"{inside}.{name}", one.role, options
        elif one.role is not Role.TIME and written is not None:
            yield inside, one.role, written


def walk(value: Value | ObjectSpec, path: str, *, literal: bool = False) -> Iterator[tuple[str, Leaf | ObjectSpec]]:
    """Every leaf and every object inside a value, the value itself included, depth first, each with its path.

    `literal`: of a destination's options, which are written without `object` and `list`.
    """
    if isinstance(value, ObjectValue):
        yield from walk(value.object, path if literal else f"{path}.object", literal=literal)
    elif isinstance(value, ListValue):
        for place, item in enumerate(value.list):
            yield from walk(item, f"{path}[{place}]" if literal else f"{path}.list[{place}]", literal=literal)
    elif isinstance(value, ObjectSpec):
        yield path, value
        for member, inner in value.members:
            yield from walk(inner, f"{path}.{member[0] if literal else member_name(member)}", literal=literal)
    else:
        yield path, value


def member_name(member: tuple[str, ...]) -> str:
    """A member's path as it is written in a job file."""
    if member in (("*",), ("column",)):
        return f"\\{member[0]}"
    return ".".join(part.replace("\\", "\\\\").replace(".", "\\.") if "." in part else part for part in member)


def leaves(value: Value | ObjectSpec) -> Iterator[Leaf]:
    """Every value inside, columns of whole objects included."""
    for _, inner in walk(value, ""):
        if not isinstance(inner, ObjectSpec):
            yield inner
        elif inner.column is not None:
            yield inner.column


def call_expressions(call: Call) -> list[str]:
    """Every SQL expression of a call, `when` and `timestamp` first."""
    found = [text for text in (call.when, call.timestamp.sql) if text]
    for _, _, value in sorted(parts(call, ""), key=lambda part: _NUMBERED.index(part[1])):
        found += [leaf.sql for leaf in leaves(value) if isinstance(leaf, SqlValue)]
    return found


def expression_columns(job: Job) -> dict[str, str]:
    """Every distinct SQL expression of the calls (`sql`, `when`), in file order -> its snapshot column."""
    texts: dict[str, None] = {}
    for call in job.calls:
        texts.update(dict.fromkeys(call_expressions(call)))
    return {text: f"__bf_sql_{index}" for index, text in enumerate(texts)}


def used_columns(call: Call) -> frozenset[str]:
    """The columns that a call takes as id, time or name, which `"*"` leaves out."""
    single = [getattr(call, name) for name in of_role(Role.ID, Role.NAME, Role.MESSAGE_ID)]
    used = {value.column for value in single if isinstance(value, ColumnValue | ShapedValue)}
    return frozenset(used | ({call.timestamp.column} if call.timestamp.column else set()))


def named_columns(spec: ObjectSpec) -> set[str]:
    """The columns named in an object, which its `"*"` leaves out."""
    return {leaf.column for leaf in leaves(spec) if isinstance(leaf, ColumnValue | ShapedValue)}
