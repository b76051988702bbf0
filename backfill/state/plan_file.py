"""What the plan of a dry run was made with and its ledger does not hold, as a file beside that; and a plan's facts.

plan.json  the target's limits and envelope, and whether rows or calls were left out on purpose
"""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import asdict

from backfill.disk import PRIVATE_FILE
from backfill.frozen import frozen
from backfill.limits import Limits
from backfill.records import PlanFacts, StoredRun

PLAN_FILE = "plan.json"


@frozen
class PlanConditions:
    """What a dry run's plan was made with, the job, its source and the scope of ids aside."""

    limits: Limits
    envelope: str = ""
    rows: int | None = None  # of the source; None: all
    left_out: bool = False  # calls that runs had delivered
    rate: float | None = None  # calls a second that the target takes, as its profile says


def write_conditions(run: StoredRun, conditions: PlanConditions) -> None:
    """Keep what the plan of a dry run was made with; where that cannot be written, the digest alone tells."""
    path = run.path / PLAN_FILE
    with suppress(OSError):
        path.touch(PRIVATE_FILE)
        path.write_text(json.dumps(asdict(conditions)), encoding="utf-8")


def read_conditions(run: StoredRun) -> PlanConditions | None:
    """What the plan of a dry run was made with; None where that was not kept, or not as `write_conditions` does."""
    try:
        kept = json.loads((run.path / PLAN_FILE).read_text(encoding="utf-8"))
        return PlanConditions(**{**kept, "limits": Limits(**kept["limits"])})
    except (OSError, ValueError, TypeError, KeyError):
        return None


def plan_facts(run: StoredRun) -> PlanFacts | None:
    """What there is to say of the plan of a run or dry run; None where it is not complete.

    Raises:
        LedgerError: Its ledger cannot be read.
    """
    with run.read() as reader:
        status, snapshot = reader.status(), reader.snapshot()
    if status.plan_digest is None:
        return None
    conditions = read_conditions(run) if run.is_dry else None
    return PlanFacts(
        digest=status.plan_digest,
        record=status.record,
        files=snapshot.files
        if snapshot and not (conditions and conditions.rows)
        else (),  # else their bytes are not known
        dry=run.is_dry,
        rows=conditions.rows if conditions else None,
    )
