"""What `reconcile` tells: for programs as JSON, for people in 80 columns."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from textwrap import wrap
from typing import Any, Final

from backfill.errors import counted
from backfill.escape import escaped
from backfill.pipeline.requeue import Requeued
from backfill.reconcile.result import BY_DAY, Reconciled
from backfill.report.summary import iso_text, run_json

#: Lines of each kind that people are shown.
SHOWN: Final = 5
_NAME: Final = 34
_WIDTH: Final = 80
_COUNTS: Final = (
    *("rows", "unreadable", "without_id", "delivered", "there", "missing", "doubled", "surplus_rows", "shifted"),
    *("dates_compared", "dated_as_received", "late", "in_doubt_there", "in_doubt_missing", "pending_there"),
    *("refused_there", "archived_rows", "unknown_rows"),
)
_CAUSES: Final = {
    "dated_as_received": "they have the time at which they were received: what was sent was not taken",
    "time_zone": "so a time zone: in the source's times, or in this column",
    "time_zone_with_summer": "so a time zone with summer time: in the source's times, or in this column",
    "sent_at": "no zone is so far off: `sentAt`, or a clock, moved them",
    "other_times": "no zone is so far off, and `sentAt` moves no original timestamp",
}


def reconciled_json(run_id: str, result: Reconciled) -> dict[str, Any]:
    """The object of `--output json`; its keys are a promise (docs/proof.md)."""
    return {
        **run_json(run_id, result.status),
        "against": result.source,
        "compared_at": iso_text(result.compared_at),
        "columns": result.columns,
        "tolerance_seconds": result.tolerance_ms / 1000,
        "all_there": not result.exit_code,
        "counts": {name: result.counts[name] for name in _COUNTS},
        "bad_times": result.bad_times,
        "other_runs": dict(result.other_runs),
        "shifts": [{"shift_ms": shift, "calls": calls} for shift, calls in result.shifts.most_common()],
        "cause": result.cause or None,
        "by_event_and_day": [
            {"event": result.events[event], "day": _day(day)} | dict(zip(BY_DAY, counts, strict=True))
            for (event, day), counts in sorted(result.by_day.items(), key=lambda one: (one[0][0], one[0][1] or 0))
        ],
        "unknown_by_event": {result.events[event] or "": rows for event, rows in result.unknown_events.most_common()},
        "listed": result.listed,
        "requeue": None if result.requeued is None else requeued_json(result.requeued),
        "notes": result.notes,
    }


def requeued_json(requeued: Requeued) -> dict[str, Any]:
    """What became of calls that were to be planned again."""
    return {"run_id": requeued.run_id or None, "calls": requeued.calls, "requeued_before": dict(requeued.taken)}


def reconciled_text(run_id: str, result: Reconciled) -> str:
    """The same for people."""
    sandbox = [] if result.status.record.live else ["SANDBOX: nothing of this run left this machine"]
    lines = [*sandbox, f"{run_id}: {verdict(result)}", f"  compared  with {escaped(result.source)}"]
    lines += _count_lines(result)
    lines += _part_lines(result)
    lines += _listed_lines(result)
    lines += _requeue_lines(result)
    for note in result.notes:
        lines += wrap(escaped(note), 80, initial_indent="  note      ", subsequent_indent=" " * 12)
    return "\n".join(lines)


def verdict(result: Reconciled) -> str:
    """What came out, in one sentence."""
    counts = result.counts
    if not result.exit_code:
        if not counts["delivered"]:
            return "nothing to compare: it has delivered nothing"
        dates = ", on its date" if counts["dates_compared"] else ""
        return f"every delivered call is there once{dates}"
    kinds = (
        (counts["missing"], "missing"),
        (counts["doubled"], "doubled"),
        (counts["shifted"], "dated differently"),
        (counts["in_doubt_missing"], "in doubt and not there"),
        (counts["refused_there"], "refused and there"),
    )
    return ", ".join(f"{count:,} {kind}" for count, kind in kinds if count)


def _count_lines(result: Reconciled) -> Iterator[str]:
    counts, others = result.counts, result.other_runs.most_common()
    yield f"  rows      {counts['rows']:,}" + (
        f", and {counts['unreadable']:,} that cannot be read" if counts["unreadable"] else ""
    )
    yield f"  delivered {counts['delivered']:,} by the ledger, {counts['there']:,} of them there"
    told = [
        (counts["missing"], "missing", "not there, though the target took them"),
        (counts["doubled"], "doubled", f"there more than once: rows too many: {counts['surplus_rows']:,}"),
        (counts["shifted"], "shifted", f"dated otherwise than sent, by more than {_span(result.tolerance_ms)}"),
        (counts["late"], "late", "received long after they were sent"),
        (counts["in_doubt_there"], "in doubt", "arrived: they are there"),
        (counts["in_doubt_missing"], "in doubt", "not there"),
        (counts["pending_there"], "pending", "there, though not sent by the ledger"),
        (counts["refused_there"], "refused", "there, though the target refused them"),
        *((calls, "other", f"there, delivered by {run}") for run, calls in others[:SHOWN]),
        (sum(calls for _, calls in others[SHOWN:]), "other", "there, delivered by further runs"),
        (counts["archived_rows"], "other", "in rows, delivered by runs whose ledger is gone"),
        (counts["unknown_rows"], "unknown", "in rows, of no run that is known"),
        (counts["without_id"], "no id", "in rows, which cannot be compared"),
    ]
    for count, name, what in told:
        if count:
            yield f"  {name:<9} {count:,} {what}"
            yield from _shift_lines(result) if name == "shifted" else ()
            yield from _unknown_lines(result) if name == "unknown" else ()
    for column, count in result.bad_times.items():
        yield f"  no time   {counted(count, 'value', 'values')} of {escaped(column)}: not compared"


def _unknown_lines(result: Reconciled) -> Iterator[str]:
    """What events the unknown rows have, where that is known."""
    if "event" in result.columns:
        for event, rows in result.unknown_events.most_common(SHOWN):
            yield f"            {rows:,} of {_short(result.events[event]) or '(no event)'}"


def _short(name: str) -> str:
    """A name that a column of the table holds."""
    return escaped(name if len(name) <= _NAME else f"{name[: _NAME - 1]}…")


def _shift_lines(result: Reconciled) -> Iterator[str]:
    """The histogram of the shifts, and what it says."""
    shifts = result.shifts.most_common()
    for shift, calls in shifts[:SHOWN]:
        side = "later" if shift > 0 else "earlier"
        yield f"            {calls:,} of them {_span(abs(shift))} {side}"
    if len(shifts) > SHOWN:
        rest = sum(calls for _, calls in shifts[SHOWN:])
        yield f"            {rest:,} by {len(shifts) - SHOWN:,} other spans"
    if result.cause:
        yield f"            {_CAUSES[result.cause]}"


def _part_lines(result: Reconciled) -> Iterator[str]:
    """By event, then by day, what is not as it should be."""
    for part, title in ((0, "event"), (1, "day")):
        found = [(key, counts) for key, counts in result.totals(part).items() if any(counts[1:])]
        if not found:
            continue
        found.sort(key=lambda one: -sum(one[1][1:]))
        yield f"  {title:<{_NAME}}" + "".join(f"{kind:>11}" for kind in BY_DAY)
        for key, counts in found[:SHOWN]:
            name = result.events[key] if part == 0 else _day(key) or "(not known)"
            yield f"  {_short(name):<{_NAME}}" + "".join(f"{count:>11,}" for count in counts)
        if len(found) > SHOWN:
            yield f"  and {counted(len(found) - SHOWN, f'further {title}', f'further {title}s')}"


def _listed_lines(result: Reconciled) -> Iterator[str]:
    for kind in ("missing", "doubled", "shifted", "in_doubt_missing", "unknown"):
        for one in result.listed.get(kind, [])[:SHOWN]:
            about = [one.get("event"), one.get("timestamp")]
            known = escaped(" ".join(str(each) for each in about if each))
            identity = one["message_id"] or "(its id is not kept)"
            line = f"  {kind.replace('_missing', '').replace('_', ' '):<9} {escaped(identity)}"
            whole = f"{line} {known}".rstrip()
            yield from [whole] if len(whole) <= _WIDTH else [line, f"            {known}"]


def _requeue_lines(result: Reconciled) -> Iterator[str]:
    """What is planned again, and what was before."""
    if result.requeued is None:
        return
    if result.requeued.run_id:
        yield f"  requeue   {counted(result.requeued.calls, 'call', 'calls')}, planned as a run of their own:"
        yield f"            {result.requeued.run_id}"
    elif not result.requeued.taken:
        yield "  requeue   nothing: each call is there"
    for run, calls in result.requeued.taken.items():
        yield f"  requeued  before: {counted(calls, 'call', 'calls')}, not again, as they are those of"
        yield f"            {run}"


def _day(day: int | None) -> str | None:
    """Days since 1970 as a date; those outside the calendar, and none, as None."""
    try:
        return None if day is None else (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(days=day)).date().isoformat()
    except OverflowError:
        return None


def _span(milliseconds: int) -> str:
    """A span of time in the largest unit that says it exactly: 5 h, 90 min, 1 s."""
    for unit, size in (("d", 86_400_000), ("h", 3_600_000), ("min", 60_000), ("s", 1_000)):
        if milliseconds >= size and milliseconds % size == 0:
            return f"{milliseconds // size:,} {unit}"
    return f"{milliseconds:,} ms"
