"""Plans by name: what a dry run has prepared, to be looked at, agreed to, and sent as it was.

A plan's id is the beginning of its digest, which is made of the ids, sizes and checksums of all that would be sent and
of all counts (`records.plan_digest`). A run prepares by itself and compares its digest with the one that was named, so
that nothing has to be kept for it; the dry run's ledger, where it is there still, tells what differs, and tells most of
it before anything is prepared.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import fields

from backfill.errors import LedgerError, RefusedError, UsageError, counted
from backfill.limits import Limits
from backfill.pipeline.context import RunRequest
from backfill.pipeline.fingerprint import Fingerprint, fingerprint_then, list_differences
from backfill.records import PLAN_ID_DIGITS, Counts, RunReader, RunStatus, RunStore, StoredRun
from backfill.state.plan_file import PlanConditions, read_conditions

_FORM = re.compile(f"[0-9a-f]{{{PLAN_ID_DIGITS},64}}")
#: Of the counts those that a plan decides, as they are told.
_COUNTED = ("read", "filtered", "unreadable", "mapped", "planned", "skipped", "rejected", "duplicate")


def check_plan_ids(named: Sequence[str], jobs: int) -> None:
    """Raise UsageError where what is named is no plan's id, or not one for each of the jobs."""
    for name in named:
        if not _FORM.fullmatch(name):
            raise UsageError(
                f"--plan {name}: that is no plan's id",
                hint=f"`backfill dry-run JOB` ends with it: {PLAN_ID_DIGITS} digits and letters from a to f",
            )
    if named and len(named) != jobs:
        raise UsageError(
            f"{counted(jobs, 'job', 'jobs')} and {counted(len(named), 'plan', 'plans')}: each job has its own",
            hint="give --plan once for each job, in any order",
        )


def named_plan(text: str) -> bool:
    """Whether a text is a plan's id."""
    return bool(_FORM.fullmatch(text))


def dry_runs_of_plan(store: RunStore, plan: str, *, runs: bool = False) -> Iterator[tuple[StoredRun, RunStatus]]:
    """The dry runs whose plan has an id that begins so, as far as they are there; `runs`: behind them the runs."""
    dry = [*store.dry_runs.runs(), *reversed(store.dry_runs.earlier())]
    for run in [*dry, *(store.runs() if runs else [])]:
        with suppress(LedgerError), run.read() as reader:
            status = reader.status()
            if status.plan_digest is not None and status.plan_digest.startswith(plan):
                yield run, status


def refuse_other_basis(request: RunRequest, now: Fingerprint) -> None:
    """Refuse a run of a plan by what is known before anything is prepared: job, source, scope of ids, limits.

    Where no dry run of that plan is there any more, nothing is known: then the digest alone tells (`plan_error`).

    Raises:
        RefusedError: Something differs from what the plan was made of.
    """
    plans, target = request.options.plans, request.target
    found = {plan: next(dry_runs_of_plan(request.context.store, plan), None) for plan in plans}
    own = [one for one in found.values() if one is not None and one[1].record.job_name == request.job.name]
    if plans and not own and None not in found.values():
        others = [f"{plan} is of {one[1].record.job_name}" for plan, one in found.items() if one is not None]
        raise RefusedError(f"no --plan is of {request.job.name}: {list_differences(others)}", hint=_AGAIN)
    refusals = []
    for run, status in own:
        with run.read() as reader:
            snapshot = reader.snapshot()
        then, conditions = status.record, read_conditions(run)
        differences = fingerprint_then(status, snapshot).differences(now) if snapshot else []
        if then.id_scope != target.id_scope:
            differences.insert(0, _scopes(then.id_scope, target.id_scope))
        if conditions is not None and conditions.rows is not None:
            differences = [f"it is of rows 1 to {conditions.rows:,} alone, as --limit asked"]
        elif conditions is not None:
            differences += _condition_differences(conditions, target.limits, target.envelope)
        if not differences:
            return
        refusals.append(f"{_plan_id(status)} was made of something else: {list_differences(differences)}")
    if refusals:
        raise RefusedError(f"the plan {refusals[0]}; nothing was sent", hint=_AGAIN)


_AGAIN = "`backfill dry-run JOB` makes the plan of what there is now, to be looked at"


def _scopes(then: str, now: str) -> str:
    live = "; a plan of the sandbox's ids cannot be sent to a live target" if then == "sandbox" else ""
    return f"the scope of its message ids was {then}, the target's is {now}{live}"


def _condition_differences(then: PlanConditions, limits: Limits, envelope: str) -> list[str]:
    found = []
    for field in fields(Limits):
        before, now = getattr(then.limits, field.name), getattr(limits, field.name)
        if before != now:
            found.append(f"the target's limit {field.name} was {before:,}, now it is {now:,}")
    if then.envelope != envelope:
        found.append(f"the target's envelope was {{{then.envelope}}}, now it is {{{envelope}}}")
    return found


def plan_error(reader: RunReader, plans: Sequence[str], store: RunStore) -> RefusedError | None:
    """Why a run that is prepared is not to be sent: it is none of the plans that were named. None where it is one."""
    status = reader.status()
    digest = status.plan_digest or ""
    if not plans or any(digest.startswith(plan) for plan in plans):
        return None
    found = [one for plan in plans for one in dry_runs_of_plan(store, plan)]
    own = next((one for one in found if one[1].record.job_name == status.record.job_name), None)
    named = _plan_id(own[1]) if own else " or ".join(plan[:PLAN_ID_DIGITS] for plan in plans)
    differences = [f"its digest begins with {digest[:PLAN_ID_DIGITS]}"]
    if own is not None:
        with own[0].read() as then:
            differences += _outcome_differences(own[1], then.counts(), status, reader.counts())
    run_id = status.record.run_id
    return RefusedError(
        f"what the run {run_id} has prepared is not the plan {named}: {list_differences(differences)};"
        " nothing was sent now",
        hint=f"{_AGAIN}; without --plan the run is sent as it was prepared",
    )


def _outcome_differences(then: RunStatus, planned: Counts, now: RunStatus, counts: Counts) -> list[str]:
    """What two plans of one job that were made of the same have not in common, as far as counts and versions tell."""
    found = []
    for name in _COUNTED:
        before, after = getattr(planned, name), getattr(counts, name) - (counts.refused if name == "rejected" else 0)
        if before != after:
            found.append(f"{name} was {before:,}, now it is {after:,}")
    if planned.already_delivered != counts.already_delivered:
        found.append(
            f"left out as delivered before were {planned.already_delivered:,}, now it is {counts.already_delivered:,}"
            " (`dry-run --only-new` leaves them out, too)"
        )
    if then.record.library_version != now.record.library_version:
        before, after = then.record.library_version, now.record.library_version
        found.append(f"it was made by backfill {before}, whose calls say so, and this is {after}")
    return found or ["ids or bytes of calls are others"]


def _plan_id(status: RunStatus) -> str:
    return (status.plan_digest or "")[:PLAN_ID_DIGITS]
