"""One attempt, written down before it leaves and after it ended; and the guard in front of it."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Protocol

from backfill.deliver.answers import Success, read_success
from backfill.deliver.clock_skew import SkewWatch
from backfill.deliver.in_doubt import window_open
from backfill.deliver.model import Attempt, Delivery, HaltedError, Sender, TargetAccess
from backfill.deliver.totals import RunningTotals
from backfill.deliver.transport import Reply, basic_authorization, key_header
from backfill.errors import ExitCode, LedgerError, RefusedError
from backfill.records import Answer, Batch, BatchPart, BatchState, Outcome
from backfill.verdict import BEFORE_LEAVING, Action, Failure, StopReason, Verdict, verdict
from backfill.wire import REPEATED, gzip_body, halves, message_ids, refused_parts, tail

#: Of an answer's body this many characters are kept.
DETAIL_CHARACTERS = 200
#: A header's value that is shorter is no secret.
SHORTEST_SECRET = 8

STATES = {Action.ACCEPTED: BatchState.DELIVERED, Action.REJECTED: BatchState.REJECTED}


class Post(Protocol):
    """Sends one body: a Transport, or a stand-in."""

    def post(self, body: bytes, retries: int, tail: bytes = b"") -> Reply:
        """Send it, and the tail behind it, as the retry of that number, 0 for none."""


class RecordingSender:
    """Marks the attempt (durably), sends it, and records what came of it."""

    def __init__(
        self,
        delivery: Delivery,
        post: Post,
        totals: RunningTotals,
        skew: SkewWatch,
        now: Callable[[], float],
        abandoned: Callable[[], bool],
    ) -> None:
        """`now` is the run's clock (`RunClock`), `abandoned` whether nobody waits for the answer any more."""
        self._ledger = delivery.ledger
        self._spool = delivery.spool
        self._target = delivery.target
        self._patience = delivery.options.patience
        self._clock = delivery.clock
        self._post = post
        self._totals = totals
        self._skew = skew
        self._now = now
        self._abandoned = abandoned
        self._secrets = secrets_of(delivery.target)

    def send(self, batch: Batch, counted: int) -> Attempt:
        """One attempt.

        Raises:
            LedgerError: the spool does not hold what the ledger says, or the mark cannot be made.
            RefusedError: the batch is larger than this target takes.
        """
        size = batch.bytes + len(tail(0.0, self._target.envelope))
        if size > self._target.body_limit:
            raise RefusedError(
                f"batch {batch.id} makes a body of {size:,} bytes, the target takes {self._target.body_limit:,}",
                hint="the limit was lowered after the run was prepared: restore it, or prepare the run again",
            )
        content = self._read(batch)  # before the mark: a damaged spool leaves no batch in doubt
        if self._abandoned():
            raise HaltedError
        marked_at = self._now()
        number = self._ledger.mark_sent(batch, marked_at)
        sent_at = self._clock.now()  # taken anew: making the mark durable took its time, and sentAt must be true
        body, end = self._body(batch, content, sent_at)
        reply = self._post.post(body, number - 1, end)
        if self._abandoned():
            raise HaltedError  # nobody waits for this answer any more, and the ledger may be closed by now
        ended = verdict(
            reply.end,
            reply.headers,
            calls=batch.calls,
            attempt=counted,
            elapsed=self._totals.since_accepted(),
            unreached=self._totals.unreached(),
            now=self._clock.now(),
            patience=self._patience,
        )
        answer = Answer(
            outcome=ended.outcome,
            state=STATES.get(ended.action),
            status=None if isinstance(reply.end, Failure) else reply.end,
            detail=detail_of(reply, self._secrets),
            at=self._now(),
            seconds=reply.seconds,
            wire_bytes=0 if reply.end in BEFORE_LEAVING else len(body) + len(end),
        )
        parts, planned = self._parts(batch, ended, reply), []
        if parts:
            answer = replace(answer, state=BatchState.SPLIT)
            planned = self._ledger.record_parts(batch, number, answer, parts)
        else:
            self._ledger.record_answer(batch, number, answer)
        self._totals.attempted(batch, answer, retried=number > 1, parts=parts)
        if not isinstance(reply.end, Failure):
            self._skew.observe(reply.headers.get("date", ""), sent_at, sent_at + reply.seconds)
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
        """What stands for the batch from now on, where it does not stand for itself."""
        if ended.action is Action.SPLIT:
            return halves(batch, self._spool.plain(batch), self._spool.call_sizes(batch))
        return self._refused(batch, reply) if ended.action is Action.ACCEPTED else []

    def _refused(self, batch: Batch, reply: Reply) -> Sequence[BatchPart]:
        """The parts of a batch that was taken, where the answer names calls that were not; else none."""
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
            self._totals.remark(reply.end, success.odd, batch)
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


class DedupWindowGuard:
    """Sends nothing again once the target may have forgotten its ids.

    A batch whose outcome is unknown may be sent again as long as the target drops what it holds already. The age counts
    from the first such attempt, and is looked at here, right before each attempt leaves.
    """

    def __init__(
        self, inner: Sender, window_seconds: float, now: Callable[[], float], resend: tuple[float, float] | None = None
    ) -> None:
        """`now` is the run's clock (`RunClock`).

        `resend` is a decision of this process's user to send again what was in doubt: the time by which it was (POSIX
        seconds), and for how many seconds. It matters where the target remembers ids for a shorter time, or not at all.
        """
        self._inner = inner
        self._window = window_seconds
        self._now = now
        self._resend = resend

    def send(self, batch: Batch, counted: int) -> Attempt:
        """Send it, or stop with StopReason.WINDOW and nothing sent."""
        if self.allows(batch):
            return self._inner.send(batch, counted)
        return Attempt(Verdict(Action.STOP, Outcome.UNKNOWN, reason=StopReason.WINDOW, exit_code=ExitCode.STOPPED))

    def allows(self, batch: Batch) -> bool:
        """Whether it may be sent (again) now."""
        return window_open(batch, self._window, self._now()) or self._decided(batch)

    def _decided(self, batch: Batch) -> bool:
        if self._resend is None or batch.first_unknown_at is None:
            return False
        by, seconds = self._resend
        return batch.first_unknown_at <= by and window_open(batch, seconds, self._now())


def secrets_of(target: TargetAccess) -> tuple[str, ...]:
    """What must not be kept of an answer that repeats the request: the key, however written, and the headers' values.

    A header of a profile may hold a secret of its own; a value of a few characters is none, and would tear words.
    """
    basic = basic_authorization(target.write_key).removeprefix("Basic ")
    values = [value for value in target.headers.values() if len(value) >= SHORTEST_SECRET]
    return tuple(sorted({target.write_key, basic, key_header(target), *values} - {""}, key=len, reverse=True))


def detail_of(reply: Reply, secrets: tuple[str, ...]) -> str:
    """What an answer said, on one line, shortened, without key or payload; or how the attempt failed."""
    if isinstance(reply.end, Failure):
        return f"{reply.end.value}: {cleaned(reply.why, secrets)}" if reply.why else reply.end.value
    text = reply.body[: 8 * DETAIL_CHARACTERS].decode("utf-8", errors="replace")
    return cleaned(text, secrets, end=" [cut]" if reply.cut else "")


def cleaned(text: str, secrets: tuple[str, ...], end: str = "") -> str:
    """A target's words on one line of at most DETAIL_CHARACTERS, without secrets and without calls it repeats."""
    text = text[: 8 * DETAIL_CHARACTERS]
    for secret in secrets:
        text = text.replace(secret, "[write key]")
    text = REPEATED.sub("[calls]", text)
    text = " ".join(re.sub(r"[^\S ]|[\x00-\x1f\x7f-\x9f]", " ", text).split()) + end
    return text if len(text) <= DETAIL_CHARACTERS else text[: DETAIL_CHARACTERS - 1] + "…"
