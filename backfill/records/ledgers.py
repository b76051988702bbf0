"""What may be asked of the ledger of one run, whatever keeps it: a SQLite file, or a schema in PostgreSQL.

What is durable when, in any implementation:

- A method that writes returns once what it wrote survives the end of the process and a power cut, unless it says that
  it queues. Nothing is half there: each call is recorded whole or not at all.
- The plan is durable before a batch is handed out, the mark of an attempt before its request leaves, and an answer
  with the next write, at the latest with `flush` or `close`. A process killed in between has its attempts of unknown
  outcome: whoever opens the ledger next finds their batches in doubt.
- One process at a time writes, the one that holds the run's lock; any number read meanwhile, and see whole commits.
  Of those that share the lock to deliver a run at once each writes of the batches alone that it was handed.
  A process that has lost the lock (a lease that ran out) records nothing more: LockedError.
- A ledger that has lost commits, or whose batches are no longer those planned, is refused: LedgerError.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Protocol, Self

from backfill.records.batches import Batch, ClockMark
from backfill.records.calls import CallSpan, Doubt, DoubtSpan, LedgerAttempt, RefusedBatch, SentAttempt
from backfill.records.delivery import DeliveryLedger, SharedDelivery
from backfill.records.plan import ShardPlan
from backfill.records.problems import Problem
from backfill.records.profile import PlanProfile
from backfill.records.runs import Counts, RunState, RunStatus, SnapshotRecord
from backfill.records.snapshot import Snapshot


class RunReader(AbstractContextManager["RunReader"], Protocol):
    """A view of a ledger that never writes. Thread-safe; each method reads what is committed at that moment.

    Every method raises LedgerError where the ledger turns out to be damaged.
    """

    def __enter__(self) -> Self:
        """Itself."""
        return self

    def close(self) -> None:
        """Let go of it; again does nothing."""

    def status(self) -> RunStatus:
        """The run and where it stands."""

    def snapshot(self) -> SnapshotRecord | None:
        """What staging gave; None before it is recorded."""

    def counts(self) -> Counts:
        """Everything counted, in one consistent reading."""

    def problems(self) -> dict[tuple[str, str], int]:
        """How many problems of each (code, severity), those of staging included."""

    def samples(self) -> list[Problem]:
        """Up to five problems of each code, in order of code, then of the source."""

    def days(self) -> dict[tuple[str, str], int]:
        """How many planned calls of each (call label, day of its timestamp, YYYY-MM-DD)."""

    def dates(self) -> dict[str, tuple[str, str]]:
        """First and last day of the planned calls' timestamps (YYYY-MM-DD), by call label; none before the plan."""

    def history(self) -> list[tuple[float, RunState, int | None, str]]:
        """Each state the run took: when (POSIX seconds), which, the exit code, the reason."""

    def clock_mark(self) -> ClockMark | None:
        """The clock as last recorded; None where it never was."""

    def batch_sizes(self) -> list[tuple[int, int]]:
        """The bytes, without the envelope's tail, and calls of each batch as it was planned, in plan order."""

    def profile(self) -> PlanProfile | None:
        """What the calls of all shards recorded hold; None where a version that counted none prepared some."""

    def shards(self) -> dict[int, ShardPlan]:
        """Every shard recorded, as prepare gave it, days and profile aside."""

    def open_batches(
        self, limit: int, after: tuple[int, int, int] | None = None, newest: int | None = None
    ) -> list[Batch]:
        """Up to `limit` batches still to be delivered, in plan order, behind (shard, first_call, id).

        Of those with an id above `newest` there is none among them.
        """

    def shards_in_use(self) -> set[int]:
        """The shards whose prepared bytes are still needed: to be delivered, or refused, to be tried again perhaps."""

    def calls_digests(self) -> dict[int, str]:
        """SHA-256 of the calls file of each shard that has calls."""

    def refused(self) -> list[RefusedBatch]:
        """Every batch that the target refused for good, in plan order, with the answer that did it."""

    def in_doubt(self) -> list[Batch]:
        """Batches still to be delivered that may have arrived, in plan order; `first_unknown_at` is set.

        While a process delivers, what it has in flight is among them.
        """

    def doubts(self, limit: int = -1) -> list[Doubt]:
        """Up to `limit` batches that may or may not have arrived, all where it is negative, in plan order.

        While a process delivers, what it has in flight is among them; so is what is left for good.
        """

    def doubt_span(self) -> DoubtSpan:
        """All of them summed up."""

    def call_spans(self) -> list[CallSpan]:
        """All calls that were planned, by the batches that stand for them now, in plan order."""

    def settled_spans(self) -> list[CallSpan]:
        """The calls that are not to be sent by any later run, in plan order.

        Those delivered, and those in doubt of which somebody has decided that they are not sent again.
        """

    def span_of(self, shard: int, call: int) -> CallSpan | None:
        """The leaf that stands for a call, by its index in the shard's calls file; None where there is no such call."""

    def sent_attempts(self) -> list[SentAttempt]:
        """Every request that left, in the order in which they left."""

    def attempts(self, batch: int) -> list[LedgerAttempt]:
        """Every attempt at a batch and at those it was a part of, the first one first."""


class RunWriter(DeliveryLedger, AbstractContextManager["RunWriter"], Protocol):
    """The ledger as the one process that holds the run's lock writes it. Thread-safe.

    Opening it gives each attempt that an earlier process left without an end the outcome unknown, durably.
    """

    @property
    def reader(self) -> RunReader:
        """Reads what is committed; closed with this."""

    @property
    def orphans(self) -> int:
        """How many attempts of earlier processes had no end when it was opened."""

    @property
    def together(self) -> SharedDelivery | None:
        """What this process shares with others that deliver the run at once; None where it has the run alone."""

    def __enter__(self) -> Self:
        """Itself."""
        return self

    def close(self) -> None:
        """Make everything recorded durable and let go; again does nothing.

        Raises:
            BackfillError: An answer that was queued could not be recorded.
        """

    def record_snapshot(
        self,
        snapshot: Snapshot,
        *,
        calls_per_row: int,
        problems: Mapping[tuple[str, str], int] | None = None,
        samples: Sequence[Problem] = (),
    ) -> None:
        """Record the frozen source; the run becomes `preparing`.

        `problems` counts the unreadable records by (code, severity), `samples` are up to five of each code.

        Raises:
            LedgerError: It is recorded already, or its counts do not add up.
        """

    def record_shard(self, plan: ShardPlan) -> None:
        """Record a shard whose files are durable: its batches are planned from now on.

        Raises:
            LedgerError: It is recorded already, or the run is not `preparing`.
        """

    def prepared_shards(self) -> dict[int, ShardPlan]:
        """The shards recorded, by number, days included, profile aside: an interrupted prepare goes on after them."""

    def record_plan(self, findings: Sequence[tuple[Problem, int]] = ()) -> str:
        """Record that every shard is; the run becomes `prepared`. Returns the plan's digest (`plan_digest`).

        `findings` are of all calls together, each with how many it is of; they are among the problems from now on.

        Raises:
            LedgerError: A shard is missing, or the counts do not add up.
        """

    def note_finding(self, code: str, count: int, samples: Sequence[Problem]) -> None:
        """Record what was found of that code of the whole plan, in place of what was before; 0: nothing was.

        It is among the problems from now on; `samples`, of one severity, are some of so many. The plan is the same.

        Raises:
            LedgerError: The plan is not whole.
        """

    def retry_rejected(self) -> int:
        """Plan again every call that the target refused; returns how many. A finished run is `delivering` then."""

    def set_state(self, state: RunState, *, exit_code: int | None = None, detail: str = "") -> None:
        """Move the run to `delivering`, `stopped` or `abandoned`; `detail` says why, without key or payload.

        Raises:
            ValueError: It is another state: those are taken by what brings them about.
            LedgerError: That state cannot follow the present one (TRANSITIONS).
        """

    def finish(self, exit_code: int, detail: str = "") -> None:
        """Finish the run; a re-run gives `exit_code` again, and `detail`, what is to be said about it.

        Raises:
            LedgerError: A batch is still to be delivered, or the run is not `delivering`.
        """
