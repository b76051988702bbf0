"""One attempt, written down before it leaves and after it ended; and the guard in front of it."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Protocol

from backfill.deliver.model import Attempt, Clock, Errand, HaltedError, Sender
from backfill.deliver.skew import SkewWatch
from backfill.deliver.tally import Tally
from backfill.deliver.transport import Reply, basic_authorization
from backfill.errors import ExitCode, LedgerError, RefusedError
from backfill.gzip_body import gzip_body
from backfill.limits import ENVELOPE_TAIL_BYTES
from backfill.records import Answer, Batch, BatchState, Outcome
from backfill.verdict import Action, Failure, StopReason, Verdict, verdict

#: Of an answer's body this many characters are kept.
DETAIL_CHARACTERS = 200
#: A first unknown attempt that lies further than this in the future, in seconds, means that the clock was set back.
SET_BACK_SECONDS = 300.0

STATES = {Action.ACCEPTED: BatchState.DELIVERED, Action.REJECTED: BatchState.REJECTED}


class Post(Protocol):
    """Sends one body: a Transport, or a stand-in."""

    def post(self, body: bytes, retries: int) -> Reply:
        """Send it as the retry of that number, 0 for none."""


def envelope_tail(now: float) -> bytes:
    """What follows the calls in a body: `],"sentAt":"..."}` with that time in UTC, milliseconds cut."""
    text = datetime.fromtimestamp(now, UTC).isoformat(timespec="milliseconds")
    return f'],"sentAt":"{text.removesuffix("+00:00")}Z"}}'.encode("ascii")


class Recorded:
    """Marks the attempt (durably), sends it, and records what came of it."""

    def __init__(
        self, errand: Errand, post: Post, tally: Tally, skew: SkewWatch, abandoned: Callable[[], bool]
    ) -> None:
        self._ledger = errand.ledger
        self._spool = errand.spool
        self._target = errand.target
        self._patience = errand.options.patience
        self._clock = errand.clock
        self._post = post
        self._tally = tally
        self._skew = skew
        self._abandoned = abandoned
        key = errand.target.write_key
        self._secrets = (key, basic_authorization(key).removeprefix("Basic "))

    def send(self, batch: Batch, counted: int) -> Attempt:
        """One attempt.

        Raises:
            LedgerError: the spool does not hold what the ledger says, or the mark cannot be made.
            RefusedError: the batch is larger than this target takes.
        """
        if batch.bytes + ENVELOPE_TAIL_BYTES > self._target.body_limit:
            raise RefusedError(
                f"batch {batch.id} holds {batch.bytes:,} bytes, the target takes {self._target.body_limit:,}",
                hint="the limit was lowered after the run was prepared: restore it, or prepare the run again",
            )
        content = self._read(batch)  # before the mark: a damaged spool leaves no batch in doubt
        if self._abandoned():
            raise HaltedError
        number = self._ledger.mark_sent(batch, self._clock.now())
        sent_at = self._clock.now()  # taken anew: making the mark durable took its time, and sentAt must be true
        body = self._body(batch, content, sent_at)
        reply = self._post.post(body, number - 1)
        if self._abandoned():
            raise HaltedError  # nobody waits for this answer any more, and the ledger may be closed by now
        ended = verdict(
            reply.end,
            reply.headers,
            attempt=counted,
            elapsed=self._tally.since_accepted(),
            now=self._clock.now(),
            patience=self._patience,
        )
        answer = Answer(
            outcome=ended.outcome,
            state=STATES.get(ended.action),
            status=None if isinstance(reply.end, Failure) else reply.end,
            detail=detail_of(reply, self._secrets),
            at=self._clock.now(),
            seconds=reply.seconds,
            wire_bytes=len(body),
        )
        self._ledger.record_answer(batch, number, answer)
        self._tally.attempted(batch, answer, retried=number > 1)
        if not isinstance(reply.end, Failure):
            self._skew.observe(reply.headers.get("date", ""), sent_at, sent_at + reply.seconds)
            self._tally.read(reply)
        return Attempt(ended, number, sent_at, answer)

    def _read(self, batch: Batch) -> bytes:
        if not self._target.gzip:
            return self._spool.plain(batch)
        content = self._spool.deflated(batch)
        if len(content) != batch.length:
            raise LedgerError(f"the spool holds {len(content):,} bytes of batch {batch.id}, not {batch.length:,}")
        return content

    def _body(self, batch: Batch, content: bytes, sent_at: float) -> bytes:
        tail = envelope_tail(sent_at)
        return gzip_body(content, batch.bytes, batch.crc32, tail) if self._target.gzip else content + tail


class Guarded:
    """Sends nothing again once the target may have forgotten its ids.

    A batch whose outcome is unknown may be sent again as long as the target drops what it holds already. The age counts
    from the first such attempt, and is looked at here, right before each attempt leaves.
    """

    def __init__(self, inner: Sender, window_seconds: float, clock: Clock) -> None:
        self._inner = inner
        self._window = window_seconds
        self._clock = clock

    def send(self, batch: Batch, counted: int) -> Attempt:
        """Send it, or stop with StopReason.WINDOW and nothing sent."""
        if window_open(batch, self._window, self._clock.now()):
            return self._inner.send(batch, counted)
        return Attempt(Verdict(Action.STOP, Outcome.UNKNOWN, reason=StopReason.WINDOW, exit_code=ExitCode.STOPPED))


def window_open(batch: Batch, window_seconds: float, now: float) -> bool:
    """Whether a batch may be sent (again). Where the clock was set back, its age cannot be known: then it may not."""
    if batch.first_unknown_at is None:
        return True
    return -SET_BACK_SECONDS <= now - batch.first_unknown_at <= window_seconds


def detail_of(reply: Reply, secrets: tuple[str, ...]) -> str:
    """What an answer said, on one line, shortened, without the write key; or how the attempt failed."""
    if isinstance(reply.end, Failure):
        return reply.end.value
    text = reply.body[: 8 * DETAIL_CHARACTERS].decode("utf-8", errors="replace")
    for secret in secrets:
        if secret:
            text = text.replace(secret, "[write key]")
    text = " ".join(re.sub(r"[^\S ]|[\x00-\x1f\x7f-\x9f]", " ", text).split())
    if reply.cut:
        text += " [cut]"
    return text if len(text) <= DETAIL_CHARACTERS else text[: DETAIL_CHARACTERS - 1] + "…"
