"""What deliver is given, and what it gives back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from enum import StrEnum
from typing import Protocol

from backfill.clock import Clock
from backfill.errors import ExitCode
from backfill.frozen import frozen
from backfill.limits import DEDUP_WINDOW_SECONDS, SEGMENT
from backfill.records import Answer, Batch, BatchBytes, Decision, DeliveryLedger, DeliveryTotals, SharedPace
from backfill.targets import AnswerFormat, AuthScheme
from backfill.verdict import Patience, StopReason, Verdict


@frozen
class TargetAccess:
    """How to reach a target. Its repr does not show the key."""

    batch_url: str
    write_key: str = field(repr=False)
    gzip: bool = True
    rate: float | None = None  # calls a second; None: as fast as it takes them
    requests: float | None = None  # requests a second, likewise; both hold at once
    body_limit: int = SEGMENT.body_bytes  # uncompressed bytes of a body
    envelope: str = ""  # further members of a body's object, as JSON without the braces
    headers: Mapping[str, str] = field(default_factory=dict)  # on every request, besides our own
    auth: AuthScheme = AuthScheme.BASIC
    auth_header: str = "Authorization"
    answers: AnswerFormat = AnswerFormat.STATUS
    source: str = ""  # where people look whether calls arrived, in words


@frozen
class DeliveryOptions:
    """How to go about it. Times in seconds."""

    concurrency: int = 2  # requests in flight at once: one waits for its answer while the next is made
    patience: Patience = field(default_factory=Patience)
    window_seconds: float = DEDUP_WINDOW_SECONDS  # how long the target remembers message ids
    first_alone: bool = True  # nothing of this run was delivered yet: the first batch goes alone and awaited
    canary: bool = False  # stop after that first batch
    chosen: tuple[Batch, ...] = ()  # with canary: send these alone instead
    in_doubt: Decision | None = None  # what becomes of batches past the window when the delivery begins; None: nothing
    ordered: bool = False  # a batch is begun only once the one before it is delivered or rejected
    connect_seconds: float = 15.0
    read_seconds: float = 30.0  # also for one write
    # Of an attempt up to the answer's body, however many reads and writes it takes: 500,000 bytes at 4 KB a second.
    attempt_seconds: float = 120.0
    renew_seconds: float = 3600.0  # the age at which a connection, and the address it was made to, is given up
    grace_seconds: float = 10.0  # how long a stop waits for what is in flight


@frozen
class Delivery:
    """What is delivered from where to where, and how."""

    ledger: DeliveryLedger
    spool: BatchBytes
    target: TargetAccess
    options: DeliveryOptions
    clock: Clock
    shared_pace: SharedPace | None = None  # None: the pace is this process's own


class EndKind(StrEnum):
    """How a delivery ended."""

    FINISHED = "finished"  # every batch handed out is delivered or rejected, and there are no more
    STOPPED = "stopped"  # by itself, resumable
    INTERRUPTED = "interrupted"  # from outside, resumable


@frozen
class DeliveryEnd:
    """How a delivery ended, and what to tell.

    `exit_code` is DELIVERED for a finished one (whether rows were rejected is the ledger's to say), INTERRUPTED for an
    interrupted one (whoever caught the signal knows which).
    """

    kind: EndKind
    totals: DeliveryTotals
    exit_code: ExitCode = ExitCode.DELIVERED
    reason: StopReason | None = None
    message: str = ""
    hint: str = ""
    answer: str = ""  # the answer that stopped it, shortened
    batches: tuple[int, ...] = ()  # ids of the batches it is about


@frozen
class Attempt:
    """One attempt's end as the senders hand it up."""

    verdict: Verdict
    number: int = 0  # in the batch's life, from 1; 0 where nothing was sent
    sent_at: float = 0.0  # POSIX seconds
    answer: Answer | None = None  # None where nothing was sent
    delivered: int = 0  # calls
    rejected: int = 0  # calls
    parts: tuple[Batch, ...] = ()  # what it left to be delivered of the batch, in order, where that was split


class Sender(Protocol):
    """Takes a batch some way towards the target. Used by one thread."""

    def send(self, batch: Batch, counted: int) -> Attempt:
        """Send it, as the counted attempt of that number from 1; CutShortError where the delivery ends before."""


class CutShortError(Exception):
    """The delivery is stopping or aborted, so a sender leaves off. Never leaves this package."""
