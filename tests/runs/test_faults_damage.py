"""Files of the state directory damaged, lost or of another version; and ten processes at one run."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from backfill.ledger.schema import SCHEMA_VERSION
from tests.support.waiting import until
from tests.torture.cases import PARQUET, TWO
from tests.torture.kinds import DAMAGES, Damage, damaged, delete, files_of, flip, survived
from tests.torture.trial import Bench, benches
from tests.torture.zygote import Zygote


@pytest.fixture(scope="module")
def bench(zygote: Zygote, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    """A job with a snapshot of its own and two calls a row."""
    with benches(zygote, tmp_path_factory.mktemp("damage"), TWO, seconds=0.02) as (one,):
        yield one


@pytest.mark.parametrize("damage", DAMAGES, ids=[damage.__name__ for damage in DAMAGES])
def test_any_file_at_any_time(bench: Bench, damage: Damage) -> None:
    """Never a traceback; and where the run comes to its end, what arrived is right."""
    chance = random.Random(getattr(damage, "__name__", ""))
    for _ in range(2):
        damaged(bench, chance, damage=damage)


@pytest.mark.parametrize("name", ["*.segment", "part-*.parquet", "snapshot.json"])
@pytest.mark.parametrize("damage", [flip, delete], ids=["flip", "delete"])
def test_what_is_to_be_sent(bench: Bench, name: str, damage: Damage) -> None:
    """Snapshot and spool between two processes: nothing altered is sent."""
    trial = bench.trial()
    first = next(place for place, point in enumerate(bench.points) if "endpoint" in point)
    before = [point for point in bench.points[:first] if point.startswith("COMMIT") and point.endswith("after")]
    at = before[-2]  # the plan is complete, and the next commit marks the first request
    if name != "*.segment":
        at = next(point for point in bench.points if ".calls.tmp" in point)
    assert trial.run(trial.plan(at, "kill")).code == -9
    path = next(path for path in files_of(trial) if path.match(name))
    what = damage(path, random.Random(name))
    assert not survived(trial, f"{path} {what}") or name == "snapshot.json"


@pytest.mark.parametrize("damage", [flip, delete], ids=["flip", "delete"])
def test_lost_commits(bench: Bench, damage: Damage) -> None:
    """SQLite takes a log that is gone or damaged for a short one; what it recorded is missed, not sent again."""
    trial = bench.trial()
    at = [point for point in bench.points if point.startswith("send endpoint")][-1]
    assert trial.run(trial.plan(at, "kill")).code == -9
    log = next(trial.state.glob("runs/*/ledger.sqlite3-wal"))
    content = log.read_bytes()
    damage(log, random.Random(1))
    received = bench.receiver.arrivals
    ended = trial.run()
    assert ended.code == 1, ended
    assert "lost its newest" in ended.err, ended
    assert bench.receiver.arrivals == received
    log.write_bytes(content)
    log.with_name("ledger.sqlite3-shm").unlink(missing_ok=True)
    trial.look()
    trial.finish()


def test_another_version(bench: Bench) -> None:
    """A ledger of a later backfill is left alone."""
    trial = bench.trial()
    at = next(point for point in bench.points if "connect endpoint" in point)
    assert trial.run(trial.plan(at, "kill")).code == -9
    ledger = next(trial.state.glob("runs/*/ledger.sqlite3"))
    with closing(sqlite3.connect(ledger)) as connection:
        connection.execute("PRAGMA user_version = 99")
    ended = trial.run()
    assert ended.code == 1, ended
    assert "version 99" in ended.err, ended
    with closing(sqlite3.connect(ledger)) as connection:
        connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
    trial.finish()


def test_ten_processes(zygote: Zygote, tmp_path: Path) -> None:
    """One works, nine are told that it does, at once; all arrives once."""
    with benches(zygote, tmp_path, PARQUET) as (bench,):
        trial = bench.trial()
        bench.receiver.open.clear()
        first = trial.start()
        until(lambda: bench.receiver.arrivals)
        children = [trial.start() for _ in range(9)]
        ended = [child.wait() for child in children]
        bench.receiver.open.set()
        ended.append(first.wait())
        for one in ended:
            trial.saw(one)
        codes = sorted(one.code for one in ended)
        assert codes == [bench.case.code] + [7] * 9, [(one.code, one.err) for one in ended]
        assert all("another process" in one.err for one in ended if one.code == 7)
        trial.judge(next(one for one in ended if one.code == bench.case.code).object)
        assert bench.receiver.arrivals == bench.arrivals
