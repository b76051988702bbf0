"""What a ledger tells of single calls, and of the batches that were refused or are in doubt."""

from __future__ import annotations

from backfill.frozen import frozen
from backfill.records.batches import Batch


@frozen
class RefusedBatch:
    """A batch that the target rejected for good, and its answer."""

    batch: Batch
    status: int
    detail: str  # the answer, shortened


@frozen
class Doubt:
    """A batch that may or may not have arrived."""

    batch: int
    shard: int
    first_call: int
    calls: int
    attempts: int
    since: float | None  # POSIX seconds of the first attempt of unknown outcome; None where its age is not known
    left: bool  # for good, as somebody decided
    status: int | None  # of the last attempt; None where no answer came
    detail: str  # how the last attempt ended; empty where it has not


@frozen
class DoubtSpan:
    """The doubts of a run summed up: first those still to be sent, then those left for good."""

    batches: int = 0
    calls: int = 0
    first: float | None = None  # the earliest and the latest `since`
    last: float | None = None
    ageless: int = 0  # batches whose age is not known
    left_batches: int = 0
    left_calls: int = 0


@frozen
class CallSpan:
    """Some calls of a shard, one after the other in its calls file, that a leaf of the tree of batches stands for."""

    batch: int
    shard: int
    first_call: int
    calls: int
    standing: str  # pending, in_doubt, delivered, rejected
    settled: bool  # delivered, or left in doubt for good


@frozen
class CanaryCall:
    """A call that --canary sends, as it is looked up in the destination."""

    message_id: str
    call: str  # label or type
    user: str  # userId, else anonymousId
    event: str  # or the name of a page or screen; else empty
    timestamp: str
    shard: int
    place: int  # in the shard's calls file


@frozen
class SentAttempt:
    """One request of a run, as far as its pace is concerned."""

    sent_at: float  # POSIX seconds
    ended_at: float | None
    outcome: str | None  # accepted, refused, unknown; None: no answer is recorded
    status: int | None
    calls: int


@frozen
class LedgerAttempt:
    """One request that held a call."""

    batch: int  # that left: the one the call stands in, or one it was a part of before that was split
    number: int
    sent_at: float  # POSIX seconds
    ended_at: float | None
    outcome: str | None  # accepted, refused, unknown; None: no answer is recorded
    status: int | None
    detail: str
