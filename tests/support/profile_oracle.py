"""What a list of calls holds, counted one call after the other in plain Python: the twin of prepare/profile."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import replace
from datetime import datetime
from typing import Any

from backfill.masking import shortened
from backfill.records.profile import Instants, PlanProfile, Sketch, Values, bounded

Call = dict[str, Any]
Found = tuple[dict[tuple[str, str, str], dict[str, Values]], dict[str, tuple[int, bool]]]
TYPES = {
    str: "string",
    bool: "boolean",
    dict: "object",
    list: "array",
    type(None): "null",
    int: "number",
    float: "number",
}


def profile_of(calls: Iterable[Call], built: Collection[str] = ()) -> PlanProfile:
    """The profile of calls, but for their ids; `built` are the paths of the objects that the job builds."""
    instants: dict[str, Instants] = {}
    events: Counter[tuple[str, str]] = Counter()
    unpriced: Counter[tuple[str, str]] = Counter()
    found: dict[tuple[str, str, str], dict[str, list[Any]]] = {}
    for call in calls:
        kind = call["type"]
        at = milliseconds(call["timestamp"])
        before = instants.get(kind, Instants(kind, 0, at, at, 0, json.dumps(call.get("integrations"))))
        first, last = min(before.first or at, at), max(before.last or at, at)
        midnight = before.midnight + (at % 86_400_000 == 0)
        instants[kind] = replace(before, calls=before.calls + 1, first=first, last=last, midnight=midnight)
        event = (kind, call.get("event" if kind == "track" else "name") or "")
        events[event] += 1
        whole = call.get("traits" if kind in ("identify", "group") else "properties", {})
        unpriced[event] += whole.get("revenue") is not None and whole.get("currency") is None
        for path, value in members(whole, built):
            found.setdefault((*event, path), {}).setdefault(TYPES[type(value)], []).append(value)
    properties = {name: {kind: told(some) for kind, some in kinds.items()} for name, kinds in found.items()}
    return bounded(PlanProfile(instants, events, properties, unpriced=+unpriced))


def members(value: Call, built: Collection[str], above: str = "") -> Iterable[tuple[str, Any]]:
    """The members of an object, and of those inside that the job builds."""
    for name, inner in value.items():
        path = f"{above}{name}"
        if path in built and isinstance(inner, dict):
            yield from members(inner, built, f"{path}.")
        else:
            yield path, inner


def told(values: list[Any]) -> Values:
    """What is to be told of values of one type."""
    texts = [
        value if isinstance(value, str) else json.dumps(value, separators=(",", ":"), ensure_ascii=False)
        for value in values
    ]
    long = sum(isinstance(value, str) and len(value.encode()) > 512 for value in values)
    return Values(len(values), shortened(texts[0]), "one" if len(set(texts)) == 1 else "", long)


def milliseconds(text: str) -> int:
    """An instant of a call in milliseconds since 1970."""
    return round(datetime.fromisoformat(text).timestamp() * 1_000)


def without_digests(profile: PlanProfile) -> PlanProfile:
    """The profile as the oracle has it: no ids, and of a digest only whether there is one."""
    properties = {
        name: {kind: replace(values, digest="one" if values.digest else "") for kind, values in kinds.items()}
        for name, kinds in profile.properties.items()
    }
    calls = {scope: one for scope, one in profile.calls.items() if one.calls}
    nobody = Sketch()
    return replace(
        profile, calls=calls, properties=properties, users=nobody, anonymous=nobody, attached=nobody, identified=nobody
    )


def tracked_users(calls: Iterable[Call]) -> tuple[int, int, int, int]:
    """userIds, anonymousIds, those that came beside a userId, and userIds of identify calls."""
    users, anonymous, attached, identified = set(), set(), set(), set()
    for call in calls:
        users.add(call.get("userId"))
        anonymous.add(call.get("anonymousId"))
        if call.get("userId") is not None:
            attached.add(call.get("anonymousId"))
        if call["type"] == "identify":
            identified.add(call.get("userId"))
    return tuple(len(some - {None}) for some in (users, anonymous, attached, identified))  # type: ignore[return-value]
