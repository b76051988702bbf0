"""A rehearsal: the plan made undisturbed, the run of it disturbed, and what arrived compared with the plan.

All of it in a temporary folder, which is gone at the end: no state directory of the user's is looked at. The plan is
proven by `verify`, which makes each call a second time from the source by another code.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import field, replace
from pathlib import Path
from typing import Final

import numpy as np
import orjson

from backfill.disk import TEMPORARY_FOLDERS
from backfill.errors import ExitCode, GateError, InterruptedRunError, StoppedError, UsageError, counted
from backfill.frozen import frozen
from backfill.job.models import Job
from backfill.limits import SEGMENT
from backfill.pipeline.call_bytes import PlanCalls
from backfill.pipeline.check import Deadline
from backfill.pipeline.context import RunContext
from backfill.pipeline.run import own_run, run_job
from backfill.pipeline.verify import verify_run
from backfill.records import Counts, StoredRun
from backfill.rehearse.arrivals import Evidence, arrivals, compare, digest_of
from backfill.rehearse.chance import NONE, Chance
from backfill.rehearse.chaos import Chaos, Ride
from backfill.rehearse.process import Work
from backfill.sandbox import FaultScript, Sandbox
from backfill.sources.origins.standard_input import STANDARD_INPUT
from backfill.state import open_store
from backfill.verify.result import Verified

#: Calls are sent in about so many batches, each no larger than it may be: few batches meet few faults.
BATCHES: Final = 60
#: What to do where the disk is full.
ELSEWHERE: Final = "all of a rehearsal is in the system's folder for temporary files: TMPDIR names another"
#: Preparing takes a process longer than it took this one, which had loaded everything.
_LATER_SECONDS: Final = 0.3


@frozen
class Wanted:
    """What is to be rehearsed, and how."""

    job: Job
    seed: int
    rows: int  # of the source, the first, at most
    kills: int
    seconds: float  # for all of it
    faults: tuple[str, ...] = ()  # rules of the endpoint's script; none: those of the seed


@frozen
class Plan:
    """The plan as it was made undisturbed."""

    calls: dict[str, bytes]  # the digest of each, by message id
    counts: Counts
    seconds: float  # that it took
    whole: bool  # of all rows of the source
    verified: Verified


@frozen
class Rehearsal:
    """What a rehearsal came to."""

    wanted: Wanted
    script: tuple[str, ...]
    plan: Plan
    ride: Ride
    evidence: Evidence
    refused: int  # calls that the endpoint refused for good, as its script says
    requests: int
    batches: int
    faults: dict[str, int] = field(default_factory=dict)  # that were met, by kind
    dropped: dict[str, int] = field(default_factory=dict)  # calls that the sandbox did not keep, by reason
    seconds: float = 0.0

    @property
    def exit_code(self) -> ExitCode:
        """0 where it is proven that what arrived is the plan, exactly; where nothing was to arrive, nothing is."""
        if self.ride.ended is None:
            return ExitCode.STOPPED
        if self.ride.ended.code not in (ExitCode.DELIVERED, ExitCode.REJECTS):
            return ExitCode(self.ride.ended.code)
        proven = self.evidence.proven and self.evidence.planned and not self.plan.verified.exit_code
        return ExitCode.DELIVERED if proven else ExitCode.REJECTS


def rehearse(wanted: Wanted, context: RunContext) -> Rehearsal:
    """Rehearse a job.

    Raises:
        BackfillError: As a run raises it that cannot be made: the job does not fit its source, a gate is hit ...
        UsageError: There is nothing to rehearse, or the script is none.
        InterruptedRunError: A signal came.
    """
    began = time.monotonic()
    if STANDARD_INPUT in wanted.job.source.path:
        raise UsageError(
            "standard input can be read once, and a rehearsal reads it again and again", hint="name a file"
        )
    script = wanted.faults or Chance(wanted.seed).faults()
    faults = FaultScript() if script == (NONE,) else FaultScript.parse(script)
    folder = TEMPORARY_FOLDERS.make(None)
    try:
        with Sandbox(folder / "sandbox", faults=faults, keep_calls=None) as sandbox:
            first = Work(
                wanted.job.path, str(folder / "undisturbed"), sandbox.endpoint, SEGMENT.batch_calls, wanted.rows
            )
            plan = planned_in_time(first, context, wanted)
            size = min(SEGMENT.batch_calls, math.ceil(len(plan.calls) / BATCHES))
            rows = None if plan.whole else wanted.rows
            work = replace(first, state=str(folder / "disturbed"), batch_calls=size, rows=rows)
            batches = math.ceil(len(plan.calls) / size)
            kills = (
                f"to be killed {counted(wanted.kills, 'time', 'times')}"
                if wanted.kills
                else "undisturbed but for faults"
            )
            context.say(f"Now it is run, {kills}: {counted(batches, 'batch', 'batches')} (seed {wanted.seed}).")
            chaos = Chaos(
                *(work, sandbox, Chance(wanted.seed), wanted.kills, len(plan.calls), batches),
                seconds=plan.seconds + _LATER_SECONDS,
                ends=began + wanted.seconds,
                errors=folder / "said.txt",
                context=context,
            )
            ride = chaos.ride()
            sent = sent_by(own_run(work.request(context_of(work, context))), context_of(work, context))
            stats = sandbox.stats()
            return Rehearsal(
                *(wanted, script, plan, ride, judged(plan, sent, sandbox), len(sent.refused)),
                requests=stats["requests"],
                batches=batches,
                faults=stats["faults"],
                dropped=stats["dropped"],
                seconds=time.monotonic() - began,
            )
    finally:
        TEMPORARY_FOLDERS.remove([folder])


def planned_in_time(work: Work, context: RunContext, wanted: Wanted) -> Plan:
    """The plan of an undisturbed process; raises as `rehearse` does, and StoppedError where the time was over."""
    try:
        return undisturbed(work, context, wanted)
    except InterruptedRunError:
        context.check_stop()
        raise StoppedError(
            f"the plan was not made and made again within {counted_minutes(wanted.seconds)}",
            hint="`--minutes` gives it more time, `--rows` fewer rows",
        ) from None


def counted_minutes(seconds: float) -> str:
    """So many minutes, in words."""
    minutes = seconds / 60
    return "a minute" if minutes == 1 else f"{minutes:g} minutes"


def undisturbed(work: Work, context: RunContext, wanted: Wanted) -> Plan:
    """The plan of an undisturbed process; raises as `rehearse` does."""
    began = time.monotonic()
    around = replace(context_of(work, context), stop=Deadline(context.stop, wanted.seconds))
    try:
        end = run_job(replace(work, prepare=True).request(around))
        if end.error is not None:
            raise end.error
    except StoppedError as error:  # the disk's doing: its hint is one for runs, which have a state directory
        raise StoppedError(error.message, hint=ELSEWHERE) from error
    except GateError as error:  # likewise: it names an option of runs
        error.hint = "the `gates` of the job file say so"
        raise
    seconds = time.monotonic() - began
    with end.run.read() as reader:
        counts, snapshot = reader.counts(), reader.snapshot()
    assert snapshot is not None  # it is prepared
    calls = {message_id: digest_of(text) for _, ids in calls_of(end.run, around) for message_id, text in ids}
    whole = snapshot.rows < wanted.rows and (bool(wanted.job.needs_all) or snapshot.read < wanted.rows)
    if not calls:
        raise UsageError(f"no call is planned of the first {counted(wanted.rows, 'row', 'rows')}: nothing to rehearse")
    said = "all" if whole else f"the first {wanted.rows:,}"
    context.say(f"Planned undisturbed, of {said} rows: {counted(len(calls), 'call', 'calls')}. They are made again.")
    return Plan(calls, counts, seconds, whole, verify_run(end.run, around, as_they_lie=True))


def context_of(work: Work, context: RunContext) -> RunContext:
    """The surroundings of a run in the state directory of that work."""
    return replace(context, store=open_store(Path(work.state)))


def calls_of(run: StoredRun, context: RunContext) -> Iterator[tuple[int, list[tuple[str, bytes]]]]:
    """The message id and bytes of each call of a plan: of each shard, in the order of its calls file."""
    with PlanCalls(run, context) as calls:
        for shard in calls.shards:
            places = np.arange(len(calls.records(shard)))
            chunks = calls.texts(shard, places) if len(places) else ()
            texts = [text.encode() for _, series in chunks for text in series]
            yield shard, [(orjson.loads(text)["messageId"], text) for text in texts]


@frozen
class Sent:
    """What the ledger of a run says of its calls, by message id."""

    doubted: dict[str, int]  # attempts that left, and were not answered with a success
    refused: set[str]  # for good


def sent_by(run: StoredRun, context: RunContext) -> Sent:
    """What a run has sent; nothing where its plan was never whole."""
    sent = Sent({}, set())
    if not run.begun():
        return sent
    with run.read() as reader:
        if reader.status().plan_digest is None:
            return sent
        spans = reader.call_spans()
        # One that was refused without a status never left.
        doubts = {
            span.batch: sum(
                one.outcome != "accepted" and not (one.outcome == "refused" and one.status is None)
                for one in reader.attempts(span.batch)
            )
            for span in spans
        }
    for shard, calls in calls_of(run, context):
        for span in spans:
            if span.shard == shard:
                ids = [message_id for message_id, _ in calls[span.first_call : span.first_call + span.calls]]
                sent.doubted.update(dict.fromkeys(ids, doubts[span.batch]))
                sent.refused.update(ids if span.standing == "rejected" else ())
    return sent


def judged(plan: Plan, sent: Sent, sandbox: Sandbox) -> Evidence:
    """What has arrived, compared with the plan, the calls that the endpoint has refused for good left out."""
    arrived = arrivals(
        ((row["message_id"], row["json"].encode()) for row in sandbox.calls()),
        (row["message_id"] for row in sandbox.drops("duplicate")),
    )
    planned = {one: digest for one, digest in plan.calls.items() if one not in sent.refused}
    return compare(planned, arrived, sent.doubted)
