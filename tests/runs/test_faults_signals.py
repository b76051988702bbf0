"""Signals at each step, the terminal going away, and readers that go: exit codes, no traceback, and a run to go on."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.support.projects import Project
from tests.support.waiting import until, until_worked
from tests.torture.cases import CSV
from tests.torture.kinds import SIGNALLED, SOON_SECONDS, signalled
from tests.torture.trial import KEY, UNSEEMLY, Bench, benches
from tests.torture.zygote import Zygote


@pytest.fixture(scope="module")
def bench(zygote: Zygote, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    """A job whose endpoint takes its time."""
    with benches(zygote, tmp_path_factory.mktemp("signals"), CSV, seconds=0.05) as (one,):
        yield one


@pytest.mark.parametrize("act", SIGNALLED)
def test_signals(bench: Bench, act: str) -> None:
    """While staging, preparing and delivering."""
    chance = random.Random(act)
    for part in (chance.choice(["duckdb COPY", ".segment.tmp"]), "send endpoint"):
        points = [point for point in bench.points if part in point]
        signalled(bench, chance, chance.choice(points), act)


def test_the_first_words(bench: Bench) -> None:
    """Stopped in the middle of the delivery, it says so and how to go on; the code is that of the signal."""
    trial = bench.trial()
    point = next(point for point in bench.points if point.startswith("send endpoint #3 "))
    ended = trial.run(trial.plan(point, "term"))
    assert ended.code == 143, ended
    assert "Stopping" in ended.err, ended
    assert "resume" in ended.err, ended
    assert ended.object["state"] == "stopped"
    trial.look()
    trial.finish()


def test_terminal_goes_away(bench: Bench) -> None:
    """The window is closed while it delivers: SIGHUP, and nobody left to tell; it ends as if terminated."""
    trial = bench.trial()
    ours, theirs = os.openpty()
    child = trial.start(terminal=os.ttyname(theirs))
    os.close(theirs)
    os.set_blocking(ours, False)

    def delivers() -> bool:
        with suppress(OSError):  # nothing to be read at the moment
            os.read(ours, 65536)
        return bool(bench.receiver.calls)

    until(delivers)
    os.close(ours)
    ended = child.wait()
    assert ended.code in {143, bench.case.code}, ended
    assert ended.seconds < SOON_SECONDS
    trial.look()
    trial.finish()


@pytest.mark.parametrize("verb", ["run", "status"])
def test_reader_goes_away(tmp_path: Path, verb: str) -> None:
    """`| head` that has seen enough: no traceback, and the exit code of the work."""
    project = Project(tmp_path)
    job = project.people(30, bad=[3])
    words = ["run", job, "--target", "sandbox"] if verb == "run" else ["status"]
    if verb == "status":
        before = project.process("run", job, "--target", "sandbox")
        before.communicate()
        assert before.returncode == 3
    process = project.process(*words)
    assert process.stdout is not None
    process.stdout.close()
    assert process.stderr is not None
    said = process.stderr.read()
    process.stderr.close()
    assert process.wait() == (3 if verb == "run" else 0), said
    assert not any(word in said for word in UNSEEMLY), said


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_while_it_starts(tmp_path: Path, number: signal.Signals) -> None:
    """A real process is stopped at any instant of its beginning: quietly."""
    job = Project(tmp_path).people(10)
    repository = Path(__file__).resolve().parents[2]
    words = [sys.executable, "-m", "backfill", "run", str(job), "--target", "sandbox"]
    environ = os.environ | {"PYTHONPATH": str(repository), "SEGMENT_WRITE_KEY": KEY}
    chance = random.Random(number)
    for _ in range(3):
        process = subprocess.Popen(
            words, cwd=tmp_path, env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )
        until_worked(process, chance.uniform(0.05, 0.8))
        process.send_signal(number)
        _, said = process.communicate(timeout=60)
        # A process that has not yet begun to listen is ended by the signal itself, which a shell shows as 128 + it.
        assert process.returncode in {0, 128 + number, -number}, said
        assert not any(word in said for word in UNSEEMLY), said
