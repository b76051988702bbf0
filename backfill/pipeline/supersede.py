"""Runs in whose place a later one comes: what they delivered is archived; ledger, calls and rejects are kept."""

from __future__ import annotations

import json
import logging
import shutil
import time
from contextlib import suppress

from backfill.errors import BackfillError, LedgerError, RefusedError, counted
from backfill.pipeline.context import RunRequest
from backfill.pipeline.delivered_ids import archive_all, related_runs
from backfill.pipeline.refused import list_refused
from backfill.records import Decision, RunRecord, RunState, RunStatus, RunStore, RunWriter, StoredRun

LOG = logging.getLogger(__name__)


def supersede(request: RunRequest, store: RunStore, run: StoredRun) -> None:
    """Make room for a run that leaves out what this one has delivered; hold its lock.

    What was not sent is given up. Ledger, calls and rejects are kept under another name, prepared bytes and snapshot
    are not. A process killed anywhere in here leaves a run of which the same is done again: nothing is forgotten
    before the archive and the ledger under its new name have it.

    Raises:
        RefusedError: Calls are in doubt, and no option says what becomes of them. Nothing was done then.
        LedgerError: The ledger or a calls file is damaged.
        StoppedError: The disk is full.
    """
    with run.open() as ledger:
        status = ledger.reader.status()
        decide_doubts(ledger, status, request.options.in_doubt)
        if not status.over:
            with suppress(
                LedgerError
            ):  # rows of calls that the target refused: of a killed process they are not listed
                list_refused(ledger, run)
            ledger.set_state(RunState.ABANDONED, detail="given up for a run that leaves out what was delivered")
    archive_all(store, status.record, request.context.stop.is_set)
    run.spool().remove_segments()
    run.forget_snapshot()
    shutil.rmtree(run.work, ignore_errors=True)
    place = store.put_away(run)
    LOG.info("%s is kept as %s", status.record.run_id, place.run_id)


def decide_doubts(ledger: RunWriter, status: RunStatus, decision: Decision | None) -> None:
    """Record what becomes of the calls in doubt.

    Raises:
        RefusedError: There are some, and no decision: to leave them out might lose them, to send them doubles them.
    """
    doubtful = ledger.reader.in_doubt()
    if not doubtful:
        return
    run_id, calls = status.record.run_id, sum(batch.calls for batch in doubtful)
    if decision is None:
        ways = [] if status.over else [f"`backfill resume {run_id}` finds out what became of them, and sends the rest"]
        ways += ["`--in-doubt skip` leaves them out for good", "`--in-doubt resend` sends them again under their ids"]
        raise RefusedError(
            f"{run_id}: {counted(calls, 'call is', 'calls are')} in doubt: no answer told whether"
            f" {'it' if calls == 1 else 'they'} arrived",
            hint="; ".join(ways),
        )
    if decision is Decision.SKIP:
        ledger.decide(doubtful, decision, time.time())


def discard_sandbox_runs(store: RunStore, run: StoredRun, record: RunRecord) -> None:
    """Throw a sandbox run away that begins afresh, and its earlier ones, as if none had been; hold its lock.

    The archive is made again, when it is wanted, from the ledgers of the runs that stay.
    """
    store.archive(record).forget()
    for earlier in store.earlier(run.run_id):
        store.discard(earlier)
    store.discard(run)


def refuse_other_scope(store: RunStore, run: StoredRun, id_scope: str) -> None:
    """Raise RefusedError where earlier runs of that id delivered under another scope: all would be sent again."""
    for earlier in store.earlier(run.run_id)[-1:]:
        with earlier.read() as reader:
            record = reader.status().record
        if record.id_scope != id_scope:
            raise RefusedError(
                f"the scope of the message ids of {earlier.run_id} was {record.id_scope}, now it is {id_scope}",
                hint=scope_ways(record),
            )


def scope_ways(record: RunRecord) -> str:
    """The ways on where a run's ids were made under another scope."""
    return (
        f"`id_scope: {record.id_scope}` in the target's profile keeps the ids;"
        f" `generation: {record.generation + 1}` in the job file sends all of it again under new ids"
    )


def delivered_elsewhere(store: RunStore, record: RunRecord) -> int:
    """How many calls other runs of the job have delivered to the target under its scope of ids.

    Those of other generations and earlier ones of the same. 0 where that cannot be read: it is for people.
    """
    try:
        delivered = {(run.run_id, run.created_at): run.calls for run in store.archive(record).runs()}
        for other, run in related_runs(store, record):
            with run.read() as reader:
                delivered[other.run_id, other.created_at] = sum(calls.calls for calls in reader.settled_spans())
        delivered.pop((record.run_id, record.created_at), None)
        return sum(delivered.values())
    except BackfillError as error:
        LOG.warning("%s", error.message)
        return 0


def key_warning(store: RunStore, record: RunRecord) -> str:
    """What to mind where a mapping was edited so that calls may have other ids; empty where there is nothing."""
    if not record.only_new:
        return ""
    others = [other for other, _ in related_runs(store, record) if other.generation == record.generation]
    edited = [other for other in others if other.job_fingerprint != record.job_fingerprint]
    if edited and any(call.by_content for call in record.facts.calls):
        return (
            "the job was edited and has calls with `message_key: content`: where an edit changes a call, its id is new,"
            " and it is sent again though it was delivered before"
        )
    if any(_key_fields(other) != _key_fields(record) for other in edited):
        return (
            "what makes the message keys was edited: a row may have a new id now, and is sent again, or one by which"
            " another row was delivered, and is left out"
        )
    return ""


def _key_fields(record: RunRecord) -> list[object]:
    """The fields of a job's data that decide about the values of its message keys: their texts, types and zone."""
    data = json.loads(record.job_data)
    source, common = data.get("source") or {}, data.get("defaults") or {}
    keys = [call.get("message_key", call.get("message_id")) for call in (common | call for call in data["calls"])]
    parts = [part for key in keys for part in (key if isinstance(key, list) else [key])]
    columns = source.get("columns") or {}
    if all(isinstance(part, str) for part in parts):  # else SQL may read any column
        columns = {name: spec for name, spec in columns.items() if name in parts}
    return [keys, columns, source.get("timezone") if columns else None, source.get("query")]
