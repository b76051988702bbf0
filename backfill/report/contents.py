"""What a plan would send, for the person who has to agree to it: lines of a terminal, and keys of `--output json`."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from backfill.advice import Advice, advise, in_plan
from backfill.errors import counted
from backfill.escape import escaped
from backfill.frozen import frozen
from backfill.limits import CANARY_CALLS, SEGMENT, SEGMENT_CALLS_PER_SECOND
from backfill.masking import shortened
from backfill.records import StoredRun
from backfill.records.profile import LONG_TEXT, Event, PlanProfile, Property, Sketch
from backfill.report.advice import advice_json, advice_lines
from backfill.report.unplanned import Unplanned, find_unplanned, unplanned_json, unplanned_lines
from backfill.state.plan_file import read_conditions

#: Calls a second for which a forecast is made beside the target's own.
OTHER_RATES: Final = (SEGMENT_CALLS_PER_SECOND / 2, SEGMENT_CALLS_PER_SECOND * 5)
#: What a terminal shows of long lists.
EVENTS_SHOWN: Final = 8
PROPERTIES_SHOWN: Final = 12
MONTHS_SHOWN: Final = 12
_BAR: Final = 28
_LABEL: Final = 12  # columns before what a line tells
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


@frozen
class PlanContents:
    """What a complete plan holds."""

    profile: PlanProfile
    days: Mapping[tuple[str, str], int]  # (call, YYYY-MM-DD) -> calls
    batch_bytes: Sequence[int]  # of each batch, without the envelope's tail
    rate: float | None  # calls a second of the target, where it states one
    first_calls: int  # of the first batch
    advice: Sequence[Advice] = ()  # were it sent when it was made
    unplanned: Unplanned | None = None  # by the job's tracking plan

    @property
    def requests(self) -> int:
        """How many requests the batches take where all goes well: the first CANARY_CALLS calls go ahead alone."""
        return len(self.batch_bytes) + (self.first_calls > CANARY_CALLS)

    @property
    def months(self) -> dict[str, int]:
        """YYYY-MM -> calls."""
        return dict(sorted(_summed((day[: day.rindex("-")], calls) for (_, day), calls in self.days.items()).items()))

    @property
    def fill(self) -> float:
        """The mean share of a body's limit that batches use."""
        return sum(self.batch_bytes) / max(1, len(self.batch_bytes)) / SEGMENT.body_bytes

    def seconds(self) -> dict[float, float]:
        """Calls a second -> how long the delivery takes at that rate, if the target takes it."""
        own = self.rate or SEGMENT_CALLS_PER_SECOND
        return {rate: self.profile.total / rate for rate in sorted({own, *OTHER_RATES})}


def read_contents(run: StoredRun) -> PlanContents | None:
    """What the plan of a run or dry run holds; None where it is not complete, or an earlier version made it.

    Raises:
        LedgerError: Its ledger cannot be read.
    """
    conditions = read_conditions(run) if run.is_dry else None
    with run.read() as reader:
        status = reader.status()
        profile = reader.profile() if status.plan_digest else None
        if profile is None:
            return None
        sizes = reader.batch_sizes()
        return PlanContents(
            profile,
            days=reader.days(),
            batch_bytes=[size for size, _ in sizes],
            rate=conditions.rate if conditions else None,
            first_calls=sizes[0][1] if sizes else 0,
            advice=advise(in_plan(profile), status.record.created_at),
            unplanned=find_unplanned(profile, status.record.job_data),
        )


def _summed(counts: Iterable[tuple[str, int]]) -> Counter[str]:
    total: Counter[str] = Counter()
    for name, count in counts:
        total[name] += count
    return total


def instant_text(milliseconds: int | None) -> str:
    """An instant as calls have it; empty where there is none."""
    if milliseconds is None:
        return ""
    return (_EPOCH + timedelta(milliseconds=milliseconds)).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def by_calls(profile: PlanProfile) -> list[Event]:
    """The events, those of most calls first."""
    return sorted(profile.events, key=lambda event: (-profile.events[event], event))


def properties_of(profile: PlanProfile, event: Event) -> list[Property]:
    """The properties of an event, the fullest first."""
    own = [name for name in profile.properties if name[:2] == event]
    return sorted(own, key=lambda name: (-profile.fill(name), name[2]))


def sample_of(profile: PlanProfile, name: Property) -> str:
    """A sample of a property: of what is no null, where there is such a value; quotes alone of an empty text."""
    kinds = profile.properties[name]
    return next((values.sample for kind, values in kinds.items() if kind != "null"), "null") or '""'


def contents_json(contents: PlanContents) -> dict[str, Any]:
    """The keys that `plan` of `--output json` has for it; a promise (docs/cli.md)."""
    profile = contents.profile
    return {
        "calls": [
            {
                "call": scope,
                "type": one.type,
                "calls": one.calls,
                "first": instant_text(one.first),
                "last": instant_text(one.last),
                "midnight": one.midnight,
                "integrations": json.loads(one.integrations) if one.integrations else None,
            }
            for scope, one in profile.calls.items()
        ],
        "events": [
            {"call": event[0], "event": event[1], "calls": profile.events[event]} for event in by_calls(profile)
        ],
        "event_names": {
            "count": profile.event_count,
            "exact": not profile.more_events,
            "other_calls": profile.other_calls,
        },
        "properties": [
            _property_json(profile, name) for event in by_calls(profile) for name in properties_of(profile, event)
        ],
        "more_properties": profile.more_properties,
        "months": contents.months,
        "users": _sketch_json(profile.users),
        "anonymous": _sketch_json(profile.anonymous),
        "tracked_users": profile.tracked_users,
        "batches": {
            "count": len(contents.batch_bytes),
            "bytes": sum(contents.batch_bytes),
            "largest": max(contents.batch_bytes, default=0),
            "fill": round(contents.fill, 4),
        },
        "forecast": {
            "requests": contents.requests,
            "calls": profile.total,
            "seconds": {f"{rate:g}": round(seconds, 1) for rate, seconds in contents.seconds().items()},
        },
        "problem_values": _values_json(profile),
        "advice": advice_json(contents.advice),
        "tracking_plan": unplanned_json(contents.unplanned),
    }


def _property_json(profile: PlanProfile, name: Property) -> dict[str, Any]:
    scope, event, path = name
    return {
        "call": scope,
        "event": event,
        "property": path,
        "fill": round(profile.fill(name), 6),
        "constant": profile.constant(name),
        "types": {
            kind: {"calls": values.calls, "sample": values.sample, "long": values.long}
            for kind, values in profile.properties[name].items()
        },
    }


def _values_json(profile: PlanProfile) -> list[dict[str, Any]]:
    return [
        {
            "code": code,
            "column": column,
            "values": [{"value": shortened(value), "count": count} for value, count in values.counts.items()],
            "exact": values.exact,
        }
        for (code, column), values in sorted(profile.bad_values.items())
    ]


def _sketch_json(sketch: Sketch) -> dict[str, Any]:
    return {"count": sketch.count, "exact": sketch.exact}


def contents_lines(contents: PlanContents) -> list[str]:
    """What would be sent, in 80 columns."""
    profile = contents.profile
    if not profile.total:
        return []
    lines = []
    for scope, one in profile.calls.items():
        if one.calls:
            span = f"{instant_text(one.first)[:19]}Z to {instant_text(one.last)[:19]}Z"
            lines.append(f"  {scope[:18]:<18} {counted(one.calls, 'call', 'calls')}, {span}")
            lines += [f"{'':21}integrations {_cut(one.integrations or 'not stated', 46)}"]
    lines += _month_lines(contents.months)
    lines += _event_lines(profile)
    lines += [f"  people    {people_text(profile)}"]
    lines.append(f"  bodies    {bodies_text(contents)}")
    times = ", ".join(f"{_duration(seconds)} at {rate:,.0f}/s" for rate, seconds in contents.seconds().items())
    lines.append(f"  forecast  {counted(contents.requests, 'request', 'requests')}; {times}")
    lines.append(f"  billed    {billed_text(profile)}")
    told = unplanned_lines(contents.unplanned)
    lines += [f"  {'' if place else 'unplanned':<10}{line}" for place, line in enumerate(told)]
    told = advice_lines(contents.advice, _LABEL)
    lines += [f"  {'' if place else 'advice':<10}{line}" for place, line in enumerate(told)]
    return lines


def people_text(profile: PlanProfile) -> str:
    """How many users and anonymous ids."""
    users = f"{_about(profile.users)}{counted(profile.users.count, 'userId', 'userIds')}"
    return f"{users}, {_about(profile.anonymous)}{counted(profile.anonymous.count, 'anonymousId', 'anonymousIds')}"


def billed_text(profile: PlanProfile) -> str:
    """What Segment bills: throughput, and the tracked users of the month in which they are imported."""
    about = _about(profile.users) or _about(profile.anonymous)
    users = counted(profile.tracked_users, "tracked user", "tracked users")
    return f"{counted(profile.total, 'call', 'calls')}; {about}{users} (MTU)"


def bodies_text(contents: PlanContents) -> str:
    """How many batches, and how full they are."""
    mean = sum(contents.batch_bytes) // max(1, len(contents.batch_bytes))
    return (
        f"{counted(len(contents.batch_bytes), 'batch', 'batches')} of {mean / 1_000:,.1f} KB on average,"
        f" {contents.fill:.1%} of the limit"
    )


def _about(sketch: Sketch) -> str:
    return "" if sketch.exact else "about "


def _month_lines(months: Mapping[str, int]) -> list[str]:
    """The calls by month, or by year where these are many."""
    title = "  by month"
    if len(months) > MONTHS_SHOWN:
        title = "  by year"
        months = _summed((month[: month.rindex("-")], calls) for month, calls in months.items())
    most = max(months.values(), default=1)
    shown = list(months.items())[-MONTHS_SHOWN:]
    lines = [f"    {name:<10} {calls:>13,}  {'#' * max(1, round(_BAR * calls / most))}" for name, calls in shown]
    if len(months) > len(shown):
        before = sum(months.values()) - sum(calls for _, calls in shown)
        lines.insert(0, f"    {'before':<10} {before:>13,}")
    return [title, *lines]


def _event_lines(profile: PlanProfile) -> list[str]:
    """The events and their properties, most calls first."""
    names = by_calls(profile)
    lines = []
    for event in names[:EVENTS_SHOWN]:
        scope, name = event
        own = properties_of(profile, event)
        lines.append(f"  {_cut(name or scope, 44):<44} {profile.events[event]:>13,} {scope[:18]}")
        shown = own[: PROPERTIES_SHOWN if len(names) <= EVENTS_SHOWN // 2 else PROPERTIES_SHOWN // 2]
        lines += [_property_line(profile, one) for one in shown]
        if len(own) > len(shown):
            lines.append(f"      and {counted(len(own) - len(shown), 'other property', 'other properties')}")
    if len(names) > EVENTS_SHOWN or profile.more_events:
        others = profile.event_count - min(len(names), EVENTS_SHOWN)
        calls = profile.total - sum(profile.events[event] for event in names[:EVENTS_SHOWN])
        about = "about " if profile.more_events else ""
        told = f"{about}{counted(others, 'other event', 'other events')}"
        lines.append(f"  and {told} with {counted(calls, 'call', 'calls')}")
    return lines


def _property_line(profile: PlanProfile, name: Property) -> str:
    kinds = profile.properties[name]
    types = "+".join(sorted(kinds))
    sample = sample_of(profile, name)
    remark = " (always)" if profile.constant(name) else ""
    long = sum(values.long for values in kinds.values())
    remark += f" ({long:,} over {LONG_TEXT} bytes)" if long else ""
    text = f"    {_cut(name[2], 24):<24} {percent(profile.fill(name)):>5}  {_cut(types, 15):<15} "
    return text + _cut(sample, 80 - len(text) - len(remark)) + remark


def percent(share: float) -> str:
    """A share for people: only all is 100%, only none 0%."""
    whole = round(100 * share)
    if 0 < share < 1 and whole in (0, 100):
        return "<1%" if whole == 0 else ">99%"
    return f"{whole}%"


def _cut(text: str, width: int) -> str:
    text = escaped(text)
    return text if len(text) <= width else f"{text[: max(0, width - 3)]}..."


def _duration(seconds: float) -> str:
    if seconds < 90:  # noqa: PLR2004
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5_400 else f"{seconds / 3_600:.1f} h"  # noqa: PLR2004
