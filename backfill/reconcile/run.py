"""`reconcile`: what a destination holds, compared with what a run has delivered there, id by id.

Both sides are cut into partitions on disk and joined one partition at a time, so that memory does not grow with them.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from backfill.disk import TEMPORARY_FOLDERS, fill_beside
from backfill.errors import LedgerError, UsageError, counted
from backfill.pipeline.call_bytes import PlanCalls
from backfill.pipeline.context import RunContext
from backfill.reconcile.calls import RunCalls, listed
from backfill.reconcile.compare import Comparison, Known
from backfill.reconcile.events import Events
from backfill.reconcile.requeue import lacking_events, plan_absent, refuse_early, refuse_strange, requeue_notes
from backfill.reconcile.result import LISTED, Reconciled
from backfill.reconcile.source import AS_SENT, Against, Rows, open_rows
from backfill.records import RunRecord, StoredRun

#: What a date may differ by: nothing where it is the one that was sent (warehouses cut digits), else by clocks.
EXACT_MS: Final = 1_000
CLOCKS_MS: Final = 120_000


def reconcile_run(
    run: StoredRun,
    against: Against,
    context: RunContext,
    *,
    shown: str,
    tolerance_ms: int | None = None,
    missing: Path | None = None,
    again: bool = False,
    none_there: bool = False,
) -> Reconciled:
    """Compare; the ids of missing calls go to the file `missing`, one a line, in plan order.

    `again` has what is not there planned again, as a run of its own; nothing is sent. Where the other side has nothing
    that runs here have sent, that is refused unless `none_there` says that it is so.

    Raises:
        RefusedError: It is too early to plan calls again, or their bytes cannot be had.
        UsageError: It is a dry run; or the other side is not named so that it can be read.
        JobError: The other side is nothing that is read.
        SourceError: The other side cannot be read.
        LedgerError: The run's ledger cannot be read, or its plan is not whole.
        StoppedError: The disk is full.
        InterruptedRunError: A signal came.
    """
    if run.is_dry:
        raise UsageError(f"{run.run_id} is a dry run: it has delivered nothing", hint="`backfill status` lists runs")
    with TEMPORARY_FOLDERS.opened() as folder, PlanCalls(run, context) as plan:
        if again:
            refuse_early(plan, against.late_ms, context)
        events = Events()
        rows = open_rows(against, folder / "snapshot", context)
        exact = rows.columns.get("timestamp") in AS_SENT
        tolerance = (EXACT_MS if exact else CLOCKS_MS) if tolerance_ms is None else tolerance_ms
        result = Reconciled(plan.status, shown, columns=rows.columns, tolerance_ms=tolerance, exact=exact)
        comparison = Comparison(folder, result, archived_ids(plan.status.record, context), tolerance)
        calls = RunCalls(plan, events, context)
        rows.letter_by_letter = calls.has_given_ids
        rows.add_to(comparison.rows, events, context)
        calls.add_to(comparison.calls)
        comparison.compare(calls.count, calls.runs, context.check_stop)
        _tell_rows(result, rows)
        result.events = events.names
        result.compared_at = context.clock.now()
        _list(result, comparison, calls, rows)
        if missing is not None:
            _write_missing(missing, comparison, calls, result)
        result.notes += rows.notes + calls.notes
        if again:
            if not none_there:
                refuse_strange(result)
            result.requeued = plan_absent(plan, calls, comparison, context)
            result.notes += [*lacking_events(result), *requeue_notes(plan, rows.newest)]
        if calls.gone:
            result.notes.append(f"dates and events of calls are not known: {calls.gone}")
    return result


def archived_ids(record: RunRecord, context: RunContext) -> Known | None:
    """Asks the archive of delivered ids, which knows those of runs that are gone; None where there is none."""
    try:
        archive = context.store.archive(record, stopping=context.stop.is_set).open()
    except LedgerError:
        return None
    return archive.delivered if archive is not None else None


def _tell_rows(result: Reconciled, rows: Rows) -> None:
    """What is counted of the rows, whatever they are compared with."""
    result.counts["rows"] = rows.snapshot.rows
    result.counts["unreadable"] = rows.snapshot.unreadable
    result.counts["without_id"] = rows.without_id
    result.bad_times = rows.bad_times
    if rows.rewritten:
        ids = counted(rows.rewritten, "id is a UUID", "ids are UUIDs")
        result.notes.append(f"{ids} in capitals, braces or without hyphens: compared as the calls have them")


def _list(result: Reconciled, comparison: Comparison, calls: RunCalls, rows: Rows) -> None:
    """List the first calls of each kind."""
    first = next(comparison.missing(), None)
    places = {"missing": first[:LISTED].tolist() if first is not None else []}
    places |= {kind: one.places.tolist() for kind, one in comparison.first.items() if kind != "unknown"}
    known = listed(calls, [place for some in places.values() for place in some])
    result.listed = {kind: [dict(known[place]) for place in some] for kind, some in places.items()}
    for kind, name in (("doubled", "rows"), ("shifted", "shift_ms")):
        for one, number in zip(result.listed[kind], comparison.first[kind].numbers.tolist(), strict=True):
            one[name] = number
    ids = rows.ids_at(comparison.first["unknown"].places.tolist())
    result.listed["unknown"] = [{"message_id": identity} for identity in ids]


def _write_missing(file: Path, comparison: Comparison, calls: RunCalls, result: Reconciled) -> None:
    """The ids of missing calls, one a line; says how many of the source's own are not kept."""

    def write(unfinished: Path) -> None:
        with unfinished.open("w", encoding="utf-8", newline="\n") as out:
            for told in _told(comparison, calls):
                ids = [one["message_id"] for one in told if one["message_id"] is not None]
                out.writelines(f"{identity}\n" for identity in ids)
                result.ids_written += len(ids)

    fill_beside(file, write)
    unknown = result.counts["missing"] - result.ids_written
    if unknown:
        those = counted(unknown, "missing call has an id", "missing calls have ids")
        result.notes.append(f"{those} of the source's own that are not kept: the file lacks them")


def _told(comparison: Comparison, calls: RunCalls) -> Iterator[list[dict[str, Any]]]:
    for places in comparison.missing():
        for _, told in calls.ids_at(places):
            yield told
