"""The shipped jobs: each is checked, rehearsed and run, and what becomes of every record is known beforehand."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from backfill.ledger import LedgerReader
from tests.support.projects import backfill

#: Counted by hand from what sample_data/generate.py places: read, filtered, unreadable; planned, skipped, delivered,
#: rejected, duplicate.
EXPECTED = {
    "01-users": (1_205, 0, 2, 1_203, 0, 1_189, 12, 2),
    "02-accounts": (241, 0, 1, 240, 0, 233, 6, 1),
    "03-identity-merges": (160, 0, 0, 160, 0, 155, 4, 1),
    "04-signups": (702, 0, 1, 1_295, 107, 1_279, 14, 2),
    "05-orders": (1_802, 40, 0, 1_836, 1_688, 1_825, 10, 1),
    "06-page-views": (2_000, 0, 2, 1_998, 0, 1_991, 7, 0),
    "07-app-screens": (902, 0, 1, 901, 0, 893, 7, 1),
}


@pytest.fixture
def shop(repository: Path, tmp_path: Path) -> Path:
    """A copy of jobs and samples, with a state directory of its own."""
    for name in ("jobs", "sample_data"):
        shutil.copytree(repository / name, tmp_path / name)
    shutil.copy(repository / "targets.yaml", tmp_path)
    return tmp_path


def digest(state: Path, folder: str) -> str:
    """The digest of the only plan below a folder of the state directory."""
    (path,) = (state / folder).rglob("ledger.sqlite3")
    with LedgerReader(path) as reader:
        return reader.status().plan_digest or ""


def test_every_job_is_expected(repository: Path) -> None:
    """No job is shipped without its counts."""
    assert sorted(path.stem for path in (repository / "jobs").glob("*.yaml")) == sorted(EXPECTED)


@pytest.mark.parametrize("name", EXPECTED)
def test_shipped_job(shop: Path, name: str) -> None:
    """Checked, rehearsed, run and run again: the counts are right, the rehearsal's plan is the run's, nothing twice."""
    job, state = shop / "jobs" / f"{name}.yaml", shop / ".backfill"
    read, filtered, unreadable, planned, skipped, delivered, rejected, duplicate = EXPECTED[name]
    assert backfill("check", job).code == 3  # each job has rows on purpose that cannot be sent
    rehearsal = backfill("dry-run", job, "--output", "json")
    assert rehearsal.code == 3, rehearsal.err
    run = backfill("run", job, "--target", "sandbox", "--output", "json")
    assert run.code == 3, run.err
    for result in (rehearsal, run):
        rows, calls = result.object["rows"], result.object["calls"]
        assert (rows["read"], rows["filtered"], rows["unreadable"]) == (read, filtered, unreadable)
        assert (calls["planned"], calls["skipped"]) == (planned, skipped)
        assert (calls["rejected"], calls["duplicate"]) == (rejected, duplicate)
    assert rehearsal.object["calls"]["pending"] == run.object["calls"]["delivered"] == delivered
    assert rehearsal.object["problems"] == run.object["problems"]
    assert digest(state, "dry-runs") == digest(state, "runs") != ""
    again = backfill("run", job, "--target", "sandbox", "--output", "json")
    assert (again.code, again.object["requests"]) == (3, 0)
