"""What a plan tells of its calls (days, events, users), counted from the calls themselves where their rows are not."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime
from typing import Any, Final

import polars as pl
import polars_hash  # noqa: F401  registers the expression namespace `nchash`

from backfill.masking import MASKED
from backfill.pipeline.call_fields import EVENTS, read_json
from backfill.records.profile import Event, Instants, PlanProfile, Sketch, bounded, sketch_of

_DAY_MS: Final = 86_400_000


class CallCounts:
    """Counts of some calls of a plan. What properties they have is not counted, and said to be more than is told."""

    def __init__(self, scopes: list[str], whole: PlanProfile | None) -> None:
        """`scopes` are the labels or types of the job's calls; `whole` is the profile of the plan, where it has one."""
        self._scopes = scopes
        self._whole = whole
        self.days: Counter[tuple[str, str]] = Counter()
        self._calls: dict[str, Instants] = {}
        self._events: Counter[Event] = Counter()
        self._ids: dict[str, set[str]] = {name: set() for name in ("users", "anonymous", "attached", "identified")}

    def add(self, numbers: Iterable[int], texts: Iterable[str]) -> None:
        """Count calls: of each its number in the job, and its JSON."""
        for number, text in zip(numbers, texts, strict=True):
            scope, call = self._scopes[number], read_json(text)
            self.days[scope, call["timestamp"][:10]] += 1
            self._count_instant(scope, call)
            self._events[scope, self._event(scope, call)] += 1
            self._count_ids(call)

    def _count_instant(self, scope: str, call: dict[str, Any]) -> None:
        at = round(datetime.fromisoformat(call["timestamp"]).timestamp() * 1000)
        one = self._calls.get(scope)
        if one is None:
            known = self._whole.calls.get(scope) if self._whole is not None else None
            integrations = json.dumps(call.get("integrations"), ensure_ascii=False, separators=(",", ":"))
            kind, told = (known.type, known.integrations) if known is not None else (call["type"], integrations)
            one = Instants(kind, 0, at, at, 0, told)
        first = at if one.first is None else min(one.first, at)
        last = at if one.last is None else max(one.last, at)
        midnight = one.midnight + (at % _DAY_MS == 0)
        self._calls[scope] = replace(one, calls=one.calls + 1, first=first, last=last, midnight=midnight)

    def _event(self, scope: str, call: dict[str, Any]) -> str:
        """The event by the name that the plan's profile has for it: a masked one stays masked."""
        name = next((str(call[field]) for field in EVENTS if call.get(field)), "")
        return MASKED if self._whole is not None and (scope, MASKED) in self._whole.events else name

    def _count_ids(self, call: dict[str, Any]) -> None:
        user, anonymous = call.get("userId"), call.get("anonymousId")
        if user is not None:
            self._ids["users"].add(user)
            if call["type"] == "identify":
                self._ids["identified"].add(user)
        if anonymous is not None:
            self._ids["anonymous"].add(anonymous)
            if user is not None:
                self._ids["attached"].add(anonymous)

    def profile(self) -> PlanProfile:
        """The profile of the calls counted so far."""
        sketches: dict[str, Any] = {name: _sketch(ids) for name, ids in self._ids.items()}
        return bounded(PlanProfile(self._calls, self._events, more_properties=True, **sketches))


def _sketch(ids: set[str]) -> Sketch:
    hashed = pl.DataFrame({"id": list(ids)}, schema={"id": pl.String}).select(pl.col("id").nchash.xxhash64())  # type: ignore[attr-defined]
    return sketch_of(hashed.to_series().to_numpy())
