"""A prepared shard as bytes, for processes that prepare one run together: a line of JSON, and its profile behind it."""

from __future__ import annotations

import json
from dataclasses import asdict, fields
from typing import Any, Final

from backfill.records.plan import PlannedBatch, ShardPlan
from backfill.records.problems import Problem, Severity
from backfill.records.profile import NO_PROFILE, packed, unpacked

#: Among the files by which processes prepare a run together (`SharedWork`): of all shards, and of each with its number.
SETTLED_FILE, SHARD_FILE = "settled.json", "shard-"
_APART: Final = ("batches", "problems", "samples", "days", "profile")
_PLAIN: Final = tuple(field.name for field in fields(ShardPlan) if field.name not in _APART)
#: What `shard_of` raises of bytes that hold no shard.
NO_SHARD: Final = NO_PROFILE


def shard_bytes(plan: ShardPlan) -> bytes:
    """The shard, all of it."""
    data = {name: getattr(plan, name) for name in _PLAIN} | {
        "batches": [list(asdict(batch).values()) for batch in plan.batches],
        "problems": [[*key, count] for key, count in plan.problems.items()],
        "samples": [asdict(sample) for sample in plan.samples],
        "days": [[*key, calls] for key, calls in plan.days.items()],
    }
    return json.dumps(data, ensure_ascii=True, separators=(",", ":")).encode("ascii") + b"\n" + packed(plan.profile)


def shard_of(stored: bytes) -> ShardPlan:
    """The shard of `shard_bytes`.

    Raises:
        NO_SHARD: One of these, of other bytes.
    """
    line, _, profile = stored.partition(b"\n")
    data: dict[str, Any] = json.loads(line)
    return ShardPlan(
        **{name: data[name] for name in _PLAIN},
        batches=tuple(PlannedBatch(*batch) for batch in data["batches"]),
        problems={(code, severity): count for code, severity, count in data["problems"]},
        samples=tuple(Problem(**sample | {"severity": Severity(sample["severity"])}) for sample in data["samples"]),
        days={(call, day): calls for call, day, calls in data["days"]},
        profile=unpacked(profile),
    )
