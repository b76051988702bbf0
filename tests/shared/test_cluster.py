"""Runs that a cluster of dask prepares: what comes out is what one process makes, whoever dies on the way."""

import os
import re
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from distributed import Client

from backfill.errors import ExitCode
from backfill.sandbox import Sandbox
from tests.support.dask_cluster import DaskCluster, dask_cluster
from tests.support.preparing import JOBS, prepare, prepared, small_process
from tests.support.projects import Project, backfill
from tests.support.waiting import until


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DaskCluster]:
    """A cluster to which a few rows are several shards."""
    with dask_cluster(tmp_path_factory.mktemp("dask")) as cluster:
        yield cluster


def test_what_workers_make_is_what_one_process_makes(
    small_shards: None, samples: Path, small: DaskCluster, key: str, tmp_path: Path
) -> None:
    """Every sample job by one, two and five workers: ids, batches, digests, problems, rejects; nothing is left over."""
    expected = {}
    for name in JOBS:
        assert prepare(samples / name, tmp_path / name, tmp_path / f"one {name}").object["state"] == "prepared"
        expected[name] = prepared(tmp_path / name, tmp_path / f"one {name}")
    for workers in (1, 2, 5):
        assert len(small.scale(workers)) == workers
        for name in JOBS:
            state, spool = tmp_path / f"state {workers} {name}", tmp_path / f"spool {workers} {name}"
            end = prepare(samples / name, state, spool, "--scheduler", small.address)
            assert end.object["state"] == "prepared", end.err
            assert prepared(state, spool) == expected[name]
    with Client(small.address, set_as_default=False) as client:  # of the last, by what the dashboard calls its tasks
        keys = {
            str(key) for key, *_ in client.run_on_scheduler(lambda dask_scheduler: [*dask_scheduler.transition_log])
        }
    assert any(re.fullmatch(r"odd-shard-000000-[0-9a-f]{12}", key) for key in keys)


def test_the_death_of_a_worker(
    small_shards: None, project: Project, small: DaskCluster, sandbox: Sandbox, key: str, tmp_path: Path
) -> None:
    """SIGKILL while shards are in its hands: others make them, and each call arrives once."""
    job = project.people(5_000, bad=[7])
    profile = f"{{kind: segment, endpoint: '{sandbox.endpoint}', rate: unlimited}}"
    (project.folder / "targets.yaml").write_text(f"version: 1\ntargets:\n  prod: {profile}\n", "utf-8")
    spool = tmp_path / "spool"
    victim = small.scale(2)[0]
    words = ("--spool", spool, "--scheduler", small.address, "--yes", "--output", "json")
    running = small_process(project, "run", job, "--target", "prod", *words)
    until(lambda: any(spool.rglob("work/shard-*")) or running.poll() is not None)
    os.kill(victim, signal.SIGKILL)
    out, err = running.communicate(timeout=120)
    assert running.returncode == ExitCode.REJECTS, err
    assert '"delivered": 4999' in out
    assert sandbox.stats()["accepted"] == 4_999


def test_the_death_of_the_process_that_asks(
    small_shards: None, project: Project, small: DaskCluster, key: str, tmp_path: Path
) -> None:
    """SIGKILL while workers are at work: the same command goes on with the shards that are there."""
    job, spool, state = project.people(5_000), tmp_path / "spool", tmp_path / "state"
    small.scale(2)
    words = ("--target", "segment", "--spool", spool, "--state-dir", state, "--scheduler", small.address)
    running = small_process(project, "prepare", job, *words)
    until(lambda: len([*spool.rglob("work/shard-*")]) > 2 or running.poll() is not None)
    running.kill()
    assert running.wait() == -signal.SIGKILL
    made = {path: path.stat().st_mtime_ns for path in spool.rglob("*.segment.*")}
    end = prepare(job, state, spool, "--scheduler", small.address)
    assert (end.code, end.object["state"], end.object["calls"]["planned"]) == (ExitCode.DELIVERED, "prepared", 5_000)
    assert len(made) > 2
    assert [path for path, at in made.items() if path.stat().st_mtime_ns != at] == []


def test_the_death_of_the_scheduler(small_shards: None, project: Project, key: str, tmp_path: Path) -> None:
    """SIGKILL while workers are at work: exit 5; without a cluster the same command goes on with what is there."""
    job, spool, state = project.people(5_000), tmp_path / "spool", tmp_path / "state"
    words = ("--target", "segment", "--spool", spool, "--state-dir", state)
    with dask_cluster(tmp_path / "dask") as cluster:
        cluster.scale(1)
        running = small_process(project, "prepare", job, *words, "--scheduler", cluster.address)
        until(lambda: len([*spool.rglob("work/shard-*")]) > 2 or running.poll() is not None)
        os.kill(cluster.scheduler, signal.SIGKILL)
        _, err = running.communicate(timeout=120)
    assert (running.returncode, f"the scheduler at {cluster.address} is gone" in err) == (ExitCode.STOPPED, True), err
    assert "Traceback" not in err
    made = {path: path.stat().st_mtime_ns for path in spool.rglob("*.segment.*")}
    end = prepare(job, state, spool)
    assert (end.code, end.object["state"], end.object["calls"]["planned"]) == (ExitCode.DELIVERED, "prepared", 5_000)
    assert len(made) > 2
    assert [path for path, at in made.items() if path.stat().st_mtime_ns != at] == []


def test_no_cluster(project: Project, key: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No address, nobody there, no --spool, --shards beside it, no dask: each is told, and nothing is begun."""
    job, spool = project.people(3), tmp_path / "spool"
    monkeypatch.setattr("backfill.pipeline.cluster.CONNECT_SECONDS", 0.3)

    def told(*words: str) -> tuple[int, str]:
        end = backfill("prepare", job, "--target", "segment", *words)
        assert not list(project.state.glob("runs/*/ledger.sqlite3"))
        return end.code, end.err

    code, err = told("--scheduler", "tcp://127.0.0.1:8786")
    assert (code, "--spool" in err) == (ExitCode.USAGE, True)
    code, err = told("--scheduler", "tcp://127.0.0.1:8786", "--shards", "0/2", "--spool", str(spool))
    assert (code, "--shards and --scheduler" in err) == (ExitCode.USAGE, True)
    code, err = told("--scheduler", "nonsense", "--spool", str(spool))
    assert (code, "tcp://HOST:8786" in err) == (ExitCode.USAGE, True)
    code, err = told("--scheduler", "tcp://127.0.0.1:1", "--spool", str(spool))
    assert (code, "no scheduler answers" in err) == (ExitCode.STOPPED, True)
    monkeypatch.setitem(sys.modules, "distributed", None)
    code, err = told("--scheduler", "tcp://127.0.0.1:1", "--spool", str(spool))
    assert (code, "'backfill[dask]'" in err) == (ExitCode.USAGE, True)
