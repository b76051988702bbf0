"""Runs as people look at them: a table of all, or one in full."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, field
from typing import Any

from backfill.errors import counted
from backfill.frozen import frozen
from backfill.records import Counts, DeliveryTotals, PlanFacts, RunHolder, RunReader, RunState, RunStatus, StoredRun
from backfill.records.plan import SHARD_ROWS
from backfill.records.shard_form import SETTLED_FILE, SHARD_FILE
from backfill.report.contents import PlanContents
from backfill.report.doubts import Doubts, doubt_json, doubt_lines, read_doubts
from backfill.report.speed import Speed
from backfill.report.summary import (
    CALLS,
    ROWS,
    Summary,
    by_code,
    counts_text,
    duration_text,
    summary_text,
    time_text,
)
from backfill.state.plan_file import plan_facts


@frozen
class RunView:
    """Everything about one run that is shown, read at one time."""

    status: RunStatus
    counts: Counts
    problems: dict[str, int]
    doubts: Doubts
    history: tuple[tuple[float, RunState, int | None, str], ...]
    dates: Mapping[str, tuple[str, str]] = field(default_factory=dict)  # as Summary.dates
    dry: bool = False
    plan: PlanFacts | None = None  # once it is complete
    holders: Sequence[RunHolder] = ()  # the processes that are at work on it
    read_at: float = 0.0  # POSIX seconds
    process_gone: bool = False  # it was at work on the run and has ended without saying so: killed, say
    together: tuple[int, int] | None = None  # shards that are there of those that several processes prepare

    @property
    def state(self) -> str:
        """The state as people may see it."""
        if self.together is not None:
            return f"{self.status.state} ({self.together[0]:,} of {counted(self.together[1], 'shard', 'shards')})"
        return f"{self.status.state} (no process)" if self.process_gone else str(self.status.state)


#: States in which a process is at work on the run.
UNDER_WAY = frozenset({RunState.STAGING, RunState.PREPARING, RunState.DELIVERING})


def read_run_view(run: StoredRun, *, now: float | None = None) -> RunView:
    """Read a run's ledger, also while another process writes it.

    `now` in POSIX seconds, the system's where left out, tells which batches in doubt are past the window.

    Raises:
        LedgerError: It is gone or cannot be read.
    """
    holders = run.holders()
    with run.read() as reader:
        together = prepared_together(run, reader)
        under_way = not run.is_dry and reader.status().state in UNDER_WAY
        return RunView(
            reader.status(),
            reader.counts(),
            by_code(reader.problems()),
            read_doubts(reader, now),
            tuple(reader.history()),
            dates=reader.dates(),
            dry=run.is_dry,
            plan=plan_facts(run),
            holders=tuple(holders),
            read_at=time.time() if now is None else now,
            process_gone=under_way and not holders and together is None,
            together=together,
        )


def prepared_together(run: StoredRun, reader: RunReader) -> tuple[int, int] | None:
    """How many shards are there of a run that several processes prepare, and how many it has; None of any other run.

    Whether one is at work on it now nobody knows.
    """
    snapshot = reader.snapshot()
    if run.shared is None or snapshot is None or reader.status().state is not RunState.PREPARING:
        return None
    names = run.shared.work().names(anew=True)
    there = sum(name.startswith(SHARD_FILE) for name in names)
    return (there, -(-snapshot.rows // SHARD_ROWS)) if SETTLED_FILE in names else None


def run_summary(view: RunView, contents: PlanContents | None = None) -> Summary:
    """The run's summary, with what its plan holds where that is to be told.

    Its requests, retries and wire bytes are those of all its processes.
    """
    counts = view.counts
    totals = DeliveryTotals(requests=counts.requests, retries=counts.retries, wire_bytes=counts.wire_bytes)
    seconds = seconds_worked(view)
    return Summary(
        view.status, counts, view.problems, view.dates, totals, seconds, dry=view.dry, plan=view.plan, contents=contents
    )


def seconds_worked(view: RunView) -> float:
    """How long processes were at work on a run, by its history: staging, preparing and delivering, waits left out.

    A process that was killed counts until the next one begins; of one that has no successor the last answer is the end.
    """
    times = [at for at, _, _, _ in view.history]
    last = view.read_at if view.holders else view.counts.last_ended_at or 0.0
    ends = [*times[1:], last]
    return sum(
        max(0.0, end - at) for (at, state, _, _), end in zip(view.history, ends, strict=True) if state in UNDER_WAY
    )


def run_json(view: RunView, *, listed: bool, contents: PlanContents | None = None) -> dict[str, Any]:
    """The object of `status --output json`: that of the run's summary and its doubts, `listed` one by one."""
    told = run_summary(view, contents).as_json() | {"in_doubt": doubt_json(view.doubts, listed=listed)}
    holders = [asdict(one) for one in view.holders]
    together = [one for one in holders if one["batches"] is not None]
    return told | {"held_by": holders[0] if holders and not together else None, "deliverers": together}


def accounts_text(view: RunView) -> str:
    """What became of a run's rows and calls as far as is known, on one line; to be read with its rejects.

    Nothing is said to have been sent that was not.
    """
    state, counts = view.status.state, view.counts
    if state is RunState.STAGING:
        why = f": {view.status.detail}" if view.status.detail else ""
        return f"its source was not read to the end, so nothing is known of its rows{why}"
    would = "would be" if view.dry else "was"
    given_up = "given up; " if state is RunState.ABANDONED else ""
    none = f"no row {would} rejected" if not counts.rejected + counts.unreadable else ""
    if state is RunState.PREPARING:
        return f"{none or 'these'} so far: not every row has been checked yet ({view.state})"
    rows = counts_text([(name, getattr(counts, name)) for name in ROWS])
    shown = [name for name in CALLS if not (view.dry and name == "pending")]
    calls = counts_text([(name.replace("_", " "), getattr(counts, name)) for name in shown])
    if view.dry and counts.pending:
        calls += f", {counts.pending:,} to send"
    return f"{given_up}{f'{none}; ' if none else ''}rows: {rows}; calls: {calls}"


#: Title -> count, in the order in which they are told; all behind the first add up to it.
COLUMNS = {
    "PLANNED": "planned",
    "DELIVERED": "delivered",
    "REJECTED": "rejected",
    "DUPLICATE": "duplicate",
    "BEFORE": "already_delivered",
    "IN DOUBT": "in_doubt",
    "PENDING": "pending",
}
#: Columns of a terminal that the table keeps to as long as no count has more than nine digits.
WIDTH = 80


def runs_table(views: Sequence[RunView], speeds: Mapping[str, Speed | None] | None = None) -> str:
    """A few lines for each run: what it is, its counts in columns, and of batches in doubt how long they are safe.

    `speeds`, by the ids of runs, are those of runs that are watched.
    """
    cells = [[f"{getattr(one.counts, name):,}" for name in COLUMNS.values()] for one in views]
    widths = [max(map(len, column)) for column in zip(COLUMNS, *cells, strict=True)]
    gap = "  " if sum(widths) + 2 * len(widths) <= WIDTH else " "

    def aligned(row: Iterable[str]) -> str:
        return "".join(gap + cell.rjust(width) for cell, width in zip(row, widths, strict=True))

    lines = [aligned(COLUMNS)]
    for one, row in zip(views, cells, strict=True):
        lines += [one.status.record.run_id, aligned(row)]
        lines.append(f"  {one.state} {time_text(one.status.state_at)}, {whither(one)}")
        lines += speed_lines(speeds.get(one.status.record.run_id) if speeds else None)
        lines += [f"  at work: {holder}" for holder in one.holders]
        if one.doubts.span.batches:
            lines.append(f"  in doubt since {one.doubts.since}, sent again by itself until {one.doubts.until}")
    return "\n".join(lines)


def speed_lines(speed: Speed | None) -> list[str]:
    """How fast a run is, and how long it will take; nothing of one that does not move."""
    if speed is None or speed.seconds_left is None:
        return []
    left = f", {duration_text(speed.seconds_left)} left" if speed.seconds_left else ""
    return [f"  {speed.calls_per_second:,.0f} calls/s{left}"]


def whither(view: RunView) -> str:
    """Where a run's calls go; of a dry run, whose calls go nowhere, for which target its plan is."""
    if not view.dry:
        return f"to {where_to(view)}"
    plan = f"plan {view.plan.plan_id} " if view.plan else ""
    return f"{plan}for {view.status.record.target_name}; nothing is sent"


def where_to(view: RunView) -> str:
    """The run's target: its profile's name, kind and endpoint; of a dry run the name alone of the one it is for."""
    record = view.status.record
    if view.dry:
        return f"{record.target_name} (planned for it; nothing is sent)"
    named = record.target_identity == record.target_name
    return f"{record.target_name} ({'in this process' if named else record.target_identity})"


def run_text(view: RunView, *, ledger: str, bytes_at: str = "", contents: PlanContents | None = None) -> str:
    """One run in full: its summary, its places, its batches in doubt, its history.

    `ledger` is its file as shown, `bytes_at` where its bytes are shared.
    """
    record = view.status.record
    lines = [summary_text(run_summary(view, contents)), f"  run       {record.run_id}, generation {record.generation}"]
    lines.append(f"  target    {where_to(view)}")
    if view.plan is not None and not view.dry:
        lines.append(f"  plan      {view.plan.plan_id}")
    lines.append(f"  job file  {record.job_file}")
    lines.append(f"  ledger    {ledger}")
    if bytes_at:
        lines.append(f"  bytes     {bytes_at}")
    lines += [f"  process   {one}{', is at work on it' if one.batches is None else ''}" for one in view.holders]
    if view.together is not None:
        there, count = view.together
        lines.append(f"  shards    {there:,} of {count:,} are there, by several processes that prepare it")
    if view.process_gone:
        lines.append(f"  process   none is at work on it, though it is {view.status.state}: it can go on")
    if view.status.detail and view.status.state is not RunState.STOPPED:  # which the summary tells
        lines.append(f"  {view.status.state!s:<9} {view.status.detail}")
    lines += [f"  {line}" for line in doubt_lines(view.doubts)]
    lines.append("  history")
    for at, state, exit_code, detail in view.history:
        ending = f" (exit {exit_code})" if exit_code is not None else ""
        lines.append(f"    {time_text(at)}  {state}{ending}{'  ' + detail if detail else ''}")
    return "\n".join(lines)
