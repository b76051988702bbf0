"""`backfill diff`: two plans compared, call by call."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from backfill.cli.options import RUN, output_option, state_option, voice_options
from backfill.cli.session import Session
from backfill.errors import UsageError

if TYPE_CHECKING:
    from backfill.cli.interrupts import Interrupts
    from backfill.pipeline.call_bytes import PlanCalls
    from backfill.pipeline.plan_diff import PlanDiff
    from backfill.records import RunStore, StoredRun
    from backfill.report.diff import DiffView

#: Of how many calls that have changed the fields are compared where it is not said: some seconds of work.
COMPARED = 100_000


@click.command("diff", short_help="What a plan has not in common with another.")
@click.argument("before", type=RUN, metavar="BEFORE|JOB")
@click.argument("after", required=False, type=RUN, metavar="[AFTER]")
@click.option("--delivered", is_flag=True, help="Compare with what the run AFTER has delivered, not with its plan.")
@click.option(
    "--compare",
    type=click.IntRange(0),
    default=COMPARED,
    show_default=True,
    metavar="N",
    help="Of how many changed calls the fields are compared.",
)
@state_option
@output_option
@voice_options
def command(
    session: Session,
    *,
    before: str,
    after: str | None,
    delivered: bool,
    compare: int,
    state_dir: Path | None,
    output: str,
) -> None:
    """\b
    backfill diff jobs/01-users.yaml
    backfill diff 3f9a1c20b7d4 b6d80951c57f
    backfill diff 3f9a1c20b7d4 shop-users-segment-g1-90494e30 --delivered

    Compare two plans: calls that were added, are gone or have changed, and in which fields.

    BEFORE and AFTER are ids of plans, dry runs or runs. A job file alone means its last two dry runs.
    """  # noqa: D205, D301, D415
    from backfill.cli.arguments import open_state
    from backfill.cli.interrupts import run_interruptibly

    state = open_state(session, before, state_dir)
    pair = chosen_pair(state, before, after)
    if delivered and pair[1].is_dry:
        raise UsageError("--delivered: AFTER is a dry run, which delivers nothing", hint="name a run as AFTER")
    session.here.run_id = pair[1].run_id
    view = run_interruptibly(session, lambda around: compared(session, around, state, pair, delivered, compare))
    if output == "json":
        session.record(view.as_json())
    else:
        from backfill.report.diff import diff_text

        session.data(diff_text(view))


def chosen_pair(state: RunStore, before: str, after: str | None) -> tuple[StoredRun, StoredRun]:
    """The two plans that are meant.

    Raises:
        UsageError: One is not there, or a job has no two dry runs.
    """
    from backfill.pipeline.plan_calls import find_prepared

    if after is not None:
        return find_prepared(state, before), find_prepared(state, after)
    newest = find_prepared(state, before, dry=True)
    earlier = state.dry_runs.earlier(newest.run_id)
    if not earlier:
        raise UsageError(
            f"{newest.run_id} is the only plan of its job",
            hint="change the job or its data and dry-run it again: then the two are compared; or name two plans",
        )
    return earlier[-1], newest


def compared(
    session: Session,
    interrupts: Interrupts,
    state: RunStore,
    pair: tuple[StoredRun, StoredRun],
    delivered: bool,
    most: int,
) -> DiffView:
    """Compare two plans; raises as `compare_plans` does."""
    from backfill.cli.progress import sample_context
    from backfill.pipeline.call_bytes import PlanCalls
    from backfill.pipeline.plan_diff import compare_plans

    context = sample_context(session, interrupts, shown=False, store=state)
    with PlanCalls(pair[0], context) as before, PlanCalls(pair[1], context) as after:
        diff = compare_plans(before, after, context, delivered=delivered, most=most)
        return view_of(before, after, diff)


def view_of(before: PlanCalls, after: PlanCalls, diff: PlanDiff) -> DiffView:
    """What is shown of a comparison."""
    from backfill.pipeline.fingerprint import Fingerprint
    from backfill.pipeline.plan_diff import ABSENT
    from backfill.report.diff import ChangedField, DiffView
    from backfill.state.plan_file import plan_facts

    prints = [
        Fingerprint(one.status.record.job_fingerprint, json.loads(one.status.record.job_data), one.files)
        for one in (before, after)
    ]
    basis = prints[0].differences(prints[1])
    scopes = [one.status.record.id_scope for one in (before, after)]
    if scopes[0] != scopes[1]:
        basis.insert(0, f"the scope of the ids was {scopes[0]}, now it is {scopes[1]}: no id can be equal")
    facts = [(one.run.run_id, plan) for one in (before, after) if (plan := plan_facts(one.run)) is not None]

    def shown(value: object) -> str | None:
        return None if value is ABSENT else json.dumps(value, ensure_ascii=False)

    fields = [
        ChangedField(call, path, change.calls, [(one, shown(old), shown(new)) for one, old, new in change.samples])
        for (call, path), change in sorted(diff.fields.items(), key=lambda item: (-item[1].calls, item[0]))
    ]
    counts = {"before": diff.before, "after": diff.after, "same": diff.same}
    counts |= {kind: diff.total(kind) for kind in ("changed", "added", "gone")}
    return DiffView(facts[0], facts[1], basis, counts, diff.counts, diff.compared, fields, diff.samples, diff.notes)
