"""What a destination was found to hold of a run, from the JSON that `reconcile` wrote, for the run's page."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from backfill.errors import UsageError, counted
from backfill.escape import escaped
from backfill.frozen import frozen

#: Lines of the table.
SHOWN: Final = 40
#: What makes `reconcile` end with 3, in the words in which it says it.
_WRONG: Final = {
    "missing": "missing",
    "doubled": "doubled",
    "shifted": "dated differently",
    "in_doubt_missing": "in doubt and not there",
    "refused_there": "refused and there",
}
_BY_ID: Final = ("delivered", "missing", "doubled", "shifted")
_BY_COUNT: Final = ("delivered", "received")


@frozen
class Held:
    """A section of the page."""

    verdict: str
    facts: Sequence[tuple[str, str]]
    columns: Sequence[str]  # of the table, behind its names
    rows: Sequence[tuple[str, Sequence[str]]]  # those with most that is wrong first
    more: str  # how many rows are not shown; empty where all are
    notes: Sequence[str]


def read_held(file: Path, run_id: str) -> Held:
    """What `reconcile RUN --output json` wrote to a file.

    Raises:
        UsageError: It cannot be read, is none, or of another run.
    """
    hint = f"`backfill reconcile {run_id} --against SOURCE --output json` writes one"
    try:
        told = json.loads(file.read_text("utf-8"))
        if told["run_id"] != run_id:
            raise UsageError(f"{file} is of {escaped(str(told['run_id']))}, not of {run_id}", hint=hint)
        return _by_count(told) if "asked" in told else _by_id(told)
    except OSError as error:
        raise UsageError(f"{file} cannot be read: {error.strerror}", hint=hint) from None
    except (ValueError, LookupError, TypeError, AttributeError):
        raise UsageError(f"{file} is no result of reconcile", hint=hint) from None


def _by_id(told: Mapping[str, Any]) -> Held:
    counts = {str(name): int(number) for name, number in told["counts"].items()}
    wrong = [f"{counts[name]:,} {words}" for name, words in _WRONG.items() if counts[name]]
    facts = [
        ("Compared with", escaped(str(told["against"]))),
        ("At", str(told["compared_at"])),
        ("Rows", f"{counts['rows']:,}"),
        ("Delivered by the ledger", f"{counts['delivered']:,}"),
        ("There", f"{counts['there']:,}"),
        *((words.capitalize(), f"{counts[name]:,}") for name, words in _WRONG.items() if counts[name]),
        *(
            (words, f"{counts[name]:,}")
            for name, words in (("late", "Late"), ("unknown_rows", "Rows of no run"))
            if counts[name]
        ),
    ]
    requeue = told.get("requeue")
    if requeue and requeue["run_id"]:
        calls = counted(int(requeue["calls"]), "call", "calls")
        facts.append(("Planned again", f"{calls}, as {escaped(str(requeue['run_id']))}"))
    events: dict[str, list[int]] = {}
    for one in told["by_event_and_day"]:
        sums = events.setdefault(str(one["event"]), [0] * len(_BY_ID))
        sums[:] = [total + int(one[name]) for total, name in zip(sums, _BY_ID, strict=True)]
    rows = sorted(events.items(), key=lambda one: (-sum(one[1][1:]), one[0]))
    verdict = ", ".join(wrong) or "Every delivered call is there once"
    return _held(verdict, facts, ("Delivered", "Missing", "Doubled", "Shifted"), rows, told["notes"])


def _by_count(told: Mapping[str, Any]) -> Held:
    fewer = int(told["fewer"])
    facts = [
        ("Asked", escaped(str(told["asked"]))),
        ("At", str(told["compared_at"])),
        ("Of the time", f"{told['begin']} to {told['end']}"),
        ("Delivered by the ledger", f"{int(told['delivered']):,}"),
        *((f"Failed on ingest: {escaped(str(why))}", f"{int(calls):,}") for why, calls in told["failed"].items()),
    ]
    rows = [
        (
            f"{one['field']} {one['value']}",
            [int(one[name]) for name in _BY_COUNT] + [int(one["delivered"]) - int(one["received"])],
        )
        for one in told["counts"]
    ]
    rows.sort(key=lambda one: (-one[1][2], one[0]))
    shown = [(name, [*numbers[:2], max(0, numbers[2])]) for name, numbers in rows]
    verdict = (
        f"At least {fewer:,} fewer were received than delivered" if fewer else "No fewer were received than delivered"
    )
    return _held(verdict, facts, ("Delivered", "Received", "Fewer"), shown, told["notes"])


def _held(
    verdict: str,
    facts: Sequence[tuple[str, str]],
    columns: Sequence[str],
    rows: Sequence[tuple[str, Sequence[int]]],
    notes: Sequence[object],
) -> Held:
    return Held(
        verdict,
        facts,
        columns,
        [(escaped(name), [f"{number:,}" for number in numbers]) for name, numbers in rows[:SHOWN]],
        f"{len(rows) - SHOWN:,} more" if len(rows) > SHOWN else "",
        [escaped(str(note)) for note in notes],
    )
