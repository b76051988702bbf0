"""Prepare: from the snapshot to the complete plan in the ledger, going on after the shards that are recorded."""

from __future__ import annotations

import logging
import os
import shutil
from collections import Counter
from contextlib import suppress
from dataclasses import replace
from typing import Any

from backfill.errors import UsageError
from backfill.job.models import Job
from backfill.limits import Limits
from backfill.lint import SHRUNK, lint
from backfill.memory import MAX_WORKERS
from backfill.pipeline.context import RunContext
from backfill.pipeline.disk_forecast import spool_bytes
from backfill.pipeline.shared_shards import SharedShards
from backfill.prepare import prepare
from backfill.prepare.new_ids import NewIds
from backfill.prepare.shards import Elsewhere
from backfill.records import (
    DeliveredIds,
    RunWriter,
    ShardPlan,
    ShardSink,
    Snapshot,
    StoredRun,
)
from backfill.records.profile import IDS, PlanProfile, Sketch, merged
from backfill.sources import while_unchanged
from backfill.state import ensure_space

LOG = logging.getLogger(__name__)
_NO_IDS: dict[str, Any] = dict.fromkeys(IDS, Sketch())
STAND_STILL = "run again once it stands still; `backfill run JOB --abandon` begins the run afresh"


def prepare_plan(
    job: Job,
    snapshot: Snapshot,
    ledger: RunWriter,
    sink: ShardSink,
    run: StoredRun,
    context: RunContext,
    *,
    id_scope: str,
    limits: Limits,
    delivered: DeliveredIds | None = None,
) -> None:
    """Prepare what is not prepared yet; the ledger is `prepared` when this returns. Ids in `delivered` are left out.

    Raises:
        SourceError: A source that is read in place changed meanwhile.
        StoppedError: The disk is too small.
        InterruptedRunError: A signal came; what is recorded is not prepared again.
    """
    record = ledger.reader.status().record
    shards = RecordedShards(ledger, snapshot.rows, run, context)
    with while_unchanged(snapshot.files if snapshot.in_place else (), STAND_STILL):
        prepare(
            job,
            snapshot,
            sink,
            id_scope=id_scope,
            limits=limits,
            library_version=record.library_version,
            now=record.created_at,
            workers=min(MAX_WORKERS, os.cpu_count() or 1),
            work_folder=run.work,
            done=shards.done,
            on_shard=shards.record,
            stopping=context.stop.is_set,
            on_duplicates=run.rejects().keep_duplicates,
            delivered=delivered,
            elsewhere=prepared_elsewhere(run, limits, context),
        )
    complete_plan(job, ledger, shards, run, context)


def complete_plan(job: Job, ledger: RunWriter, shards: RecordedShards, run: StoredRun, context: RunContext) -> None:
    """Record the plan, as all shards are; what was of use for preparing alone goes."""
    context.progress.end()
    findings = lint(job, shards.profile, shards.early, shards.other_unit)
    LOG.info("%s: the plan is complete, its digest is %s", job.name, ledger.record_plan(findings))
    shutil.rmtree(run.work, ignore_errors=True)
    if run.shared is not None:
        SharedShards(run.shared, context.stop.is_set).forget()


def prepared_elsewhere(run: StoredRun, limits: Limits, context: RunContext) -> Elsewhere:
    """What several processes have prepared of the run before this one, which prepares the rest alone."""
    if run.shared is None:
        return Elsewhere()
    shards = SharedShards(run.shared, context.stop.is_set)
    with suppress(UsageError):  # what another version has settled is settled again
        return Elsewhere(shards.bring_settled(limits) if shards.settled else None, shards.find)
    return Elsewhere(shard=shards.find)


class RecordedShards:
    """What is prepared so far, in the ledger: tells the progress, and refuses early what will not fit the disk."""

    def __init__(self, ledger: RunWriter, rows: int, run: StoredRun, context: RunContext) -> None:
        self.ledger = ledger
        self.done = ledger.prepared_shards()  # by an earlier process
        self.profile = ledger.reader.profile() or PlanProfile()  # ids aside
        self.ids = NewIds(self.profile)
        self.rows = rows
        self.run = run
        self.context = context
        self.rows_done = self.json_bytes = self.disk_bytes = 0
        self.early: Counter[str] = Counter()  # calls before 2000, by label or type
        self.other_unit: Counter[str] = Counter()  # calls of the days of SHRUNK
        context.progress.begin("prepare", rows, "rows")
        if self.done:
            LOG.info("%s shards are prepared already", f"{len(self.done):,}")
        for plan in self.done.values():
            self._count(plan)

    def record(self, plan: ShardPlan) -> None:
        """Record a shard that is on disk.

        Raises:
            StoppedError: At this size a row, the rest will not fit.
        """
        self.ledger.record_shard(replace(plan, profile=self.ids.only(plan.profile)))
        self.profile = merged([self.profile, replace(plan.profile, **_NO_IDS)])
        self._count(plan)

    def _count(self, plan: ShardPlan) -> None:
        self.rows_done += plan.rows
        self.json_bytes += plan.json_bytes
        self.disk_bytes += plan.segment_bytes
        for (call, day), calls in plan.days.items():
            self.early[call] += calls if day < "2000" else 0
            self.other_unit[call] += calls if SHRUNK[0] <= day < SHRUNK[1] else 0
        self.context.progress.advance(self.rows_done, self.json_bytes)
        left = self.rows - self.rows_done
        done = {"rows_done": self.rows_done, "bytes_done": self.disk_bytes}
        ensure_space(self.run.path, spool_bytes(rows_left=left, **done, most=self.run.bytes_here))
