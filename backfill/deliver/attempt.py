"""One attempt at a batch: marked in the ledger before it leaves, recorded there when it has ended."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Protocol

from backfill.deliver.answers import Success, read_success
from backfill.deliver.clock_skew import SkewWatch
from backfill.deliver.model import Attempt, CutShortError, Delivery
from backfill.deliver.redact import cleaned, detail_of, secrets_of
from backfill.deliver.totals import RunningTotals
from backfill.deliver.transport import Reply
from backfill.errors import LedgerError, RefusedError
from backfill.records import Answer, Batch, BatchPart, BatchState
from backfill.verdict import BEFORE_LEAVING, Action, Failure, Verdict, verdict
from backfill.wire import gzip_body, halves, message_ids, refused_parts, tail

STATES = {Action.ACCEPTED: BatchState.DELIVERED, Action.REJECTED: BatchState.REJECTED}


class Post(Protocol):
    """Sends one body: a Transport, or a stand-in."""

    def post(self, body: bytes, retries: int, tail: bytes = b"") -> Reply:
        """Send it, and the tail behind it, as the retry of that number, 0 for none."""


class RecordingSender:
    """Marks the attempt in the ledger, durably; then sends it, and records its result."""

    def __init__(
        self,
        delivery: Delivery,
        post: Post,
        totals: RunningTotals,
        skew: SkewWatch,
        now: Callable[[], float],
        aborted: Callable[[], bool],
    ) -> None:
        """`now` is the run's clock (`RunClock`); `aborted` tells whether the delivery ended without this answer."""
        self._ledger = delivery.ledger
        self._spool = delivery.spool
        self._target = delivery.target
        self._patience = delivery.options.patience
        self._clock = delivery.clock
        self._post = post
        self._totals = totals
        self._skew = skew
        self._now = now
        self._aborted = aborted
        self._secrets = secrets_of(delivery.target)

    def send(self, batch: Batch, counted: int) -> Attempt:
        """One attempt.

        Raises:
            LedgerError: the spool does not hold what the ledger says, or the mark cannot be made.
            RefusedError: the batch is larger than this target takes.
        """
        self._check_size(batch)
        content = self._read(batch)  # before the mark: a damaged spool leaves no batch in doubt
        if self._aborted():
            raise CutShortError
        marked_at = self._now()
        number = self._ledger.mark_sent(batch, marked_at)
        sent_at = self._clock.now()  # taken anew: making the mark durable took its time, and sentAt must be true
        body, end = self._body(batch, content, sent_at)
        reply = self._post.post(body, number - 1, end)
        if self._aborted():
            raise CutShortError  # the delivery has ended meanwhile, and the ledger may be closed by now
        if not isinstance(reply.end, Failure):
            self._skew.observe(reply.headers.get("date", ""), sent_at, sent_at + reply.seconds)
        ended = self._judge(batch, counted, reply)
        return self._record(batch, number, marked_at, ended, reply, len(body) + len(end))

    def _check_size(self, batch: Batch) -> None:
        size = batch.bytes + len(tail(0.0, self._target.envelope))
        if size > self._target.body_limit:
            raise RefusedError(
                f"batch {batch.id} makes a body of {size:,} bytes, the target takes {self._target.body_limit:,}",
                hint="the limit was lowered after the run was prepared: restore it, or prepare the run again",
            )

    def _judge(self, batch: Batch, counted: int, reply: Reply) -> Verdict:
        return verdict(
            reply.end,
            reply.headers,
            calls=batch.calls,
            attempt=counted,
            elapsed=self._totals.since_accepted(),
            unreached=self._totals.unreached(),
            now=self._clock.now(),
            patience=self._patience,
        )

    def _record(
        self, batch: Batch, number: int, marked_at: float, ended: Verdict, reply: Reply, body_bytes: int
    ) -> Attempt:
        """Write into the ledger what came of the attempt, and count it."""
        answer = Answer(
            outcome=ended.outcome,
            state=STATES.get(ended.action),
            status=None if isinstance(reply.end, Failure) else reply.end,
            detail=detail_of(reply, self._secrets),
            at=self._now(),
            seconds=reply.seconds,
            wire_bytes=0 if reply.end in BEFORE_LEAVING else body_bytes,
        )
        parts, planned = self._parts(batch, ended, reply), []
        if parts:
            answer = replace(answer, state=BatchState.SPLIT)
            planned = self._ledger.record_parts(batch, number, answer, parts)
        else:
            self._ledger.record_answer(batch, number, answer)
        self._totals.add_attempt(batch, answer, retried=number > 1, parts=parts)
        return Attempt(
            ended,
            number,
            marked_at,
            answer,
            delivered=_calls(BatchState.DELIVERED, batch, answer, parts),
            rejected=_calls(BatchState.REJECTED, batch, answer, parts),
            parts=tuple(planned),
        )

    def _parts(self, batch: Batch, ended: Verdict, reply: Reply) -> Sequence[BatchPart]:
        """The parts that replace the batch from now on; none where it stays whole."""
        if ended.action is Action.SPLIT:
            return halves(batch, self._spool.plain(batch), self._spool.call_sizes(batch))
        return self._refused(batch, reply) if ended.action is Action.ACCEPTED else []

    def _refused(self, batch: Batch, reply: Reply) -> Sequence[BatchPart]:
        """The parts of an accepted batch whose answer names refused calls; none where it names none."""
        assert not isinstance(reply.end, Failure)
        success: Success = read_success(
            self._target.answers,
            reply.end,
            reply.body,
            cut=reply.cut,
            calls=batch.calls,
            ids=lambda: message_ids(self._spool.plain(batch), self._spool.call_sizes(batch)),
        )
        if success.odd:
            self._totals.warn_of_odd(reply.end, success.odd, batch)
        if not success.refused:
            return []
        words = {index: cleaned(text, self._secrets) for index, text in success.refused.items()}
        return refused_parts(batch, self._spool.plain(batch), self._spool.call_sizes(batch), words, reply.end)

    def _read(self, batch: Batch) -> bytes:
        if not self._target.gzip:
            return self._spool.plain(batch)
        content = self._spool.deflated(batch)
        if batch.start is None and len(content) != batch.length:
            raise LedgerError(f"the spool holds {len(content):,} bytes of batch {batch.id}, not {batch.length:,}")
        return content

    def _body(self, batch: Batch, content: bytes, sent_at: float) -> tuple[bytes, bytes]:
        end = tail(sent_at, self._target.envelope)
        return (gzip_body(content, batch.bytes, batch.crc32, end), b"") if self._target.gzip else (content, end)


def _calls(state: BatchState, batch: Batch, answer: Answer, parts: Sequence[BatchPart]) -> int:
    """How many calls of a batch are in a state after an answer."""
    return batch.calls if answer.state is state else sum(part.calls for part in parts if part.state is state)
