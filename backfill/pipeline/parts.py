"""A run that is prepared by several processes, each of which has a part of the shards, wherever they are.

Rule 1: one of them, under the run's lock, stages and settles what holds for all; the others wait for it.
Rule 2: each then prepares its shards without the lock: what it makes is the same whoever makes it (`shared_shards`).
Rule 3: whoever sees all shards done takes the lock and records the plan; a later one finds it there.
"""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Callable
from contextlib import ExitStack
from functools import cache, partial
from typing import Final

from backfill.disk import out_of_space
from backfill.errors import Fault, LockedError, RefusedError, UsageError
from backfill.frozen import frozen
from backfill.job import fingerprint
from backfill.memory import MAX_WORKERS
from backfill.pipeline.changes import decide_run
from backfill.pipeline.check import refuse_unfit
from backfill.pipeline.context import RunRequest, RunResult
from backfill.pipeline.machine_work import MachineWork, ShardTask
from backfill.pipeline.new_run import begin_run, open_delivered_ids, record_of
from backfill.pipeline.prepare import RecordedShards, complete_plan
from backfill.pipeline.release import release, unsent
from backfill.pipeline.run import PLANNED, hold, own_run, repeat_result, result_of
from backfill.pipeline.settling import bytes_here, settle_together, shared_of
from backfill.pipeline.shared_shards import SharedShards
from backfill.pipeline.stage import stage_source
from backfill.pipeline.target_check import connect_targets
from backfill.pipeline.turns import JobRun
from backfill.prepare.frames import shard_count
from backfill.records import RunRecord, RunState, RunWriter

#: Seconds between looks whether another process still has the run: twice as many after each, up to these.
WAIT_SECONDS: Final = (0.25, 4.0)
_OVER = PLANNED | {RunState.FINISHED}


@frozen
class Part:
    """The shards of one process: those whose number, divided by `of`, leaves `number`."""

    number: int  # from 0
    of: int

    @classmethod
    def parse(cls, text: str) -> Part:
        """What K/N says; raises UsageError where it says nothing of the kind."""
        number, slash, of = text.partition("/")
        if not (slash and number.isdecimal() and of.isdecimal() and int(of)):
            raise UsageError(f"--shards {text}: that is no part", hint="3/16 is the fourth of sixteen")
        if int(number) >= int(of):
            raise UsageError(
                f"--shards {text}: parts are counted from 0, as JOB_COMPLETION_INDEX is",
                hint=f"the last of {of} is {int(of) - 1}/{of}",
            )
        return cls(int(number), int(of))

    def shards(self, count: int) -> range:
        """Its shards, of so many."""
        return range(self.number, count, self.of)

    def __str__(self) -> str:
        """It, as it is given."""
        return f"{self.number}/{self.of}"


@frozen
class PartResult:
    """What a process came to whose shards are done while others are not."""

    record: RunRecord
    part: Part
    shards: int  # of the part
    made: int  # of them by this process; the others were there
    rows: int  # of the part
    prepared: int  # shards of the run that are there
    of: int  # shards of the run


def prepare_part(
    request: RunRequest, part: Part, notice: Callable[[Fault], None] = lambda _fault: None
) -> RunResult | PartResult:
    """Prepare a part of the run's shards, after the source is staged by this process or another one.

    What looks like a slip in the job goes to `notice`, by the process that stages.

    Whoever prepares the last shard completes the plan, and gets the run's result; so does one that comes after that.

    Raises:
        UsageError: The run's bytes are on this machine alone.
        RefusedError: The run was prepared from another job, source or key.
        SourceError: The source cannot be read.
        JobError: The job does not fit its source.
        StoppedError: The disk is full, or the place of the bytes is out of reach.
        InterruptedRunError: A signal came; what is prepared stands.
    """
    one = JobRun(own_run(request), request.target, request.options, request.context, request)
    one.since = time.monotonic()
    with out_of_space(request.context.store.path):
        return prepared_part(one, part, notice)


def prepared_part(one: JobRun, part: Part, notice: Callable[[Fault], None]) -> RunResult | PartResult:
    """Prepare a part of the run's shards; see `prepare_part`."""
    request, run, store = one.request, one.run, one.context.store
    assert request is not None
    if not (store.bytes_at or run.begun()):
        raise bytes_here("several processes can prepare a run only where each reaches its bytes")
    if not is_settled(one):
        with ExitStack() as held:
            if take_run(one, held, unless=lambda one: is_as_asked(one) or is_settled(one)):
                begin_together(one, notice)
    if is_planned(one):
        return planned_end(one)
    with run.read() as reader:
        record = reader.status().record
    shared = shared_of(run).apart(f"{part.number}-of-{part.of}-{uuid.uuid4().hex[:8]}")  # it may be at work twice
    task = ShardTask(request.job, shared, record, request.target.limits)
    try:
        end = prepare_shards(one, task, part)
        if is_planned(one):  # by a process that prepared alone what was left
            SharedShards(shared_of(run), one.context.stop.is_set).forget()
            return planned_end(one)
        return complete_together(one, task) if end.prepared == end.of else end
    finally:
        shared.forget_copies()


def prepare_shards(one: JobRun, task: ShardTask, part: Part) -> PartResult:
    """Prepare the part's shards that are not there yet."""
    context, work = one.context, work_on(one, task)
    own = part.shards(work.count)
    left = [shard for shard in own if work.shards.find(shard) is None]
    rows, done, size = work.rows(own), work.rows(own) - work.rows(left), 0
    context.progress.begin("prepare", rows, "rows")
    context.progress.advance(done, size)
    for plan in work.prepare_all(left, min(MAX_WORKERS, os.cpu_count() or 1)):
        done, size = done + plan.rows, size + plan.json_bytes
        context.progress.advance(done, size)
    context.progress.end()
    return PartResult(task.record, part, len(own), len(left), rows, len(work.shards.prepared()), work.count)


def work_on(one: JobRun, task: ShardTask) -> MachineWork:
    """The run on this machine, with the ids that it leaves out."""
    context = one.context
    return MachineWork(task, context.stop.is_set, open_delivered_ids(context.store, task.record, context))


def take_run(one: JobRun, held: ExitStack, *, unless: Callable[[JobRun], bool]) -> bool:
    """Take the run's lock, once no other process has it; False where `unless` holds before that."""
    told, (pause, longest) = False, WAIT_SECONDS
    while True:
        try:
            hold(one, held)
        except LockedError:
            held.close()
            if unless(one):
                return False
            holders = one.run.holders()
            if holders and not told:
                one.context.say(f"{one.name}: waits for another process at work on the run, {holders[0]}.")
                told = True
            one.context.stop.wait(pause)
            pause = min(2 * pause, longest)
            one.context.check_stop()
        else:
            return True


def begin_together(one: JobRun, notice: Callable[[Fault], None]) -> None:
    """Stage the run and settle what holds for all of its shards, as far as it is not done; hold its lock."""
    request, run, context = one.request, one.run, one.context
    assert request is not None
    store, job = context.store, request.job
    refuse_unfit([job], notice, live=one.target.live)
    now, status = decide_run(request, store, run)
    if status is not None and status.state in _OVER:
        return
    if status is None and not store.bytes_at:
        raise bytes_here("several processes can prepare a run only where each reaches its bytes")
    with connect_targets() as reach:  # before the work of preparing, which would be in vain
        reach(one.target, store.path)
    if status is None:
        begin_run(store, run, record_of(request, store, run, now), job, now)
    with run.open(clock=context.clock.now) as ledger:
        shared_of(run)
        snapshot = stage_source(job, ledger, run, now.files, context)
        settle_together(job, snapshot, ledger, run, context, one.target.limits)


def complete_together(one: JobRun, task: ShardTask) -> RunResult:
    """Record the plan of a run whose shards are all there, unless another process does; the run's result.

    Raises:
        RefusedError: The run was begun anew meanwhile.
    """
    assert one.request is not None
    with ExitStack() as held:
        if not take_run(one, held, unless=is_planned):
            return planned_end(one)
        with one.run.open(clock=one.context.clock.now) as ledger:
            if ledger.reader.status().state not in _OVER:
                record_together(one, ledger, task)
        one.run.free_snapshot()
        one.prepared, one.worked = True, one.seconds
        for _ in release([one]):
            pass
    return result_of(one.end)


def record_together(one: JobRun, ledger: RunWriter, task: ShardTask) -> None:
    """Record all shards in their order, then the plan; what has gone bad or lost since it was made is made again."""
    snapshot, record = ledger.reader.snapshot(), ledger.reader.status().record
    assert one.request is not None
    if snapshot is None or record.created_at != task.record.created_at:
        raise RefusedError(
            f"{one.run.run_id} was begun anew meanwhile: what was prepared here is of the one before",
            hint="the same command prepares its part of the new one, where the job file is that of the others",
        )
    shards, work = SharedShards(shared_of(one.run), one.context.stop.is_set), cache(partial(work_on, one, task))
    recorded = RecordedShards(ledger, snapshot.rows, one.run, one.context)
    for shard in range(shard_count(snapshot.rows)):
        one.context.check_stop()
        if shard in recorded.done:
            continue
        recorded.record(shards.find(shard) or next(work().prepare_all([shard], 1)))
    complete_plan(one.request.job, ledger, recorded, one.run, one.context)


def planned_end(one: JobRun) -> RunResult:
    """The result of a run whose plan another process has completed."""
    with one.run.read() as reader:
        status = reader.status()
    return repeat_result(one, status) if status.state is RunState.FINISHED else unsent(one)


def is_planned(one: JobRun) -> bool:
    """Whether the run's plan is complete."""
    if not one.run.begun():
        return False
    with one.run.read() as reader:
        return reader.status().state in _OVER


def is_as_asked(one: JobRun) -> bool:
    """Whether the run's plan is complete, and the one that is asked for: else whoever has the lock may yet make room.

    Of a finished run with `only_new` that is known only once the source is looked at.
    """
    if not is_planned(one):
        return False
    with one.run.read() as reader:
        status = reader.status()
    fresh = one.options.only_new and status.state is RunState.FINISHED
    return is_of_job(one, status.record) and not fresh


def is_of_job(one: JobRun, record: RunRecord) -> bool:
    """Whether a run was begun from the job as it is now, for the target as it is now."""
    assert one.request is not None
    then = (record.job_fingerprint, record.id_scope, record.envelope)
    now = (fingerprint(one.request.job), one.target.id_scope, one.target.envelope)
    return then == now and (record.only_new or not one.options.only_new)


def is_settled(one: JobRun) -> bool:
    """Whether the run is as far as that its shards can be prepared, and is of this job; its source is not looked at."""
    run = one.run
    if not run.begun() or run.shared is None:
        return False
    with run.read() as reader:
        status = reader.status()
    if status.state is not RunState.PREPARING or not is_of_job(one, status.record):
        return False
    return SharedShards(run.shared, one.context.stop.is_set).settled
