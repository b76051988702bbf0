"""The values and objects of one row, in plain Python: what `{column: ...}`, `{list: ...}`, `"*"` and so on give."""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time
from typing import Any

from backfill.job.leaves import expression_columns
from backfill.job.models import (
    Call,
    ColumnSpec,
    ColumnValue,
    ConstantValue,
    Job,
    ListValue,
    ObjectSpec,
    ObjectValue,
    SqlValue,
    TimestampSpec,
)
from backfill.limits import SAFE_INTEGER
from backfill.records import INTERNAL_PREFIX, Column, Kind, Severity, Zone
from backfill.rules import severity
from tests.support.oracle_values import Writer, compact, is_finite, localised, members, milliseconds, overflows, pruned

NUMBER = re.compile(r"[+-]?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")


@dataclass(frozen=True)
class ConstantText:
    """A member that is JSON text already."""

    text: str | None


@dataclass(frozen=True)
class Field:
    """A field of a struct column that stands for the whole object."""

    value: Any


def put(tree: dict[str, Any], path: tuple[str, ...], value: Any) -> None:
    """Set a member; inner objects are made on the way, and the inner fields of a struct stay beside it."""
    name, *rest = path
    if not rest:
        tree[name] = value
        return
    inner = tree.get(name)
    if isinstance(inner, Field) and isinstance(inner.value, dict):
        inner = {key: Field(each) for key, each in inner.value.items()}
    elif isinstance(inner, ConstantText) and (inner.text or "").startswith("{"):
        inner = {key: ConstantText(compact(each)) for key, each in json.loads(inner.text or "").items()}
    tree[name] = inner if isinstance(inner, dict) else {}
    put(tree[name], tuple(rest), value)


def columns_in(spec: ObjectSpec) -> set[str]:
    """Every column that an object names as a value, at any depth."""
    found = {spec.column.column} if spec.column else set()
    pending = [value for _, value in spec.members]
    while pending:
        value = pending.pop()
        if isinstance(value, ListValue):
            pending += value.list
        elif isinstance(value, ObjectValue):
            found |= columns_in(value.object)
        elif isinstance(value, ColumnValue):
            found.add(value.column)
    return found


@dataclass
class Row:
    """One row, to become one call: its values, its objects, and the problems found so far."""

    job: Job
    call: Call
    columns: Mapping[str, Column]
    row: Mapping[str, Any]
    float_text: Callable[[float], str]
    fields: Mapping[str, tuple[str, ...]]  # of each struct column, in order
    problems: set[tuple[str, Severity]] = field(default_factory=set)

    @property
    def writer(self) -> Writer:
        """What writes its values."""
        return Writer(self.float_text, self.job.source.timezone)

    def flag(self, code: str, *, omit: bool = False) -> None:
        """Note a problem; `omit`: the value is left out instead, and the problem only counted."""
        level = Severity.WARNING if omit else severity(code, dict(self.job.rules))
        if level is not None:
            self.problems.add((code, level))

    # -- single values ------------------------------------------------------------------------------------------

    def column_of(self, value: ColumnValue | SqlValue) -> Column:
        """The column that holds a value."""
        return self.columns[expression_columns(self.job)[value.sql] if isinstance(value, SqlValue) else value.column]

    def misfits(self, column: Column) -> bool:
        """Whether the text as read did not fit the declared type, here or in a column that an expression reads."""
        here = column.raw is not None and self.row[column.raw] is not None and self.row[column.name] is None
        return here or any(self.misfits(self.columns[name]) for name in column.reads)

    def long_integer(self, column: Column) -> str | None:
        """The digits of a declared integer that is one, but too long for its column."""
        if column.kind is not Kind.INTEGER or column.raw is None or not self.misfits(column):
            return None
        digits = re.fullmatch(r"\+?(-?)0*([0-9]+)", self.row[column.raw])
        return digits.group(1) + digits.group(2) if digits else None

    def read(self, value: ColumnValue | SqlValue) -> tuple[Any, set[str]]:
        """A value with wall clocks made instants, and what is wrong with it."""
        column = self.column_of(value)
        if long := self.long_integer(column):
            return int(long), set()
        if self.misfits(column):
            return None, {"BF117"}
        found = self.row[column.name]
        if column.kind is Kind.TIMESTAMP:
            instant, bad = self.instant(column, found)
            for code in self.early(column, instant):
                if severity(code, dict(self.job.rules)) is Severity.ERROR:
                    bad = bad | {code}
                else:
                    self.flag(code)
            return instant, bad
        return (None if column.kind is Kind.JSON and found == "null" else found), set()

    def early(self, column: Column, instant: datetime | None) -> set[str]:
        """What is wrong with an instant in 1970, of a column that is declared to hold epochs."""
        declared = self.job.source.columns.get(column.name)
        epoch = declared is not None and (declared.format or "").startswith("epoch_")
        return {"BF207"} if epoch and instant is not None and instant.year == 1970 else set()

    def instant(self, column: Column, wall: date | None, spec: TimestampSpec | None = None) -> tuple[Any, set[str]]:
        """The UTC instant of a timestamp or date column's value."""
        if wall is None:
            return None, set()
        declared = self.job.source.columns.get(column.name) or ColumnSpec(type="timestamp")
        zone = (spec and spec.timezone) or declared.timezone or self.job.source.timezone
        if isinstance(wall, datetime):
            utc = column.zone is Zone.UTC or (column.utc_flag is not None and self.row[column.utc_flag])
            if utc:
                return (wall.astimezone(UTC) if wall.tzinfo else wall).replace(tzinfo=None), set()
        else:
            wall = datetime.combine(wall, time())
        assert zone is not None
        ambiguous = (spec and spec.ambiguous) or declared.ambiguous
        nonexistent = (spec and spec.nonexistent) or declared.nonexistent
        return localised(wall, zone, ambiguous, nonexistent)

    def scalar(self, column: Column, value: object) -> str | None:
        """The plain text of a column's value: strings in JSON lose their quotes, everything else stays as it is."""
        if column.kind is Kind.JSON and isinstance(value, str) and value.startswith('"'):
            return str(json.loads(value))
        return None if value is None else self.writer.plain_of(value)

    def text_of(self, value: Any, *, single: bool = True) -> str | None:
        """The plain text of an id, a name or a key value; None where there is none. A key may be any JSON."""
        if isinstance(value, ConstantValue):
            constant = value.value
            return constant if isinstance(constant, str | None) else compact(constant)
        found, bad = self.read(value)
        if not is_finite(found):
            bad = {"BF111"}
        if single and self.column_of(value).kind is Kind.JSON and (found or "").lstrip().startswith(("[", "{")):
            bad = bad | {"BF123"}
        for code in bad:
            self.flag(code, omit=value.on_bad == "omit")
        gone = bad - {"BF111", "BF123"} or (bad and value.on_bad == "omit")
        return None if gone else self.scalar(self.column_of(value), found)

    def member_of(self, value: Any) -> str | None:
        """The JSON text of a member; None where it is left out."""
        if isinstance(value, ConstantValue):
            return None if value.value is None else compact(pruned(value.value))
        if isinstance(value, ListValue):
            return f"[{','.join(self.list_element(item) for item in value.list)}]"
        if isinstance(value, ObjectValue):
            text = self.object_of(value.object)
            return None if text == "{}" else text
        column = self.column_of(value)
        found, bad = self.read(value)
        text = self.json_of_slot(value, column, found, bad)
        for code in bad:
            self.flag(code, omit=value.on_bad == "omit")
        if bad:
            return None
        return "null" if text is None and value.nulls == "keep" else text

    def json_of_slot(self, value: ColumnValue | SqlValue, column: Column, found: Any, bad: set[str]) -> str | None:
        """The JSON text of a column's value as the job wants it."""
        if found is None:
            return None
        if value.as_ == "text":
            if column.kind in (Kind.NUMBER, Kind.NESTED):
                self.writer.json_of(found, bad)
            text = self.scalar(column, found)
            return None if text is None or (column.kind is Kind.NESTED and not text) else compact(text)
        if value.as_ == "number" and column.kind in (Kind.TEXT, Kind.JSON):
            text = self.scalar(column, found)
            return None if text is None else self.number_of(text, bad)
        if column.kind is Kind.JSON or (column.kind is Kind.DECIMAL and isinstance(found, str)):
            bad |= {"BF111"} if overflows(json.loads(found, parse_int=float)) else set()
            return str(found)
        if column.kind is Kind.TIMESTAMP:
            return compact(milliseconds(found))
        return self.writer.json_of(found, bad)

    @staticmethod
    def number_of(text: str, bad: set[str]) -> str:
        """A number that is text in the source: its digits as written, if a double can tell it from others."""
        if not NUMBER.fullmatch(text):
            bad.add("BF117")
        elif re.fullmatch(r"[+-]?[0-9]+", text):
            bad |= {"BF110"} if abs(int(text)) > SAFE_INTEGER else set()
        elif not is_finite(float(text)):
            bad.add("BF111")
        return text.removeprefix("+")

    def list_element(self, value: Any) -> str:
        """An element of a list: it stays."""
        return self.member_of(value) or ("{}" if isinstance(value, ObjectValue) else "null")

    # -- objects ------------------------------------------------------------------------------------------------

    def object_of(self, spec: ObjectSpec | None) -> str:
        """The JSON text of properties, traits, context or an inner object."""
        return members(list(self.fields_of(spec).items()))

    def fields_of(self, spec: ObjectSpec | None) -> dict[str, str | None]:
        """Its members in order: the whole column's, overridden where they stand, then the job's own, then `*`."""
        if spec is None:
            return {}
        if spec.column is not None and self.column_of(spec.column).kind is Kind.JSON and not spec.members:
            return self.parsed(spec.column)
        tree: dict[str, Any] = {}
        if spec.column is not None:
            if self.column_of(spec.column).kind is Kind.JSON:
                tree |= {name: ConstantText(text) for name, text in self.parsed(spec.column).items()}
            else:
                struct = self.row[spec.column.column] or dict.fromkeys(self.fields.get(spec.column.column, ()))
                tree |= {name: Field(inner) for name, inner in struct.items()}
        for path, value in spec.members:
            put(tree, path, value)
        if spec.star is not None:
            for name in self.starred(spec):
                tree.setdefault(name, ColumnValue(column=name))
        return {name: self.rendered(value) for name, value in tree.items()}

    def parsed(self, value: ColumnValue) -> dict[str, str | None]:
        """The members of a JSON object, each as it stands in compact form; a problem where it is no object."""
        column = self.column_of(value)
        found, bad = self.read(value)
        if not bad and found is not None and overflows(json.loads(found, parse_int=float)):
            bad = {"BF111"}
        if found is not None and not found.lstrip().startswith("{"):
            bad = bad | {"BF117"}
        for code in bad:
            self.flag(code, omit=value.on_bad == "omit")
        if bad or found is None:
            return {}
        assert column.kind is Kind.JSON
        return {name: compact(inner) for name, inner in json.loads(found).items()}

    def rendered(self, value: Any) -> str | None:
        """The text of a node of the tree."""
        match value:
            case dict():
                text = members([(name, self.rendered(inner)) for name, inner in value.items()])
                return None if text == "{}" else text
            case ConstantText():
                return value.text
            case Field():
                bad: set[str] = set()
                text = self.writer.json_of(value.value, bad)
                for code in bad:
                    self.flag(code)
                return text
            case _:
                return self.member_of(value)

    def starred(self, spec: ObjectSpec) -> list[str]:
        """The columns of `*`: not named elsewhere in the object, nor used as id, time or name, nor excluded."""
        call, star = self.call, spec.star
        used = [call.userId, call.anonymousId, call.groupId, call.previousId, call.event, call.name, call.category]
        taken = {value.column for value in (*used, call.message_id) if isinstance(value, ColumnValue)}
        taken |= {call.timestamp.column, *(star.exclude if star else ())} | columns_in(spec)
        return [name for name in self.columns if name not in taken and not name.startswith(INTERNAL_PREFIX)]
