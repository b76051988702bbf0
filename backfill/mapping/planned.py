"""What a tracking plan says of a call, compiled: expressions where its schemas allow, the rest for a validator.

A schema of JSON Schema (draft-07) is a conjunction of keywords, so that each may be judged alone, in any order and by
any means. Of objects that a job puts together member by member, `type`, `required`, `properties` and
`additionalProperties: false` become expressions, as do the keywords of single values (see `planned_values`). What is
left over is a smaller schema over the JSON of the members that it is about. A schema with `$ref` is left over whole.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

import polars as pl

from backfill import encode
from backfill.job.models import Call, ConstantValue, Job
from backfill.job.tracked import NAME_FIELDS, event_version
from backfill.mapping.calls import Check, PlannedCall, PlannedEvent, Residue
from backfill.mapping.planned_values import constant_json, is_there, says_something, split_value
from backfill.mapping.template import BoundValue, Facts, ObjectTemplate, joined, never_null
from backfill.records import Severity
from backfill.rules import severity
from backfill.tracking.describe import CODES, code_of, wanted
from backfill.tracking.model import Schema, planned_properties
from backfill.tracking.schemas import ADDED_LATER, compile_schema, has_reference, violations

#: Keywords of objects that expressions judge, if need be in part.
_OBJECT: Final = frozenset({"type", "required", "properties", "additionalProperties"})

Path = tuple[str, ...]


def plan_call(job: Job, call: Call, members: ObjectTemplate) -> PlannedCall | None:
    """What the job's tracking plan says of a call with these members; None where that is nothing."""
    rules: dict[str, str] = {**job.rules}
    levels = {code: level for code in CODES if (level := severity(code, rules)) is not None}
    if job.tracking is None or not levels:
        return None
    whole = ObjectTemplate({"type": never_null(encode.literal(call.type)), **members.members}, present=True)
    whole.put(("messageId",), never_null('"', pl.lit(""), '"'))
    always = _common(job.tracking.common, whole, levels)
    stated, bound = _name(call, whole)
    if isinstance(bound, BoundValue):
        planned = _by_row(job, call, whole, bound, levels)
    else:
        schema = job.tracking.schema(call.type, stated, event_version(call))
        events = {} if schema is None else {"": _event(call.type, stated, schema, whole, levels)}
        planned = PlannedCall(None, events)
        if call.type == "track" and schema is None and "BF140" in levels:
            planned = replace(
                planned, unplanned=Check("BF140", levels["BF140"], "event", pl.lit(value=True), pl.lit(stated))
            )
    if not planned.events and always is None and planned.others is None and planned.unplanned is None:
        return None
    return replace(planned, always=always)


def _name(call: Call, whole: ObjectTemplate) -> tuple[str, BoundValue | None]:
    """What tells by which rule a call is judged: a constant, or what gives it row by row."""
    field = NAME_FIELDS.get(call.type, "")
    stated, bound = getattr(call, field, None), whole.members.get(field)
    if isinstance(stated, ConstantValue):
        return str(stated.value), None
    return "", bound if isinstance(bound, BoundValue) else None


def _by_row(
    job: Job, call: Call, whole: ObjectTemplate, name: BoundValue, levels: Mapping[str, Severity]
) -> PlannedCall:
    """A call whose rule the row tells. Where its column is masked, no detail names the event."""
    assert job.tracking is not None
    hidden = job.mask == "all" or any(masked in name.column for masked in job.mask)
    version = event_version(call)
    schemas = {one: job.tracking.schema(call.type, one, version) for one in job.tracking.names(call.type)}
    events = {
        one: _event(call.type, "" if hidden else one, schema, whole, levels)
        for one, schema in schemas.items()
        if schema is not None
    }
    other, others, unplanned = job.tracking.schema(call.type, "", version), None, None
    if other is not None:
        others = _event(call.type, "", other, whole, levels)
    elif call.type == "track" and "BF140" in levels:
        mask = ~name.plain.is_in(list(events))
        unplanned = Check("BF140", levels["BF140"], name.column or "event", mask, name.plain)
    return PlannedCall(name.plain, events, others, None, unplanned)


def _event(kind: str, name: str, schema: Schema, whole: ObjectTemplate, levels: Mapping[str, Severity]) -> PlannedEvent:
    told = f"in {name!r}" if name else f"of {kind}"
    planned: dict[Path, frozenset[str]] = {}
    for inner in ("properties", "traits") if "BF141" in levels else ():
        if listed := planned_properties(schema, inner):  # others are unplanned
            planned[(inner,)] = frozenset(listed)
    return _Compiler(levels, told, planned).event(schema, whole)


def _common(schemas: tuple[Schema, ...], whole: ObjectTemplate, levels: Mapping[str, Severity]) -> PlannedEvent | None:
    found = [_Compiler(levels, "by the common schema", {}).event(schema, whole) for schema in schemas]
    found = [each for each in found if each.checks or each.residues]
    if not found:
        return None
    checks, residues = (tuple(x for each in found for x in getattr(each, name)) for name in ("checks", "residues"))
    return PlannedEvent(checks, residues, levels, found[0].told)


@dataclass(slots=True)
class _Compiler:
    """Compiles one schema of a whole call."""

    levels: Mapping[str, Severity]
    told: str
    planned: Mapping[Path, frozenset[str]]
    checks: list[Check] = field(default_factory=list)
    columns: dict[Path, str] = field(default_factory=dict)

    def event(self, schema: Schema, whole: ObjectTemplate) -> PlannedEvent:
        own = _without_added(schema)
        if has_reference(own) or "messageId" in own.get("properties", {}):
            self.columns |= _columns(whole, ())
            planned = {path: names for path, names in self.planned.items() if path[0] in whole.members}
            residue = Residue(None, own, self.columns, planned)
            return PlannedEvent((), (residue,), self.levels, self.told)
        left, template = self._object(own, whole, (), pl.lit(value=True))
        residues: tuple[Residue, ...] = ()
        if template is not None:
            text = None if template is whole else joined(template.braced(Facts()), skip_nulls=True)
            residues = (Residue(text, left, self.columns, self._planned_of(template, ())),)
        return PlannedEvent(tuple(self.checks), residues, self.levels, self.told)

    def _planned_of(self, template: ObjectTemplate, above: Path) -> dict[Path, frozenset[str]]:
        """Of the objects that come from a column whole, which properties they may have."""
        found = {}
        for name, value in template.members.items():
            if isinstance(value, ObjectTemplate) and (*above, name) in self.planned and value.from_column is not None:
                found[(*above, name)] = self.planned[(*above, name)]
        return found

    def check(self, path: Path, keyword: str, value: Any, mask: pl.Expr, shown: pl.Expr, column: str = "") -> None:  # noqa: ANN401
        """Add a check, unless its code is ignored."""
        code = code_of(keyword)
        if code in self.levels:
            detail = " ".join(filter(None, (wanted(keyword, value), self.told)))
            self.checks.append(Check(code, self.levels[code], label(path, column), mask, shown, detail))

    def _object(
        self, schema: Schema, template: ObjectTemplate, path: Path, there: pl.Expr
    ) -> tuple[dict[str, Any], ObjectTemplate | None]:
        """Judge an object by expressions; returns the schema that is left over and the members that it is about."""
        if template.from_column is not None:
            return self._whole(schema, template, path)
        stated = schema.get("type")
        if stated is not None and "object" not in ([stated] if isinstance(stated, str) else stated):
            self.check(path, "type", stated, there, pl.lit(""))
        for name in schema.get("required", ()):
            if path or name not in ADDED_LATER:
                self._required(schema, (*path, name), template.members.get(name), there)
        listed: Mapping[str, Any] = schema.get("properties", {})
        inner, some = self._members(listed, template, path, there)
        left = {name: value for name, value in schema.items() if name not in _OBJECT and says_something(name)}
        others = schema.get("additionalProperties", True)
        if "patternProperties" in schema or isinstance(others, Mapping):
            left["additionalProperties"] = others
            inner = {name: inner.get(name, True) for name in listed}
        elif others is False or path in self.planned:
            for name in template.members.keys() - listed.keys():
                value = template.members[name]
                shown = value.plain if isinstance(value, BoundValue) else pl.lit("")
                mask = there & is_there(value)
                self.check((*path, name), "additionalProperties", others, mask, shown, _column(value))
        if not left:
            return ({"properties": inner}, some) if some.members else ({}, None)
        self.columns |= _columns(template, path)
        return {**left, "properties": inner}, template

    def _whole(
        self, schema: Schema, template: ObjectTemplate, path: Path
    ) -> tuple[dict[str, Any], ObjectTemplate | None]:
        """An object that comes from a column: all of it is left over."""
        assert template.from_column is not None
        self.columns |= _columns(template, path)
        keep = {name: value for name, value in schema.items() if says_something(name)}
        return keep, template if keep or path in self.planned else None

    def _members(
        self, listed: Mapping[str, Any], template: ObjectTemplate, path: Path, there: pl.Expr
    ) -> tuple[dict[str, Any], ObjectTemplate]:
        """Judge the members that the schema lists; what is left over of them."""
        inner: dict[str, Any] = {}
        some = ObjectTemplate(present=True)
        for name, value in template.members.items():
            if name not in listed:
                if (
                    (*path, name) in self.planned
                    and isinstance(value, ObjectTemplate)
                    and value.from_column is not None
                ):
                    some.put((name,), value)
                continue
            left, part = self._value(listed[name], value, (*path, name), there)
            if part is not None:
                inner[name] = left
                some.put((name,), part)
        return inner, some

    def _value(
        self,
        schema: Any,  # noqa: ANN401 (a schema, or true or false)
        value: ObjectTemplate | BoundValue,
        path: Path,
        there: pl.Expr,
    ) -> tuple[Any, ObjectTemplate | BoundValue | None]:
        if schema is True:
            return {}, None
        if schema is False:
            shown = value.plain if isinstance(value, BoundValue) else pl.lit("")
            self.check(path, "falseSchema", None, there & is_there(value), shown, _column(value))
            return {}, None
        if isinstance(value, ObjectTemplate):
            left, part = self._object(schema, value, path, there if value.present else there & is_there(value))
            if part is not None and part is not value:
                part.present = value.present
            return left, part
        fixed = constant_json(value)
        if fixed is not None:
            for broken in violations(compile_schema(schema), schema, fixed):
                steps = (*path, *map(str, broken.path))
                self.check(steps, broken.keyword, broken.wanted, there, value.plain, value.column)
            return {}, None
        found, left = split_value(schema, value)
        for keyword, wants, mask in found:
            self.check(path, keyword, wants, mask, value.plain, value.column)
        self.columns[path] = value.column
        return left, value if left else None

    def _required(self, schema: Schema, path: Path, value: ObjectTemplate | BoundValue | None, there: pl.Expr) -> None:
        if value is None:
            self.check(path, "required", schema["required"], there, pl.lit(""))
        else:
            self.check(path, "required", schema["required"], there & ~is_there(value), pl.lit(""), _column(value))


def label(path: Path, column: str) -> str:
    """A property as problems name it: its path, and the source's column where that is called otherwise."""
    name = ".".join(path)
    return f"{name} (column {column})" if column and column != path[-1] else name


def _column(value: ObjectTemplate | BoundValue) -> str:
    return value.column if isinstance(value, BoundValue) else ""


def _columns(template: ObjectTemplate, above: Path) -> dict[Path, str]:
    """The column of each value of an object, and of each object in it that comes from a column whole."""
    found: dict[Path, str] = {}
    if template.from_column is not None:
        names = dict.fromkeys(name.rpartition(":")[2] for name in template.from_column.meta.root_names())
        found[above] = ", ".join(names)
    for name, value in template.members.items():
        path = (*above, name)
        found |= _columns(value, path) if isinstance(value, ObjectTemplate) else {path: value.column}
    return found


def _without_added(schema: Schema) -> dict[str, Any]:
    """The schema without what it says of fields that are not in a call before it is sent."""
    own = {name: value for name, value in schema.items() if name not in ("$schema", "$id")}
    if isinstance(own.get("properties"), Mapping):
        own["properties"] = {name: value for name, value in own["properties"].items() if name not in ADDED_LATER}
    if "required" in own:
        own["required"] = [name for name in own["required"] if name not in ADDED_LATER]
    return own
