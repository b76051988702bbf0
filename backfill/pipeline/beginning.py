"""What a run and a dry run begin with alike: what their ledgers are told of them, and what they leave out."""

from __future__ import annotations

import json
import time

from backfill import __version__
from backfill.job.models import Job
from backfill.pipeline.archiving import brought_up
from backfill.pipeline.earlier import content_warning
from backfill.pipeline.fingerprint import Fingerprint
from backfill.pipeline.work import Surroundings
from backfill.records import ArchivedIds, RunRecord, RunStore, StoredRun

#: Beside the job's own fields in a run's `job_data`: the target's envelope at that time. No job has such a field.
ENVELOPE_FIELD = "target.envelope"


def prepared_envelope(record: RunRecord) -> str:
    """What the target's profile added to every body when the run was prepared, and so is sent, whatever it says now."""
    return str(json.loads(record.job_data).get(ENVELOPE_FIELD, ""))


def new_record(
    job: Job,
    folder: StoredRun,
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
    data = {**now.data, ENVELOPE_FIELD: envelope} if envelope else now.data
    return RunRecord(
        run_id=folder.run_id,
        job_name=job.name,
        job_file=job.path,
        generation=job.generation,
        target_name=target_name,
        target_kind=target_kind,
        target_identity=target_identity,
        live=live,
        id_scope=id_scope,
        job_fingerprint=now.job,
        job_data=json.dumps(data, ensure_ascii=False),
        backfill_version=__version__,
        library_version=__version__,
        created_at=time.time(),
        only_new=only_new,
    )


def delivered_before(state: RunStore, record: RunRecord, around: Surroundings) -> ArchivedIds | None:
    """The ids that a run is to leave out; None where it leaves out none. What is in doubt counts as new.

    Raises:
        LedgerError: What was delivered cannot be known.
    """
    if not record.only_new:
        return None
    warning = content_warning(state, record)
    if warning:
        around.say(f"{record.job_name}: {warning}")
    return brought_up(state, record, around.stop.is_set)
