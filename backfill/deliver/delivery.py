"""A delivery: senders in threads, and a main thread that only waits."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable, Sequence

from backfill.clock import Clock
from backfill.deliver.attempt import RecordingSender
from backfill.deliver.batch_queue import BatchQueue, BatchWork
from backfill.deliver.clock_skew import SkewWatch
from backfill.deliver.endings import canary_end, clock_end, finished_end, interrupted_end, stop_end, window_end
from backfill.deliver.environment import context_for
from backfill.deliver.in_doubt import DedupWindowGuard, resolve_doubts, window_open
from backfill.deliver.model import Attempt, CutShortError, Delivery, DeliveryEnd, DeliveryOptions, TargetAccess
from backfill.deliver.pace import Pace, PacedSender
from backfill.deliver.retry import Outage, RetryingSender, Waiter
from backfill.deliver.splitting import ALL_REFUSED_BATCHES, AllRefused, SplittingSender, WorkEnd
from backfill.deliver.totals import RunningTotals
from backfill.deliver.transport import Transport
from backfill.limits import CANARY_CALLS
from backfill.records import Batch, BatchBytes, Decision, DeliveryLedger, DeliveryTotals, SharedPace
from backfill.verdict import StopReason
from backfill.wire import cut_in_two

#: The main thread looks this often at its signals, and tells the progress, in seconds.
TICK_SECONDS = 0.1


def deliver(
    *,
    ledger: DeliveryLedger,
    spool: BatchBytes,
    target: TargetAccess,
    options: DeliveryOptions,
    stop: threading.Event,
    abort: threading.Event,
    progress: Callable[[DeliveryTotals], None],
    clock: Clock | None = None,
    shared_pace: SharedPace | None = None,
) -> DeliveryEnd:
    """Deliver every batch that the ledger hands out; returns how it ended, with everything recorded durable.

    Args:
        ledger: hands out batches in plan order, and is told of every attempt, durably before it leaves.
        spool: holds their bytes.
        target: where they go.
        options: how.
        stop: set from outside: no batch is begun any more, what is in flight ends (within the grace time).
        abort: set from outside: return at once. Batches in flight stay `sent`, which is what they are.
        progress: called about ten times a second, in the calling thread, and once at the end.
        clock: time and chance, the system's where left out.
        shared_pace: what other processes that deliver to the same target at once take their turns by as well.

    Raises:
        LedgerError: ledger and spool do not fit together.
        RefusedError: a batch is larger than the target takes.
        UsageError: no request can be made for this target at all.
        BackfillError: whatever else ledger or spool raise, such as StoppedError for a full disk.
    """
    delivery = Delivery(ledger, spool, target, options, clock or Clock(), shared_pace)
    end = _DeliveryRun(delivery, stop, abort).run(progress)
    ledger.flush()
    progress(end.totals)
    return end


class _Ending:
    """Why the delivery ends: the first reason counts. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.end: DeliveryEnd | None = None
        self.error: BaseException | None = None
        self.aborted = False  # what is in flight is not waited for any more

    def decide(self, end: DeliveryEnd) -> None:
        with self._lock:
            self.end = self.end or end

    def fail(self, error: BaseException) -> None:
        with self._lock:
            self.error = self.error or error

    @property
    def decided(self) -> bool:
        return self.aborted or self.end is not None or self.error is not None


class _DeliveryRun:
    """One delivery: what its sender threads share, their start and end."""

    def __init__(self, delivery: Delivery, stop: threading.Event, abort: threading.Event) -> None:
        clock = delivery.clock
        self._delivery = delivery
        self._stop = stop
        self._abort = abort
        self._ending = _Ending()
        options = delivery.options
        self._run_clock = resolve_doubts(delivery.ledger, clock, options.window_seconds, options.in_doubt)
        resend = options.in_doubt is Decision.RESEND
        self._resend = (self._run_clock.now(), options.patience.seconds) if resend else None
        self._queue = BatchQueue(delivery.ledger, options.chosen)
        self._totals = RunningTotals(clock.monotonic, proven=not options.first_alone)
        self._outage = Outage(delivery.target.batch_url, clock.monotonic)
        self._skew = SkewWatch()
        self._all_refused = AllRefused()
        self._pace = Pace(delivery.target.rate, delivery.target.requests, clock.monotonic, delivery.shared_pace)
        self._waiter = Waiter(clock, self._stopping, self._totals.add_wait)
        self._tls = context_for(delivery.target.batch_url)

    def run(self, progress: Callable[[DeliveryTotals], None]) -> DeliveryEnd:
        options = self._delivery.options
        if options.chosen:
            self._run_senders(1, progress)
        elif options.first_alone:
            self._run_senders(1, progress, most=1)
        if not (self._stopping() or options.canary):
            self._run_senders(options.concurrency, progress)
        if self._ending.error is not None:
            raise self._ending.error
        return self._end()

    def _end(self) -> DeliveryEnd:
        totals = self._totals.copy()
        if self._ending.end is not None:
            return dataclasses.replace(self._ending.end, totals=totals)  # others have ended since it was decided
        if self._aborted():
            return interrupted_end(totals)
        if self._queue.complete():
            if doubtful := self._queue.passed_over():
                return window_end(totals, doubtful, self._delivery.options.window_seconds)
            return canary_end(totals, self._delivery.target) if self._others_left() else finished_end(totals)
        return interrupted_end(totals) if self._stop.is_set() else canary_end(totals, self._delivery.target)

    def _others_left(self) -> bool:
        """Whether there are batches still to be delivered beside those that were chosen."""
        if not self._delivery.options.chosen:
            return False
        self._delivery.ledger.flush()  # else those just answered would be among them
        return bool(self._delivery.ledger.next_batches(1))

    def _stopping(self) -> bool:
        return self._stop.is_set() or self._abort.is_set() or self._ending.decided

    def _aborted(self) -> bool:
        return self._abort.is_set() or self._ending.aborted

    def _run_senders(self, senders: int, progress: Callable[[DeliveryTotals], None], most: int | None = None) -> None:
        """Run sender threads until nothing is left, each has sent `most` planned batches, or the delivery is to end."""
        options = self._delivery.options
        threads = [
            # Daemons: what hangs in a dead connection must not keep the process from ending.
            threading.Thread(target=self._run_sender, args=(most,), name=f"deliver-{number}", daemon=True)
            for number in range(senders)
        ]
        for thread in threads:
            thread.start()
        stopping_since: float | None = None
        while not self._aborted() and (alive := [thread for thread in threads if thread.is_alive()]):
            alive[0].join(TICK_SECONDS)
            progress(self._totals.copy())
            if self._run_clock.due():
                self._delivery.ledger.mark_clock(self._run_clock.mark(options.window_seconds))
            if self._stopping():
                now = self._delivery.clock.monotonic()
                stopping_since = now if stopping_since is None else stopping_since
                self._ending.aborted = now - stopping_since > self._delivery.options.grace_seconds

    def _run_sender(self, most: int | None) -> None:
        """What one sender thread does. Its errors are carried to the main thread, which raises them."""
        try:
            transport = Transport(self._delivery.target, self._delivery.options, self._delivery.clock, self._tls)
            try:
                self._send_work(self._make_sender(transport), most)
            finally:
                transport.close()
        except CutShortError:
            return
        except BaseException as error:  # noqa: BLE001 - a thread has nobody above it
            self._ending.fail(error)

    def _make_sender(self, transport: Transport) -> SplittingSender:
        delivery, now = self._delivery, self._run_clock.now
        recording = RecordingSender(delivery, transport, self._totals, self._skew, now, self._aborted)
        guard = DedupWindowGuard(recording, delivery.options.window_seconds, now, self._resend)
        paced = PacedSender(guard, self._pace, self._waiter.wait)
        retrying = RetryingSender(paced, self._pace, self._waiter, delivery.clock, self._outage, guard.allows)
        return SplittingSender(retrying, ordered=delivery.options.ordered)

    def _take(self, *, alone: bool) -> BatchWork | None:
        return self._queue.take_first(self._cut) if alone else self._queue.take()

    def _cut(self, batch: Batch) -> Sequence[Batch]:
        """The batch, or its first calls and the rest of it where it has more and nothing of it was ever sent."""
        if batch.calls <= CANARY_CALLS or batch.attempts or batch.first_unknown_at is not None:
            return (batch,)
        spool, ledger = self._delivery.spool, self._delivery.ledger
        parts = cut_in_two(batch, spool.plain(batch), spool.call_sizes(batch), CANARY_CALLS)
        return ledger.record_cut(batch, parts)

    def _send_work(self, sender: SplittingSender, most: int | None) -> None:
        sent = 0
        while sent != most and not self._stopping() and (work := self._take(alone=most is not None)) is not None:
            end = sender.send(work, thorough=work.put_aside or self._delivery.options.ordered)
            self._queue.pass_over(end.doubtful)
            if end.stopped is not None:
                self._ending.decide(self._end_at(*end.stopped))
                return
            if end.left:
                self._queue.put_aside(work, end.left)
            else:
                self._queue.mark_done()
                sent += end.sent
            self._stop_if_all_refused(work, end, alone=most is not None)
            if self._skew.too_large is not None:
                self._ending.decide(clock_end(self._totals.copy(), self._skew.too_large))

    def _stop_if_all_refused(self, work: BatchWork, end: WorkEnd, *, alone: bool) -> None:
        """Decide to stop where all calls were refused: those of the first batch, or of too many batches in a row."""
        if end.accepted:
            self._all_refused.clear()
            self._queue.recall()
        elif end.refusal is not None:
            planned = self._all_refused.add(work.planned)
            if len(planned) >= ALL_REFUSED_BATCHES or (alone and not end.left):
                self._ending.decide(stop_end(self._totals.copy(), end.refusal, planned, self._delivery.target))

    def _end_at(self, batch: Batch, attempt: Attempt) -> DeliveryEnd:
        batches: tuple[int, ...] = (batch.id,)
        if attempt.verdict.reason is StopReason.WINDOW:
            now, window = self._run_clock.now(), self._delivery.options.window_seconds
            batches += self._queue.waiting(lambda other: not window_open(other, window, now))
            return window_end(self._totals.copy(), batches, window)
        return stop_end(self._totals.copy(), attempt, batches, self._delivery.target)
