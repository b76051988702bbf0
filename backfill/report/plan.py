"""How a plan is named, for people and programs: what somebody agrees to, and by what it is known again."""

from __future__ import annotations

from typing import Any

from backfill.identity import SANDBOX_SCOPE
from backfill.records import PlanFacts


def plan_json(plan: PlanFacts) -> dict[str, Any]:
    """The plan of `--output json`; its keys are a promise (docs/cli.md)."""
    record = plan.record
    return {
        "id": plan.plan_id,
        "digest": plan.digest,
        "job_fingerprint": record.job_fingerprint,
        "id_scope": record.id_scope,
        "backfill_version": record.backfill_version,
        "library_version": record.library_version,
        "rows_limit": plan.rows,
        "sources": [{"name": file.name, "bytes": file.bytes, "sha256": file.sha256} for file in plan.files],
    }


def plan_lines(plan: PlanFacts, *, calls: int) -> list[str]:
    """What a dry run says of a plan of so many calls: by what it is known, and the command that sends nothing else."""
    record = plan.record
    lines = [
        f"  plan      {plan.plan_id}, by backfill {record.backfill_version}, ids of the scope {record.id_scope}",
        f"  digest    {plan.digest}",
        f"  job data  {record.job_fingerprint}",
    ]
    lines += [f"  send it   {_how_to_send(plan)}"] if calls else []
    if record.id_scope == SANDBOX_SCOPE and plan.dry:
        target = "NAME" if record.target_name == SANDBOX_SCOPE else record.target_name
        lines.append(
            f"  live ids  `backfill dry-run JOB --target {target}` plans with them, where its write key is set"
        )
    return lines


def _how_to_send(plan: PlanFacts) -> str:
    """The command that sends the plan and nothing else, or why none does."""
    if plan.rows is not None:
        return f"no run does, as it is of rows 1 to {plan.rows:,} alone"
    target = SANDBOX_SCOPE if plan.record.id_scope == SANDBOX_SCOPE else plan.record.target_name
    return f"`backfill run JOB --plan {plan.plan_id} --target {target}`"
