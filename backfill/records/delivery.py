"""What deliver needs of its neighbours, and what it counts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol, TypeVar

from backfill.records.batches import Answer, Batch, BatchPart, ClockMark, Decision

T = TypeVar("T")


class DeliveryLedger(Protocol):
    """What deliver needs of the ledger. Thread-safe."""

    def next_batches(self, limit: int) -> list[Batch]:
        """Up to `limit` batches still to be delivered, in plan order, each handed out once per process."""

    def mark_sent(self, batch: Batch, at: float) -> int:
        """Record that an attempt leaves now; returns its number (from 1) once that is durable (group-committed)."""

    def record_answer(self, batch: Batch, attempt: int, answer: Answer) -> None:
        """Queue the end of an attempt; durable with the next commit, at the latest with `flush`."""

    def record_parts(self, batch: Batch, attempt: int, answer: Answer, parts: Sequence[BatchPart]) -> list[Batch]:
        """Record the end of an attempt and, in the same commit, that these parts stand for the batch from now on.

        They hold all its calls, in their order; the answer's state is SPLIT. Returns those still to be delivered, in
        that order, once it is durable; `next_batches` of this process does not hand them out.
        """

    def record_cut(self, batch: Batch, parts: Sequence[BatchPart]) -> list[Batch]:
        """Record, durably, that these parts stand for a batch of which nothing was ever sent.

        They hold all its calls, in their order, and are all still to be delivered: returned as of `record_parts`.
        """

    def clock_mark(self) -> ClockMark | None:
        """The clock as last recorded; None where it never was."""

    def mark_clock(self, mark: ClockMark) -> None:
        """Record the clock, durably."""

    def lose_ages(self, detail: str) -> None:
        """Record, durably and in the run's history, that the age of the present doubts is not known."""

    def in_doubt(self) -> list[Batch]:
        """The batches in doubt that are still to be delivered, in plan order.

        What was in flight when the last process ended is among them.
        """

    def decide(self, batches: Sequence[Batch], decision: Decision, at: float) -> None:
        """Record, durably and in the run's history, what becomes of batches in doubt, before any is handed out.

        Of those sent again the doubt counts from `at`; the others are `left`, and never handed out.
        """

    def flush(self) -> None:
        """Return once everything recorded is durable."""


class DeliveryStep(StrEnum):
    """What one of the processes that deliver a run at once does next."""

    FIRST = "first"  # send the first batch alone, then others: nothing was ever accepted
    SEND = "send"
    WAIT = "wait"  # for the first batch's verdict, or for what others have in hand
    END = "end"  # nobody has anything left that could be sent: end the run, for all
    OVER = "over"  # the run was ended, or stopped for all


class SharedPace(Protocol):
    """The turns of all processes that deliver a run at once. Thread-safe."""

    def change_pace(self, change: Callable[[str, float], tuple[str, T]]) -> T:
        """Give `change` what is kept of the pace, empty at first, and the time of one clock for all, in seconds.

        What it returns first is kept from then on, and the rest returned. Nobody else changes it meanwhile. It need
        not survive a crash, and may be done twice where a connection is lost.
        """


class SharedDelivery(SharedPace, Protocol):
    """What the processes that deliver a run at once share besides the ledger. Thread-safe.

    `next_batches` hands a batch to one of them. One that ends or dies gives back what it was handed; what it had in
    flight is in doubt then.
    """

    def begin(self) -> None:
        """The run is `delivering` from now on, unless it is finished by now, which it stays."""

    def next_step(self) -> DeliveryStep:
        """What this process does next, after all that it has recorded. One of them at a time is told FIRST, or END."""

    def leave(self, exit_code: int, detail: str, *, for_all: bool = False) -> None:
        """Give back what this process was handed; nothing more is recorded by it.

        The last to leave stops the run with that exit code and detail, and so does one that leaves `for_all`, unless
        it is over or stopped already.
        """


class BatchBytes(Protocol):
    """What deliver needs of the spool. Thread-safe."""

    def deflated(self, batch: Batch) -> bytes:
        """The raw deflate stream as it stands in the segment (no crc check; cheap)."""

    def plain(self, batch: Batch) -> bytes:
        """The plain bytes, checked against length and crc; raises LedgerError where they differ."""

    def call_sizes(self, batch: Batch) -> Sequence[int]:
        """The bytes of each call of a batch, in their order, without the commas."""


@dataclass(slots=True)
class DeliveryTotals:
    """What one process has delivered so far; for progress and the summary's `requests`, `retries`, `wire`."""

    requests: int = 0
    retries: int = 0
    calls: int = 0
    json_bytes: int = 0
    wire_bytes: int = 0
    waits: dict[str, float] = field(default_factory=dict)  # seconds slept by reason: pace, backoff, retry_after

    def plus(self, other: DeliveryTotals) -> DeliveryTotals:
        """The sum of both."""
        return DeliveryTotals(
            self.requests + other.requests,
            self.retries + other.retries,
            self.calls + other.calls,
            self.json_bytes + other.json_bytes,
            self.wire_bytes + other.wire_bytes,
            {reason: self.waits.get(reason, 0.0) + other.waits.get(reason, 0.0) for reason in self.waits | other.waits},
        )
