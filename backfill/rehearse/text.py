"""What a rehearsal tells: the evidence on one screen, and for programs."""

from __future__ import annotations

from textwrap import wrap
from typing import Any, Final

from backfill.errors import ExitCode, counted
from backfill.rehearse.arrivals import NAMED
from backfill.rehearse.run import Rehearsal, counted_minutes

_WIDTH: Final = 80
SCHEMA_VERSION: Final = 1
#: Exit codes of a run that is finished.
FINISHED: Final = (ExitCode.DELIVERED, ExitCode.REJECTS)
#: What the statistics of a sandbox call a fault, in words.
FAULTS: Final = {
    "lost": ("lost answer", "lost answers"),
    "reset_before": ("reset before the body", "resets before the body"),
    "reset_after": ("reset after it", "resets after it"),
    "delay": ("delay", "delays"),
}


def rehearsal_json(found: Rehearsal) -> dict[str, Any]:
    """Everything that a rehearsal found."""
    evidence, plan, ride = found.evidence, found.plan, found.ride
    return {
        "schema_version": SCHEMA_VERSION,
        "job": found.wanted.job.name,
        "proven": found.exit_code is ExitCode.DELIVERED,
        "exit_code": int(found.exit_code),
        "finished": ride.ended is not None,
        "error": ride.ended.message if ride.ended else "",
        "seed": found.wanted.seed,
        "faults_script": list(found.script),
        "rows": {"read": plan.counts.read, "whole": plan.whole, "most": found.wanted.rows},
        "plan": {
            "calls": len(plan.calls),
            "rejected": plan.counts.rejected,
            "unreadable": plan.counts.unreadable,
            "batches": found.batches,
            "made_again": plan.verified.compared.calls,
            "equal": not plan.verified.exit_code,
        },
        "arrived": {
            "once": evidence.once,
            "more_than_once": evidence.again,
            "times_more": evidence.arrivals_again,
            "missing": len(evidence.missing),
            "other_bytes": len(evidence.altered),
            "unknown": len(evidence.unknown),
            "unexplained": len(evidence.unexplained),
            "refused": found.refused,
        },
        "kills": ride.kills,
        "processes": ride.processes,
        "stops": ride.stops,
        "requests": found.requests,
        "faults": found.faults,
        "dropped": found.dropped,
        "seconds": round(found.seconds, 1),
    }


def rehearsal_text(found: Rehearsal, again: str) -> str:
    """The same on one screen of 80 columns; `again` is the command that does it once more."""
    lines = [f"Rehearsal of {found.wanted.job.name}: {verdict(found)}", "", *wrapped(planned(found)), ""]
    lines += [*arrived(found), "", *wrapped(disturbed(found))]
    if found.dropped:
        reasons = ", ".join(f"{reason} {count:,}" for reason, count in found.dropped.items())
        lines += ["", *wrapped(f"Dropped by the endpoint, as Segment would, though answered 200: {reasons}.")]
    end = found.ride.ended
    if end is not None and end.code not in FINISHED:
        lines += ["", *wrapped(f"It ended before all was sent: {end.message}.")]
    return "\n".join([*lines, "", "The same faults and kills again:", f"  {again}"])


def arrived(found: Rehearsal) -> list[str]:
    """The table: what became of the calls."""
    evidence = found.evidence
    over = found.ride.ended is not None and found.ride.ended.code in FINISHED
    lines = [
        row(len(found.plan.calls), "calls planned"),
        row(evidence.once, "arrived once"),
        row(evidence.again, "arrived more than once, each after attempts without success"),
    ]
    if found.refused:
        lines.append(row(found.refused, "refused by the endpoint for good, and left out"))
    bad = (
        (evidence.missing, "missing" if over else "had not arrived when it ended"),
        (evidence.altered, "arrived with other bytes than planned"),
        (evidence.unknown, "arrived, and were not planned"),
        (evidence.unexplained, "arrived more often than attempts were in doubt"),
    )
    for ids, said in bad:
        named = ids[:NAMED] if over or ids is not evidence.missing else ()
        lines += [row(len(ids), said), *(f"{'':>12}  {one}" for one in named)]
    return lines


def verdict(found: Rehearsal) -> str:
    """In a word or two."""
    if found.exit_code is ExitCode.DELIVERED:
        refused = f"but for {counted(found.refused, 'call', 'calls')} refused" if found.refused else "exactly"
        return f"PROVEN, what arrived is the plan, {refused}"
    if found.ride.ended is None:
        return f"NOT FINISHED within {counted_minutes(found.wanted.seconds)}"
    return "NOT PROVEN" if found.exit_code is ExitCode.REJECTS else f"ENDED EARLY, exit {int(found.exit_code)}"


def planned(found: Rehearsal) -> str:
    """What was planned, and that it is what the source says."""
    plan, counts = found.plan, found.plan.counts
    which = "all there are" if plan.whole else f"the first (--rows {found.wanted.rows})"
    out = counts.rejected + counts.unreadable + counts.duplicate
    left = f"; {out:,} rejected, unreadable or repeated left out" if out else ""
    again = counted(plan.verified.compared.calls, "call was", "calls were")
    same = "with the same ids and bytes" if not plan.verified.exit_code else "and DIFFER: `backfill verify` tells how"
    rows = counted(counts.read, "row", "rows")
    return f"{rows}, {which}, planned undisturbed{left}. {again} made a second time from them by another code, {same}."


def disturbed(found: Rehearsal) -> str:
    """What was done to the run."""
    ride = found.ride
    faults = ", ".join(counted(count, *fault_words(name)) for name, count in found.faults.items())
    stops = f", {counted(ride.stops, 'stop', 'stops')} by itself" if ride.stops else ""
    return (
        f"{counted(ride.processes, 'process', 'processes')}, {ride.kills:,} of {found.wanted.kills:,} killed{stops};"
        f" {counted(found.requests, 'request', 'requests')} for {counted(found.batches, 'batch', 'batches')}, met by"
        f" {faults or 'no fault'}; {found.seconds:.0f} s."
    )


def fault_words(name: str) -> tuple[str, str]:
    """One and many of a fault, by its name in the statistics of a sandbox."""
    code = name.removeprefix("status_")
    return FAULTS.get(name, (f"answer {code}", f"answers {code}"))


def row(number: int, said: str) -> str:
    """A line of the table."""
    return f"{number:>12,}  {said}"


def wrapped(text: str) -> list[str]:
    """The text in lines of a terminal."""
    return wrap(text, _WIDTH, break_long_words=False, break_on_hyphens=False)
