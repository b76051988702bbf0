"""What every store of runs keeps, whatever it is made of: runs, their bytes and rejects, and the ids delivered."""

import hashlib
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from backfill.errors import LedgerError, LockedError
from backfill.records import (
    CALL_RECORD,
    REJECT_COLUMNS,
    ArchivedRun,
    Batch,
    DeliveredCalls,
    PlannedBatch,
    RunState,
    RunStore,
    ShardPlan,
    ShardSink,
    StoredRun,
)
from backfill.shared import files
from backfill.wire import gzip_body
from tests.support import buckets
from tests.support.ledgers import RECORD, shard_plan
from tests.support.postgres import Postgres
from tests.support.stores import STORES, delivering_run

HOLDER = """
import sys, time
from pathlib import Path
from tests.support.stores import store_in

store = store_in(sys.argv[1], Path(sys.argv[2]))
store.make_usable()
with store.lock("orders"):
    print("taken", flush=True)
    time.sleep(60)
"""
#: Two batches of calls of ten bytes.
BODIES = [b'{"batch":[' + b",".join([b'{"a":%04d}' % n for n in calls]) for calls in (range(3), range(3, 8))]
REJECTS = pl.DataFrame({name: [0] if name in ("record", "line") else ["x"] for name in REJECT_COLUMNS})


@pytest.fixture(scope="module")
def bucket() -> Iterator[buckets.Store]:
    """A store of objects."""
    with buckets.served() as served:
        yield served


@pytest.fixture(params=[*sorted(STORES), "postgresql", "postgresql shared"])
def kind(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """What keeps the runs of a test, and shares their bytes."""
    monkeypatch.setattr(files, "LATE", (0.01, 0.01))
    if request.param == "bucket":
        for name, value in buckets.credentials(request.getfixturevalue("bucket")).items():
            monkeypatch.setenv(name, value)
    if request.param.startswith("postgresql"):
        server: Postgres = request.getfixturevalue("postgres")
        return server.url(server.new_database()) + request.param.removeprefix("postgresql")
    return str(request.param)


def other_process(kind: str, store: RunStore, repository: Path) -> "subprocess.Popen[bytes]":
    """A process that holds the lock of the run `orders`."""
    words = [sys.executable, "-c", HOLDER, kind, str(store.path)]
    holder = subprocess.Popen(words, cwd=repository, stdout=subprocess.PIPE)
    assert holder.stdout is not None
    assert holder.stdout.readline() == b"taken\n"
    return holder


def records(first: int = 0, calls: int = 8) -> bytes:
    """CALL_RECORD records of calls of ten bytes, whose ids are their numbers."""
    made = np.zeros(calls, CALL_RECORD)
    made["id_bytes"] = np.array([number.to_bytes(16, "big") for number in range(first, first + calls)], "V16")
    made["row"], made["bytes"] = np.arange(calls), 10
    return made.tobytes()


def written(sink: ShardSink, shard: int, rejects: list[pl.DataFrame] | None = None) -> ShardPlan:
    """A shard of BODIES, as prepare writes it and records it."""
    writer = sink.open(shard)
    for body, calls in zip(BODIES, (3, 5), strict=True):
        writer.add(memoryview(body), calls)
    batches, size, sha256, calls_sha256 = writer.finish(records(), rejects)
    plan = shard_plan(shard, (3, 5))
    return replace(plan, batches=batches, segment_bytes=size, segment_sha256=sha256, calls_sha256=calls_sha256)


def batch_of(planned: PlannedBatch, shard: int = 0) -> Batch:
    """The batch as deliver is given it."""
    one = planned
    return Batch(1, shard, one.calls, one.bytes, one.offset, one.length, one.crc32, first_call=one.first_call)


class TestRuns:
    """Runs are begun, found, listed, put away and thrown away."""

    def test_one_that_has_not_begun(self, store: RunStore) -> None:
        """It has an id and no ledger, and nobody finds it."""
        run = store.find("Orders", "segment", "segment https://api.segment.io", 1)
        assert run.run_id == store.run(run.run_id).run_id
        assert [run.begun(), run.lost, run.is_dry, run.holders()] == [False, False, False, []]
        assert (store.runs(), store.earlier()) == ([], [])
        with pytest.raises(LedgerError):
            run.read()
        with pytest.raises(LedgerError):
            run.open()

    def test_one_that_has(self, store: RunStore) -> None:
        """Once its ledger is made it is listed, and it is made once."""
        run = store.run("orders")
        with store.lock("orders"):
            run.make()
            run.create(RECORD).close()
            with pytest.raises(LedgerError, match="exists already"):
                run.create(RECORD)
        assert run.begun()
        assert [one.run_id for one in store.runs()] == ["orders"]
        with run.read() as reader:
            assert reader.status().record == RECORD
        assert not store.make_usable()

    def test_dry_ones_are_apart(self, store: RunStore) -> None:
        """Nothing takes a dry run for a run."""
        store.dry_runs.make_usable()
        run = store.dry_runs.run("orders")
        with store.dry_runs.lock("orders"):
            run.make()
            run.create(RECORD).close()
        assert store.runs() == []
        assert [one.is_dry for one in store.dry_runs.runs()] == [True]

    def test_prepared_bytes_without_a_ledger(self, run: StoredRun, store: RunStore) -> None:
        """To begin afresh would send again what was sent: it is lost, and nothing else."""
        written(run.spool(), 0)
        assert run.lost
        with pytest.raises(LedgerError, match="is gone"):
            run.begun()
        with pytest.raises(LedgerError, match="is gone"):
            store.runs()
        assert [one.run_id for one in store.runs(lost=True)] == [run.run_id]

    def test_discarded(self, store: RunStore) -> None:
        """As if it had never been."""
        run = store.run("orders")
        with store.lock("orders"):
            run.make()
            run.create(RECORD).close()
            written(run.spool(), 0)
            store.discard(run)
            assert not run.begun()
            assert store.runs() == []
            run.make()
            run.create(RECORD).close()
            assert run.spool().call_of(0, 0) == b""

    def test_put_away(self, store: RunStore) -> None:
        """It makes room, and tells everything as before; the oldest first."""
        for generation in (1, 2, 3):
            run = store.run("orders")
            with store.lock("orders"):
                run.make()
                run.create(replace(RECORD, generation=generation)).close()
                written(run.spool(), 0)
                put_away = store.put_away(run)
            assert not run.begun()
            assert put_away.begun()
        assert store.runs() == []
        found = []
        for earlier in store.earlier("orders"):
            with earlier.read() as reader:
                found.append(reader.status().record.generation)
            assert earlier.spool().calls_of(0) == records()
        assert found == [1, 2, 3]
        assert store.earlier("others") == []

    def test_one_process_at_a_time(self, store: RunStore, kind: str, repository: Path) -> None:
        """The lock holds against others, and ends with its process, however that ends."""
        run = store.run("orders")
        with other_process(kind, store, repository) as holder:
            (held,) = run.holders()
            assert held is not None
            assert (held.pid, held.host) == (holder.pid, "")
            with pytest.raises(LockedError, match=str(holder.pid)), store.lock("orders"):
                pass
            with store.lock("others"):
                pass
            holder.kill()
            holder.wait()
        with store.lock("orders"):
            assert str(run.holders()[0]).startswith(f"pid {os.getpid()}")
        assert not run.holders()


class TestSpool:
    """Bytes are durable once a shard is finished, are read back as they were, or refused."""

    def test_read_back(self, run: StoredRun) -> None:
        """Each batch and each call by itself, plain and as a body."""
        spool = run.spool()
        plan = written(spool, 0)
        spool.verify([plan])
        for planned, body in zip(plan.batches, BODIES, strict=True):
            batch = batch_of(planned)
            assert spool.plain(batch) == body
            assert gzip_body(spool.deflated(batch), batch.bytes, batch.crc32, b"]}")
            assert list(spool.call_sizes(batch)) == [10] * batch.calls
            first = batch.first_call
            assert spool.call_records(batch).tobytes() == records()[25 * first : 25 * (first + batch.calls)]
        assert spool.calls_of(0) == spool.calls_of(0, plan.calls_sha256) == records()
        assert spool.call_of(0, 7) == records()[-25:]
        assert spool.call_of(0, 8) == spool.call_of(1, 0) == b""

    def test_written_over(self, run: StoredRun) -> None:
        """What an interrupted writer has left counts for nothing."""
        written(run.spool(), 0, [REJECTS])
        run.spool().open(0).add(memoryview(b"interrupted"), 1)
        run.spool().verify([written(run.spool(), 0)])
        assert run.rejects().files() == []

    def test_other_bytes_are_refused(self, run: StoredRun) -> None:
        """What is not what was recorded is named before anything is sent, and when it is read."""
        spool = run.spool()
        plan = written(spool, 0)
        for wrong in (
            replace(plan, segment_sha256="0" * 64),
            replace(plan, segment_bytes=plan.segment_bytes + 1),
            replace(plan, calls_sha256="0" * 64),
            replace(plan, batches=plan.batches[:1]),
            replace(plan, shard=1),
        ):
            with pytest.raises(LedgerError):
                spool.verify([wrong])
        with pytest.raises(LedgerError):
            spool.plain(replace(batch_of(plan.batches[0]), crc32=1))
        with pytest.raises(LedgerError):
            spool.calls_of(0, "0" * 64)
        with pytest.raises(LedgerError):
            spool.call_sizes(batch_of(plan.batches[0], shard=1))

    def test_removed_once_delivered(self, run: StoredRun) -> None:
        """The batches go, but those of shards still in use; the calls stay for good."""
        spool = run.spool()
        plans = [written(spool, shard) for shard in range(2)]
        spool.remove_segments(keep={1})
        spool.verify(plans[1:])
        with pytest.raises(LedgerError, match="missing"):
            run.spool().plain(batch_of(plans[0].batches[0]))
        assert spool.calls_of(0) == records()

    def test_counted_only(self, store: RunStore) -> None:
        """A dry run's sink has the same batches and digests, keeps the rejects and no bytes."""
        store.dry_runs.make_usable()
        run = store.dry_runs.run("orders")
        run.make()
        counted, kept = written(run.counting_sink(), 0, [REJECTS]), written(run.spool(), 1)
        assert counted.calls_sha256 == kept.calls_sha256
        assert counted.batches == tuple(replace(one, offset=0, length=0) for one in kept.batches)
        assert (counted.segment_bytes, counted.segment_sha256) == (0, hashlib.sha256().hexdigest())
        assert rows_of(run) == 1


def rows_of(run: StoredRun) -> int:
    """How many rejects there are."""
    return sum(len(pl.read_parquet(path)) for path in run.rejects().files())


class TestRejects:
    """Rows that are not sent stay, those that the target refused until they are tried again."""

    def test_in_order(self, run: StoredRun, tmp_path: Path) -> None:
        """Unreadable records, then shard by shard, the target's before ours."""
        REJECTS.with_columns(code=pl.lit("unread")).write_parquet(tmp_path / "unread.parquet")
        rejects = run.rejects()
        for shard in (1, 0):
            written(run.spool(), shard, [REJECTS.with_columns(code=pl.lit(f"ours {shard}"))])
        rejects.write_refused([(shard, [REJECTS.with_columns(code=pl.lit(f"theirs {shard}"))]) for shard in (0, 1)])
        rejects.keep_unreadable(tmp_path / "unread.parquet")
        found = [pl.read_parquet(path)["code"].item() for path in rejects.files()]
        assert found == ["unread", "theirs 0", "ours 0", "theirs 1", "ours 1"]

    def test_written_anew(self, run: StoredRun) -> None:
        """What is refused no more is not there; of a shard there may be several frames."""
        rejects = run.rejects()
        rejects.write_refused([(0, [REJECTS]), (3, [REJECTS, REJECTS])])
        assert rows_of(run) == 3
        rejects.write_refused([(3, [REJECTS])])
        assert rows_of(run) == 1

    def test_set_aside(self, run: StoredRun) -> None:
        """Taken off the list and kept, what was first; forgotten when that is said."""
        rejects = run.rejects()
        rejects.write_refused([(2, [REJECTS, REJECTS])])
        rejects.set_aside()
        assert (rows_of(run), rejects.has_aside(), rejects.aside_of(1)) == (0, True, None)
        rejects.write_refused([(2, [REJECTS])])
        rejects.set_aside()
        aside = rejects.aside_of(2)
        assert aside is not None
        assert len(pl.read_parquet(aside)) == 2
        rejects.forget_aside()
        assert not rejects.has_aside()


class TestArchive:
    """Delivered ids are found whatever becomes of the ledgers."""

    RUN = ArchivedRun("orders", 1.0, 8)

    def calls(self, first: int = 0) -> Iterator[DeliveredCalls]:
        """Eight calls of shard 3, in no order."""
        ids = np.frombuffer(records(first), CALL_RECORD)["id_bytes"].copy().view(np.uint8).reshape(-1, 16)
        order = np.array([5, 2, 7, 0, 1, 6, 3, 4])
        yield DeliveredCalls(3, ids[order], order)

    def test_found(self, store: RunStore) -> None:
        """By many at once, and one by one with its places; archived again it is the same."""
        archive = store.archive(RECORD)
        assert archive.open() is None
        for _ in range(2):
            archive.add(self.RUN, self.calls())
        archive.add(ArchivedRun("orders", 2.0, 8), self.calls(4))
        assert [run.created_at for run in archive.runs()] == [1.0, 2.0]
        ids = archive.open()
        assert ids is not None
        assert (len(ids), ids.runs) == (16, archive.runs())
        asked = np.frombuffer(b"".join(number.to_bytes(16, "big") for number in (11, 12, 0, 7)), np.uint8)
        assert ids.delivered(asked.reshape(-1, 16)).tolist() == [True, False, True, True]
        places = ids.find((5).to_bytes(16, "big"))
        assert {(place.run.created_at, place.shard, place.call) for place in places} == {(1.0, 3, 5), (2.0, 3, 1)}
        assert ids.find((99).to_bytes(16, "big")) == []

    def test_of_a_job_at_a_target_under_a_scope(self, store: RunStore) -> None:
        """Each has an archive of its own, whatever the generation; together they are all there is."""
        store.archive(RECORD).add(self.RUN, self.calls())
        assert store.archive(replace(RECORD, generation=2)).runs() == (self.RUN,)
        for other in ({"job_name": "x"}, {"target_identity": "segment x"}, {"id_scope": "x"}):
            assert store.archive(replace(RECORD, **other)).open() is None
        assert [one.runs for one in store.archives()] == [(self.RUN,)]

    def test_forgotten(self, store: RunStore) -> None:
        """It is empty then, and can be made again."""
        archive = store.archive(RECORD)
        archive.forget()
        archive.add(self.RUN, self.calls())
        archive.forget()
        assert (archive.open(), archive.runs()) == (None, ())
        archive.add(self.RUN, self.calls())
        assert archive.open() is not None


def test_a_run_in_its_order(run: StoredRun) -> None:
    """The plan is durable before the send, the mark before the request, the answer with what follows."""
    plan = written(run.spool(), 0)
    with delivering_run(run, [plan]) as ledger:
        batch, other = ledger.next_batches(2)
        ledger.mark_sent(batch, 1.0)
        with run.read() as reader:
            assert reader.status().state is RunState.DELIVERING
            assert reader.counts().in_doubt == batch.calls
            assert run.spool().plain(other) == BODIES[1]
