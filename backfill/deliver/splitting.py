"""A refused batch is halved until each call at fault is a batch of its own: all other calls are delivered."""

from __future__ import annotations

import threading

from backfill.deliver.batch_queue import BatchWork
from backfill.deliver.model import Attempt
from backfill.deliver.retry import RetryingSender
from backfill.frozen import frozen
from backfill.limits import CANARY_CALLS
from backfill.records import Batch
from backfill.verdict import Action, StopReason

#: When this many calls of a planned batch were each refused alone and none was accepted, the batch is put aside until
#: others have been tried: where the target refuses everything, each call would cost two requests.
PUT_ASIDE_CALLS = CANARY_CALLS
#: When this many planned batches in a row had no accepted call, the fault is not in single calls: the run stops.
ALL_REFUSED_BATCHES = 3


class AllRefused:
    """The planned batches tried since the last accepted call, all of them refused. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._planned: dict[int, None] = {}  # in the order in which they ended

    def add(self, planned: int) -> tuple[int, ...]:
        """Add one, or note the same one again; returns the ids of all."""
        with self._lock:
            self._planned[planned] = None
            return tuple(self._planned)

    def clear(self) -> None:
        """Start anew: a call was accepted."""
        with self._lock:
            self._planned.clear()


@frozen
class WorkEnd:
    """What became of a work."""

    accepted: bool  # a call of the planned batch was, now or earlier
    refusal: Attempt | None  # the last one of which calls were refused
    left: tuple[Batch, ...] = ()  # what is still to be sent of it, where it is put aside
    stopped: tuple[Batch, Attempt] | None = None  # the attempt that stops the run, and at what
    doubtful: tuple[int, ...] = ()  # the ids of batches that are in doubt for too long and were passed over
    sent: bool = False  # anything of it left


class SplittingSender:
    """Sends the parts of one planned batch, and the parts that they fall into, each before the one behind it."""

    def __init__(self, inner: RetryingSender, *, ordered: bool = False) -> None:
        """`ordered`: what is in doubt for too long is not passed over, but stops the run."""
        self._inner = inner
        self._ordered = ordered

    def send(self, work: BatchWork, *, thorough: bool) -> WorkEnd:
        """Send until all of it is delivered or rejected, or an attempt stops the run.

        Unless `thorough`, it also stops after PUT_ASIDE_CALLS; what is left is then to be sent later on.

        Raises:
            CutShortError: The delivery ends before.
        """
        waiting = list(reversed(work.batches))
        accepted, alone = work.accepted, 0
        refusal: Attempt | None = None
        doubtful: list[int] = []
        sent = False
        while waiting and (thorough or accepted or alone < PUT_ASIDE_CALLS):
            batch = waiting.pop()
            attempt = self._inner.send(batch)
            sent = sent or attempt.number > 0
            if attempt.verdict.reason is StopReason.WINDOW and not self._ordered:
                doubtful.append(batch.id)
                continue
            if attempt.verdict.action is Action.STOP:
                return WorkEnd(accepted, refusal, (), (batch, attempt), tuple(doubtful), sent)
            accepted = accepted or attempt.delivered > 0
            alone += attempt.rejected
            refusal = attempt if attempt.rejected or attempt.parts else refusal
            waiting.extend(reversed(attempt.parts))
        return WorkEnd(accepted, refusal, tuple(reversed(waiting)), None, tuple(doubtful), sent)
