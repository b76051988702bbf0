"""What deliver is handed and what it tells: a batch, its states, the end of an attempt, the clock."""

from __future__ import annotations

from enum import StrEnum

from backfill.frozen import frozen


class BatchState(StrEnum):
    """A batch is in exactly one; only the ledger moves it."""

    PLANNED = "planned"
    SENT = "sent"  # an attempt left, its answer is not known (yet)
    DELIVERED = "delivered"
    REJECTED = "rejected"  # refused by the target
    SPLIT = "split"  # its children stand for it
    LEFT = "left"  # in doubt, and never sent again: somebody decided so


class Outcome(StrEnum):
    """What one attempt is known to have done: whether the target holds the calls, not what becomes of them."""

    ACCEPTED = "accepted"
    NOT_TAKEN = "refused"  # by this attempt: they may be sent again, where they are not rejected for good
    UNKNOWN = "unknown"  # the target may or may not hold them


class Decision(StrEnum):
    """What is to become of the batches in doubt for longer than the target remembers ids."""

    RESEND = "resend"  # sent again: their calls may arrive twice
    SKIP = "skip"  # never: they stay in doubt


#: Stands for the time of a first unknown attempt where the clock was set back since: older than any window.
AGE_UNKNOWN = 0.0


@frozen
class ClockMark:
    """A reading of the run's clock, by which the next process tells how long ago that was.

    `boot` names one boot of one machine, empty where the system does not tell; `up` are seconds since that boot, which
    no user can set.
    """

    at: float  # POSIX seconds
    boot: str
    up: float
    window: float  # seconds for which the target remembers ids, as that process took it


@frozen
class Batch:
    """A batch as deliver sees it."""

    id: int  # in the ledger
    shard: int
    calls: int
    bytes: int
    offset: int
    length: int
    crc32: int
    attempts: int = 0  # made so far, in this and earlier processes
    first_unknown_at: float | None = None  # of the first attempt of unknown outcome, POSIX seconds, or AGE_UNKNOWN
    first_call: int = 0
    #: Of a part of a planned batch (halving made it): that batch, the root of the tree, and where in its plain bytes
    #: the part's first call begins. `offset` and `length` are then the root's, `bytes` and `crc32` the part's own.
    root: int | None = None
    start: int | None = None
    fruitful: bool = False  # when it was handed out, calls of its planned batch had been delivered


@frozen
class BatchPart:
    """Calls of a batch, one after the other, that stand for themselves from now on: a child to be.

    Its plain bytes are a batch's like any other: the envelope's head, its calls, commas between them.
    """

    calls: int
    start: int  # where its first call begins in the plain bytes of the planned batch
    bytes: int  # of its plain bytes
    crc32: int  # of its plain bytes
    state: BatchState  # PLANNED: still to be delivered; DELIVERED; REJECTED: with what the target said of it
    status: int | None = None
    detail: str = ""  # as Answer.detail


@frozen
class Answer:
    """The end of one attempt."""

    outcome: Outcome
    state: BatchState | None  # the state the batch takes; None: it stays sent and is tried again
    status: int | None  # HTTP status, None where none came
    detail: str  # the answer's body, shortened to 200 characters, or the failure's name; never the payload or the key
    at: float  # POSIX seconds
    seconds: float  # from leaving to the answer
    wire_bytes: int  # of the request's body; 0 where it never left

    @property
    def left(self) -> bool:
        """Whether anything of the request left: a failure that leaves no doubt, without an answer, came before."""
        return self.status is not None or self.outcome is not Outcome.NOT_TAKEN
