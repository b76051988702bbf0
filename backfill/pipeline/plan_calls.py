"""Choosing calls of a plan to be looked at: by key, user, event or record, in the order in which they are sent."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import numpy.typing as npt
import polars as pl

from backfill.errors import LedgerError, UsageError
from backfill.frozen import frozen
from backfill.pipeline.call_bytes import PlanCalls
from backfill.pipeline.call_fields import EVENTS, USERS, has_value
from backfill.pipeline.context import RunContext
from backfill.pipeline.find_call import id_key, ids_of_key, key_forms
from backfill.pipeline.plans import dry_runs_of_plan, named_plan
from backfill.pipeline.runs import find_runs, is_job_file, is_replay
from backfill.records import RunRecord, RunStore, StoredRun


@frozen
class Wanted:
    """Which calls are looked for; a call has to be what each of these says."""

    key: tuple[str, ...] = ()  # the values of its message key
    user: str | None = None
    event: str | None = None
    record: tuple[Sequence[str], int] | None = None  # the names of files of the source, and the record's number there


@frozen
class PlanCall:
    """One call of a plan."""

    scope: str  # label or type
    text: str  # its JSON, every byte as it is sent
    shard: int
    place: int  # in the shard's calls file


def find_prepared(store: RunStore, named: str, *, dry: bool = False) -> StoredRun:
    """The run or dry run that is meant: by an id, the beginning of one, a plan's id, or a job file.

    Of a job file its own run is meant, no replay of rejects, and where it has none, or with `dry`, its dry run.

    Raises:
        UsageError: There is none.
    """
    if named_plan(named):
        found = next(dry_runs_of_plan(store, named, runs=True), None)
        if found is not None:
            return found[0]
    if not is_job_file(named):
        return find_runs(store, named, dry=dry)[0]
    try:
        return _own_run(store, named, dry=dry)
    except UsageError:
        if dry or not store.dry_runs.runs():
            raise
    return _own_run(store, named, dry=True)


def _own_run(store: RunStore, job_file: str, *, dry: bool) -> StoredRun:
    """The latest run of a job file that is no replay; a replay where nothing else is left."""
    runs = find_runs(store, job_file, dry=dry)
    return next((run for run in runs if not is_replay(run)), runs[0])


def calls_of_plan(run: StoredRun, wanted: Wanted, context: RunContext) -> Iterator[PlanCall]:
    """The calls of a plan that are looked for, in plan order; one at a time, whatever there is.

    Raises:
        UsageError: No call of the job has such a key.
        RefusedError: The bytes of the calls are gone, and cannot be made again as they were.
        LedgerError: What was kept is damaged.
    """
    with PlanCalls(run, context) as calls:
        scopes = [call.scope for call in calls.status.record.facts.calls]
        ids = ids_of_forms(calls.status.record, wanted.key) if wanted.key else None
        for shard, plan in calls.shards.items():
            context.check_stop()
            if not plan.batches:
                continue
            records = calls.records(shard)
            for places, texts in calls.texts(shard, places_wanted(calls, shard, records, ids, wanted)):
                kept = np.flatnonzero(is_wanted(texts, wanted))
                for index in kept.tolist():
                    place = int(places[index])
                    yield PlanCall(scopes[records["call"][place]], texts[index], shard, place)


def ids_of_forms(record: RunRecord, key: Sequence[str]) -> list[bytes]:
    """The ids of a key, in each form that may be meant; raises UsageError where no call has such a key."""
    return [id_key(one) for form in key_forms(key) for one in ids_of_key(record, form).values()]


def places_wanted(
    calls: PlanCalls, shard: int, records: npt.NDArray[np.void], ids: Iterable[bytes] | None, wanted: Wanted
) -> npt.NDArray[np.int64]:
    """The places of a shard's calls file that may be of a call that is looked for, by id and record."""
    fits = np.ones(len(records), np.bool_)
    if ids is not None:
        known = np.frombuffer(records["id_bytes"].tobytes(), np.uint8).reshape(-1, 16)
        fits &= np.logical_or.reduce([(known == np.frombuffer(one, np.uint8)).all(axis=1) for one in ids])
    if wanted.record is not None:
        fits &= np.isin(records["row"], calls.made_again().rows_of(*wanted.record, shard))
    return np.flatnonzero(fits)


def is_wanted(texts: pl.Series, wanted: Wanted) -> npt.NDArray[np.bool_]:
    """Which of these calls have the user and the event that are looked for."""
    fits = np.ones(len(texts), np.bool_)
    for value, names in ((wanted.user, USERS), (wanted.event, EVENTS)):
        if value is not None:
            fits &= has_value(texts, value, names)
    return fits


def standing_of(run: StoredRun, call: PlanCall) -> str:
    """What became of a call: planned in a dry run, else delivered, rejected, in_doubt or pending.

    Raises:
        LedgerError: The ledger is damaged.
    """
    if run.is_dry:
        return "planned"
    with run.read() as reader:
        span = reader.span_of(call.shard, call.place)
    if span is None:
        raise LedgerError(f"{run.run_id} has no batch of call {call.place} of shard {call.shard}")
    return span.standing
