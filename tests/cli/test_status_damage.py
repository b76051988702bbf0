"""`status` where the ledger of a run is damaged: the others are listed, it is named, with what to do."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from backfill.state.folder import StateFolder
from backfill.state.run import RunFolder
from tests.support.projects import KEY, Project, backfill


def cut_short(ledger: Path) -> None:
    """The first half is left."""
    ledger.write_bytes(ledger.read_bytes()[: ledger.stat().st_size // 2])


def emptied(ledger: Path) -> None:
    """Nothing is left."""
    ledger.write_bytes(b"")


def garbage(ledger: Path) -> None:
    """It holds something else."""
    ledger.write_bytes(b"this is no database at all, whatever its name says" * 100)


def removed(ledger: Path) -> None:
    """It is gone; what was prepared is there."""
    ledger.unlink()


def of_the_future(ledger: Path) -> None:
    """A later version made it."""
    with sqlite3.connect(ledger) as connection:
        connection.execute("PRAGMA user_version = 1000")
    connection.close()


def behind_its_mark(ledger: Path) -> None:
    """The mark beside it is garbage."""
    ledger.with_name(f"{ledger.name}-mark").write_bytes(b"no mark")


DAMAGES = [cut_short, emptied, garbage, removed, of_the_future, behind_its_mark]


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Three runs: `first` finished, `second` stopped by --canary, `third` finished."""
    project = Project(tmp_path_factory.mktemp("status"), {"SEGMENT_WRITE_KEY": KEY})
    for name, more in (("first", ()), ("second", ("--canary",)), ("third", ())):
        backfill("run", project.people(40, name=name), "--target", "sandbox", "--state-dir", project.state, *more)
    assert len(StateFolder(project.state).runs()) == 3
    return project


@pytest.fixture
def state(prepared: Project, tmp_path: Path) -> StateFolder:
    """A copy of the state directory of that project."""
    shutil.copytree(prepared.state, tmp_path / "state")
    return StateFolder(tmp_path / "state")


def of_job(state: StateFolder, name: str) -> RunFolder:
    """The run of a job."""
    (found,) = [run for run in state.runs() if run.run_id.startswith(f"{name}-")]
    return found


@pytest.mark.parametrize("damage", DAMAGES)
def test_one_damaged_ledger(state: StateFolder, damage: Callable[[Path], None]) -> None:
    """The other runs are shown, in text and JSON; the damaged one is named with a hint and gives its exit code."""
    hurt = of_job(state, "second")
    damage(hurt.ledger)
    for output in ("text", "json"):
        result = backfill("status", "--state-dir", state.path, "--output", output)
        assert result.code == 1
        assert "third-" in result.out
        assert "first-" in result.out
        assert hurt.run_id not in result.out
        (error, hint) = result.err.splitlines()
        assert error.startswith("Error: ")
        assert hurt.run_id in error
        assert hint.startswith("Hint: ")
    alone = backfill("status", hurt.run_id, "--state-dir", state.path)
    assert (alone.code, alone.out) == (1, "")
    assert alone.err == result.err
    other = backfill("status", "first", "--state-dir", state.path)
    assert (other.code, other.err) == (0, "")


def test_all_ledgers_damaged(state: StateFolder) -> None:
    """Each is named; that there are no runs is not said."""
    runs = state.runs()
    for run, damage in zip(runs, (garbage, removed, of_the_future), strict=True):
        damage(run.ledger)
    result = backfill("status", "--state-dir", state.path)
    assert (result.code, result.out) == (1, "")
    errors = [line for line in result.err.splitlines() if line.startswith("Error: ")]
    assert len(errors) == 3
    assert all(any(run.run_id in error for error in errors) for run in runs)
    assert "no runs" not in result.err


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_sound_run_goes_on_beside_it(state: StateFolder, damage: Callable[[Path], None]) -> None:
    """By its name: what is wrong with another run is none of its business."""
    second = of_job(state, "second")
    damage(of_job(state, "first").ledger)
    result = backfill("resume", second.run_id, "--state-dir", state.path, "--output", "json")
    assert result.code == 0, result.err
    assert result.object["calls"]["delivered"] == 40


@pytest.mark.parametrize(
    ("verb", "damage"),
    [
        *(("status", damage) for damage in DAMAGES),
        *((verb, garbage) for verb in ("rejects", "verify", "calls", "receipt", "undo", "reconcile", "resume")),
    ],
)
def test_by_its_job_file(prepared: Project, state: StateFolder, verb: str, damage: Callable[[Path], None]) -> None:
    """A run is found by its job, though its ledger does not tell it; that this is damaged is the answer."""
    hurt, job = of_job(state, "second"), prepared.folder / "second.yaml"
    damage(hurt.ledger)
    against = ("--against", prepared.folder / "second.csv") if verb == "reconcile" else ()
    result = backfill(verb, job, "--state-dir", state.path, *against)
    assert (result.code, result.out) == (1, "")
    assert hurt.run_id in result.err.splitlines()[0]
    assert "no run" not in result.err


def test_beside_a_sound_run_of_its_job(prepared: Project, state: StateFolder) -> None:
    """Both are told; of another job, and of a job file that is gone, it is said which ledgers are in doubt."""
    hurt, job = of_job(state, "second"), prepared.folder / "second.yaml"
    shutil.copytree(hurt.path, hurt.path.with_name(f"{hurt.run_id}-replay-0a1b"))
    garbage(hurt.ledger)
    both = backfill("status", job, "--state-dir", state.path)
    assert both.code == 1
    assert "stopped" in both.out
    assert hurt.run_id in both.err
    for absent in (job.with_name("absent.yaml"), prepared.people(3, name="second-more")):
        none = backfill("status", absent, "--state-dir", state.path)
        assert (none.code, none.out) == (2, "")
        assert f"no run of {absent} is in {state.path}; the ledger of {hurt.run_id} cannot be read" in none.err
