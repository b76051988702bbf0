"""What a run is and which states it may take."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict
from enum import StrEnum

from backfill.frozen import frozen
from backfill.records.calls import CallSpan, LedgerAttempt
from backfill.records.plan import ShardPlan
from backfill.records.snapshot import SourceFile


class RunState(StrEnum):
    """A run is in exactly one. A killed process leaves the one it was in."""

    STAGING = "staging"
    PREPARING = "preparing"  # the snapshot is frozen; shards are recorded one by one
    PREPARED = "prepared"  # every shard is; nothing was sent
    DELIVERING = "delivering"
    STOPPED = "stopped"  # resumable
    FINISHED = "finished"  # every planned call is delivered or rejected
    ABANDONED = "abandoned"  # given up; what was not sent never will be


#: Which state may follow which. A run may also stay in the state it has: a killed process is resumed in its own.
TRANSITIONS: dict[RunState, frozenset[RunState]] = {
    RunState.STAGING: frozenset({RunState.PREPARING, RunState.ABANDONED}),
    RunState.PREPARING: frozenset({RunState.PREPARED, RunState.ABANDONED}),
    RunState.PREPARED: frozenset({RunState.DELIVERING, RunState.ABANDONED}),
    RunState.DELIVERING: frozenset({RunState.STOPPED, RunState.FINISHED, RunState.ABANDONED}),
    RunState.STOPPED: frozenset({RunState.DELIVERING, RunState.ABANDONED}),
    RunState.FINISHED: frozenset(),
    RunState.ABANDONED: frozenset(),
}


@frozen
class CallFacts:
    """What runs need to know of one of their job's calls."""

    scope: str  # its label or type, which no other call of the job has
    key_size: int  # how many values its message key has; 1 where the id is given, 2 for `row`: the file and the record
    given_id: bool = False  # its key is the message id itself
    by_content: bool = False  # its key is its content


@frozen
class JobFacts:
    """What runs need to know of their job, whatever its file says by now."""

    calls: tuple[CallFacts, ...]  # in the order of the job, which is that of CALL_RECORD's `call`
    ordered: bool = False  # one request at a time, in the order of the source
    has_query: bool = False  # its rows are those of a query, not of a file


@frozen
class RunRecord:
    """What a run was started with; never changes."""

    run_id: str
    job_name: str
    job_file: str  # absolute path, for people; a moved job file is the same job
    generation: int
    target_name: str  # the profile's name, for people
    target_kind: str
    target_identity: str  # kind and normalised endpoint
    live: bool
    id_scope: str
    job_fingerprint: str  # SHA-256 of the job file's data
    job_data: str  # the job file's data as JSON, comments aside: only to tell which field differs
    facts: JobFacts
    backfill_version: str
    library_version: str  # context.library.version of every call prepared
    created_at: float  # POSIX seconds
    only_new: bool = False  # ids that other runs of the job have delivered to the target are left out of the plan
    envelope: str = (
        ""  # what the target's profile added to every body, as JSON without the braces; sent whatever it says now
    )


@frozen
class RunStatus:
    """A run and where it stands."""

    record: RunRecord
    state: RunState
    state_at: float  # POSIX seconds
    exit_code: int | None  # of the process that last stopped or finished it
    detail: str  # why it stopped
    plan_digest: str | None  # once prepared

    @property
    def over(self) -> bool:
        """Finished or abandoned: no state follows."""
        return not TRANSITIONS[self.state]


@frozen
class SnapshotRecord:
    """What staging gave: counts in rows, and the source's files as they were."""

    read: int
    filtered: int
    unreadable: int
    rows: int
    calls_per_row: int
    in_place: bool
    files: tuple[SourceFile, ...]


#: How many digits of its digest are a plan's id.
PLAN_ID_DIGITS = 12


@frozen
class PlanFacts:
    """What somebody who is to agree to a plan may want to hold it against later on."""

    digest: str  # `plan_digest`
    record: RunRecord  # of the run or dry run that made it
    files: tuple[SourceFile, ...]  # of the source, as they were
    dry: bool
    rows: int | None = None  # where only so many of the first ones were planned

    @property
    def plan_id(self) -> str:
        """By which `run --plan` knows it."""
        return self.digest[:PLAN_ID_DIGITS]


@frozen
class NotReadAgain:
    """A live database that a command did not read, as the run was finished, and what is known of it since."""

    since: float  # POSIX seconds: when the run began
    read: int  # rows, by the run
    dry_run_at: float | None = None  # when a later dry run of the same job began; None where there is none
    dry_run_read: int = 0  # rows, by that


@frozen
class Counts:
    """Everything counted, from the ledger: rows, calls, batches, requests, bytes."""

    read: int
    filtered: int
    unreadable: int
    mapped: int  # rows of the shards recorded so far
    calls_per_row: int
    planned: int
    skipped: int
    delivered: int
    rejected: int  # by our rules or by the target
    duplicate: int
    already_delivered: int
    in_doubt: int  # in flight included, as long as no answer is recorded
    pending: int
    batches: int  # as they were planned
    requests: int
    retries: int
    json_bytes: int  # of the calls of all batches, without envelope tails
    wire_bytes: int  # of the request bodies sent, as far as answers were recorded
    first_sent_at: float | None  # POSIX seconds
    last_ended_at: float | None
    split: int = 0  # of the batches planned: parts stand for them now
    refused: int = 0  # of the calls rejected: by the target
    left_in_doubt: int = 0  # of the calls in doubt: for good, as somebody decided

    @property
    def sendable(self) -> int:
        """Calls that were sent or are to be: what is neither rejected nor left out."""
        return self.delivered + self.in_doubt + self.pending

    def identities(self) -> tuple[tuple[str, int, int], ...]:
        """What always adds up once a run is prepared: each identity in words, its whole, and the sum of its parts."""
        delivered = self.delivered + self.rejected + self.duplicate + self.already_delivered
        return (
            ("read = filtered + unreadable + mapped", self.read, self.filtered + self.unreadable + self.mapped),
            ("mapped x calls = planned + skipped", self.mapped * self.calls_per_row, self.planned + self.skipped),
            (
                "planned = delivered + rejected + duplicate + already_delivered + in_doubt + pending",
                self.planned,
                delivered + self.in_doubt + self.pending,
            ),
        )

    def faults(self) -> list[str]:
        """Each identity that does not hold, with its numbers; empty where all do. Meaningful once prepared."""
        found = self.identities()
        faults = [f"{identity}: {whole} is not {parts}" for identity, whole, parts in found if whole != parts]
        counted = {name: value for name, value in asdict(self).items() if isinstance(value, int)}
        return faults + [f"{name} is {value}" for name, value in counted.items() if value < 0]


@frozen
class JobPlan:
    """What is planned of one of several jobs."""

    job: str
    phase: int
    counts: Counts | None  # None: it could not be prepared
    finished: bool = False  # before: nothing of it is to be sent


@frozen
class FoundCall:
    """One call that a run has planned."""

    kept_as: str  # the run's id, for an earlier one with its number
    record: RunRecord | None  # None where the run's ledger is gone: then the archive alone knows
    call: str  # label or type
    calls: CallSpan | None  # the batch it stands in
    attempts: tuple[LedgerAttempt, ...]  # at that batch, and at those that were split for it
    given_up: bool = False  # its run was: what is not sent never is by this run

    @property
    def standing(self) -> str:
        """delivered, rejected, in_doubt, pending, or given_up of what was pending."""
        standing = self.calls.standing if self.calls else "delivered"
        return "given_up" if self.given_up and standing == "pending" else standing


def plan_digest(shards: Iterable[ShardPlan]) -> str:
    """SHA-256 (hex) of what the shards plan: the plain bytes of all batches, their calls, and all counts.

    A dry run and a run of the same job have the same digest: nothing in it depends on compression.
    """
    digest = hashlib.sha256()
    for plan in sorted(shards, key=lambda plan: plan.shard):
        counts = [plan.shard, plan.rows, plan.planned, plan.skipped, plan.rejected, plan.duplicate, plan.calls_sha256]
        counts += [plan.already_delivered] if plan.already_delivered else []
        batches = [[batch.calls, batch.bytes, batch.crc32] for batch in plan.batches]
        digest.update(json.dumps([counts, batches], separators=(",", ":")).encode())
    return digest.hexdigest()
