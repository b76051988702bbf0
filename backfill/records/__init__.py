"""The frozen types that the stages hand to each other. No behaviour beyond what the data itself says."""

from backfill.records.batches import AGE_UNKNOWN, Answer, Batch, BatchPart, BatchState, ClockMark, Decision, Outcome
from backfill.records.calls import Attempt, Calls, Doubt, DoubtSpan, RefusedBatch
from backfill.records.delivery import BatchBytes, DeliveryLedger, DeliveryTotals
from backfill.records.plan import CALL_RECORD, PlannedBatch, ShardPlan, ShardSink, ShardWriter
from backfill.records.problems import REJECT_COLUMNS, Problem, Severity
from backfill.records.runs import TRANSITIONS, Counts, RunRecord, RunState, RunStatus, SnapshotRecord, plan_digest
from backfill.records.snapshot import (
    FILE_COLUMN,
    INTERNAL_PREFIX,
    JSON_MEMBER,
    LONG_INTEGER_MEMBER,
    RECORD_COLUMN,
    Column,
    Kind,
    Snapshot,
    SnapshotPart,
    SourceFile,
    Zone,
    frame_name,
)

__all__ = [
    "AGE_UNKNOWN",
    "CALL_RECORD",
    "FILE_COLUMN",
    "INTERNAL_PREFIX",
    "JSON_MEMBER",
    "LONG_INTEGER_MEMBER",
    "RECORD_COLUMN",
    "REJECT_COLUMNS",
    "TRANSITIONS",
    "Answer",
    "Attempt",
    "Batch",
    "BatchBytes",
    "BatchPart",
    "BatchState",
    "Calls",
    "ClockMark",
    "Column",
    "Counts",
    "Decision",
    "DeliveryLedger",
    "DeliveryTotals",
    "Doubt",
    "DoubtSpan",
    "Kind",
    "Outcome",
    "PlannedBatch",
    "Problem",
    "RefusedBatch",
    "RunRecord",
    "RunState",
    "RunStatus",
    "Severity",
    "ShardPlan",
    "ShardSink",
    "ShardWriter",
    "Snapshot",
    "SnapshotPart",
    "SnapshotRecord",
    "SourceFile",
    "Zone",
    "frame_name",
    "plan_digest",
]
