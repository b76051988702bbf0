"""The bytes of runs that several machines reach: one contract, for a bucket and a folder, faults included."""

import re
import shutil
import threading
import zlib
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from backfill import disk
from backfill.errors import InterruptedRunError, LedgerError, StoppedError
from backfill.records import CALL_RECORD, REJECT_COLUMNS, Batch, RunSpool, ShardPlan
from backfill.shared import cache_in, files, open_place
from backfill.state.shared_run import SharedRun
from tests.support.buckets import Fault, Store
from tests.support.ledgers import shard_plan
from tests.support.no_room import no_file_above
from tests.support.shared_places import Behind, BucketPlace

REJECTS = pl.DataFrame({name: [0] if name in ("record", "line") else ["x"] for name in REJECT_COLUMNS})
SHARDS = 6
NEVER = bool  # which gives False


def machine(place: Behind, folder: Path, limit: int | None = None) -> SharedRun:
    """The run as a machine sees it whose copies are in that folder."""
    open_place(place.url).make_usable()
    return SharedRun(place.url, "runs/orders-1", folder / "snapshot", folder / "cache", limit)


def body(shard: int) -> bytes:
    """The only batch of a shard, which hardly gets smaller."""
    noise = np.random.default_rng(shard).integers(32, 127, 20_000, np.uint8).tobytes()
    return b'{"batch":[' + noise.replace(b"\\", b"/").replace(b'"', b"'")


def written(spool: RunSpool, shard: int, rejects: list[pl.DataFrame] | None = None) -> ShardPlan:
    """One shard as prepare writes it and records it."""
    writer = spool.open(shard)
    writer.add(memoryview(body(shard)), 1)
    call = np.zeros(1, CALL_RECORD)
    call["bytes"] = len(body(shard)) - len(b'{"batch":[')
    batches, size, sha256, calls_sha256 = writer.finish(call.tobytes(), rejects)
    plan = shard_plan(shard, (1,))
    return replace(plan, batches=batches, segment_bytes=size, segment_sha256=sha256, calls_sha256=calls_sha256)


def batch(plan: ShardPlan) -> Batch:
    """Its batch as deliver is given it."""
    (one,) = plan.batches
    return Batch(1, plan.shard, one.calls, one.bytes, one.offset, one.length, one.crc32)


def a_run(place: Behind, folder: Path, shards: int = 1) -> list[ShardPlan]:
    """The plans of some shards that one machine has prepared."""
    spool = machine(place, folder).spool(NEVER)
    return [written(spool, shard, [REJECTS]) for shard in range(shards)]


def key_of(place: Behind, name: str) -> str:
    """The key of the file of that name."""
    (found,) = (key for key in place.names() if name in key)
    return found


def test_another_machine_goes_on(place: Behind, tmp_path: Path) -> None:
    """What is finished on one machine is read on another that has nothing of it; there what it lists is the same."""
    plans = a_run(place, tmp_path / "a", SHARDS)
    other = machine(place, tmp_path / "b")
    spool = other.spool(NEVER)
    spool.verify(plans)
    assert [spool.plain(batch(plan)) for plan in plans] == [body(shard) for shard in range(SHARDS)]
    assert [path.name for path in other.rejects().files()] == [f"00000{n}.rejects.parquet" for n in range(SHARDS)]
    again = written(spool, 2)  # of which the first machine knows nothing yet
    machine(place, tmp_path / "c").spool(NEVER).verify([again, *plans[3:]])
    assert len(machine(place, tmp_path / "c").rejects().files()) == SHARDS - 1


def test_a_cache_that_vanishes_or_is_damaged(place: Behind, tmp_path: Path) -> None:
    """Costs nothing but time: between two processes, and between two batches of one."""
    plans = a_run(place, tmp_path / "a", 2)
    run = machine(place, tmp_path / "b")
    assert run.spool(NEVER).plain(batch(plans[0])) == body(0)
    shutil.rmtree(run.cache)
    spool = run.spool(NEVER)
    assert [spool.plain(batch(plan)) for plan in plans] == [body(0), body(1)]
    (copy,) = run.cache.rglob("000000.segment")
    copy.write_bytes(copy.read_bytes()[::-1])
    assert spool.plain(batch(plans[0])) == body(0)  # seen by its checksum
    copy.write_bytes(copy.read_bytes()[::-1])
    later = machine(place, tmp_path / "b")
    files_of_a_new_process()
    stream = later.spool(NEVER).deflated(batch(plans[0]))  # whose checksum is the receiver's to see
    assert zlib.decompressobj(-15).decompress(stream) == body(0)


def files_of_a_new_process() -> None:
    """What a process has learnt of shared files is forgotten."""
    from backfill.state import shared_run

    shared_run._files_in.cache_clear()


def verified_and_read(spool: RunSpool, plan: ShardPlan) -> bytes:
    """What delivering does with a shard."""
    spool.verify([plan])
    return spool.plain(batch(plan))


def test_a_cache_that_is_deleted_again_and_again(
    place: Behind, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While it is written and read: all goes on, or the run stops and the folder is named; nothing else happens."""
    run = machine(place, tmp_path / "b")
    plans = a_run(place, tmp_path / "a", 2)
    steps = 0
    sync_folder = disk.sync_folder

    def deleting(folder: Path) -> None:
        nonlocal steps
        steps += 1
        if steps <= times:
            shutil.rmtree(run.cache, ignore_errors=True)
        sync_folder(folder)

    monkeypatch.setattr(disk, "sync_folder", deleting)
    for times in (1, 5, 10**9):
        for act in (lambda: run.spool(NEVER).plain(batch(plans[0])), lambda: run.spool(NEVER).open(2)):
            steps = 0
            shutil.rmtree(run.cache, ignore_errors=True)
            if times == 10**9:
                with pytest.raises(StoppedError, match=re.escape(str(run.cache)) + ".* is deleted while it is used"):
                    act()
            else:
                act()
                assert steps > times
    done = threading.Event()

    def delete() -> None:
        while not done.is_set():
            shutil.rmtree(run.cache, ignore_errors=True)

    times = 0
    deleter = threading.Thread(target=delete)
    deleter.start()
    try:
        for turn in range(8):
            with suppress(StoppedError):
                assert run.spool(NEVER).plain(batch(plans[turn % 2])) == body(turn % 2)
            with suppress(StoppedError):
                written(run.spool(NEVER), 2, [REJECTS])
    finally:
        done.set()
        deleter.join()
    assert run.spool(NEVER).plain(batch(written(run.spool(NEVER), 2, [REJECTS]))) == body(2)


@pytest.mark.parametrize("change", ["bytes", "size", "gone"])
def test_what_a_stranger_changes_is_named(place: Behind, tmp_path: Path, change: str) -> None:
    """Another size or none before anything is sent, other bytes when they come to this machine."""
    (plan,) = a_run(place, tmp_path / "a")
    key = key_of(place, "segment")
    content = place.read(key)
    if change == "gone":
        place.remove(key)
    else:
        place.write(key, content[::-1] if change == "bytes" else content[:-1])
    spool = machine(place, tmp_path / "b").spool(NEVER)
    with pytest.raises(LedgerError, match=r"000000\.segment"):
        verified_and_read(spool, plan)
    if change == "bytes":
        place.write(key, content)
        assert spool.plain(batch(plan)) == body(0)


def test_what_is_late_is_waited_for(place: Behind, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not in the listing at first, as with a mounted folder; then listed, and not there yet."""
    (plan,) = a_run(place, tmp_path / "a")
    key = key_of(place, "segment")
    content = place.read(key)
    waits: list[float] = []

    def appear(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) > 1:
            place.write(key, content)

    monkeypatch.setattr(files, "sleep", appear)
    place.remove(key)
    spool = machine(place, tmp_path / "b").spool(NEVER)
    spool.verify([plan])
    place.remove(key)
    waits.clear()
    assert spool.plain(batch(plan)) == body(0)
    assert 0.01 in waits


def test_a_place_that_is_busy_or_gone(place: Behind, tmp_path: Path) -> None:
    """It is asked again; where it stays away the shard is not finished, and is written again once it is back."""
    spool = machine(place, tmp_path / "a").spool(NEVER)
    place.stumble(1)
    plan = written(spool, 0)
    back = place.refuse()
    with pytest.raises(StoppedError) as stop:
        written(spool, 1)
    assert place.url in stop.value.message
    assert not spool.keeps(1)
    back()
    place.stumble(1)
    plans = [plan, written(spool, 1)]
    other = machine(place, tmp_path / "b").spool(NEVER)
    other.verify(plans)
    place.stumble(1)
    assert other.plain(batch(plans[1])) == body(1)


def test_large_files_are_put_in_parts(in_bucket: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And are there whole or not at all: a part that is refused again and again leaves nothing."""
    place = BucketPlace(in_bucket, monkeypatch)
    spool = machine(place, tmp_path / "a").spool(NEVER)
    in_bucket.script = lambda asked: Fault(503, "SlowDown") if asked.query.get("partNumber") == "2" else None
    with pytest.raises(StoppedError, match="cannot be written"):
        written(spool, 0)
    assert not any("segment" in name for name in place.names())
    in_bucket.script = lambda _: None
    plan = written(spool, 0)
    assert machine(place, tmp_path / "b").spool(NEVER).plain(batch(plan)) == body(0)


def test_waiting_for_a_busy_place_ends_when_asked(
    in_bucket: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C while a bucket answers 503 again and again."""
    place = BucketPlace(in_bucket, monkeypatch)
    spool = machine(place, tmp_path / "a").spool(lambda: True)
    place.refuse()
    with pytest.raises(InterruptedRunError):
        written(spool, 0)


def test_the_cache_keeps_to_its_bound(place: Behind, tmp_path: Path) -> None:
    """Many write and read at once; no more stays than may, none leaves that is read or not shared yet."""
    limit = 60_000  # two segments and a half
    run = machine(place, tmp_path / "a", limit)
    spool, plans = run.spool(NEVER), dict[int, ShardPlan]()
    wrong: list[int] = []

    def work(first: int) -> None:
        for shard in range(first, 2 * SHARDS, 2):
            plans[shard] = written(spool, shard)
            wrong.extend(known for known in list(plans) if spool.plain(batch(plans[known])) != body(known))

    threads = [threading.Thread(target=work, args=(first,)) for first in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (sorted(plans), wrong) == (list(range(2 * SHARDS)), [])
    cache_in(run.cache).added(0)
    assert sum(path.stat().st_size for path in run.cache.rglob("0*")) <= limit
    spool.verify(plans.values())


def test_another_process_writes_into_its_folder_alone(place: Behind, tmp_path: Path) -> None:
    """What a process has not shared yet stays, though another one on the machine makes room; a dead one's goes."""
    run = machine(place, tmp_path / "a", 10)
    written(run.spool(NEVER), 0)
    other = type(cache_in(run.cache))(run.cache, 10)  # as another process has it
    (folder,) = {path.parent for path in run.cache.rglob("0*")} or {next(run.cache.rglob("spool"))}
    waiting = folder / "000009.segment"
    waiting.write_bytes(bytes(1_000))
    other.added(0)
    assert waiting.exists()
    cache_in(run.cache)._held[folder].release()
    other.added(0)
    assert not waiting.exists()


def test_a_full_disk(place: Behind, tmp_path: Path) -> None:
    """Stops what fetches, and is told; nothing of it is taken for a copy later."""
    (plan,) = a_run(place, tmp_path / "a")
    spool = machine(place, tmp_path / "b").spool(NEVER)
    with no_file_above(5_000), pytest.raises(StoppedError, match=r"File too large|no space"):
        spool.plain(batch(plan))
    assert spool.plain(batch(plan)) == body(0)


def test_the_snapshot(place: Behind, tmp_path: Path) -> None:
    """Is whole on the other machine or not there; a damaged copy is fetched again; once forgotten it is nowhere."""
    first, other = machine(place, tmp_path / "a"), machine(place, tmp_path / "b")
    first.snapshot.mkdir(parents=True)
    for name in ("0.parquet", "1.parquet", "snapshot.json"):
        (first.snapshot / name).write_text(name)
    back = place.refuse()
    with pytest.raises(StoppedError):
        first.keep_snapshot(NEVER)
    back()
    other.bring_snapshot()
    assert (other.has_snapshot(), other.snapshot.exists()) == (False, False)
    first.keep_snapshot(NEVER)
    other.bring_snapshot()
    (other.snapshot / "0.parquet").write_text("another")
    files_of_a_new_process()
    other.bring_snapshot()
    assert {path.name: path.read_text() for path in other.snapshot.glob("[!.]*")} == {
        name: name for name in ("0.parquet", "1.parquet", "snapshot.json")
    }
    other.forget_snapshot()
    assert not machine(place, tmp_path / "c").has_snapshot()


def test_a_run_that_is_thrown_away(place: Behind, tmp_path: Path) -> None:
    """Leaves nothing, and takes nothing of another run with it."""
    run = machine(place, tmp_path / "a")
    other = replace(run, prefix="runs/orders-11")
    for one in (run, other):
        one.tell("whose it is")
        written(one.spool(NEVER), 0)
    run.remove()
    assert {key.split("/")[1] for key in place.names()} == {"orders-11"}


def test_a_folder_that_is_not_mounted(tmp_path: Path) -> None:
    """Is not taken for an empty one, and nothing is written below where it should be."""
    shared = tmp_path / "shared"
    open_place(str(shared)).make_usable()
    run = SharedRun(str(shared), "runs/orders-1", tmp_path / "snapshot", tmp_path / "cache")
    written(run.spool(NEVER), 0)
    shared.rename(tmp_path / "elsewhere")
    shared.mkdir()
    for act in (lambda: written(run.spool(NEVER), 1), run.is_empty, run.remove):
        with pytest.raises(StoppedError, match="not mounted"):
            act()
    assert list(shared.iterdir()) == []
