"""What runs and dry runs begin with alike: the record in their ledger, and the ids that they leave out."""

from __future__ import annotations

import json
import time
from dataclasses import replace

from backfill import __version__
from backfill.job.models import Call, Job
from backfill.pipeline.context import RunContext, RunRequest
from backfill.pipeline.delivered_ids import is_archived, open_archive
from backfill.pipeline.fingerprint import Fingerprint
from backfill.pipeline.snapshot_cache import borrow_snapshot
from backfill.pipeline.supersede import key_warning
from backfill.records import ArchivedIds, CallFacts, JobFacts, RunRecord, RunStore, StoredRun


def new_record(
    job: Job,
    run: StoredRun,
    now: Fingerprint,
    *,
    target_name: str,
    target_kind: str,
    target_identity: str,
    live: bool,
    id_scope: str,
    envelope: str = "",
    only_new: bool = False,
) -> RunRecord:
    """What the ledger is to know of a run that begins now, from this job and source, for that target."""
    return RunRecord(
        run_id=run.run_id,
        job_name=job.name,
        job_file=job.path,
        generation=job.generation,
        target_name=target_name,
        target_kind=target_kind,
        target_identity=target_identity,
        live=live,
        id_scope=id_scope,
        job_fingerprint=now.job,
        job_data=json.dumps(now.data, ensure_ascii=False),
        facts=job_facts(job),
        backfill_version=__version__,
        library_version=__version__,
        created_at=time.time(),
        only_new=only_new,
        envelope=envelope,
    )


def job_facts(job: Job) -> JobFacts:
    """What runs need to know of this job."""
    return JobFacts(tuple(map(call_facts, job.calls)), ordered=job.ordered, has_query=job.source.query is not None)


def call_facts(call: Call) -> CallFacts:
    """What runs need to know of this call."""
    key = call.message_key
    if isinstance(key, tuple):
        return CallFacts(call.scope, len(key))
    # `row` has two values: the file and the record's number. Without a key the id is given.
    return CallFacts(call.scope, 2 if key == "row" else 1, given_id=key is None, by_content=key == "content")


def open_delivered_ids(store: RunStore, record: RunRecord, context: RunContext) -> ArchivedIds | None:
    """The ids that a run is to leave out; None where it leaves out none. What is in doubt counts as new.

    Raises:
        LedgerError: What was delivered cannot be known.
    """
    if not record.only_new:
        return None
    warning = key_warning(store, record)
    if warning:
        context.say(f"{record.job_name}: {warning}")
    return open_archive(store, record, context.stop.is_set)


def record_of(request: RunRequest, store: RunStore, run: StoredRun, now: Fingerprint) -> RunRecord:
    """What the ledger is to know of a run that begins now.

    One that comes after another of its id leaves out what was delivered, whether that is asked for or not: else a
    process that was killed between the two, or a ledger that was removed, would have everything sent again.
    """
    record = new_record(
        request.job,
        run,
        now,
        target_name=request.target.name,
        target_kind=request.target.kind,
        target_identity=request.target.identity,
        live=request.target.live,
        id_scope=request.target.id_scope,
        envelope=request.target.envelope,
        only_new=request.options.only_new or bool(store.earlier(run.run_id)),
    )
    # A sandbox run whose folder was removed begins afresh.
    follows = record.live and is_archived(store, record)
    return replace(record, only_new=True) if follows else record


def begin_run(store: RunStore, run: StoredRun, record: RunRecord, job: Job, now: Fingerprint) -> None:
    """Make the ledger of a new run; a dry run's snapshot of the same job and source is used again."""
    run.make()
    borrow_snapshot(store, job, now, run.snapshot)
    run.create(record).close()
