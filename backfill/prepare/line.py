"""The whole job: shards to threads, plans back in shard order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import polars as pl

from backfill.job.models import Job
from backfill.limits import Limits
from backfill.mapping import compile_job
from backfill.mapping.calls import Key
from backfill.prepare.frames import SHARD_ROWS, Frames
from backfill.prepare.schema import snapshot_schema
from backfill.prepare.shard import Line, id_texts, key_hashes, prepare_shard, replay_shard
from backfill.prepare.spellings import Spellings, with_spellings
from backfill.records import ShardPlan, ShardSink, Snapshot
from backfill.repeats import Arbiter, Collector, DeliveredIds, Turns

#: Ids are looked at in larger pieces than shards: of a row group of Parquet all is read, however little is wanted.
KEY_ROWS = 8 * SHARD_ROWS


def prepare(
    job: Job,
    snapshot: Snapshot,
    sink: ShardSink,
    *,
    id_scope: str,
    limits: Limits,
    library_version: str,
    now: float,
    workers: int,
    work_folder: Path,
    done: Mapping[int, ShardPlan],
    on_shard: Callable[[ShardPlan], None],
    cancelled: Callable[[], bool],
    delivered: DeliveredIds | None = None,
    limit: int | None = None,
    frame_rows: int | None = None,
) -> None:
    """Map, check, encode and pack every staged row (the first `limit` of them, where given) into `sink`.

    `done` are shards that an earlier process prepared and recorded: they are taken as they are. `on_shard` gets every
    other shard in order, once the sink made it durable. The result does not depend on `workers` or `frame_rows`.
    Calls of ids in `delivered` are counted and left out.
    `work_folder` takes temporary files of the search for repeated ids. `now`, in POSIX seconds, bounds the future.

    Raises:
        JobError: A value cannot be mapped at all.
        InterruptedError: `cancelled` became true; what `on_shard` got stands.
    """
    frames = Frames(snapshot, frame_rows=frame_rows, limit=limit)
    calls = compile_job(
        job, snapshot, snapshot_schema(snapshot), id_scope=id_scope, library_version=library_version, now=now
    )
    given = any(call.key is Key.GIVEN for call in calls)
    line = Line(
        snapshot=snapshot,
        frames=frames,
        calls=calls,
        sink=sink,
        limits=limits,
        by_id=given and len(calls) > 1,
        turns=Turns(),
        arbiter=None,
        cancelled=cancelled,
        delivered=delivered,
    )
    with ThreadPoolExecutor(max(1, workers), thread_name_prefix="prepare") as pool:
        line = _with_spellings(_with_arbiter(line, pool, work_folder), pool)
        # Told and let go: a history in no order has all its days in each plan, so many plans would be much.
        for plan in _in_order(line, pool, done, ahead=max(1, workers) + 1):
            if plan.shard not in done:
                on_shard(plan)


def _with_arbiter(line: Line, pool: ThreadPoolExecutor, work_folder: Path) -> Line:
    """The line with an arbiter over the ids that occur more than once; as it is where none does."""
    collector = Collector(work_folder)

    def collect(start: int) -> None:
        if line.cancelled():
            raise InterruptedError
        collector.add(key_hashes(line, start, min(start + KEY_ROWS, line.frames.rows)))

    for future in [pool.submit(collect, start) for start in range(0, line.frames.rows, KEY_ROWS)]:
        future.result()
    candidates = collector.candidates()
    if not len(candidates):
        return line
    return replace(line, arbiter=Arbiter(candidates, work_folder / "arbiter"))


def _with_spellings(line: Line, pool: ThreadPoolExecutor) -> Line:
    """The line with a check of ids that are spelt in several ways; as it is where none is, or nobody asks."""
    if all(call.alike is None for call in line.calls):
        return line
    found = Spellings()
    _over_ids(line, pool, found.note)
    if not found.settle():
        return line
    _over_ids(line, pool, found.compare)
    several = found.several()
    return replace(line, calls=tuple(with_spellings(call, several) for call in line.calls))


def _over_ids(line: Line, pool: ThreadPoolExecutor, take: Callable[[str, pl.Series], None]) -> None:
    """Hand over every id of the job, frame by frame, each with the name of its field."""

    def walk(start: int) -> None:
        if line.cancelled():
            raise InterruptedError
        for name, texts in id_texts(line, start, min(start + KEY_ROWS, line.frames.rows)):
            take(name, texts)

    for future in [pool.submit(walk, start) for start in range(0, line.frames.rows, KEY_ROWS)]:
        future.result()


def _in_order(
    line: Line, pool: ThreadPoolExecutor, done: Mapping[int, ShardPlan], *, ahead: int
) -> Iterator[ShardPlan]:
    """Plans in shard order; at most `ahead` shards are at work or waiting to be taken."""

    def work(shard: int) -> ShardPlan:
        try:
            if shard not in done:
                return prepare_shard(line, shard)
            line.turns.wait(shard)
            replay_shard(line, shard)
            return done[shard]
        except BaseException:
            line.turns.break_off()
            raise

    running: deque[Future[ShardPlan]] = deque()
    for shard in range(line.frames.shards):
        if len(running) == ahead:
            yield running.popleft().result()
        running.append(pool.submit(work, shard))
    while running:
        yield running.popleft().result()
