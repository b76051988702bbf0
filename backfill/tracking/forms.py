"""The forms in which tracking plans are kept, each read into rules of one kind.

- The Public API's: `rules` is a list of {type, key, version, jsonSchema}, of a plan or of the answer of
  `GET /tracking-plans/{id}/rules` (https://docs.segmentapis.com/tag/Tracking-Plans).
- Typewriter's plan.json: the same, the schema taken out of its wrapping and marked by `eventMetadata`
  (github.com/segmentio/typewriter, src/api/trackingplans.ts, `sanitizeTrackingPlan`).
- The older Config API's: `rules` (or the document itself) has `events`, a list of {name, version, rules}, and `global`,
  `identify`, `group` (github.com/segmentio/typewriter, tests/__fixtures__/tracking-plan-fixture.json).
- One JSON Schema, of the whole call or of its properties alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from backfill.document import suggest
from backfill.frozen import frozen
from backfill.tracking.model import CALL_TYPES, COMMON

#: The objects of a call that hold what people plan: what a schema of a whole call is told by.
_OBJECTS: Final = frozenset({"properties", "traits", "context"})
_TYPES: Final = (*CALL_TYPES, COMMON)
_NO_PLAN = "is no tracking plan that is known"
_FORMS = "wanted are Segment's rules as JSON (`rules: [{type, key, jsonSchema}]`), or a folder of JSON Schemas"

#: Takes a JSON pointer, what is wrong there, and what to do.
Complaint = Callable[[str, str, str], None]


@frozen
class Rule:
    """One rule as it was found: its schema is of the whole call, `pointer` says where that stands in the file."""

    type: str
    name: str
    version: int
    schema: Mapping[str, Any]
    pointer: str


def rules_of(document: Any, complain: Complaint) -> Iterator[Rule]:  # noqa: ANN401 (any JSON)
    """The rules of a document, whatever its form; what is wrong is complained of."""
    pointer = ""
    for name in ("data", "trackingPlan", "tracking_plan"):
        if isinstance(document, Mapping) and name in document and "rules" not in document:
            document, pointer = document[name], f"{pointer}/{name}"
    if not isinstance(document, Mapping):
        complain(pointer, _NO_PLAN, _FORMS)
        return
    pages = document.get("pagination")
    if isinstance(pages, Mapping) and pages.get("next"):
        hint = "get the pages after it too, and put all `rules` into one file"
        complain(f"{pointer}/pagination/next", "says that this is only a part of the rules", hint)
    rules = document.get("rules")
    if isinstance(rules, list):
        for place, rule in enumerate(rules):
            yield from public_rule(rule, f"{pointer}/rules/{place}", complain)
    elif isinstance(rules, Mapping) and ("events" in rules or "global" in rules):
        yield from _config_rules(rules, f"{pointer}/rules", complain)
    elif isinstance(document.get("events"), list):
        yield from _config_rules(document, pointer, complain)
    else:
        near = suggest("rules", [name for name in document if name != "rules"])
        complain(pointer, _NO_PLAN if not near else "has no `rules`", near or _FORMS)


def public_rule(rule: Any, pointer: str, complain: Complaint) -> Iterator[Rule]:  # noqa: ANN401
    """One rule of the Public API's form; nothing where it is faulty."""
    if not isinstance(rule, Mapping):
        complain(pointer, "is no rule", "a rule is {type, key, version, jsonSchema}")
        return
    schema, stated = rule.get("jsonSchema"), rule.get("type")
    kind = stated.lower() if isinstance(stated, str) else ""
    name = rule.get("key") or ""
    if kind not in _TYPES:
        hint = suggest(kind, _TYPES) or f"it is one of {', '.join(_TYPES)}"
        message = f"{stated!r} is no type of rule" if "type" in rule else "has no `type`"
        complain(f"{pointer}/type" if "type" in rule else pointer, message, hint)
    elif not isinstance(name, str) or (kind == "track" and not name):
        complain(f"{pointer}/key" if "key" in rule else pointer, "is not the name of an event", "a track rule needs it")
    elif "jsonSchema" not in rule:
        complain(pointer, "has no `jsonSchema`", suggest("jsonSchema", rule))
    else:
        yield from _rule(kind, name, rule.get("version", 1), schema, f"{pointer}/jsonSchema", complain)


def schema_file(document: Any, stem: str, complain: Complaint) -> Iterator[Rule]:  # noqa: ANN401
    """The rule of a file of its own: one of the Public API's, or a schema of what the file's name says."""
    if isinstance(document, Mapping) and "jsonSchema" in document:
        yield from public_rule(document, "", complain)
    elif stem in (*CALL_TYPES[1:], COMMON):
        yield from _rule(stem, "", 1, document, "", complain)
    else:
        yield from _rule("track", stem, 1, document, "", complain)


def _config_rules(rules: Mapping[str, Any], pointer: str, complain: Complaint) -> Iterator[Rule]:
    events = rules.get("events") or []
    if not isinstance(events, list):
        complain(f"{pointer}/events", "is no list of events", "an event is {name, version, rules}")
        events = []
    for place, event in enumerate(events):
        at = f"{pointer}/events/{place}"
        if not isinstance(event, Mapping) or not isinstance(event.get("name"), str) or not event["name"]:
            complain(at, "is no event", "an event is {name, version, rules}")
        elif "rules" not in event:
            complain(at, "has no `rules`", suggest("rules", event))
        else:
            yield from _rule("track", event["name"], event.get("version", 1), event["rules"], f"{at}/rules", complain)
    for field, kind in (("global", COMMON), *((kind, kind) for kind in CALL_TYPES[1:])):
        if rules.get(field):
            yield from _rule(kind, "", 1, rules[field], f"{pointer}/{field}", complain)


def _rule(kind: str, name: str, version: Any, schema: Any, pointer: str, complain: Complaint) -> Iterator[Rule]:  # noqa: ANN401
    if not isinstance(schema, Mapping):
        complain(pointer, "is no JSON Schema", "a schema is an object")
    elif isinstance(version, bool) or not isinstance(version, int | float) or version != int(version):
        complain(pointer.rpartition("/")[0], f"has the version {version!r}", "it is a whole number")
    else:
        yield Rule(kind, name, int(version), _of_call(kind, schema), pointer)


def _of_call(kind: str, schema: Mapping[str, Any]) -> Mapping[str, Any]:
    """The schema as one of the whole call: what describes properties (or traits) alone is wrapped."""
    if kind == COMMON:
        return schema
    listed = schema.get("properties")
    wrapped = isinstance(listed, Mapping) and listed and _OBJECTS.issuperset(listed)
    if (wrapped and "eventMetadata" not in schema) or not (listed or "required" in schema):
        return schema
    field = "traits" if kind in ("identify", "group") else "properties"
    inner = {name: value for name, value in schema.items() if name != "eventMetadata"}
    kept: dict[str, Any] = {name: inner.pop(name) for name in ("$schema", "definitions") if name in inner}
    return {**kept, "type": "object", "properties": {field: inner}}
