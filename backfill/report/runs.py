"""Runs as people look at them: a table of all, or one in full."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from backfill.ledger import Counts, LedgerReader, RunState, RunStatus
from backfill.records import Batch, DeliveryTotals
from backfill.report.summary import Summary, by_code, summary_text

#: So many batches in doubt are listed.
SHOWN = 10


@dataclass(frozen=True, slots=True)
class Standing:
    """Everything about one run that is shown, read at one time."""

    status: RunStatus
    counts: Counts
    problems: dict[str, int]
    in_doubt: tuple[Batch, ...]
    history: tuple[tuple[float, RunState, int | None, str], ...]
    dry: bool = False
    left: bool = False  # its process ended without a word, killed say: no process is at work on it

    @property
    def state(self) -> str:
        """The state as people may see it."""
        return f"{self.status.state} (no process)" if self.left else str(self.status.state)


#: States in which a process is at work on the run.
UNDER_WAY = frozenset({RunState.STAGING, RunState.PREPARING, RunState.DELIVERING})


def read_standing(ledger: Path, *, dry: bool = False, worked_on: bool = True) -> Standing:
    """Read a run's ledger, also while another process writes it.

    `dry`: the run is a dry run; `worked_on`: a process holds its lock.

    Raises:
        LedgerError: It cannot be read.
    """
    with LedgerReader(ledger) as reader:
        return Standing(
            reader.status(),
            reader.counts(),
            by_code(reader.problems()),
            tuple(reader.in_doubt()),
            tuple(reader.history()),
            dry=dry,
            left=not (dry or worked_on) and reader.status().state in UNDER_WAY,
        )


def run_summary(standing: Standing) -> Summary:
    """The run's summary; its requests, retries and wire bytes are those of all its processes."""
    counts = standing.counts
    totals = DeliveryTotals(requests=counts.requests, retries=counts.retries, wire_bytes=counts.wire_bytes)
    seconds = (counts.last_ended_at or 0.0) - (counts.first_sent_at or 0.0)
    return Summary(standing.status, counts, standing.problems, totals, seconds, dry=standing.dry)


def runs_table(standings: Sequence[Standing]) -> str:
    """One line for each run, aligned."""
    rows: list[tuple[str, ...]] = [("RUN", "STATE", "PLANNED", "DELIVERED", "REJECTED", "PENDING", "IN DOUBT", "SINCE")]
    for one in standings:
        counts = one.counts
        numbers = (counts.planned, counts.delivered, counts.rejected, counts.pending, counts.in_doubt)
        since = moment(one.status.state_at)
        rows.append((one.status.record.run_id, one.state, *(f"{number:,}" for number in numbers), since))
    widths = [max(len(row[place]) for row in rows) for place in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = [
            cell.ljust(width) if place in (0, 1, len(row) - 1) else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def standing_text(standing: Standing) -> str:
    """One run in full: its summary, its batches in doubt, its history."""
    record = standing.status.record
    lines = [summary_text(run_summary(standing)), f"  run       {record.run_id}, generation {record.generation}"]
    lines.append(f"  job file  {record.job_file}")
    if standing.left:
        lines.append(f"  process   none is at work on it, though it is {standing.status.state}: it can go on")
    if standing.status.detail:
        lines.append(f"  stopped   {standing.status.detail}")
    if standing.in_doubt:
        lines.append(f"  in doubt  {len(standing.in_doubt):,} batches: no answer told whether they arrived")
        for batch in standing.in_doubt[:SHOWN]:
            since = moment(batch.first_unknown_at or 0.0)
            lines.append(f"    batch {batch.id}: {batch.calls:,} calls, {batch.attempts} attempts, since {since}")
    lines.append("  history")
    for at, state, exit_code, detail in standing.history:
        ending = f" (exit {exit_code})" if exit_code is not None else ""
        lines.append(f"    {moment(at)}  {state}{ending}{'  ' + detail if detail else ''}")
    return "\n".join(lines)


def moment(at: float) -> str:
    """A time in UTC, to the second."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%SZ")
