"""What tests of ledger and spool build again and again."""

import json
import sqlite3
import zlib
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from backfill.ledger import Ledger
from backfill.ledger.migrations import ENVELOPE_FIELD
from backfill.records import (
    Answer,
    Batch,
    BatchPart,
    BatchState,
    CallFacts,
    JobFacts,
    Outcome,
    PlannedBatch,
    RunRecord,
    RunState,
    ShardPlan,
    Snapshot,
    SnapshotPart,
    SourceFile,
)
from backfill.wire import HEAD

RECORD = RunRecord(
    run_id="orders-sandbox-g1-0a1b2c3d",
    job_name="orders",
    job_file="/jobs/orders.yaml",
    generation=1,
    target_name="sandbox",
    target_kind="sandbox",
    target_identity="sandbox http://127.0.0.1",
    live=False,
    id_scope="sandbox",
    job_fingerprint="f" * 64,
    job_data='{"name": "orders"}',
    facts=JobFacts((CallFacts("order", 1),)),
    backfill_version="0.1.0",
    library_version="0.1.0",
    created_at=1_700_000_000.0,
)
FILE = SourceFile("/data/orders.csv", "orders.csv", "orders.csv", 512, "a" * 64, 17, 18, 2**64 - 1)


def shard_plan(shard: int, calls: tuple[int, ...] = (3, 2), *, rejected: int = 1, duplicate: int = 1) -> ShardPlan:
    """A shard of one call a row, whose batches hold so many calls."""
    batches = tuple(
        PlannedBatch(place, count, 400 * count, 100 * place, 100, 7, sum(calls[:place]))
        for place, count in enumerate(calls)
    )
    planned = sum(calls) + rejected + duplicate
    return ShardPlan(
        shard=shard,
        rows=planned + 1,
        planned=planned,
        skipped=1,
        rejected=rejected,
        duplicate=duplicate,
        batches=batches,
        problems={("BF101", "error"): rejected},
        samples=(),
        days={("order", "2024-01-31"): sum(calls)},
        json_bytes=400 * sum(calls),
        segment_bytes=100 * len(calls),
        segment_sha256="b" * 64,
        calls_sha256="c" * 64,
    )


def snapshot_of(plans: list[ShardPlan], *, filtered: int = 4, unreadable: int = 2) -> Snapshot:
    """The snapshot that these shards would come from."""
    rows = sum(plan.rows for plan in plans)
    part = SnapshotPart(Path("part.parquet"), rows)
    return Snapshot((part,), (), (FILE,), rows + filtered + unreadable, filtered, unreadable, in_place=False)


def delivering(path: Path, plans: list[ShardPlan]) -> Ledger:
    """An open ledger of a run that has prepared these shards and is about to send."""
    ledger = Ledger.create(path, RECORD)
    ledger.record_snapshot(snapshot_of(plans), calls_per_row=1, problems={("BF001", "error"): 2})
    for plan in plans:
        ledger.record_shard(plan)
    ledger.record_plan()
    ledger.set_state(RunState.DELIVERING)
    return ledger


def as_version_1(path: Path) -> None:
    """Make a ledger at rest the one that the first version would have written."""
    with closing(sqlite3.connect(path)) as connection:
        data, envelope = connection.execute("SELECT job_data, envelope FROM run").fetchone()
        job = json.loads(data) | ({ENVELOPE_FIELD: envelope} if envelope else {})
        connection.execute("UPDATE run SET job_data = ?", (json.dumps(job, ensure_ascii=False),))
        for column in ("envelope", "ordered", "has_query"):
            connection.execute(f"ALTER TABLE run DROP COLUMN {column}")
        connection.execute("DROP TABLE job_calls")
        connection.execute("ALTER TABLE shards DROP COLUMN profile")
        connection.execute("PRAGMA user_version = 1")
        tables = connection.execute("SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL ORDER BY type, name")
        connection.execute("UPDATE mark SET schema = ?", (zlib.crc32("\n".join(sql for (sql,) in tables).encode()),))
        connection.commit()


def answer(outcome: Outcome, state: BatchState | None = None, *, at: float = 1_000.0) -> Answer:
    """The end of an attempt."""
    status = {Outcome.ACCEPTED: 200, Outcome.NOT_TAKEN: 400, Outcome.UNKNOWN: 503}[outcome]
    return Answer(outcome, state, status, "said the target", at, 0.25, 321)


def parts_of(batch: Batch, parts: Sequence[tuple[int, BatchState]]) -> list[BatchPart]:
    """Parts of so many calls in these states, the batch's bytes shared out among them; the last one has the rest."""
    start = len(HEAD) if batch.start is None else batch.start
    end = start + batch.bytes - len(HEAD)
    made = []
    for place, (calls, state) in enumerate(parts):
        size = end - start if place == len(parts) - 1 else 7 * calls
        said = (422, f"no {place}") if state is BatchState.REJECTED else (None, "")
        made.append(BatchPart(calls, start, len(HEAD) + size, 1000 + place, state, *said))
        start += size + 1
    return made


ACCEPTED = answer(Outcome.ACCEPTED, BatchState.DELIVERED)
REJECTED = answer(Outcome.NOT_TAKEN, BatchState.REJECTED)
REFUSED = answer(Outcome.NOT_TAKEN)
SPLIT = answer(Outcome.NOT_TAKEN, BatchState.SPLIT)
UNKNOWN = answer(Outcome.UNKNOWN)
