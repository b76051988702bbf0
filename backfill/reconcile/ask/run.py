"""A run held against what a destination answers: its rows by their ids, or its counts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.parquet as pq  # type: ignore[import-untyped]

from backfill.disk import TEMPORARY_FOLDERS, out_of_space
from backfill.errors import ExitCode, UsageError
from backfill.frozen import frozen
from backfill.pipeline.call_bytes import PlanCalls
from backfill.pipeline.context import RunContext
from backfill.reconcile.ask.api import JsonApi
from backfill.reconcile.ask.holders import Counted, Counter, Holder
from backfill.reconcile.ask.overview import HEADERS, DeliveryOverview
from backfill.reconcile.ask.posthog import PostHogCounter, PostHogHolder
from backfill.reconcile.ask.sandbox import SandboxHolder
from backfill.reconcile.calls import RunCalls
from backfill.reconcile.events import Events
from backfill.reconcile.source import Against
from backfill.records import RunStatus, StoredRun
from backfill.targets.asked import AskTarget


def holder_of(target: AskTarget, context: RunContext) -> Holder:
    """What asks an API that knows ids."""
    api = JsonApi(target, context)
    return SandboxHolder(api) if target.kind == "sandbox" else PostHogHolder(api)


def counter_of(target: AskTarget, context: RunContext) -> Counter:
    """What asks an API that counts."""
    if target.kind == "segment":
        return DeliveryOverview(JsonApi(target, context, HEADERS), context)
    return PostHogCounter(JsonApi(target, context))


@contextmanager
def rows_of(run: StoredRun, holder: Holder, against: Against, context: RunContext) -> Iterator[Against]:
    """What a run's calls are compared with: the rows that the holder has, as a file while this is entered.

    Raises:
        UsageError: It is a dry run.
        LedgerError, StoppedError: As reconciling.
        TargetRefusedError, SourceError, InterruptedRunError: As `Holder.rows`.
    """
    refuse_dry(run)
    with TEMPORARY_FOLDERS.opened() as folder, PlanCalls(run, context) as plan:
        file = folder / "rows.parquet"
        schema = pa.schema([(column, pa.string()) for column in holder.columns])
        ids = RunCalls(plan, Events(), context).message_ids()
        with out_of_space(folder), pq.ParquetWriter(file, schema) as out:
            for rows in holder.rows(ids):
                out.write_table(pa.Table.from_pylist([dict(row) for row in rows], schema))
        yield replace(against, data=(str(file),))


def refuse_dry(run: StoredRun) -> None:
    """Raise UsageError where a run has delivered nothing since it is a dry run."""
    if run.is_dry:
        raise UsageError(f"{run.run_id} is a dry run: it has delivered nothing", hint="`backfill status` lists runs")


@frozen
class Compared:
    """Calls of one value of a field."""

    field: str  # type or event
    value: str
    delivered: int  # by the ledger
    received: int

    @property
    def fewer(self) -> int:
        """How many are missing at least."""
        return max(0, self.delivered - self.received)


@dataclass(slots=True)
class CountedRun:
    """A run's calls beside the counts of a destination."""

    status: RunStatus
    asked: str
    delivered: int
    counted: Counted
    compared: list[Compared]
    compared_at: float  # POSIX seconds
    notes: list[str] = field(default_factory=list)

    @property
    def fewer(self) -> int:
        """How many calls are missing at least."""
        sums = [sum(one.fewer for one in self.compared if one.field == name) for name in ("type", "event")]
        return max(sums)

    @property
    def exit_code(self) -> ExitCode:
        """3 where fewer were received than were delivered."""
        return ExitCode.REJECTS if self.fewer else ExitCode.DELIVERED


def count_run(run: StoredRun, counter: Counter, context: RunContext) -> CountedRun:
    """Compare the calls that a run has delivered with what was received meanwhile.

    Raises:
        UsageError: It is a dry run, has delivered nothing, or ended too long ago.
        LedgerError: The run's ledger cannot be read, or its plan is not whole.
        TargetRefusedError, SourceError, InterruptedRunError: As `Counter.count`.
    """
    refuse_dry(run)
    with PlanCalls(run, context) as plan:
        with run.read() as reader:
            counts, days = reader.counts(), reader.dates()
        if not counts.delivered or counts.first_sent_at is None or counts.last_ended_at is None:
            raise UsageError(f"{run.run_id} has delivered nothing")
        begin, end = counts.first_sent_at, counts.last_ended_at
        if not counter.by_receipt:
            begin, end = _days_of(days)
        counted = counter.count(begin, end)
        calls = RunCalls(plan, Events(), context)
        types, events = calls.delivered()
        result = CountedRun(plan.status, counter.what, counts.delivered, counted, [], context.clock.now())
        result.notes += counter.notes
        if calls.gone:
            result.notes.append(f"types and events of calls are not known: {calls.gone}")
            return result
        for received in counted.received:
            own = types if received.field == "type" else events
            result.compared += _compared(received.field, own, received.counts)
    return result


def _compared(name: str, delivered: Mapping[str, int], received: Mapping[str, int]) -> list[Compared]:
    """What the run has delivered, the largest lack first."""
    found = [Compared(name, value, calls, received.get(value, 0)) for value, calls in delivered.items()]
    return sorted(found, key=lambda one: (-one.fewer, one.value))


def _days_of(days: Mapping[str, tuple[str, str]]) -> tuple[float, float]:
    """From the first day of the calls to the end of the last, in POSIX seconds."""
    first, last = min(one for one, _ in days.values()), max(one for _, one in days.values())
    begin, end = (datetime.fromisoformat(day).replace(tzinfo=UTC) for day in (first, last))
    return begin.timestamp(), (end + timedelta(days=1)).timestamp()
