"""What one job's run came to: the object of `--output json`, and the table of `--output text`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import field
from datetime import UTC, datetime
from typing import Any

from backfill.errors import BackfillError, GateHit, InterruptedRunError, counted
from backfill.frozen import frozen
from backfill.records import CanaryCall, Counts, DeliveryTotals, NotReadAgain, PlanFacts, RunState, RunStatus
from backfill.report.contents import PlanContents, contents_json, contents_lines
from backfill.report.plan import plan_json, plan_lines

SCHEMA_VERSION = 1
KILOBYTE = 1_000
MEGABYTE = 1_000_000
MINUTE = 60


def run_json(run_id: str, status: RunStatus) -> dict[str, Any]:
    """How the object of every verb begins that tells something of one run: which run it is, and its state."""
    record = status.record
    return {
        "schema_version": SCHEMA_VERSION,
        "run_id": run_id,
        "job": record.job_name,
        "target": record.target_name,
        "live": record.live,
        "state": str(status.state),
    }


@frozen
class Summary:
    """One job's run: its counts from the ledger; what this process itself sent, and how long it took."""

    status: RunStatus
    counts: Counts
    problems: Mapping[str, int]  # code -> how often, warnings included
    dates: Mapping[str, tuple[str, str]]  # call label -> first and last day of its timestamps, planned calls only
    totals: DeliveryTotals = field(default_factory=DeliveryTotals)
    seconds: float = 0.0
    dry: bool = False
    #: Calls sent that the sandbox had already; None where it was not asked. In the text alone, not in the JSON.
    sandbox_duplicates: int | None = None
    look: str = ""  # what received means, where something was; in the text alone
    not_read_again: NotReadAgain | None = None
    plan: PlanFacts | None = None  # once it is complete
    gates: Sequence[GateHit] = ()  # that the plan does not keep to
    canary: Sequence[tuple[CanaryCall, str]] = ()  # the calls that --canary was to send, and what became of each
    contents: PlanContents | None = None  # of the plan, where it is to be told
    share: DeliveryTotals | None = None  # of `totals` what this process sent, where several sent them at once

    def as_json(self) -> dict[str, Any]:
        """The object of `--output json`; its keys are a promise (docs/cli.md)."""
        record, counts, totals = self.status.record, self.counts, self.totals
        return {
            **run_json(record.run_id, self.status),
            **({"state": "dry run"} if self.dry else {}),
            "rows": {name: getattr(counts, name) for name in ROWS},
            "calls": {name: getattr(counts, name) for name in CALLS},
            "batches": counts.batches,
            "requests": totals.requests,
            "retries": totals.retries,
            "bytes": {"json": counts.json_bytes, "wire": totals.wire_bytes},
            "seconds": round(self.seconds, 3),
            "problems": dict(sorted(self.problems.items())),
            "dates": {call: {"earliest": first, "latest": last} for call, (first, last) in self.dates.items()},
            "plan": plan_json(self.plan) | self._contents_json() if self.plan else None,
            **({"canary": [canary_json(call, standing) for call, standing in self.canary]} if self.canary else {}),
            **({"share": share_json(self.share)} if self.share else {}),
            "gates": [{"gate": hit.gate, "allowed": hit.allowed, "found": hit.found} for hit in self.gates],
            **({"not_read_again": not_read_json(self.not_read_again)} if self.not_read_again else {}),
        }

    def _contents_json(self) -> dict[str, Any]:
        return contents_json(self.contents) if self.contents else {}


def share_json(share: DeliveryTotals) -> dict[str, int]:
    """What `--output json` tells of what one of several processes sent."""
    return {"calls": share.calls, "requests": share.requests, "retries": share.retries, "wire": share.wire_bytes}


#: How many calls of a canary people are shown.
CANARY_SHOWN = 25


def canary_json(call: CanaryCall, standing: str) -> dict[str, str]:
    """What `--output json` tells of a call that --canary was to send."""
    known = {"message_id": call.message_id, "call": call.call, "user": call.user, "event": call.event}
    return known | {"timestamp": call.timestamp, "standing": standing}


def canary_lines(summary: Summary) -> list[str]:
    """The calls of a canary, to be looked up in the destination."""
    if not summary.canary:
        return []
    lines = ["  canary    look these calls up where they went:"]
    for call, standing in summary.canary[:CANARY_SHOWN]:
        told = "" if standing == "delivered" else f" ({standing.replace('_', ' ')})"
        lines.append(f"    {call.message_id}{told}")
        lines.append(f"      {' '.join(filter(None, (call.event or call.call, call.user, call.timestamp)))}")
    rest = len(summary.canary) - CANARY_SHOWN
    return [*lines, f"    and {counted(rest, 'other', 'others')}: `--output json` has them all"] if rest > 0 else lines


def not_read_json(unread: NotReadAgain) -> dict[str, Any]:
    """What `--output json` tells of a database that was not read again."""
    dry_run = None
    if unread.dry_run_at is not None:
        dry_run = {"at": iso_text(unread.dry_run_at), "read": unread.dry_run_read}
    return {"since": iso_text(unread.since), "read": unread.read, "dry_run": dry_run}


def not_read_text(unread: NotReadAgain) -> str:
    """The same for people, with the way to what is new in it."""
    lines = [f"The database was not read again: what was sent is of the run that began {time_text(unread.since)}."]
    if unread.dry_run_at is not None and unread.dry_run_read != unread.read:
        rows = counted(unread.dry_run_read, "row", "rows")
        lines.append(f"The dry run of {time_text(unread.dry_run_at)} read {rows}, this run {unread.read:,}.")
    return " ".join([*lines, "`run --only-new` reads it again, and sends what is new."])


@frozen
class Subject:
    """What an object of `--output json` is about, where there is no ledger to tell."""

    run_id: str
    job: str
    target: str
    live: bool


def failure_json(subject: Subject, error: BackfillError | None) -> dict[str, Any]:
    """The object of a job that could not be run: the keys of `Summary.as_json`, every count 0, `state` failed.

    A job that was interrupted before its plan was complete is `interrupted`, also one whose turn did not come (None).
    """
    return {
        "schema_version": SCHEMA_VERSION,
        "run_id": subject.run_id,
        "job": subject.job,
        "target": subject.target,
        "live": subject.live,
        "state": "interrupted" if error is None or isinstance(error, InterruptedRunError) else "failed",
        "rows": dict.fromkeys(ROWS, 0),
        "calls": dict.fromkeys(CALLS, 0),
        "batches": 0,
        "requests": 0,
        "retries": 0,
        "bytes": {"json": 0, "wire": 0},
        "seconds": 0.0,
        "problems": {},
        "dates": {},
        "plan": None,
        "gates": [],
    }


#: What becomes of rows, and of calls, in the order in which it is told.
ROWS = ("read", "filtered", "unreadable", "mapped")
CALLS = (
    "planned",
    "skipped",
    "delivered",
    "rejected",
    "duplicate",
    "already_delivered",
    "in_doubt",
    "pending",
)


def summary_text(summary: Summary) -> str:
    """The summary as aligned lines.

    It begins with where the calls went. A live run's calls are called received: a 200 of Segment says no more.
    """
    return "\n".join([*_title_lines(summary), *_count_lines(summary), *_further_lines(summary)])


def _title_lines(summary: Summary) -> list[str]:
    """Which job it is, and how far its calls went."""
    record = summary.status.record
    if summary.dry:
        return ["DRY RUN: nothing was sent", f"{record.job_name} -> {record.target_name}: planned"]
    title = f"{record.job_name} -> {record.target_name}: {summary.status.state}"
    return [title] if record.live else ["SANDBOX: nothing left this machine", title]


def _count_lines(summary: Summary) -> list[str]:
    """What there is of every run: rows, calls and batches."""
    record, counts, totals = summary.status.record, summary.counts, summary.totals
    words = {"delivered": "received" if record.live else "delivered", "already_delivered": "delivered before"}
    rows = [(name, getattr(counts, name)) for name in ROWS]
    calls = [(words.get(name, name.replace("_", " ")), getattr(counts, name)) for name in CALLS]
    sizes = [f"{size_text(counts.json_bytes)} of JSON", counted(totals.requests, "request", "requests")]
    sizes += [f"{size_text(totals.wire_bytes)} sent"] if totals.requests else []
    sizes += [counted(totals.retries, "retry", "retries")] if totals.retries else []
    batches = f"{counts.batches:,}{f' ({counts.split:,} of them split)' if counts.split else ''}"
    return [
        f"  rows      {counts_text(rows)}",
        f"  calls     {counts_text(calls)}",
        f"  batches   {'; '.join([batches, *sizes, duration_text(summary.seconds)])}",
        *share_lines(summary.share, words["delivered"]),
    ]


def share_lines(share: DeliveryTotals | None, received: str) -> list[str]:
    """What of it this process sent, where several did."""
    if share is None:
        return []
    requests = counted(share.requests, "request", "requests")
    return [f"  share     {counted(share.calls, 'call', 'calls')} {received} in {requests} of this process"]


def _further_lines(summary: Summary) -> list[str]:
    """What there is only of some runs."""
    record, counts = summary.status.record, summary.counts
    lines: list[str] = []
    if summary.dates:
        ranges = [f"{call} {first} to {last}" for call, (first, last) in summary.dates.items()]
        lines.append(f"  dated     {', '.join(ranges)}")
    if summary.dry:
        lines += contents_lines(summary.contents) if summary.contents else []
        lines += plan_lines(summary.plan, calls=counts.pending) if summary.plan else []
        lines.append(f"  dry run   {record.run_id}: `backfill status {record.run_id}` shows it again")
    if counts.refused:
        again = f"`backfill resume {record.run_id} --retry-rejected` tries them again"
        lines.append(f"  refused   {counts.refused:,} of the rejected calls by the target; {again}")
    if summary.sandbox_duplicates:
        one = "of the calls sent was a duplicate in the sandbox's store, which had its id already"
        many = "of the calls sent were duplicates in the sandbox's store, which had their ids already"
        lines.append(f"  sandbox   {counted(summary.sandbox_duplicates, one, many)}")
    if summary.problems:
        found = [f"{code} {count:,}" for code, count in sorted(summary.problems.items())]
        lines.append(f"  problems  {', '.join(found)}")
    lines += canary_lines(summary)
    if summary.look:
        lines.append(f"  {summary.look}")
    if summary.status.state is RunState.STOPPED and summary.status.detail:
        lines.append(f"  ended     {summary.status.detail}")
    return lines


def total_text(jobs: int, ended: Sequence[Counts]) -> str:
    """The sums over several jobs, of which some may have ended without counts."""
    rows = [(name, sum(getattr(one, name) for one in ended)) for name in ROWS]
    calls = [(name.replace("_", " "), sum(getattr(one, name) for one in ended)) for name in CALLS]
    told = f"{jobs:,} jobs" if len(ended) == jobs else f"{len(ended):,} of {jobs:,} jobs"
    return "\n".join([f"TOTAL of {told}", f"  rows      {counts_text(rows)}", f"  calls     {counts_text(calls)}"])


def by_code(problems: Mapping[tuple[str, str], int]) -> dict[str, int]:
    """How many problems of each code, whatever their severity."""
    found: dict[str, int] = {}
    for (code, _), count in problems.items():
        found[code] = found.get(code, 0) + count
    return found


def counts_text(counts: list[tuple[str, int]]) -> str:
    """The first count, and the others that are not 0."""
    return ", ".join(f"{count:,} {name}" for place, (name, count) in enumerate(counts) if count or not place)


def size_text(size: int) -> str:
    """A number of bytes for people: 512 bytes, 51.2 KB, 3.4 MB; a KB is 1,000 bytes, as with Segment's limits."""
    if size < KILOBYTE:
        return counted(size, "byte", "bytes")
    return f"{size / KILOBYTE:,.1f} KB" if size < MEGABYTE else f"{size / MEGABYTE:,.1f} MB"


def duration_text(seconds: float) -> str:
    """A duration for people: 4.2 s, 3 min 20 s, 2 h 5 min."""
    if seconds < MINUTE:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), MINUTE)
    if minutes < MINUTE:
        return f"{minutes} min {rest} s"
    return f"{minutes // MINUTE} h {minutes % MINUTE} min"


def time_text(at: float) -> str:
    """A time in UTC, to the second."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%SZ")


def iso_text(at: float) -> str:
    """The same in ISO 8601, for programs."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
