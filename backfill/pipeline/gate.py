"""Gates: whether a plan keeps to what its job and the command line state; all that it hits are told at once."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import date

from backfill.errors import GateError, GateHit, counted
from backfill.job.gates import Gates, Share
from backfill.records import RunReader, RunRecord
from backfill.records.profile import PlanProfile


def gates_of_record(record: RunRecord) -> Gates:
    """The gates that the job of a run stated when it was prepared."""
    return Gates.of(json.loads(record.job_data).get("gates") or {})


def gate_error(reader: RunReader, gates: Gates, run_id: str, *, dry: bool = False) -> GateError | None:
    """The error of a plan that does not keep to its gates, with each that it hits; None of one that passes.

    A dry run's (`dry`) tells what a run would do.
    """
    hits = tuple(gate_hits(reader, gates))
    if not hits:
        return None
    outcome = "a run would send nothing" if dry else "nothing was sent"
    ways = [f"`backfill rejects {run_id}` lists them"] if any(hit.gate == "max_rejects" for hit in hits) else []
    ways += [] if dry else [f"with another `--gate {hits[0].gate}=...` this plan is sent as it is"]
    return GateError(f"{'; '.join(hit.message for hit in hits)}: {outcome}", hits, hint="; ".join(ways))


def gate_hits(reader: RunReader, gates: Gates) -> Iterator[GateHit]:
    """Each gate that a complete plan does not keep to."""
    counts = reader.counts()
    lost = counts.rejected + counts.unreadable
    if gates.max_rejects is not None:
        yield from _rejects_hit(gates.max_rejects, lost, counts.planned + counts.unreadable)
    days = [day for first_and_last in reader.dates().values() for day in first_and_last]
    if days:
        yield from _day_hit("earliest", gates.earliest, min(days), lambda day, gate: day < gate)
        yield from _day_hit("latest", gates.latest, max(days), lambda day, gate: day > gate)
    calls = counts.planned - counts.rejected - counts.duplicate - counts.already_delivered + counts.refused
    if gates.min_calls is not None and calls < gates.min_calls:
        found = counted(calls, "call is", "calls are")
        yield GateHit(
            "min_calls", f"{gates.min_calls:,}", calls, f"{found} to send, min_calls asks for {gates.min_calls:,}"
        )
    for name, size, what in (("max_calls", calls, "calls to send"), ("max_bytes", counts.json_bytes, "bytes of JSON")):
        allowed = getattr(gates, name)
        if allowed is not None and size > allowed:
            yield GateHit(name, f"{allowed:,}", size, f"{size:,} {what}, {name} allows {allowed:,}")

    if gates.max_events is not None or gates.max_users is not None:
        yield from _profile_hits(reader.profile(), gates)


def _profile_hits(profile: PlanProfile | None, gates: Gates) -> Iterator[GateHit]:
    """Gates over what is estimated where there is very much of it."""
    for name, what in (("max_events", "event names"), ("max_users", "users")):
        allowed = getattr(gates, name)
        if allowed is None:
            continue
        if profile is None:
            told = f"how many {what} there are was not counted by the version that prepared the plan"
            yield GateHit(name, f"{allowed:,}", "unknown", told)
            continue
        if name == "max_events":
            exact, found = not profile.more_events, profile.event_count - any(not event for _, event in profile.events)
        else:
            exact, found = profile.users.exact and profile.anonymous.exact, profile.tracked_users
        if found > allowed:
            about = "" if exact else "about "
            named = counted(found, what.removesuffix("s"), what)
            yield GateHit(name, f"{allowed:,}", found, f"{about}{named}, {name} allows {allowed:,}")


def _rejects_hit(gate: Share, lost: int, whole: int) -> Iterator[GateHit]:
    if not gate.allows(lost, whole):
        told = f"{lost:,} of {whole:,} are rejected or unreadable, max_rejects allows {gate}"
        yield GateHit("max_rejects", str(gate), lost, told)


def _day_hit(name: str, gate: date | None, day: str, outside: Callable[[str, str], bool]) -> Iterator[GateHit]:
    if gate is not None and outside(day, gate.isoformat()):
        which = "first" if name == "earliest" else "last"
        yield GateHit(name, gate.isoformat(), day, f"the {which} call is of {day}, {name} is {gate}")
