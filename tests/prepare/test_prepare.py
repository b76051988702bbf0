"""Preparing: nothing lost, the same bytes whatever the frames and threads, limits held on the real bytes."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from backfill.encode import kind_of
from backfill.errors import InterruptedRunError
from backfill.job.models import Call, ColumnValue, ConstantValue, Job, ObjectSpec, Source, TimestampSpec
from backfill.limits import SEGMENT, Limits
from backfill.memory import FRAME_BYTES
from backfill.prepare import prepare
from backfill.prepare.frames import SHARD_ROWS, Frames
from backfill.records import (
    CALL_RECORD,
    FILE_COLUMN,
    RECORD_COLUMN,
    Batch,
    Column,
    PlannedBatch,
    ShardPlan,
    Snapshot,
    SnapshotPart,
    SourceFile,
    plan_digest,
)
from backfill.spool import CountingSink, Spool
from backfill.wire import ENVELOPE_BYTES
from tests.support.plans import Plan, summed

NOW = datetime(2026, 1, 1, tzinfo=UTC).timestamp()
START = datetime(2020, 1, 1, tzinfo=UTC)


def snapshot_of(path: Path, *parts: Path) -> Snapshot:
    """Parquet files as a snapshot read in place."""
    paths = (path, *parts)
    schema = pl.read_parquet_schema(path)
    rows = [pl.scan_parquet(part).select(pl.len()).collect().item() for part in paths]
    return Snapshot(
        parts=tuple(
            SnapshotPart(part, count, index) for index, (part, count) in enumerate(zip(paths, rows, strict=True))
        ),
        columns=tuple(Column(name, kind_of(dtype)) for name, dtype in schema.items()),
        files=tuple(SourceFile(str(part), part.name, part.name, 0, "", 0, 0, 0) for part in paths),
        read=sum(rows),
        filtered=0,
        unreadable=0,
        in_place=True,
    )


ID = (ColumnValue(column="id"),)


def track(key: Any = ID, **fields: Any) -> Call:
    """A track call over the columns that `rows` makes."""
    return Call(
        type=fields.pop("type", "track"),
        message_key=key,
        timestamp=TimestampSpec(column="at"),
        userId=ColumnValue(column="user"),
        event=None if fields.get("traits") else ConstantValue(value="Seen"),
        **fields,
    )


def job_of(*calls: Call, **fields: Any) -> Job:
    """A job of those calls."""
    return Job(version=1, name="test", source=Source(path=("x.parquet",)), calls=calls, **fields)


def rows(count: int, *, pad: Callable[[int], int] = lambda _: 20, seed: int = 1) -> pl.DataFrame:
    """Valid rows with unique ids and text of a given length."""
    rng = random.Random(seed)
    return pl.DataFrame(
        {
            "id": [f"k{number:08d}" for number in range(count)],
            "user": [f"u{rng.randrange(10**6):06d}" for _ in range(count)],
            "at": [START + timedelta(seconds=number) for number in range(count)],
            "text": ["é" * (pad(number) // 2) for number in range(count)],
        },
        schema_overrides={"at": pl.Datetime("us", "UTC")},
    )


PROPERTIES = ObjectSpec(members=((("text",), ColumnValue(column="text")),))


@dataclass
class Prepared:
    """A plan with everything it left behind."""

    plan: Plan
    shards: list[ShardPlan]
    spool: Spool | None
    bodies: list[bytes] = field(default_factory=list)

    @property
    def digest(self) -> str:
        """What the ledger records of the plan: equal exactly where all bytes, ids and counts are."""
        return plan_digest(self.shards)

    @property
    def calls(self) -> list[dict[str, Any]]:
        """Every call that would be sent, in order."""
        return [call for body in self.bodies for call in json.loads(body + b"]}")["batch"]]


def run(job: Job, snapshot: Snapshot, folder: Path | None, **options: Any) -> Prepared:
    """Prepare into a spool below `folder`, or onto the scales where there is none."""
    spool = Spool(folder / "spool") if folder is not None else None
    work = folder or snapshot.parts[0].path.parent
    shards: list[ShardPlan] = []
    settings: dict[str, Any] = {"limits": SEGMENT, "workers": 3, "done": {}, "stopping": lambda: False} | options
    prepare(
        job,
        snapshot,
        spool or CountingSink(),
        id_scope="test",
        library_version="0.0",
        now=NOW,
        work_folder=work / "work",
        on_shard=shards.append,
        **settings,
    )
    prepared = Prepared(summed([*settings["done"].values(), *shards]), shards, spool)
    if spool is not None:
        prepared.bodies = [spool.plain(as_batch(shard, batch)) for shard in shards for batch in shard.batches]
    return prepared


def as_batch(shard: ShardPlan, batch: PlannedBatch) -> Batch:
    """A planned batch as the ledger would hand it out."""
    return Batch(0, shard.shard, batch.calls, batch.bytes, batch.offset, batch.length, batch.crc32)


def write(frame: pl.DataFrame, path: Path, row_group_size: int | None = None) -> Snapshot:
    """Write a frame and take it as a snapshot."""
    frame.write_parquet(path, row_group_size=row_group_size)
    return snapshot_of(path)


def test_everything_is_sent_once_and_in_order(tmp_path: Path) -> None:
    """More rows than two shards: ids out are ids in, in source order, and the calls files say which row made which."""
    frame = rows(2 * SHARD_ROWS + 777)
    prepared = run(job_of(track(properties=PROPERTIES)), write(frame, tmp_path / "a.parquet"), tmp_path)
    calls = prepared.calls
    assert [call["properties"]["text"] for call in calls] == frame["text"].to_list()
    assert [call["userId"] for call in calls] == frame["user"].to_list()
    assert len({call["messageId"] for call in calls}) == len(frame)
    assert prepared.plan.planned == prepared.plan.to_send == len(frame)
    assert prepared.spool is not None
    for shard in prepared.shards:
        records = np.fromfile(prepared.spool.calls_path(shard.shard), np.dtype(CALL_RECORD))
        assert list(records["row"]) == list(range(shard.rows))
        first = calls[shard.shard * SHARD_ROWS]["messageId"]
        assert records["id_bytes"][0].tobytes().hex() == first.replace("-", "")


@pytest.mark.parametrize("row_group_size", [1_000, 100_000])
def test_every_body_holds_the_limits_and_is_full(tmp_path: Path, row_group_size: int) -> None:
    """Bodies never pass 500,000 bytes; all but each shard's last are at least 97% full."""
    frame = rows(SHARD_ROWS + 20_000, pad=lambda n: 100 + (n * 7919) % 700)
    prepared = run(job_of(track(properties=PROPERTIES)), write(frame, tmp_path / "a.parquet", row_group_size), tmp_path)
    sizes = [len(body) - len('{"batch":[') + ENVELOPE_BYTES for body in prepared.bodies]
    assert max(sizes) <= SEGMENT.body_bytes
    lasts = {sum(len(shard.batches) for shard in prepared.shards[: n + 1]) - 1 for n in range(len(prepared.shards))}
    full = [size for index, size in enumerate(sizes) if index not in lasts]
    assert sum(full) / len(full) >= 0.97 * SEGMENT.body_bytes


@pytest.mark.parametrize(("pad", "most"), [(0, 2_240), (30_000, 17)])
def test_small_and_large_calls(tmp_path: Path, pad: int, most: int) -> None:
    """The smallest calls and calls of 30 KB fill their batches, as far as the bytes go."""
    frame = rows(6_000 if not pad else 60, pad=lambda _: pad)
    prepared = run(job_of(track(properties=PROPERTIES)), write(frame, tmp_path / "a.parquet"), tmp_path)
    counts = [batch.calls for shard in prepared.shards for batch in shard.batches]
    assert max(counts) <= most
    assert counts[0] >= most - 20
    assert len(prepared.calls) == len(frame)


def test_frames_and_threads_are_nothing(tmp_path: Path) -> None:
    """Frame sizes of 1, 7 and all, one thread and four, spool and scales: one digest; repeated ids included."""
    frame = rows(400, pad=lambda n: 50 + n % 90)
    frame = pl.concat([frame, frame[5:9], frame[100:103].with_columns(pl.lit("other").alias("text"))])
    job = job_of(track(properties=PROPERTIES), track(label="twice", key="content", properties=PROPERTIES))
    snapshot = write(frame, tmp_path / "a.parquet")
    digests = {
        run(job, snapshot, tmp_path / f"{number}", frame_rows=frame_rows, workers=workers).digest
        for number, (frame_rows, workers) in enumerate([(1, 2), (7, 1), (None, 4), (400, 3)])
    }
    assert digests == {run(job, snapshot, None).digest}


def test_repeated_ids_across_shards(tmp_path: Path) -> None:
    """Same id, same bytes: duplicate. Same id, other bytes: key_conflict. The first valid one is sent."""
    frame = rows(SHARD_ROWS + 50)
    bad_first = frame[:1].with_columns(pl.lit("k-x").alias("id"), pl.lit("null").alias("user"))
    good_later = frame[1:2].with_columns(pl.lit("k-x").alias("id"))
    conflict = frame[7:8].with_columns(pl.lit("other").alias("text"))
    frame = pl.concat([bad_first, frame, frame[3:6], conflict, good_later])
    prepared = run(job_of(track(properties=PROPERTIES)), write(frame, tmp_path / "a.parquet"), tmp_path)
    assert (prepared.plan.duplicate, prepared.plan.rejected) == (3, 2)
    assert prepared.plan.problems == {("BF105", "error"): 1, ("BF113", "error"): 1}
    calls = prepared.calls
    assert len(calls) == len(frame) - 5 == len({call["messageId"] for call in calls})
    assert calls[-1]["userId"] == frame["user"][-1]
    assert prepared.spool is not None
    rejects = pl.concat(pl.read_parquet(path) for path in sorted(prepared.spool.folder.glob("*.rejects.parquet")))
    assert rejects["code"].to_list() == ["BF105", "BF113"]
    assert rejects["record"].to_list() == [1, SHARD_ROWS + 50 + 1 + 3 + 1]
    assert json.loads(rejects["original"][1])["text"] == "other"


def test_content_keys_tell_twins_from_others(tmp_path: Path) -> None:
    """With `content`, equal calls are duplicates and different ones never conflict."""
    frame = rows(300)
    frame = pl.concat([frame, frame[10:20]])
    prepared = run(job_of(track(key="content", properties=PROPERTIES)), write(frame, tmp_path / "a.parquet"), tmp_path)
    assert (prepared.plan.duplicate, prepared.plan.rejected, len(prepared.calls)) == (10, 0, 300)


def test_row_keys_send_true_twins(tmp_path: Path) -> None:
    """With `row`, equal rows of one file, and of two files, are calls of their own."""
    frame = rows(40)
    for name in ("a", "b"):
        pl.concat([frame, frame]).write_parquet(tmp_path / f"{name}.parquet")
    snapshot = snapshot_of(tmp_path / "a.parquet", tmp_path / "b.parquet")
    job = job_of(track(key="row", properties=PROPERTIES))
    prepared = run(job, snapshot, tmp_path)
    assert (prepared.plan.duplicate, len({call["messageId"] for call in prepared.calls})) == (0, 160)
    places = {FILE_COLUMN: [0] * 80 + [1] * 80, RECORD_COLUMN: [*range(1, 81)] * 2}
    kinds = {FILE_COLUMN: pl.UInt32, RECORD_COLUMN: pl.UInt64}
    one = pl.concat([frame] * 4).hstack(pl.DataFrame(places, schema=kinds))
    staged = replace(write(one, tmp_path / "one.parquet"), files=snapshot.files, in_place=False)
    assert run(job, staged, tmp_path / "staged").calls == prepared.calls


def test_an_interrupted_prepare_goes_on(tmp_path: Path) -> None:
    """Shards that were recorded are taken as they are, repeated ids included; the whole is that of one go."""
    frame = rows(3 * SHARD_ROWS)
    frame = pl.concat([frame, frame[:10], frame[-5:].with_columns(pl.lit("other").alias("text"))])
    job, snapshot = job_of(track(properties=PROPERTIES)), write(frame, tmp_path / "a.parquet")
    whole = run(job, snapshot, tmp_path / "whole")
    done = {shard.shard: shard for shard in whole.shards[:2]}
    rest = run(job, snapshot, tmp_path / "rest", done=done)
    assert [shard.shard for shard in rest.shards] == [2, 3]
    assert plan_digest([*done.values(), *rest.shards]) == whole.digest
    assert (rest.plan.duplicate, rest.plan.rejected) == (10, 5)


def test_stop_is_answered(tmp_path: Path) -> None:
    """A prepare that is to stop raises, whatever its threads wait for."""
    snapshot = write(rows(SHARD_ROWS * 2), tmp_path / "a.parquet")
    with pytest.raises(InterruptedRunError, match="nothing was sent"):
        run(job_of(track(properties=PROPERTIES)), snapshot, tmp_path, stopping=lambda: True)


def test_oversize_calls_are_rejected_by_their_bytes(tmp_path: Path) -> None:
    """Exactly the limit passes, one byte more does not; bytes are counted, not characters."""
    probe = run(job_of(track(properties=PROPERTIES)), write(rows(1, pad=lambda _: 0), tmp_path / "p.parquet"), tmp_path)
    empty = len(json.dumps(probe.calls[0], separators=(",", ":"), ensure_ascii=False).encode())
    room = SEGMENT.call_bytes - empty
    frame = rows(2).with_columns(text=pl.Series(["x" * room, "é" + "x" * (room - 1)]))
    prepared = run(job_of(track(properties=PROPERTIES)), write(frame, tmp_path / "a.parquet"), tmp_path / "b")
    assert prepared.plan.problems == {("BF107", "error"): 1}
    assert prepared.plan.to_send == 1


def test_two_calls_a_row(tmp_path: Path) -> None:
    """A row's calls follow each other in the job's order; `when` rows are skipped and counted."""
    identify = track(type="identify", traits=PROPERTIES)
    prepared = run(job_of(identify, track(properties=PROPERTIES)), write(rows(50), tmp_path / "a.parquet"), tmp_path)
    assert [call["type"] for call in prepared.calls] == ["identify", "track"] * 50
    assert Counter(prepared.plan.days) == {("identify", "2020-01-01"): 50, ("track", "2020-01-01"): 50}


def test_a_small_file_that_unfolds_is_walked_in_frames(tmp_path: Path) -> None:
    """A dictionary-encoded file of a few hundred KB that holds a gigabyte is prepared within the frame budget."""
    text = pl.Series("text", ["y" * 30_000, "z" * 29_000]).gather(np.arange(20_000) % 2)
    frame = rows(20_000).with_columns(text)
    snapshot = write(frame, tmp_path / "a.parquet")
    assert snapshot.parts[0].path.stat().st_size < 2_000_000
    sizes = [each.estimated_size() for each in Frames(snapshot).walk(0, ["id", "user", "at", "text"])]
    assert len(sizes) > 10
    assert max(sizes) < 1.2 * FRAME_BYTES


def test_no_frame_is_read_that_is_larger_than_its_budget(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As much is read at once as fits, not the shard; the first slice, read blind, is cut into pieces that fit."""
    monkeypatch.setattr("backfill.prepare.frames.FRAME_BYTES", 200_000)
    text = pl.Series("text", ["y" * 1_000] * 20_000)
    snapshot = write(rows(20_000).with_columns(text), tmp_path / "a.parquet")
    frames, columns, read = Frames(snapshot), ["id", "user", "at", "text"], []
    whole = frames.read

    def noted(start: int, stop: int, names: Sequence[str]) -> pl.DataFrame:
        frame = whole(start, stop, names)
        read.append(frame.estimated_size())
        return frame

    monkeypatch.setattr(frames, "read", noted)
    walked = [(len(each), each.estimated_size()) for each in frames.walk(0, columns)]
    assert sum(rows for rows, _ in walked) == 20_000
    assert max(size for _, size in walked) < 1.1 * 200_000
    assert read[0] > 2 * 200_000
    assert max(read[1:]) < 1.1 * 200_000


def test_smaller_limits_are_those_of_the_target(tmp_path: Path) -> None:
    """Limits come from the target, not from a constant."""
    limits = Limits(body_bytes=5_000, call_bytes=1_000, batch_calls=7)
    frame = rows(100, pad=lambda n: 100 if n % 10 else 990)
    prepared = run(job_of(track(properties=PROPERTIES)), write(frame, tmp_path / "a.parquet"), tmp_path, limits=limits)
    assert prepared.plan.problems == {("BF107", "error"): 10}
    assert max(len(body) for body in prepared.bodies) <= 5_000
    assert max(batch.calls for shard in prepared.shards for batch in shard.batches) <= 7
