"""Runs as people look at them: a table of all, or one in full."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from backfill.ledger import Counts, LedgerReader, RunState, RunStatus
from backfill.records import DeliveryTotals
from backfill.report.doubts import Doubts, doubt_json, doubt_lines, read_doubts
from backfill.report.summary import Summary, by_code, moment, summary_text


@dataclass(frozen=True, slots=True)
class Standing:
    """Everything about one run that is shown, read at one time."""

    status: RunStatus
    counts: Counts
    problems: dict[str, int]
    doubts: Doubts
    history: tuple[tuple[float, RunState, int | None, str], ...]
    dates: Mapping[str, tuple[str, str]] = field(default_factory=dict)  # as Summary.dates
    dry: bool = False
    left: bool = False  # its process ended without a word, killed say: no process is at work on it

    @property
    def state(self) -> str:
        """The state as people may see it."""
        return f"{self.status.state} (no process)" if self.left else str(self.status.state)


#: States in which a process is at work on the run.
UNDER_WAY = frozenset({RunState.STAGING, RunState.PREPARING, RunState.DELIVERING})


def read_standing(ledger: Path, *, dry: bool = False, worked_on: bool = True, now: float | None = None) -> Standing:
    """Read a run's ledger, also while another process writes it.

    `dry`: the run is a dry run; `worked_on`: a process holds its lock; `now` in POSIX seconds, the system's where left
    out, tells which batches in doubt are past the window.

    Raises:
        LedgerError: It cannot be read.
    """
    with LedgerReader(ledger) as reader:
        return Standing(
            reader.status(),
            reader.counts(),
            by_code(reader.problems()),
            read_doubts(reader, now),
            tuple(reader.history()),
            dates=reader.dates(),
            dry=dry,
            left=not (dry or worked_on) and reader.status().state in UNDER_WAY,
        )


def run_summary(standing: Standing) -> Summary:
    """The run's summary; its requests, retries and wire bytes are those of all its processes."""
    counts = standing.counts
    totals = DeliveryTotals(requests=counts.requests, retries=counts.retries, wire_bytes=counts.wire_bytes)
    seconds = (counts.last_ended_at or 0.0) - (counts.first_sent_at or 0.0)
    return Summary(standing.status, counts, standing.problems, standing.dates, totals, seconds, dry=standing.dry)


def standing_json(standing: Standing, *, listed: bool) -> dict[str, Any]:
    """The object of `status --output json`: that of the run's summary and its doubts, `listed` one by one."""
    return run_summary(standing).as_json() | {"in_doubt": doubt_json(standing.doubts, listed=listed)}


def runs_table(standings: Sequence[Standing]) -> str:
    """One line for each run, aligned; where one has batches in doubt, also since when, and how long they are safe."""
    titles = ("RUN", "STATE", "PLANNED", "DELIVERED", "REJECTED", "PENDING", "IN DOUBT", "SINCE")
    doubtful = any(one.doubts.span.batches for one in standings)
    rows: list[tuple[str, ...]] = [(*titles, *(("DOUBT SINCE", "SENT AGAIN UNTIL") if doubtful else ()))]
    for one in standings:
        counts = one.counts
        numbers = (counts.planned, counts.delivered, counts.rejected, counts.pending, counts.in_doubt)
        cells = (one.status.record.run_id, one.state, *(f"{number:,}" for number in numbers))
        since, until = one.doubts.since, one.doubts.until
        rows.append((*cells, moment(one.status.state_at), *((since, until) if doubtful else ())))
    widths = [max(len(row[place]) for row in rows) for place in range(len(rows[0]))]
    numeric = range(titles.index("PLANNED"), titles.index("SINCE"))
    lines = []
    for row in rows:
        padded = [
            cell.rjust(width) if place in numeric else cell.ljust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(padded).rstrip())
    return "\n".join(lines)


def standing_text(standing: Standing) -> str:
    """One run in full: its summary, its batches in doubt, its history."""
    record = standing.status.record
    lines = [summary_text(run_summary(standing)), f"  run       {record.run_id}, generation {record.generation}"]
    lines.append(f"  job file  {record.job_file}")
    if standing.left:
        lines.append(f"  process   none is at work on it, though it is {standing.status.state}: it can go on")
    if standing.status.detail:
        lines.append(f"  {standing.status.state!s:<9} {standing.status.detail}")
    lines += [f"  {line}" for line in doubt_lines(standing.doubts)]
    lines.append("  history")
    for at, state, exit_code, detail in standing.history:
        ending = f" (exit {exit_code})" if exit_code is not None else ""
        lines.append(f"    {moment(at)}  {state}{ending}{'  ' + detail if detail else ''}")
    return "\n".join(lines)
