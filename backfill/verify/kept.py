"""Whether ledger and spool agree with themselves and each other, without a look at the source."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable
from itertools import accumulate
from pathlib import Path

import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.parquet as pq  # type: ignore[import-untyped]

from backfill.errors import LedgerError, counted
from backfill.records import CALL_RECORD_BYTES, RunReader, RunSpool, ShardPlan, StoredRun, plan_digest
from backfill.verify.findings import Findings

LEDGER = "ledger"
#: How the codes of our rules begin; what a target refused is listed beside them.
_RULES = "BF"
#: Calls of such a standing were answered.
_ANSWERED = {"delivered": "accepted", "rejected": "refused"}


def check_ledger(reader: RunReader, findings: Findings) -> None:
    """Find what in a ledger does not agree with itself: plan, batches, counts, answers."""
    status, shards, snapshot = reader.status(), reader.shards(), reader.snapshot()
    if status.plan_digest is not None and plan_digest(shards.values()) != status.plan_digest:
        findings.kept(LEDGER, "batches or counts are not those that the plan's digest was made of")
    for fault in reader.counts().faults():
        findings.kept(LEDGER, f"counts do not add up: {fault}")
    if snapshot is not None and sum(plan.rows for plan in shards.values()) != snapshot.rows:
        findings.kept(LEDGER, f"the shards do not have all that was staged, {counted(snapshot.rows, 'row', 'rows')}")
    if list(shards) != list(range(len(shards))):
        findings.kept(LEDGER, f"shards are missing: there are {', '.join(map(str, shards))}")
    for plan in shards.values():
        for fault in _faults_of_shard(plan):
            findings.kept(LEDGER, f"shard {plan.shard}: {fault}")
    _check_tree(reader, shards, findings)


def _faults_of_shard(plan: ShardPlan) -> Iterable[str]:
    batches = plan.batches
    calls = sum(batch.calls for batch in batches)
    parts = calls + plan.rejected + plan.duplicate + plan.already_delivered
    if parts != plan.planned:
        yield f"planned are {plan.planned:,}, batched, rejected or left out are {parts:,}"
    if [batch.ordinal for batch in batches] != list(range(len(batches))):
        yield f"a batch is missing or there twice: {len(batches)} are numbered otherwise"
    for name, starts, sizes in (
        ("first call", [batch.first_call for batch in batches], [batch.calls for batch in batches]),
        ("offset", [batch.offset for batch in batches], [batch.length for batch in batches]),
    ):
        wanted = [0, *accumulate(sizes)][:-1]
        for batch, start, found in zip(batches, wanted, starts, strict=True):
            if start != found and (name == "first call" or plan.segment_bytes):
                yield f"the {name} of batch {batch.ordinal} is {found:,}, where the one before ends at {start:,}"
                break
    if plan.json_bytes != sum(batch.bytes for batch in batches):
        yield f"{plan.json_bytes:,} bytes of JSON are not those of its batches"
    if plan.segment_bytes and plan.segment_bytes != sum(batch.length for batch in batches):
        yield f"{plan.segment_bytes:,} bytes of its segment are not those of its batches"


def _check_tree(reader: RunReader, shards: dict[int, ShardPlan], findings: Findings) -> None:
    """Find calls for which no batch stands, or more than one, and answers that no attempt has brought."""
    ends: Counter[int] = Counter()
    spans = reader.call_spans()
    for span in spans:
        name = f"{span.shard}/{span.first_call}"
        if span.first_call != ends[span.shard]:
            seen = "twice" if span.first_call < ends[span.shard] else "in no batch"
            findings.kept(LEDGER, f"calls before or in batch {span.batch} are there {seen}", name)
        ends[span.shard] = max(ends[span.shard], span.first_call + span.calls)
        outcome = _ANSWERED.get(span.standing)
        if outcome is None:
            continue
        attempts = reader.attempts(span.batch)
        if not any(one.outcome == outcome for one in attempts):
            told = Counter(one.outcome or "no answer" for one in attempts)
            listed = ", ".join(f"{count} {each}" for each, count in told.items()) or "none"
            findings.kept(LEDGER, f"batch {span.batch} is {span.standing}, by no attempt ({listed})", name)
    for plan in shards.values():
        calls = sum(batch.calls for batch in plan.batches)
        if ends[plan.shard] != calls:
            findings.kept(
                LEDGER,
                f"shard {plan.shard}: batches stand for {ends[plan.shard]:,} of {counted(calls, 'call', 'calls')}",
            )


def check_spool(run: StoredRun, spool: RunSpool, plan: ShardPlan, findings: Findings) -> None:
    """Find what of a shard's kept files is not what the ledger recorded."""
    calls = sum(batch.calls for batch in plan.batches)
    name = f"calls of shard {plan.shard}"
    try:
        kept = spool.calls_of(plan.shard)
    except LedgerError as error:
        findings.kept(name, error.message)
        return
    if len(kept) != calls * CALL_RECORD_BYTES:
        findings.kept(name, f"it has {counted(len(kept) // CALL_RECORD_BYTES, 'call', 'calls')}, the ledger {calls:,}")
    if hashlib.sha256(kept).hexdigest() != plan.calls_sha256:
        findings.kept(name, "its SHA-256 is not the one that the ledger has")
    if spool.keeps(plan.shard) and not run.is_dry:
        try:
            spool.verify([plan])
        except LedgerError as error:
            findings.kept(f"segment of shard {plan.shard}", error.message)


def check_rejects(run: StoredRun, reader: RunReader, findings: Findings) -> list[str]:
    """Find rows that were not sent and are listed no more, or that nobody has counted.

    Rejected and unreadable rows are held against the ledger's counts, and those whose call another row had made.
    Returns what cannot be told of them.
    """
    counts = reader.counts()
    listed = _count_listed(run.rejects().files(), _is_rejected, findings)
    wanted = counts.rejected - counts.refused + counts.unreadable
    if listed != wanted:
        findings.kept("rejects", f"{listed:,} rejected and unreadable rows are listed, the ledger counts {wanted:,}")
    files = run.rejects().files(duplicates=True)
    if not files and counts.duplicate and reader.profile() is None:  # older than both profiles and these files
        told = counted(counts.duplicate, "row is a duplicate", "rows are duplicates")
        return [f"{told}: which was not kept by the version that prepared the run"]
    listed = _count_listed(files, _is_duplicate, findings)
    if listed != counts.duplicate:
        findings.kept("duplicates", f"{listed:,} duplicates are listed, the ledger counts {counts.duplicate:,}")
    return []


def _count_listed(files: Iterable[Path], is_meant: Callable[[str, str], bool], findings: Findings) -> int:
    """How many rows the files list of which code and severity are meant; every column is read, to find damage."""
    listed = 0
    for path in files:
        try:
            with pq.ParquetFile(path) as file:
                for rows in file.iter_batches():
                    rows.validate(full=True)
                    listed += sum(map(is_meant, rows["code"].to_pylist(), rows["severity"].to_pylist()))
        except (OSError, KeyError, pa.ArrowException) as error:
            findings.kept(path.name, f"it cannot be read: {str(error).splitlines()[0]}")
    return listed


def _is_rejected(code: str, severity: str) -> bool:
    """Whether our rules rejected a row."""
    return severity == "error" and code.startswith(_RULES)


def _is_duplicate(code: str, severity: str) -> bool:  # noqa: ARG001
    return code == "duplicate"
