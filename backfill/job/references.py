"""Every place where a job refers to a column or holds an expression, with the path of its field."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum

from backfill.job.models import Call, ColumnValue, Job, ListValue, ObjectSpec, ObjectValue, SqlValue, Value


class Role(Enum):
    """What the value is used for; decides which kinds of column will do."""

    ID = "an id"
    NAME = "a name"
    KEY = "a message key"
    MESSAGE_ID = "a message id"
    TIME = "a timestamp"
    CONDITION = "a condition"
    MEMBER = "a member"
    WHOLE = "a whole object"


#: Fields of a call that hold one value.
_SINGLE = {
    **dict.fromkeys(("userId", "anonymousId", "groupId", "previousId"), Role.ID),
    **dict.fromkeys(("event", "name", "category"), Role.NAME),
}


@dataclass(frozen=True, slots=True)
class Reference:
    """One use of a column or of an expression; exactly one of `column` and `sql` is given."""

    path: str  # of the field, such as calls[0].properties.revenue
    role: Role
    call: int  # its place in Job.calls; -1 for the job's own `where`
    column: str | None = None
    sql: str | None = None
    as_: str | None = None


def references(job: Job) -> list[Reference]:
    """Every reference of the job in file order, those from `defaults` once for each call that takes them."""
    found = [Reference("where", Role.CONDITION, -1, sql=job.where)] if job.where else []
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


def call_references(call: Call, place: int) -> Iterator[Reference]:
    """The references of one call."""
    path = f"calls[{place}]"
    if call.when:
        yield Reference(f"{path}.when", Role.CONDITION, place, sql=call.when)
    time = call.timestamp
    if time.column or time.sql:
        yield Reference(f"{path}.timestamp", Role.TIME, place, time.column, time.sql)
    if isinstance(call.message_key, tuple):
        for index, value in enumerate(call.message_key):
            yield from value_references(value, f"{path}.message_key[{index}]", Role.KEY, place)
    if call.message_id is not None:
        yield from value_references(call.message_id, f"{path}.message_id", Role.MESSAGE_ID, place)
    for name, role in _SINGLE.items():
        yield from value_references(getattr(call, name), f"{path}.{name}", role, place)
    for name in ("properties", "traits", "context"):
        yield from object_references(getattr(call, name), f"{path}.{name}", place)
    for name, options in (call.integrations or {}).items():
        if isinstance(options, ObjectValue):
            yield from option_references(options, f"{path}.integrations.{name}", place)


def value_references(value: Value | None, path: str, role: Role, place: int) -> Iterator[Reference]:
    """The references inside one value."""
    if isinstance(value, ColumnValue):
        yield Reference(path, role, place, column=value.column, as_=value.as_)
    elif isinstance(value, SqlValue):
        yield Reference(path, role, place, sql=value.sql, as_=value.as_)
    elif isinstance(value, ListValue):
        for index, item in enumerate(value.list):
            yield from value_references(item, f"{path}.list[{index}]", role, place)
    elif isinstance(value, ObjectValue):
        yield from object_references(value.object, f"{path}.object", place)


def option_references(value: Value, path: str, place: int) -> Iterator[Reference]:
    """The references inside a destination's options, which are written without `object` and `list`."""
    if isinstance(value, ObjectValue):
        for member, inner in value.object.members:
            yield from option_references(inner, f"{path}.{member[0]}", place)
    elif isinstance(value, ListValue):
        for index, item in enumerate(value.list):
            yield from option_references(item, f"{path}[{index}]", place)
    else:
        yield from value_references(value, path, Role.MEMBER, place)


def object_references(spec: ObjectSpec | None, path: str, place: int) -> Iterator[Reference]:
    """The references inside an object, `"*"` aside."""
    if spec is None:
        return
    if spec.column is not None:
        yield Reference(f"{path}.column", Role.WHOLE, place, column=spec.column.column)
    for member, value in spec.members:
        yield from value_references(value, f"{path}.{member_name(member)}", Role.MEMBER, place)


def objects(call: Call, place: int) -> Iterator[tuple[str, ObjectSpec]]:
    """Every object of a call with its path, nested ones included."""
    for name in ("properties", "traits", "context"):
        spec = getattr(call, name)
        if spec is not None:
            yield from inner_objects(spec, f"calls[{place}].{name}")


def inner_objects(spec: ObjectSpec, path: str) -> Iterator[tuple[str, ObjectSpec]]:
    """The object and those inside it."""
    yield path, spec
    for member, value in spec.members:
        yield from value_objects(value, f"{path}.{member_name(member)}")


def value_objects(value: Value, path: str) -> Iterator[tuple[str, ObjectSpec]]:
    """The objects inside a value."""
    if isinstance(value, ObjectValue):
        yield from inner_objects(value.object, f"{path}.object")
    elif isinstance(value, ListValue):
        for index, item in enumerate(value.list):
            yield from value_objects(item, f"{path}.list[{index}]")


def member_name(member: tuple[str, ...]) -> str:
    """A member's path as it is written in a job file."""
    if member in (("*",), ("column",)):
        return f"\\{member[0]}"
    return ".".join(part.replace("\\", "\\\\").replace(".", "\\.") if "." in part else part for part in member)
