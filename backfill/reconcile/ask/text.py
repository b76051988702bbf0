"""What `reconcile --ask` tells of counts: for programs as JSON, for people in 80 columns."""

from __future__ import annotations

from collections.abc import Iterator
from textwrap import wrap
from typing import Any, Final

from backfill.escape import escaped
from backfill.reconcile.ask.run import Compared, CountedRun
from backfill.report.summary import iso_text, run_json, time_text

#: Lines of each field that people are shown.
SHOWN: Final = 10
_NAME: Final = 40


def counted_json(run_id: str, result: CountedRun) -> dict[str, Any]:
    """The object of `--output json`; its keys are a promise (docs/proof.md)."""
    return {
        **run_json(run_id, result.status),
        "asked": result.asked,
        "compared_at": iso_text(result.compared_at),
        "begin": iso_text(result.counted.begin),
        "end": iso_text(result.counted.end),
        "delivered": result.delivered,
        "fewer": result.fewer,
        "counts": [
            {"field": one.field, "value": one.value, "delivered": one.delivered, "received": one.received}
            for one in result.compared
        ],
        "failed": dict(result.counted.failed),
        "notes": result.notes,
    }


def counted_text(run_id: str, result: CountedRun) -> str:
    """The same for people."""
    counted = result.counted
    lines = [] if result.status.record.live else ["SANDBOX: nothing of this run left this machine"]
    lines.append(f"{run_id}: {verdict(result)}")
    lines += wrap(escaped(f"{result.asked}"), 80, initial_indent="  asked     ", subsequent_indent=" " * 12)
    lines.append(f"  from      {time_text(counted.begin)} to {time_text(counted.end)}")
    lines.append(f"  delivered {result.delivered:,} by the ledger")
    for name in ("type", "event"):
        lines += _table(name, [one for one in result.compared if one.field == name])
    for why, calls in sorted(counted.failed.items(), key=lambda one: (-one[1], one[0])):
        lines.append(f"  failed    {calls:,} on ingest: {escaped(why) or '(no reason)'}")
    for note in result.notes:
        lines += wrap(escaped(note), 80, initial_indent="  note      ", subsequent_indent=" " * 12)
    return "\n".join(lines)


def verdict(result: CountedRun) -> str:
    """What came out, in one sentence."""
    if not result.compared:
        return "nothing could be compared"
    if result.fewer:
        return f"at least {result.fewer:,} fewer were received than delivered"
    return "no fewer were received than delivered"


def _table(name: str, compared: list[Compared]) -> Iterator[str]:
    if not compared:
        return
    yield f"  {name:<{_NAME}}{'delivered':>12}{'received':>12}{'fewer':>10}"
    for one in compared[:SHOWN]:
        value = escaped(one.value if len(one.value) <= _NAME - 1 else f"{one.value[: _NAME - 2]}…")
        yield f"  {value:<{_NAME}}{one.delivered:>12,}{one.received:>12,}{one.fewer:>10,}"
    if len(compared) > SHOWN:
        yield f"  and {len(compared) - SHOWN:,} more"
