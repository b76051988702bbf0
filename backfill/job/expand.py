"""Short forms written out: from the forms of `file` to the frozen models, faults of single values noted on the way."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from backfill.document import Faults
from backfill.frozen import frozen
from backfill.job.fields import OBJECTS, OWN_BLOCK
from backfill.job.file import CallFields
from backfill.job.models import (
    ColumnValue,
    ConstantValue,
    ListValue,
    ObjectSpec,
    ObjectValue,
    SqlValue,
    Star,
    TimestampSpec,
    Value,
)
from backfill.job.shapes import Shaping
from backfill.job.value_forms import ListForm, ObjectForm, ObjectValueForm
from backfill.limits import SAFE_INTEGER
from backfill.records import INTERNAL_PREFIX

Path = tuple[str, ...]
Member = tuple[Path, Value]


@frozen
class ShortForms:
    """Writes forms out; `faults` takes what is wrong with a single value."""

    faults: Faults
    shaping: Shaping

    def value(self, form: Any, path: str) -> Value:  # noqa: ANN401
        """The value of any value form."""
        match form:
            case str():
                return ColumnValue(column=self.bare(form, path))
            case ColumnValue():
                self.column(form.column, f"{path}.column")
                return self.shaping.value(form, path)
            case SqlValue():
                self.sql(form.sql, f"{path}.sql")
                return self.shaping.value(form, path)
            case ListForm():
                items = (self.value(item, f"{path}.list[{index}]") for index, item in enumerate(form.elements))
                return ListValue(list=tuple(items))
            case ObjectValueForm():
                return ObjectValue(object=self.whole(form.members, f"{path}.object"))
            case ConstantValue():
                self.constant(form.value, f"{path}.value")
                return form
            case _:
                raise AssertionError(form)

    def bare(self, name: str, path: str) -> str:
        """The name of a column that stands alone; a star is meant to be more than that."""
        if name == "*":
            hint = '`"*": {}` as a member takes every column; a column of that very name is {column: "*"}'
            self.faults.add(path, '"*" is not a value', hint)
        return self.column(name, path)

    def column(self, name: str, path: str) -> str:
        """A column's name, as it is."""
        if not name:
            self.faults.add(path, "is an empty column name", "a constant is written {value: ...}")
        elif name.startswith(INTERNAL_PREFIX):
            self.faults.add(
                path, f"names beginning with {INTERNAL_PREFIX} are backfill's own", "rename the column in SQL"
            )
        return name

    def sql(self, text: str, path: str) -> str:
        """An expression's text, as it is."""
        if not text.strip():
            self.faults.add(path, "is an empty expression")
        return text

    def constant(self, value: Any, path: str) -> None:  # noqa: ANN401
        """Note integers that JSON readers would alter; what JSON cannot say at all was refused as YAML."""
        if isinstance(value, dict):
            for key, inner in value.items():
                self.constant(inner, f"{path}.{key}")
        elif isinstance(value, list):
            for index, inner in enumerate(value):
                self.constant(inner, f"{path}[{index}]")
        elif isinstance(value, int) and not isinstance(value, bool) and abs(value) > SAFE_INTEGER:
            self.faults.add(path, "is an integer beyond 2^53, which most JSON readers alter", f'quote it: "{value}"')

    def whole(self, form: str | ObjectForm, path: str) -> ObjectSpec:
        """An object of members; a bare text is the column that holds the whole of it."""
        if isinstance(form, str):
            return ObjectSpec(column=ColumnValue(column=self.bare(form, path)))
        column, left_out = self.whole_column(form, path)
        star = Star() if form.star is True else form.star
        members: list[Member] = []
        for name, inner in (form.__pydantic_extra__ or {}).items():
            member = self.member_path(name, f"{path}.{name}")
            if member == ("sql",) and isinstance(inner, str):
                hint = "a property is computed as {its_name: {sql: ...}}; one called sql is {sql: {column: ...}}"
                self.faults.add(f"{path}.sql", "would be a member called sql, from a column of that name", hint)
            members.append((member, self.value(inner, f"{path}.{name}")))
        self.conflicts(members, [f"{path}.{name}" for name in form.__pydantic_extra__ or {}])
        gone = [(name, ConstantValue(value=None)) for name in left_out]
        return ObjectSpec(column=column, members=(*gone, *members), star=star)

    def whole_column(self, form: ObjectForm, path: str) -> tuple[ColumnValue | None, list[Path]]:
        """The column of whole objects, and the members that it is to lose."""
        if form.column is None:
            return None, []
        if isinstance(form.column, str):
            return ColumnValue(column=self.bare(form.column, f"{path}.column")), []
        inside, left_out = f"{path}.column", []
        given = [split_name(name) for name in form.__pydantic_extra__ or {}]
        for place, name in enumerate(form.column.exclude):
            at = f"{inside}.exclude[{place}]"
            left_out.append(self.member_path(name, at, key=False))
            if any(left_out[-1] == one[: len(left_out[-1])] or one == left_out[-1][: len(one)] for one in given):
                self.faults.add(at, f'"{name}" is excluded, and given as a member', "keep one of the two")
        value = ColumnValue(column=self.column(form.column.column, f"{inside}.column"), on_bad=form.column.on_bad)
        return value, left_out

    def member_path(self, name: str, path: str, *, key: bool = True) -> Path:
        """A member's name split at its dots, escapes undone."""
        parts = split_name(name)
        if not all(parts):
            self.faults.add(path, "has an empty part in its name", r"`\.` keeps a dot of the name", key=key)
        return parts

    def conflicts(self, members: list[Member], paths: list[str]) -> None:
        """Note members that are, or lie inside, another one."""
        values: set[Path] = set()
        inside: dict[Path, Path] = {}  # an object that members make -> the first of them
        for (member, _), path in zip(members, paths, strict=True):
            around = [member[:size] for size in range(1, len(member))]
            value = next((outer for outer in around if outer in values), member if member in inside else None)
            if member in values:
                self.faults.add(path, f'"{".".join(member)}" is given twice', "keep one of the two", key=True)
            elif value is not None:
                one = ".".join(inside.get(value, member))
                message = f'"{".".join(value)}" is a value and, by "{one}", an object'
                self.faults.add(path, message, "keep one of the two", key=True)
            values.add(member)
            for outer in around:
                inside.setdefault(outer, member)

    def timestamp(self, form: str | TimestampSpec, path: str) -> TimestampSpec:
        """A timestamp; that it can be read is for `times`."""
        if isinstance(form, str):
            return TimestampSpec(column=self.column(form, path))
        if form.column is not None:
            self.column(form.column, f"{path}.column")
        if form.sql is not None:
            self.sql(form.sql, f"{path}.sql")
        return form

    def fields(self, form: CallFields, path: str) -> dict[str, Any]:
        """Every field that is written in a call or in `defaults`, written out."""
        found: dict[str, Any] = {}
        for name in form.model_fields_set - {"type", "label", "when"}:
            written, inside = getattr(form, name), f"{path}.{name}"
            if written is None:
                self.faults.add(inside, "is empty", "leave the field out, or give it a value")
                self.faults.broken.add(inside)
            elif name in OBJECTS:
                found[name] = self.whole(written, inside)
            elif name == "timestamp":
                found[name] = self.timestamp(written, inside)
            elif name == "message_key":
                found[name] = self.message_key(written, inside)
            elif name == "integrations":
                found[name] = {
                    key: (self.own_block if key == OWN_BLOCK else self.options)(value, f"{inside}.{key}")
                    for key, value in written.items()
                }
            else:
                found[name] = self.value(written, inside)
        return found

    def own_block(self, written: Any, path: str) -> Any:  # noqa: ANN401
        """The row's own integrations, whose members are sent but for those that are stated beside it."""
        if is_from_row(written) and "column" in written:
            column = ColumnValue(column=self.column(written["column"], f"{path}.column"))
            return ObjectValue(object=ObjectSpec(column=column))
        self.faults.add(path, "the row's own integrations are those of a column", "write {column: ...}")
        return {}

    def options(self, written: Any, path: str) -> Any:  # noqa: ANN401
        """A destination's options: as they stand, or an ObjectValue where one of them is taken from the row."""
        if is_from_row(written):
            self.faults.add(path, "a destination's options are a mapping", "write {its_option: {column: ...}}")
            return {}
        return self.option(written, path) if isinstance(written, dict) and takes_from_row(written) else written

    def option(self, written: Any, path: str) -> Value:  # noqa: ANN401
        """One option; of what is taken from the row no more is asked than its column or expression."""
        if is_from_row(written):
            if "sql" in written:
                return SqlValue(sql=self.sql(written["sql"], f"{path}.sql"))
            return ColumnValue(column=self.column(written["column"], f"{path}.column"))
        if isinstance(written, dict) and takes_from_row(written):
            members = tuple(((name,), self.option(inner, f"{path}.{name}")) for name, inner in written.items())
            return ObjectValue(object=ObjectSpec(members=members))
        if isinstance(written, list) and takes_from_row(written):
            return ListValue(list=tuple(self.option(inner, f"{path}[{place}]") for place, inner in enumerate(written)))
        return ConstantValue(value=written)

    def message_key(self, form: Any, path: str) -> str | tuple[Value, ...]:  # noqa: ANN401
        """The word `content` or `row`, or the key's values in order; a word inside a list is a column."""
        if form in ("content", "row"):
            return str(form)
        if isinstance(form, list):
            return tuple(self.value(item, f"{path}[{index}]") for index, item in enumerate(form))
        return (self.value(form, path),)


def is_from_row(written: Any) -> bool:  # noqa: ANN401
    """Whether an option is {column: ...} or {sql: ...} and nothing more."""
    return isinstance(written, dict) and any(
        [*written] == [name] and isinstance(written[name], str) for name in ("column", "sql")
    )


def takes_from_row(written: Any) -> bool:  # noqa: ANN401
    """Whether an option, or one inside it, is taken from the row."""
    if is_from_row(written):
        return True
    inner = written.values() if isinstance(written, dict) else written if isinstance(written, list) else ()
    return any(map(takes_from_row, inner))


def split_name(name: str) -> Path:
    r"""A dotted name's parts. `\.` is a dot of the name, `\\` a backslash; `\*` and `\column` are those very names."""
    if name in (r"\*", r"\column"):
        return (name[1:],)
    parts, place = [""], 0
    while place < len(name):
        pair = name[place : place + 2]
        if pair in (r"\.", r"\\"):
            parts[-1] += pair[1]
            place += 2
            continue
        if name[place] == ".":
            parts.append("")
        else:
            parts[-1] += name[place]
        place += 1
    return tuple(parts)


def merge(defaults: Mapping[str, Any], own: Mapping[str, Any], names: frozenset[str]) -> dict[str, Any]:
    """A call's fields over those defaults that its type has; objects and integrations are merged member by member.

    A call that states `message_id` drops the defaults' `message_key`, and the other way round.
    """
    merged = {name: value for name, value in defaults.items() if name in names}
    for one, other in (("message_key", "message_id"), ("message_id", "message_key")):
        if one in own:
            merged.pop(other, None)
    for name, value in own.items():
        default = merged.get(name)
        if isinstance(value, ObjectSpec) and isinstance(default, ObjectSpec):
            merged[name] = merge_objects(default, value)
        elif name == "integrations" and isinstance(default, dict):
            merged[name] = {**default, **value}
        else:
            merged[name] = value
    return merged


def merge_objects(default: ObjectSpec, own: ObjectSpec) -> ObjectSpec:
    """The members of both, the own ones in place of default ones that they equal, contain or lie in."""
    taken = [path for path, _ in own.members]
    kept = [
        (path, value)
        for path, value in default.members
        if not any(path[: len(other)] == other or other[: len(path)] == path for other in taken)
    ]
    return ObjectSpec(column=own.column or default.column, members=(*kept, *own.members), star=own.star or default.star)
