"""What is odd about a plan's calls, all of them together: judged from its profile, once every row was seen.

Nothing of it keeps a call from being sent. Each finding says how many calls it is of (BF302, BF303, BF312: how many
names). Of a few calls nothing is said that may be so by chance.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

from backfill.frozen import frozen
from backfill.job.models import ConstantValue, Job, ObjectSpec
from backfill.records import Problem, Severity
from backfill.records.profile import HASHES, Event, PlanProfile, Property, merged_sketch
from backfill.rules import CODES, severity

#: The code of users without an identify call, which only several plans together can tell.
UNIDENTIFIED: Final = "BF314"
#: Of fewer calls nothing is said of what all or many of them share.
ENOUGH: Final = 100
#: Of the calls, when so many lie at midnight, or before 2000, the one is odd and the other is.
_SHARE: Final = 0.1
_YEAR_2000: Final = 946_684_800_000
#: The days of January 1970 that a thousandth of the time from 2000 to 2030 falls on, the last one left out: seconds
#: that were taken for milliseconds.
SHRUNK: Final = ("1970-01-11", "1970-01-23")
#: Columns that every table of a Segment warehouse has: properties of these names are left out of it
#: (https://www.twilio.com/docs/segment/connections/storage/warehouses/schema).
_OWN_COLUMNS: Final = frozenset({
    "id", "uuid", "uuid_ts", "user_id", "anonymous_id", "received_at", "sent_at", "timestamp", "original_timestamp",
    "event", "event_text", "loaded_at",
})  # fmt: skip
_WORD_START: Final = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_NO_WORD: Final = re.compile(r"[^A-Za-z0-9]+")
#: A date, a UUID or another long hexadecimal number, five digits in a row, an address.
_UNBOUNDED: Final = re.compile(
    r"\d{4}-\d\d-\d\d|[0-9a-f]{8}-[0-9a-f]{4}-|\b(?=[0-9a-f]*\d)[0-9a-f]{12,}\b|\d{5}|\S@\S", re.IGNORECASE
)


def lint(
    job: Job, profile: PlanProfile, early: Mapping[str, int], other_unit: Mapping[str, int]
) -> list[tuple[Problem, int]]:
    """What is odd about the calls of the profile, each with how many it is of, but for what the job ignores.

    `early` are calls dated before 2000, `other_unit` those of the days of SHRUNK, by label or type.
    """
    said = [*_of_properties(job, profile), *_of_events(profile), *_of_times(job, profile, early, other_unit)]
    rules: dict[str, str] = {**job.rules}
    return [
        (Problem(code, Severity.WARNING, _message(code, detail), file="", record=0, call=scope, column=name), count)
        for code, scope, name, detail, count in sorted(said, key=lambda one: one[0])
        if severity(code, rules) is not None
    ]


@frozen
class Unidentified:
    """The users of a plan whom no identify call of any of several plans has."""

    count: int
    exact: bool
    identified: frozenset[int]  # the hashes of the users who have one
    bound: int  # only hashes below it are compared


def without_identify(plans: Sequence[PlanProfile]) -> list[Unidentified]:
    """The users of each plan whom no identify call of any of them has.

    Of sketches the hashes below the lower of their thresholds are compared: the share of those that are missing holds
    for all (Bar-Yossef et al., as `records.profile.Sketch`).
    """
    identified = merged_sketch(plan.identified for plan in plans)
    known = frozenset(identified.values)
    found = []
    for plan in plans:
        exact = identified.exact and plan.users.exact
        bound = min(identified.bound, plan.users.bound)
        missing = sum(value not in known for value in plan.users.values if value < bound)
        count = missing if exact else round(missing * HASHES / bound)
        found.append(Unidentified(count, exact, known, bound))
    return found


def _message(code: str, detail: str) -> str:
    return f"{CODES[code].title}: {detail}" if detail else CODES[code].title


#: Code, label or type of the call, property or event, what is said, of how many.
_Said = tuple[str, str, str, str, int]


def _of_properties(job: Job, profile: PlanProfile) -> Iterator[_Said]:
    by_event: dict[Event, list[Property]] = defaultdict(list)
    for name in profile.properties:
        by_event[name[:2]].append(name)
    for (scope, event), names in by_event.items():
        kind = profile.calls[scope].type
        for name in names:
            for code, detail, count in _of_values(profile, name):
                yield code, scope, name[2], _in_event(event, detail), count
        yield from _of_names(scope, [name[2] for name in names], people=kind in ("identify", "group"))
        if missing := profile.unpriced.get((scope, event)):
            yield "BF311", scope, "currency", _in_event(event), missing
        same = sorted(name[2] for name in names if _is_same(job, profile, name))
        # The same page has the same address and title.
        if same and kind not in ("page", "screen") and profile.events.get((scope, event), 0) >= ENOUGH:
            yield "BF312", scope, ", ".join(same), _in_event(event), len(same)


def _in_event(event: str, detail: str = "") -> str:
    return ", ".join(filter(None, (detail, event and f"in {event!r}")))


def _of_values(profile: PlanProfile, name: Property) -> Iterator[tuple[str, str, int]]:
    kinds = {kind: values.calls for kind, values in profile.properties[name].items() if kind != "null"}
    if len(kinds) > 1:
        told = ", ".join(f"{kind} in {calls:,}" for kind, calls in sorted(kinds.items(), key=lambda one: -one[1]))
        yield "BF301", told, sum(kinds.values()) - max(kinds.values())
    long = sum(values.long for values in profile.properties[name].values())
    if long:
        yield "BF304", "", long


def _of_names(scope: str, names: Iterable[str], *, people: bool) -> Iterator[_Said]:
    """Names that become one column with another, or with one that every table has."""
    columns: dict[str, list[str]] = defaultdict(list)
    for name in names:
        columns[snake_case(name)].append(name)
    for column, alike in columns.items():
        if column in _OWN_COLUMNS and not (people and column == "id"):
            yield "BF302", scope, ", ".join(alike), f"column {column}", len(alike)
        if len(alike) > 1:
            yield "BF303", scope, ", ".join(alike), f"column {column}", len(alike)


def snake_case(name: str) -> str:
    """The column of a warehouse that a property's path becomes, as github.com/segmentio/go-snakecase does it."""
    return _NO_WORD.sub("_", _WORD_START.sub("_", name)).strip("_").lower()


def _of_events(profile: PlanProfile) -> Iterator[_Said]:
    tracks = {event: calls for event, calls in profile.events.items() if profile.calls[event[0]].type == "track"}
    if profile.more_events and tracks:
        yield "BF306", next(iter(tracks))[0], "", f"about {profile.event_count:,}", profile.event_count
    for (scope, event), calls in tracks.items():
        if _UNBOUNDED.search(event):
            yield "BF307", scope, event, "", calls


def _of_times(
    job: Job, profile: PlanProfile, early: Mapping[str, int], other_unit: Mapping[str, int]
) -> Iterator[_Said]:
    stated = {call.scope for call in job.calls if call.timestamp.value is not None}
    for scope, one in profile.calls.items():
        if scope not in stated and other_unit.get(scope):
            yield "BF313", scope, "", "", other_unit[scope]
        if one.first is None or scope in stated or one.calls < ENOUGH:
            continue
        if one.first == one.last:
            yield "BF309", scope, "", "", one.calls
        elif one.midnight >= _SHARE * one.calls:
            yield "BF308", scope, "", f"{one.midnight / one.calls:.0%} of the calls", one.midnight
        old = early.get(scope, 0) - other_unit.get(scope, 0)
        if 0 < old < _SHARE * one.calls and one.first < _YEAR_2000:
            yield "BF310", scope, "", "", old


def _is_same(job: Job, profile: PlanProfile, name: Property) -> bool:
    """Whether a property has one value in every call of its event, which the job does not state itself."""
    return profile.constant(name) and profile.fill(name) == 1 and (name[0], name[2]) not in _stated(job)


def _stated(job: Job) -> set[tuple[str, str]]:
    specs = [(call.scope, spec) for call in job.calls for spec in (call.properties, call.traits)]
    return {
        (scope, ".".join(path))
        for scope, spec in specs
        if isinstance(spec, ObjectSpec)
        for path, value in spec.members
        if isinstance(value, ConstantValue)
    }
