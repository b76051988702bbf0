"""Which facts concern a job or a plan: by the destinations that its calls turn on, their types and their dates."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final

from backfill.advice.facts import Destination, Fact, Way, destinations
from backfill.advice.names import meant_name
from backfill.frozen import frozen
from backfill.job.fields import OWN_BLOCK
from backfill.records.profile import PlanProfile

if TYPE_CHECKING:  # status tells the advice on a plan, without a job
    from backfill.job.models import Job

_ALL: Final = "All"
_HOUR: Final = 3_600_000
_DAY: Final = 24 * _HOUR
_EPOCH_ORDINAL: Final = 719_163  # 1970-01-01


@frozen
class Traffic:
    """The calls of one kind that a job makes: to whom they go, and when they happened as far as that is known."""

    scope: str  # the call's label or type
    type: str
    integrations: Mapping[str, Any]
    calls: int | None = None  # None: not counted yet
    first: int | None = None  # milliseconds since 1970
    last: int | None = None


@frozen
class Advice:
    """A fact that concerns some calls."""

    destination: str  # as the job names it
    fact: Fact
    calls: tuple[str, ...]  # their labels or types
    applies: str  # all: to every one of them; some: to some; dates: to those of the dates it tells of, not known yet
    avoid: Mapping[str, Any] | None  # the integrations of these calls with the destination off; None: nothing does


@frozen
class UndoNote:
    """How a destination that calls were sent to is rid of them, or is not."""

    destination: str  # as the job names it
    way: Way


def in_job(job: Job) -> list[Traffic]:
    """The calls of a job whose source was not read: their dates are unknown."""
    return [Traffic(call.scope, call.type, call.integrations) for call in job.calls if call.integrations is not None]


def in_plan(profile: PlanProfile) -> list[Traffic]:
    """The calls of a plan that are to be sent."""
    return [
        Traffic(scope, one.type, json.loads(one.integrations), one.calls, one.first, one.last)
        for scope, one in profile.calls.items()
        if one.calls and one.integrations
    ]


def advise(traffic: Iterable[Traffic], now: float) -> list[Advice]:
    """The facts that concern these calls if they are sent at `now` (POSIX seconds), in the order of the file.

    Of a job that turns nothing on there are none. Calls of which one fact holds alike are told together.
    """
    found: dict[tuple[str, Fact, str, str], Advice] = {}
    flows = [flow for flow in traffic if flow.integrations != {_ALL: False}]
    for destination in destinations() if flows else ():  # the file is read where a job needs it
        for flow in flows:
            for name in _reached(destination, flow.integrations):
                for fact in destination.facts:
                    applies = _applies(fact, name, flow, now)
                    avoid = None if destination.whenever_named else _without(flow.integrations, name)
                    if applies:
                        key = (name, fact, applies, json.dumps(avoid, default=str))
                        calls = (*found[key].calls, flow.scope) if key in found else (flow.scope,)
                        found[key] = Advice(name, fact, calls, applies, avoid)
    return list(found.values())


def undo_notes(traffic: Iterable[Traffic]) -> list[UndoNote]:
    """What the destinations that these calls reach say of taking them back, in the order of the file.

    The warehouses are always reached.
    """
    flows = list(traffic)
    types = {flow.type for flow in flows}
    found = []
    for destination in destinations():
        names = dict.fromkeys(name for flow in flows for name in _reached(destination, flow.integrations))
        if destination.whenever_named:
            names = {destination.title: None}
        found += [
            UndoNote(name, way) for name in names for way in destination.undo if not way.calls or types & {*way.calls}
        ]
    return found


def _reached(destination: Destination, integrations: Mapping[str, Any]) -> Iterator[str]:
    """The names under which calls with these integrations reach a destination."""
    for name in destination.names:
        if name == _ALL:
            if integrations.get(_ALL, OWN_BLOCK not in integrations) is not False:  # Segment's default is true
                yield name
        elif name in integrations and (destination.whenever_named or integrations[name] is not False):
            yield name


def _applies(fact: Fact, name: str, flow: Traffic, now: float) -> str:
    if name not in fact.names or (fact.calls and flow.type not in fact.calls):
        return ""
    at = round(now * 1_000)
    if fact.older_than_hours is not None:
        return _before(flow, at - fact.older_than_hours * _HOUR)
    if fact.before is not None:
        return _before(flow, (fact.before.toordinal() - _EPOCH_ORDINAL) * _DAY)
    if fact.within_hours is not None:
        return _since(flow, at - fact.within_hours * _HOUR)
    return "all"


def _before(flow: Traffic, instant: int) -> str:
    if flow.first is None or flow.last is None:
        return "dates"
    return "all" if flow.last < instant else "some" if flow.first < instant else ""


def _since(flow: Traffic, instant: int) -> str:
    if flow.first is None or flow.last is None:
        return "dates"
    return "all" if flow.first >= instant else "some" if flow.last >= instant else ""


def _without(integrations: Mapping[str, Any], name: str) -> dict[str, Any]:
    """The integrations with a destination off: All off where that is meant, else the name left out or false.

    Names that Segment would take no notice of are written as it knows them.
    """
    meant = {each: meant_name(each) or each for each in integrations}
    rest = {
        meant[each]: value
        for each, value in integrations.items()
        if each != name and (meant[each] == each or meant[each] not in integrations)
    }
    if name == _ALL:
        return {_ALL: False} | rest
    closed = integrations.get(_ALL) is False and OWN_BLOCK not in integrations
    return rest if closed else rest | {name: False}
