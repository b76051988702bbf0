"""What of a compiled call its profile looks at: the properties that the job names, the event, the ids."""

from __future__ import annotations

import json
from typing import Any, Final

import polars as pl

from backfill.frozen import frozen
from backfill.job.fields import OWN_BLOCK
from backfill.mapping import CompiledCall
from backfill.mapping.template import BoundValue, Facts, ObjectTemplate, joined, nullable
from backfill.masking import MASKED
from backfill.prepare.masks import Masks
from backfill.records import Kind

#: The field whose value tells the calls of a type apart.
_EVENT_FIELDS: Final = {"track": "event", "page": "name", "screen": "name"}
_TYPES: Final = {
    Kind.TEXT: "string",
    Kind.DATE: "string",
    Kind.TIME: "string",
    Kind.TIMESTAMP: "string",
    Kind.INTEGER: "number",
    Kind.NUMBER: "number",
    Kind.DECIMAL: "number",
    Kind.BOOLEAN: "boolean",
}


@frozen
class Leaf:
    """One property that the job names.

    `text` is its value as JSON, or as it stands where it is `plain` text; null where it is left out.
    """

    path: str
    text: pl.Expr
    type: str | None  # None: the JSON text tells
    reads: tuple[str, ...] = ()  # the columns of `text`
    source: str = ""  # the column whose nulls are the property's; else the text is made to know them
    plain: bool = False
    fixed: str | None = None  # the JSON of a constant
    masked: bool = False


@frozen
class WholeObject:
    """`properties` or `traits` that come from a column whole: their JSON."""

    text: pl.Expr
    masked: bool


@frozen
class ProfiledCall:
    """What of one of the job's calls is looked at."""

    call: CompiledCall
    leaves: tuple[Leaf, ...]
    whole: WholeObject | None
    event: pl.Expr | None
    fixed_event: str  # where `event` is None
    user: pl.Expr | None
    anonymous: pl.Expr | None
    integrations: str


def profiled(call: CompiledCall, masks: Masks) -> ProfiledCall:
    """What of a call is to be looked at."""
    members = call.members.members
    leaves: list[Leaf] = []
    whole = None
    for name in ("properties", "traits"):
        template = members.get(name)
        if isinstance(template, ObjectTemplate) and template.from_column is not None:
            text = joined(template.braced(Facts()))
            whole = WholeObject(text, masks.hide(call, text))
        elif isinstance(template, ObjectTemplate):
            leaves += _leaves(call, template, (), masks)
    event, fixed_event = _event(call, masks)
    ids = (members.get("userId"), members.get("anonymousId"))
    user, anonymous = (bound.plain if isinstance(bound, BoundValue) else None for bound in ids)
    stated = members.get("integrations")
    integrations = "" if stated is None else json.dumps(_described(stated), ensure_ascii=False)
    return ProfiledCall(call, tuple(leaves), whole, event, fixed_event, user, anonymous, integrations)


def _event(call: CompiledCall, masks: Masks) -> tuple[pl.Expr | None, str]:
    """What tells the calls apart: an expression, or None and the one name of all."""
    bound = call.members.members.get(_EVENT_FIELDS.get(call.type, ""))
    if not isinstance(bound, BoundValue):
        return None, ""
    fixed = _constant(bound)
    if fixed is not None:
        return None, str(json.loads(fixed))
    return (None, MASKED) if masks.hide(call, bound.plain) else (bound.plain, "")


def _leaves(call: CompiledCall, template: ObjectTemplate, above: tuple[str, ...], masks: Masks) -> list[Leaf]:
    found: list[Leaf | None] = []
    for name, value in template.members.items():
        path = ".".join((*above, name))
        if isinstance(value, ObjectTemplate) and value.from_column is None:
            found += _leaves(call, value, (*above, name), masks)
        elif isinstance(value, ObjectTemplate):
            text = nullable(value, Facts())
            found.append(
                Leaf(path, text, None, tuple(dict.fromkeys(text.meta.root_names())), masked=masks.hide(call, text))
            )
        else:
            found.append(_leaf(path, value, masked=masks.hide(call, value.text)))
    return [leaf for leaf in found if leaf is not None]


def _leaf(path: str, bound: BoundValue, *, masked: bool) -> Leaf | None:
    """How a value is looked at; None of a constant null, which is never sent."""
    kind = None if bound.kept else _TYPES.get(bound.kind)
    fixed = _constant(bound)
    if fixed is not None:
        return Leaf(path, bound.text, None, fixed=fixed, masked=masked)
    if bound.kind is Kind.NULL and not bound.kept and not bound.source:
        return None
    plain = bound.kind is Kind.TEXT and not bound.kept
    text = bound.plain if plain else bound.text
    source = bound.source if kind is not None else ""
    return Leaf(path, text, kind, tuple(dict.fromkeys(text.meta.root_names())), source, plain, masked=masked)


def _constant(bound: BoundValue) -> str | None:
    """The JSON text of a constant; None of anything else."""
    texts = [part for part in bound.direct if isinstance(part, str)]
    return "".join(texts) if bound.direct and not bound.source and len(texts) == len(bound.direct) else None


def _described(value: ObjectTemplate | BoundValue) -> Any:  # noqa: ANN401 (any JSON value)
    """What stands in every call, and of what comes from the row its column."""
    if isinstance(value, ObjectTemplate):
        own = {} if value.from_column is None else {OWN_BLOCK: "(of the row)"}
        return own | {name: _described(inner) for name, inner in value.members.items()}
    constant = _constant(value)
    return f"(column {value.column})" if constant is None else json.loads(constant)
