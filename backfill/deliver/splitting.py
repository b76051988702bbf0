"""A refused batch is halved until the calls at fault stand alone: the rest of it is delivered."""

from __future__ import annotations

import threading
from dataclasses import dataclass

from backfill.deliver.batch_queue import BatchWork
from backfill.deliver.model import Attempt
from backfill.deliver.retry import RetryingSender
from backfill.limits import CANARY_CALLS
from backfill.records import Batch
from backfill.verdict import Action, StopReason

#: A planned batch of which so many calls stand alone and refused, and none is accepted, is not taken apart any further
#: before others have been looked at: where the target refuses everything, each call would cost two requests.
BARREN_CALLS = CANARY_CALLS
#: So many planned batches in a row without one accepted call are no poison, but a wrong shape: the run stops.
FRUITLESS_BATCHES = 3


class AllRefused:
    """The planned batches that came to nothing since the last one of which a call was accepted. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._planned: dict[int, None] = {}  # in the order in which they ended

    def add(self, planned: int) -> tuple[int, ...]:
        """One more, or one of them once more; returns the ids of all."""
        with self._lock:
            self._planned[planned] = None
            return tuple(self._planned)

    def clear(self) -> None:
        """A call of a planned batch was accepted."""
        with self._lock:
            self._planned.clear()


@dataclass(frozen=True, slots=True)
class WorkEnd:
    """What became of a work."""

    fruitful: bool  # a call of the planned batch was accepted, now or earlier
    refusal: Attempt | None  # the last one of which calls were refused
    left: tuple[Batch, ...] = ()  # what is still to be sent of it, where it proved barren
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

        Unless `thorough`, also until it proves barren (BARREN_CALLS); what is left is then to be sent later on.

        Raises:
            HaltedError: The delivery ends before.
        """
        waiting = list(reversed(work.batches))
        fruitful, alone = work.fruitful, 0
        refusal: Attempt | None = None
        doubtful: list[int] = []
        sent = False
        while waiting and (thorough or fruitful or alone < BARREN_CALLS):
            batch = waiting.pop()
            attempt = self._inner.send(batch)
            sent = sent or attempt.number > 0
            if attempt.verdict.reason is StopReason.WINDOW and not self._ordered:
                doubtful.append(batch.id)
                continue
            if attempt.verdict.action is Action.STOP:
                return WorkEnd(fruitful, refusal, (), (batch, attempt), tuple(doubtful), sent)
            fruitful = fruitful or attempt.delivered > 0
            alone += attempt.rejected
            refusal = attempt if attempt.rejected or attempt.parts else refusal
            waiting.extend(reversed(attempt.parts))
        return WorkEnd(fruitful, refusal, tuple(reversed(waiting)), None, tuple(doubtful), sent)
