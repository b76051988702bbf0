"""Events and properties of a plan's calls that the job's tracking plan does not have, each with its calls."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, Final

from backfill.errors import counted
from backfill.escape import escaped
from backfill.frozen import frozen
from backfill.masking import MASKED
from backfill.records.profile import Event, PlanProfile, Property
from backfill.tracking import TrackingPlan
from backfill.tracking.model import JOB_DATA, planned_properties

#: What a terminal shows of each.
SHOWN: Final = 6
_WIDTH: Final = 68


@frozen
class Unplanned:
    """What of the calls to be sent no rule names, most calls first, as far as their profile keeps names apart."""

    events: tuple[tuple[Event, int], ...]
    properties: tuple[tuple[Property, int], ...]
    whole: bool  # every name was kept apart


def find_unplanned(profile: PlanProfile, job_data: str) -> Unplanned | None:
    """What is unplanned by the tracking plan that the job's data has; None where the job has none.

    What `rules` ignores is left out. Where an event has several versions, a property is planned if one of them has it.
    """
    data = json.loads(job_data)
    if JOB_DATA not in data:
        return None
    plan, rules = TrackingPlan(data[JOB_DATA]), data.get("rules", {})
    events = _events(profile, plan) if rules.get("BF140") != "ignore" else ()
    properties = _properties(profile, plan) if rules.get("BF141") != "ignore" else ()
    return Unplanned(
        tuple(sorted(events, key=lambda one: (-one[1], one[0]))),
        tuple(sorted(properties, key=lambda one: (-one[1], one[0]))),
        not profile.more_events and not profile.more_properties,
    )


def _events(profile: PlanProfile, plan: TrackingPlan) -> Iterator[tuple[Event, int]]:
    known = set(plan.names("track"))
    for event, calls in profile.events.items():
        if profile.calls[event[0]].type == "track" and event[1] not in known | {MASKED}:
            yield event, calls


def _properties(profile: PlanProfile, plan: TrackingPlan) -> Iterator[tuple[Property, int]]:
    for name, kinds in profile.properties.items():
        kind = profile.calls[name[0]].type
        field = "traits" if kind in ("identify", "group") else "properties"
        named = plan.rules.get(kind, {})
        schemas = (named.get(name[1]) or named.get("") or {}).values()
        listed = [planned_properties(schema, field) for schema in schemas]
        if all(listed) and listed and not any(_has(each, name[2]) for each in listed):
            yield name, sum(values.calls for values in kinds.values())


def _has(listed: Mapping[str, Any], path: str) -> bool:
    """Whether a property of that path is listed, or one that it is inside of."""
    return any(path == name or path.startswith(f"{name}.") for name in listed)


def unplanned_json(unplanned: Unplanned | None) -> dict[str, Any] | None:
    """The key `tracking_plan` of a plan's JSON; a promise (docs/cli.md)."""
    if unplanned is None:
        return None
    return {
        "unplanned_events": [{"call": scope, "event": name, "calls": n} for (scope, name), n in unplanned.events],
        "unplanned_properties": [
            {"call": scope, "event": event, "property": name, "calls": calls}
            for (scope, event, name), calls in unplanned.properties
        ],
        "exact": unplanned.whole,
    }


def unplanned_lines(unplanned: Unplanned | None) -> list[str]:
    """The same for a terminal; nothing where nothing is unplanned."""
    if unplanned is None or not (unplanned.events or unplanned.properties):
        return []
    lines = []
    if unplanned.events:
        lines.append(f"{counted(len(unplanned.events), 'event', 'events')} not in the tracking plan")
        lines += [_line(name, calls) for (_, name), calls in unplanned.events[:SHOWN]]
        lines += _more(len(unplanned.events))
    if unplanned.properties:
        lines.append(f"{counted(len(unplanned.properties), 'property', 'properties')} not in the tracking plan")
        told = [(f"{name} in {event or scope!r}", calls) for (scope, event, name), calls in unplanned.properties]
        lines += [_line(*one) for one in told[:SHOWN]]
        lines += _more(len(told))
    return lines if unplanned.whole else [*lines, "there are more names than are kept apart"]


def _more(count: int) -> list[str]:
    return [f"  and {count - SHOWN:,} more"] if count > SHOWN else []


def _line(name: str, calls: int) -> str:
    told = f": {counted(calls, 'call', 'calls')}"
    text, width = escaped(name), _WIDTH - 2 - len(told)
    return f"  {text if len(text) <= width else f'{text[: width - 3]}...'}{told}"
