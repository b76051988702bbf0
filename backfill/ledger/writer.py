"""The ledger as the process that owns the run writes it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import replace
from functools import partial
from types import TracebackType
from typing import Self

from backfill.errors import BackfillError
from backfill.ledger import sql_delivery, sql_plan
from backfill.ledger.commits import GroupCommits
from backfill.ledger.connection import Connection, Transactions
from backfill.ledger.reader import SqlReader, check_plan
from backfill.ledger.sql_delivery import check_cut, check_end, check_parts, cut_batch, retry_rejected, split_batch
from backfill.records import (
    Answer,
    Batch,
    BatchPart,
    ClockMark,
    Decision,
    Problem,
    RunState,
    ShardPlan,
    SharedDelivery,
    Snapshot,
    plan_digest,
)


class SqlLedger(AbstractContextManager["SqlLedger"]):
    """The durable record of one run. Thread-safe; a method that writes returns once it is durable, unless it says so.

    One process at a time: hold the run's lock before opening it. `reader` reads it meanwhile.
    """

    def __init__(
        self, transactions: Transactions, reader: Callable[[], SqlReader], *, clock: Callable[[], float] = time.time
    ) -> None:
        """Begin to write; attempts that an earlier process left without an end become `unknown`.

        Both are closed with this. `reader` is opened once the ledger is this process's alone.

        Raises:
            LedgerError: It is damaged, or of a version this program does not know.
        """
        self._clock = clock
        self._commits = GroupCommits(transactions)
        self._handing_out = threading.Lock()
        self._handed_out: tuple[int, int, int] | None = None
        self._newest: int | None = None  # what is split later is in the hands of whoever split it
        try:
            self.reader = reader()
            try:
                check_plan(self.reader)
                self.orphans = self._commits.submit(self._end_orphans)
            except BaseException:
                self.reader.close()
                raise
        except BaseException:
            with suppress(BackfillError):
                self._commits.close()
            raise

    @property
    def together(self) -> SharedDelivery | None:
        """None: this process has the run alone."""
        return None

    def _end_orphans(self, connection: Connection) -> int:
        """Give the attempts without an end that are nobody's at work the outcome unknown; returns how many."""
        return sql_delivery.end_orphans(connection)

    def __enter__(self) -> Self:
        """Itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Make everything recorded durable and let go of it.

        Again does nothing.

        Raises:
            BackfillError: An answer that was queued could not be recorded.
        """
        self.reader.close()
        self._commits.close()

    # ------------------------------------------------------------------------------------------- staging, preparing

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
        """
        self._commits.submit(
            lambda connection: sql_plan.insert_snapshot(
                connection,
                snapshot,
                calls_per_row=calls_per_row,
                problems=problems or {},
                samples=samples,
                at=self._clock(),
            )
        )

    def record_shard(self, plan: ShardPlan) -> None:
        """Record a shard whose files are durable: its batches are planned from now on.

        Raises:
            LedgerError: It is recorded already, or the run is not `preparing`.
        """
        self._commits.submit(partial(sql_plan.insert_shard, plan=plan))

    def prepared_shards(self) -> dict[int, ShardPlan]:
        """The shards recorded, by number: an interrupted prepare goes on after them."""
        days = self.reader.days_by_shard()
        return {shard: replace(plan, days=days[shard]) for shard, plan in self.reader.shards().items()}

    def record_plan(self, findings: Sequence[tuple[Problem, int]] = ()) -> str:
        """Record that every shard is; the run becomes `prepared`. Returns the plan's digest (`plan_digest`).

        `findings` are of all calls together, each with how many it is of; they are among the problems from now on.

        Raises:
            LedgerError: A shard is missing, or the counts do not add up.
        """
        digest = plan_digest(self.reader.shards().values())
        self._commits.submit(partial(sql_plan.finish_plan, digest=digest, at=self._clock(), findings=findings))
        return digest

    def note_finding(self, code: str, count: int, samples: Sequence[Problem]) -> None:
        """Record what was found of that code of the whole plan, in place of what was before; 0: nothing was.

        It is among the problems from now on; `samples`, of one severity, are some of so many. The plan is the same.

        Raises:
            LedgerError: The plan is not whole.
        """
        self._commits.submit(partial(sql_plan.replace_finding, code=code, count=count, samples=samples))

    # -------------------------------------------------------------------------------------------------- delivering

    def next_batches(self, limit: int) -> list[Batch]:
        """Up to `limit` batches still to be delivered, in plan order, each handed out once per process.

        Those that an earlier process sent without a final answer are among them; their bytes are the same.
        """
        with self._handing_out:
            if self._newest is None:
                self._newest = self.reader.newest_batch()
            batches = self.reader.open_batches(limit, self._handed_out, self._newest)
            if batches:
                last = batches[-1]
                self._handed_out = (last.shard, last.first_call, last.id)
            return batches

    def mark_sent(self, batch: Batch, at: float) -> int:
        """Record that an attempt leaves now (POSIX seconds); returns its number, from 1, once that is durable.

        Raises:
            LedgerError: The batch is delivered or rejected already: it must not be sent again.
        """
        return self._commits.submit(partial(sql_delivery.insert_attempt, batch=batch.id, at=at))

    def record_answer(self, batch: Batch, attempt: int, answer: Answer) -> None:
        """Queue the end of an attempt; durable with the next commit, at the latest with `flush` or `close`.

        Raises:
            ValueError: Such an outcome cannot give the batch such a state.
            BackfillError: The ledger cannot be written any more; the answer is not recorded.
        """
        check_end(answer)
        self._commits.post(partial(sql_delivery.end_attempt, batch=batch.id, number=attempt, answer=answer))

    def record_parts(self, batch: Batch, attempt: int, answer: Answer, parts: Sequence[BatchPart]) -> list[Batch]:
        """Record the end of an attempt and, in the same commit, that these parts stand for the batch from now on.

        The batch becomes `split`. Its parts are its calls, all of them and in their order, each part `planned` (still
        to be delivered), `delivered` or `rejected`; they may be the halves of a refused batch, or what an answer said
        of each call. The answer's state is SPLIT, its outcome `refused` or `accepted`.

        Returns those `planned`, in their order, once all of it is durable; `next_batches` hands out none of them in
        this process, since the caller has them.

        Raises:
            ValueError: The parts are not the batch, or such an answer leaves none.
            LedgerError: There is no such attempt without an end.
        """
        check_parts(batch, answer, parts)
        return self._commits.submit(
            partial(split_batch, batch=batch, number=attempt, answer=answer, parts=tuple(parts))
        )

    def record_cut(self, batch: Batch, parts: Sequence[BatchPart]) -> list[Batch]:
        """Record, durably, that these parts stand for a batch of which nothing was ever sent.

        They hold all its calls, in their order, and are all still to be delivered: returned as of `record_parts`.

        Raises:
            ValueError: The parts are not the batch.
            LedgerError: Something of it was sent.
        """
        check_cut(batch, parts)
        return self._commits.submit(partial(cut_batch, batch=batch, parts=tuple(parts)))

    def retry_rejected(self) -> int:
        """Plan again every call that the target refused; returns how many. A finished run is `delivering` then.

        Rows that our own rules refused stay refused. The bytes of these calls must still be in the spool.
        """
        return self._commits.submit(lambda connection: retry_rejected(connection, at=self._clock()))

    def clock_mark(self) -> ClockMark | None:
        """The clock as last recorded; None where it never was."""
        return self.reader.clock_mark()

    def mark_clock(self, mark: ClockMark) -> None:
        """Record the clock, durably."""
        self._commits.submit(partial(sql_delivery.mark_clock, mark=mark))

    def lose_ages(self, detail: str) -> None:
        """Record, durably and in the history, that the age of the doubts is not known: `detail` says why."""
        self._commits.submit(partial(sql_delivery.lose_ages, at=self._clock(), detail=detail))

    def in_doubt(self) -> list[Batch]:
        """The batches in doubt that are still to be delivered, in plan order."""
        return self.reader.in_doubt()

    def decide(self, batches: Sequence[Batch], decision: Decision, at: float) -> None:
        """Record, durably and in the history, what becomes of batches in doubt that were not handed out yet.

        Of those sent again the doubt counts from `at` (POSIX seconds); the others are `left`, and never sent again.
        """
        self._commits.submit(partial(sql_delivery.decide, batches=tuple(batches), decision=decision, at=at))

    def flush(self) -> None:
        """Return once everything recorded is durable."""
        self._commits.flush()

    # ------------------------------------------------------------------------------------------------ the run's state

    def set_state(self, state: RunState, *, exit_code: int | None = None, detail: str = "") -> None:
        """Move the run; `detail` says why it stopped, and holds neither key nor payload.

        For `delivering`, `stopped` and `abandoned`; the other states are taken by what brings them about:
        `record_snapshot`, `record_plan` and `finish`.

        Raises:
            ValueError: It is one of those.
            LedgerError: That state cannot follow the present one (`run.TRANSITIONS`).
        """
        if state not in (RunState.DELIVERING, RunState.STOPPED, RunState.ABANDONED):
            raise ValueError(f"the state {state} is not set by itself")
        self._commits.submit(
            partial(sql_plan.move_run, state=state, at=self._clock(), exit_code=exit_code, detail=detail)
        )

    def finish(self, exit_code: int, detail: str = "") -> None:
        """Finish the run; a re-run gives `exit_code` again, and `detail`, what is to be said about it.

        Raises:
            LedgerError: A batch is still to be delivered, or the run is not `delivering`.
        """
        self._commits.submit(partial(sql_plan.finish_run, at=self._clock(), exit_code=exit_code, detail=detail))
