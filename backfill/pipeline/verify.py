"""`verify`: what is kept of a run compared with its source, every call made a second time by another code.

The rows are those of the kept snapshot. Where that is gone, the source is staged again, if its files are those that the
plan was made of; else that is the result: what was sent can be neither proven nor disproven from other files.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.parquet as pq  # type: ignore[import-untyped]

from backfill.disk import TEMPORARY_FOLDERS
from backfill.errors import LedgerError, counted
from backfill.job.formats import live_format
from backfill.job.models import Job
from backfill.limits import SEGMENT
from backfill.memory import STAGING_MEMORY_BYTES
from backfill.pipeline.call_bytes import kept_job
from backfill.pipeline.context import RunContext
from backfill.pipeline.fingerprint import file_differences
from backfill.pipeline.runs import is_requeue
from backfill.records import (
    DeliveredIds,
    RunRecord,
    ShardPlan,
    Snapshot,
    SnapshotRecord,
    SourceFile,
    StoredRun,
)
from backfill.sources import load_snapshot, resolve, stage
from backfill.verify.calls import Recipe
from backfill.verify.duplicates import check_duplicates
from backfill.verify.findings import Finding, Findings
from backfill.verify.kept import check_ledger, check_rejects
from backfill.verify.plan import PlanComparison
from backfill.verify.repeated import Absent, find_repeated
from backfill.verify.result import WHOLE, Compared, Verified

#: Kinds of targets whose limits are Segment's.
_SEGMENTS = ("segment", "sandbox", "dry")
#: Codes of which nothing can be told by a single row's values, or that lie in what a library or SQL did.
_NOT_JUDGED = frozenset({"BF110", "BF122", "BF126", "BF131", "BF133", "BF134"})


def verify_run(run: StoredRun, context: RunContext, *, sample: float = WHOLE, as_they_lie: bool = False) -> Verified:
    """Compare all that is kept of a run or dry run with what its rows make, or a sample of the rows.

    `as_they_lie`: files that were read in place are so again, whatever their bytes: of a plan made a moment ago.

    Raises:
        LedgerError: Its ledger cannot be read, or its plan is not whole.
        RefusedError: This version does not take its job any more.
        SourceError: The snapshot is gone, and the source cannot be read.
        InterruptedRunError: A signal came.
    """
    findings = Findings()
    with run.read() as reader:
        status, staged = reader.status(), reader.snapshot()
        if status.plan_digest is None or staged is None:
            raise LedgerError(f"{run.run_id} has no whole plan", hint="`backfill run JOB` goes on with it")
        check_ledger(reader, findings)
        untold = check_rejects(run, reader, findings)
        shards = reader.shards()
    job = kept_job(status.record, staged.files, context.store)
    with TEMPORARY_FOLDERS.opened() as folder:
        source = rows_of(run, job, staged, folder, findings, context, as_they_lie=as_they_lie)
        if isinstance(source, list):
            return Verified(status, findings, Compared(), sample, "nothing", source, notes=untold)
        snapshot, again = source
        if again:
            check_staging(snapshot, staged, findings, alone=not is_requeue(status.record.run_id))
        record = status.record
        limit = SEGMENT.call_bytes if record.target_kind in _SEGMENTS else None
        recipe = Recipe(record.id_scope, record.library_version, record.created_at, limit)
        plan = PlanComparison(run, job, snapshot, recipe, findings, sample, status.plan_digest)
        not_judged, notes = compare(plan, shards, record, context)
    came_from = "source" if again else "snapshot"
    return Verified(status, findings, plan.compared, sample, came_from, not_judged=not_judged, notes=untold + notes)


def rows_of(
    run: StoredRun,
    job: Job,
    staged: SnapshotRecord,
    folder: Path,
    findings: Findings,
    context: RunContext,
    *,
    as_they_lie: bool = False,
) -> tuple[Snapshot, bool] | list[str]:
    """The rows of a plan, and whether they were staged again; or what has changed about its source."""
    try:
        run.bring_snapshot()
        kept = load_snapshot(run.snapshot)
        check_files(kept.files, staged.files, findings)
        if as_they_lie or not kept.in_place:
            return replace(kept, files=staged.files), False
    except LedgerError as error:
        if run.snapshot.exists() and any(run.snapshot.iterdir()):  # else it was removed, with the run's end say
            findings.kept("snapshot", error.message)
    if any(live_format(file.path) for file in staged.files):
        return ["the rows were those of a database, and their snapshot is gone: it may hold others by now"]
    context.say(f"{job.name}: the source itself is read, as no copy of its rows is kept.")
    files = resolve(job, folder=folder, trusted=(), stopping=context.stop.is_set)
    if changes := list(file_differences(staged.files, files)):
        return changes
    made = stage(
        job,
        folder / "snapshot",
        files=files,
        memory_bytes=STAGING_MEMORY_BYTES,
        threads=None,
        stopping=context.stop.is_set,
    )
    return replace(made, files=_named(staged.files, files)), True


def check_files(kept: Sequence[SourceFile], recorded: Sequence[SourceFile], findings: Findings) -> None:
    """Find files of the source that the ledger has otherwise than the snapshot's own description.

    A snapshot may be that of a dry run: when a file was changed, and where it is on disk, may be other since.
    """
    told = [[(file.path, file.name, file.key, file.bytes, file.sha256) for file in files] for files in (kept, recorded)]
    if len(kept) != len(recorded):
        files = counted(len(recorded), "file", "files")
        findings.kept("ledger", f"it has {files} of the source, the snapshot {len(kept):,}")
    for was, now in zip(*told, strict=False):
        if was != now:
            names = ("path", "name", "key", "size", "SHA-256")
            others = [name for name, one, other in zip(names, was, now, strict=True) if one != other]
            findings.kept(
                "ledger", f"{', '.join(others)} of {was[1]} {'is' if len(others) == 1 else 'are'} not as staged"
            )


def _named(before: Sequence[SourceFile], now: Sequence[SourceFile]) -> tuple[SourceFile, ...]:
    """The files as they are now, under the names and keys that they had."""
    return tuple(before) if len(before) == len(now) else tuple(now)


def check_staging(snapshot: Snapshot, staged: SnapshotRecord, findings: Findings, *, alone: bool) -> None:
    """Find other counts of rows than those that the ledger has.

    `alone`: unreadable ones, too, which one that plans calls of another run counts among those filtered.
    """
    for name in ("read", "filtered", "unreadable", "rows") if alone else ("read", "rows"):
        was, now = getattr(staged, name), getattr(snapshot, name)
        if was != now:
            findings.kept("ledger", f"rows {name}: {was:,} in the ledger, {now:,} in the source")


def compare(
    plan: PlanComparison, shards: dict[int, ShardPlan], record: RunRecord, context: RunContext
) -> tuple[int, list[str]]:
    """Compare each call of a plan with those that the rows make; what is found goes to its findings.

    Returns how many calls were rejected for what cannot be judged here, and what else is to be said.
    """
    run, findings, notes = plan.run, plan.findings, list[str]()
    absent = Absent(findings)
    try:
        plan.compare(shards, absent, context.check_stop)
        delivered = earlier_ids(record, shards, context, notes)
        excuses = Excuses(run, _NOT_JUDGED if plan.recipe.call_bytes else _NOT_JUDGED | {"BF107"})
        not_judged = absent.resolve(run.spool(), shards, delivered, excuses.of, context.check_stop)
        if plan.sample >= WHOLE:
            check_duplicates(run.rejects().files(duplicates=True), absent.keys, findings, context.check_stop)
    finally:
        absent.close()
    if plan.sample >= WHOLE:
        find_repeated(run.spool(), shards, findings, context.check_stop)
    return not_judged, notes


class _Anything:
    """Stands for an archive that cannot be asked."""

    def delivered(self, ids: object) -> object:
        """Every id."""
        import numpy as np  # noqa: PLC0415 (of runs whose archive is gone)

        return np.ones(len(ids), np.bool_)  # type: ignore[arg-type]


def earlier_ids(
    record: RunRecord, shards: dict[int, ShardPlan], context: RunContext, notes: list[str]
) -> DeliveredIds | None:
    """What earlier runs have delivered, where calls were left out for that."""
    if is_requeue(record.run_id):
        return _Anything()  # type: ignore[return-value]  # what it does not plan, the run has delivered whose calls it has
    left_out = sum(plan.already_delivered for plan in shards.values())
    if not left_out:
        return None
    try:
        known = context.store.archive(record, stopping=context.stop.is_set).open()
    except LedgerError:
        known = None
    if known is None:
        told = counted(left_out, "call was", "calls were")
        notes.append(f"{told} left out as delivered before: the archive that knew is gone")
        return _Anything()  # type: ignore[return-value]
    return known


class Excuses:
    """Why calls that can be made are not planned, as the rejected rows have it."""

    def __init__(self, run: StoredRun, not_judged: frozenset[str]) -> None:
        self._run = run
        self._not_judged = not_judged
        self._codes: dict[tuple[str, int, str], set[str]] | None = None

    def of(self, finding: Finding) -> str:
        """What is wrong with a call's absence; empty where it was rejected for what cannot be judged here."""
        if self._codes is None:
            self._codes = self._read()
        codes = self._codes.get((finding.file, finding.record, finding.call), set())
        if codes & self._not_judged:
            return ""
        if codes:
            return f"rejected as {', '.join(sorted(codes))}, though nothing is wrong with it"
        return "the source makes it, and it is neither planned nor rejected"

    def _read(self) -> dict[tuple[str, int, str], set[str]]:
        found: dict[tuple[str, int, str], set[str]] = {}
        columns = ["file", "record", "call", "code", "severity"]
        for path in self._run.rejects().files():
            try:
                table = pq.read_table(path, columns=columns)
            except (OSError, pa.ArrowException):  # told already
                continue
            for file, record, call, code, severity in zip(*(table[name].to_pylist() for name in columns), strict=True):
                if severity == "error":
                    found.setdefault((file, record, call), set()).add(code)
        return found
