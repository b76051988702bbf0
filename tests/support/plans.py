"""Sums over the shards that prepare made, for tests; of a run the ledger has them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from backfill.prepare.rejects import SAMPLES
from backfill.records import Problem, ShardPlan


@dataclass(slots=True)
class Plan:
    """Sums over all shards."""

    shards: int = 0
    rows: int = 0
    planned: int = 0
    skipped: int = 0
    rejected: int = 0
    duplicate: int = 0
    batches: int = 0
    json_bytes: int = 0
    segment_bytes: int = 0
    problems: Counter[tuple[str, str]] = field(default_factory=Counter)  # (code, severity) -> count
    days: Counter[tuple[str, str]] = field(default_factory=Counter)  # (call label or type, YYYY-MM-DD) -> calls
    samples: list[Problem] = field(default_factory=list)

    @property
    def to_send(self) -> int:
        """Calls in batches."""
        return self.planned - self.rejected - self.duplicate


def summed(plans: Iterable[ShardPlan]) -> Plan:
    """The plan of a job from its shards, in shard order."""
    total = Plan()
    shown: Counter[str] = Counter()
    for plan in plans:
        total.shards += 1
        total.rows += plan.rows
        total.planned += plan.planned
        total.skipped += plan.skipped
        total.rejected += plan.rejected
        total.duplicate += plan.duplicate
        total.batches += len(plan.batches)
        total.json_bytes += plan.json_bytes
        total.segment_bytes += plan.segment_bytes
        total.problems.update(plan.problems)
        total.days.update(plan.days)
        for problem in plan.samples:
            shown[problem.code] += 1
            if shown[problem.code] <= SAMPLES:
                total.samples.append(problem)
    return total
