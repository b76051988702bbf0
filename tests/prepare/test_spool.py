"""The spool: what is finished is durable and exact, what is not does not count, and what was altered is noticed."""

import errno
import gzip
import hashlib
import os
import threading
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backfill.errors import LedgerError, StoppedError
from backfill.records import CALL_RECORD, CALL_RECORD_BYTES, REJECT_COLUMNS, Batch, PlannedBatch, ShardPlan
from backfill.spool import CountingSink, Spool
from backfill.wire import HEAD, gzip_body
from tests.support.ledgers import shard_plan

REJECTS = pl.DataFrame({name: ["x"] for name in REJECT_COLUMNS})
BATCHES = [(b'{"batch":[' + bytes(f"[{place}]" * 2_000, "ascii"), 10 + place) for place in range(4)]


def written(
    sink: Spool | CountingSink, shard: int, batches: list[tuple[bytes, int]], rejects: list[pl.DataFrame] | None = None
) -> ShardPlan:
    """Write one shard, and give what prepare would record of it."""
    writer = sink.open(shard)
    for plain, calls in batches:
        writer.add(memoryview(plain), calls)
    records = os.urandom(CALL_RECORD_BYTES * sum(calls for _, calls in batches))
    planned, size, segment_sha256, calls_sha256 = writer.finish(records, rejects)
    assert calls_sha256 == hashlib.sha256(records).hexdigest()
    counted = shard_plan(shard, tuple(calls for _, calls in batches))
    return replace(
        counted, batches=planned, segment_bytes=size, segment_sha256=segment_sha256, calls_sha256=calls_sha256
    )


def as_batch(planned: PlannedBatch, shard: int = 0) -> Batch:
    """The batch as deliver would be given it."""
    return Batch(
        planned.ordinal + 1, shard, planned.calls, planned.bytes, planned.offset, planned.length, planned.crc32
    )


@given(
    batches=st.lists(
        st.tuples(st.binary(max_size=3_000).map(lambda part: part * 5), st.integers(1, 9)), min_size=0, max_size=6
    )
)
def test_every_batch_reads_back(tmp_path_factory: pytest.TempPathFactory, batches: list[tuple[bytes, int]]) -> None:
    """Each batch alone gives its very bytes, plain and as part of a gzip body; the segment is nothing but batches."""
    spool = Spool(tmp_path_factory.mktemp("spool"))
    plan = written(spool, 3, batches)
    assert plan.segment_bytes == spool.segment_path(3).stat().st_size == sum(batch.length for batch in plan.batches)
    first = 0
    for planned, (plain, calls) in zip(plan.batches, batches, strict=True):
        batch = as_batch(planned, 3)
        assert spool.plain(batch) == plain
        assert gzip.decompress(gzip_body(spool.deflated(batch), batch.bytes, batch.crc32, b"]}")) == plain + b"]}"
        assert (planned.calls, planned.bytes, planned.crc32) == (calls, len(plain), zlib.crc32(plain))
        assert planned.first_call == first
        first += calls
    spool.verify([plan])


def test_scales_weigh_what_the_spool_stores(tmp_path: Path) -> None:
    """A dry run's batches are a run's in all but the place in a segment, digests of plain bytes included."""
    stored = written(Spool(tmp_path), 0, BATCHES).batches
    weighed = written(CountingSink(), 0, BATCHES, [REJECTS, REJECTS])
    assert weighed.batches == tuple(replace(batch, offset=0, length=0) for batch in stored)
    assert weighed.segment_bytes == 0
    assert weighed.segment_sha256 == hashlib.sha256().hexdigest()


def test_files_are_private_and_nothing_stays_aside(tmp_path: Path) -> None:
    """A finished shard is three files of mode 0600, rejects readable; one without rejects has none."""
    spool = Spool(tmp_path / "spool")
    written(spool, 1, BATCHES, [REJECTS, REJECTS])
    written(spool, 2, BATCHES)
    names = sorted(path.name for path in spool.folder.iterdir())
    assert names == ["000001.calls", "000001.rejects.parquet", "000001.segment", "000002.calls", "000002.segment"]
    assert {path.stat().st_mode & 0o777 for path in spool.folder.iterdir()} == {0o600}
    assert spool.folder.stat().st_mode & 0o777 == 0o700
    assert pl.read_parquet(spool.rejects_path(1)).equals(pl.concat([REJECTS, REJECTS]))


def test_rewriting_a_shard_leaves_nothing_of_the_first_time(tmp_path: Path) -> None:
    """What a crash left behind is replaced, rejects that are no longer any included."""
    spool = Spool(tmp_path)
    written(spool, 0, BATCHES, [REJECTS, REJECTS])
    spool.open(0).add(memoryview(b"interrupted"), 1)
    plan = written(spool, 0, BATCHES[:1])
    spool.verify([plan])
    assert not spool.rejects_path(0).exists()


def test_verify_names_a_missing_or_shortened_file(tmp_path: Path) -> None:
    """Which file it is, and what is wrong with it."""
    spool = Spool(tmp_path)
    plan = written(spool, 0, BATCHES)
    os.truncate(spool.calls_path(0), 3)
    with pytest.raises(LedgerError, match=r"000000\.calls has 3 bytes"):
        spool.verify([plan])
    spool.segment_path(0).unlink()
    with pytest.raises(LedgerError, match=r"000000\.segment is missing"):
        spool.verify([plan])


def test_a_plan_that_leaves_a_batch_out_is_noticed(tmp_path: Path) -> None:
    """Every byte of a segment belongs to a batch of the plan, and none to two: before anything is sent."""
    spool = Spool(tmp_path)
    plan = written(spool, 0, BATCHES)
    first, second, *rest = plan.batches
    for batches in ((first, *rest), (first, second, *rest[:-1]), (first, replace(second, offset=0), *rest)):
        calls = bytes(CALL_RECORD_BYTES * sum(batch.calls for batch in batches))
        lost = replace(plan, batches=batches, calls_sha256=hashlib.sha256(calls).hexdigest())
        spool.calls_path(0).write_bytes(calls)
        with pytest.raises(LedgerError, match="does not hold the batches of the plan"):
            spool.verify([lost])


def test_one_altered_byte_is_noticed(tmp_path: Path) -> None:
    """By its digest before resuming, by length and checksum when the batch is read, by gzip at the receiver's."""
    spool = Spool(tmp_path)
    plan = written(spool, 0, BATCHES)
    altered = bytearray(spool.segment_path(0).read_bytes())
    batch = as_batch(plan.batches[2])
    altered[batch.offset + batch.length // 2] ^= 0x10
    spool.segment_path(0).write_bytes(altered)
    with pytest.raises(LedgerError, match=r"000000\.segment is damaged"):
        spool.verify([plan])
    with pytest.raises(LedgerError, match="batch 3 is not what was prepared"):
        spool.plain(batch)
    assert spool.plain(as_batch(plan.batches[1])) == BATCHES[1][0]


def test_reading_beyond_a_segment(tmp_path: Path) -> None:
    """A segment that is gone or too short is a damaged run, told as such."""
    spool = Spool(tmp_path)
    plan = written(spool, 0, BATCHES)
    last = as_batch(plan.batches[-1])
    os.truncate(spool.segment_path(0), plan.segment_bytes - 1)
    with pytest.raises(LedgerError, match="ends before batch 4"):
        spool.deflated(last)
    spool.segment_path(0).unlink()
    with pytest.raises(LedgerError, match="is missing"):
        Spool(tmp_path).plain(last)


def test_a_longer_content_than_recorded_is_noticed(tmp_path: Path) -> None:
    """Inflating stops one byte after the recorded length: a bomb does not fill the memory."""
    spool = Spool(tmp_path)
    plan = written(spool, 0, [(bytes(5_000_000), 1)])
    with pytest.raises(LedgerError, match="not what was prepared"):
        spool.plain(replace(as_batch(plan.batches[0]), bytes=1_000))


def a_shard_of(spool: Spool, calls: list[bytes]) -> Batch:
    """One planned batch of these calls, with the calls file that says their sizes; returned as deliver has it."""
    records = np.zeros(len(calls) + 1, CALL_RECORD)
    records["bytes"] = [1, *map(len, calls)]
    writer = spool.open(0)
    writer.add(memoryview(HEAD + b"x"), 1)
    writer.add(memoryview(HEAD + b",".join(calls)), len(calls))
    (_, planned), *_ = writer.finish(records.tobytes(), None)
    return replace(as_batch(planned), first_call=1)


def part_of(batch: Batch, calls: list[bytes], first: int, count: int) -> Batch:
    """Some of its calls as a batch of their own."""
    plain = HEAD + b",".join(calls[first : first + count])
    start = len(HEAD) + sum(map(len, calls[:first])) + first
    return replace(
        batch,
        id=99,
        calls=count,
        bytes=len(plain),
        crc32=zlib.crc32(plain),
        first_call=batch.first_call + first,
        root=batch.id,
        start=start,
    )


@given(calls=st.lists(st.binary(max_size=400), min_size=1, max_size=30), data=st.data())
def test_a_part_is_read_from_its_planned_batch(
    tmp_path_factory: pytest.TempPathFactory, calls: list[bytes], data: st.DataObject
) -> None:
    """Any range of a batch's calls is read as a batch of its own, plain and as part of a gzip body, with its sizes."""
    spool = Spool(tmp_path_factory.mktemp("spool"))
    batch = a_shard_of(spool, calls)
    first = data.draw(st.integers(0, len(calls) - 1))
    count = data.draw(st.integers(1, len(calls) - first))
    part = part_of(batch, calls, first, count)
    assert spool.plain(part) == HEAD + b",".join(calls[first : first + count])
    body = gzip_body(spool.deflated(part), part.bytes, part.crc32, b"tail")
    assert gzip.decompress(body) == spool.plain(part) + b"tail"
    assert spool.call_sizes(part) == [len(call) for call in calls[first : first + count]]


def test_a_part_that_is_not_what_was_prepared(tmp_path: Path) -> None:
    """Another checksum, a range beyond the batch, sizes that do not fit: said, in plain and in compressed form."""
    spool = Spool(tmp_path)
    calls = [b"a" * 50, b"b" * 60, b"c" * 70]
    batch = a_shard_of(spool, calls)
    part = part_of(batch, calls, 1, 1)
    for wrong in (replace(part, crc32=1), replace(part, start=batch.bytes - 5), replace(part, bytes=part.bytes + 1)):
        for read in (spool.plain, spool.deflated):
            with pytest.raises(LedgerError, match="not what was prepared"):
                read(wrong)
    for wrong in (replace(part, first_call=3), replace(part, first_call=9), replace(part, calls=2)):
        with pytest.raises(LedgerError, match="does not fit batch 99"):
            spool.call_sizes(wrong)
    spool.calls_path(0).unlink()
    with pytest.raises(LedgerError, match="missing"):
        spool.call_sizes(part)


def test_some_segments_stay(tmp_path: Path) -> None:
    """Those of the shards named are kept."""
    spool = Spool(tmp_path)
    for shard in range(3):
        written(spool, shard, BATCHES)
    spool.remove_segments(keep={1, 7})
    assert [path.name for path in sorted(tmp_path.glob("*.segment"))] == ["000001.segment"]


def test_many_threads_read(tmp_path: Path) -> None:
    """Senders share one spool."""
    spool = Spool(tmp_path)
    plans = [written(spool, shard, BATCHES) for shard in range(8)]
    wrong: list[tuple[int, int]] = []

    def read() -> None:
        for plan in plans:
            for planned, (plain, _) in zip(plan.batches, BATCHES, strict=True):
                if spool.plain(as_batch(planned, plan.shard)) != plain:
                    wrong.append((plan.shard, planned.ordinal))

    threads = [threading.Thread(target=read) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_segments_go_and_the_rest_stays(tmp_path: Path) -> None:
    """After a finished run only calls and rejects are kept, and no leftovers."""
    spool = Spool(tmp_path)
    written(spool, 0, BATCHES, [REJECTS, REJECTS])
    spool.open(1).add(memoryview(b"interrupted"), 1)
    spool.remove_segments()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["000000.calls", "000000.rejects.parquet"]


def test_call_records_out_of_step_are_refused(tmp_path: Path) -> None:
    """A calls file that does not match its batches would give later calls wrong ids."""
    for sink in (Spool(tmp_path), CountingSink()):
        writer = sink.open(0)
        writer.add(memoryview(b"{}"), 2)
        with pytest.raises(ValueError, match="for 2 calls"):
            writer.finish(bytes(CALL_RECORD_BYTES), None)


def test_forced_to_disk_before_it_has_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A shard whose bytes could not be forced to the disk does not appear under its name."""

    def fail(descriptor: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    writer = Spool(tmp_path).open(0)
    writer.add(memoryview(b"{}"), 1)
    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(StoppedError, match="Input/output"):
        writer.finish(bytes(CALL_RECORD_BYTES), None)
    assert [path.suffix for path in tmp_path.iterdir()] == [".tmp"]


def test_every_file_and_then_the_folder_is_forced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each file is forced before it is renamed, the folder after the last rename."""
    events: list[str] = []
    fsync, rename = os.fsync, Path.replace

    def watched_fsync(descriptor: int) -> None:
        events.append("force " + Path(f"/proc/self/fd/{descriptor}").readlink().name)
        fsync(descriptor)

    def watched_rename(self: Path, target: Path) -> Path:
        events.append(f"name {target.name}")
        return rename(self, target)

    writer = Spool(tmp_path).open(0)
    writer.add(memoryview(b"{}"), 1)
    monkeypatch.setattr(os, "fsync", watched_fsync)
    monkeypatch.setattr(Path, "replace", watched_rename)
    writer.finish(bytes(CALL_RECORD_BYTES), [REJECTS])
    expected = []
    for name in ("000000.segment", "000000.calls", "000000.rejects.parquet"):
        expected += [f"force {name}.tmp", f"name {name}"]
    assert events == [*expected, f"force {tmp_path.name}"]


def test_full_disk_stops_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """ENOSPC is a stop with a way on, not a crash."""

    def full(descriptor: int, content: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    writer = Spool(tmp_path).open(0)
    monkeypatch.setattr(os, "write", full)
    with pytest.raises(StoppedError, match="no space left") as stop:
        writer.add(memoryview(b"{}"), 1)
    assert stop.value.exit_code == 5
    assert "resume" in stop.value.hint


def test_short_writes_are_continued(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """write(2) may take less than it is given."""
    write = os.write
    spool = Spool(tmp_path)
    monkeypatch.setattr(os, "write", lambda descriptor, content: write(descriptor, content[:7]))
    plan = written(spool, 0, BATCHES[:1])
    assert spool.plain(as_batch(plan.batches[0])) == BATCHES[0][0]
