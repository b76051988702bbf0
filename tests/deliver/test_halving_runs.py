"""Whole runs against calls that the target refuses: poison, a wrong shape, a kill in the middle, and trying again."""

from __future__ import annotations

import signal
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import polars as pl
import pytest

from backfill.ledger import Ledger, LedgerReader
from backfill.records import Counts
from backfill.sandbox import FaultScript, Sandbox
from backfill.state.folder import StateFolder
from backfill.state.run import RunFolder
from tests.support.projects import KEY, Project, Result, backfill
from tests.support.waiting import until
from tests.support.wiretap import Wiretap

#: Three batches: the first 10 calls, 2,500, and the rest.
ROWS = 3_000
#: Three batches behind the first: that many in a row without an accepted call are a wrong shape.
WRONG_ROWS = 6_000


class Stage:
    """A project, and an endpoint that stays while what stands behind it changes."""

    def __init__(self, folder: Path, tap: Wiretap) -> None:
        self.project = Project(folder, {"SEGMENT_WRITE_KEY": KEY})
        self.tap = tap
        self.words = ["--target", "segment", "--endpoint", tap.url, "--yes", "--rate", "unlimited", "--output", "json"]
        self.folder: RunFolder = StateFolder(self.project.state).find("people", "segment", f"segment {tap.url}", 1)

    @contextmanager
    def behind(self, *rules: str) -> Iterator[Sandbox]:
        """The endpoint meanwhile, with these faults; it holds what the one before held."""
        with Sandbox(self.project.folder / "endpoint", faults=FaultScript.parse(rules)) as sandbox:
            self.tap.endpoint = sandbox.endpoint
            yield sandbox

    def run(self, job: Path, *words: str) -> Result:
        """`backfill run`."""
        return backfill("run", job, *self.words, *words)

    def resume(self, *words: str) -> Result:
        """`backfill resume`."""
        return backfill("resume", *words, *self.words, "--state-dir", self.project.state)

    def counts(self) -> Counts:
        """What the ledger counts; its identities hold."""
        with LedgerReader(self.folder.ledger) as reader:
            counts = reader.counts()
        assert counts.faults() == []
        return counts

    def rejects(self) -> pl.DataFrame:
        """What `backfill rejects` exports."""
        file = self.project.folder / "rejects.parquet"
        assert backfill("rejects", "--state-dir", self.project.state, "--export", file, "--force").code == 0
        return pl.read_parquet(file)

    def segments(self) -> list[str]:
        """The segments there are."""
        return sorted(path.name for path in self.folder.spool_folder.glob("*.segment"))


@pytest.fixture
def stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stage]:
    """A stage with nothing behind it yet."""
    monkeypatch.setenv("SEGMENT_WRITE_KEY", KEY)
    with Wiretap("") as tap:
        yield Stage(tmp_path, tap)


def poison(*rows: int) -> list[str]:
    """Faults that refuse the bodies with these people."""
    return [f'status=422,holding="{row}@example.org' for row in rows]


def test_poison_costs_the_poisoned_calls(stage: Stage) -> None:
    """Three calls of thousands are refused and listed with the answer and their rows; later they are tried again."""
    job = stage.project.people(ROWS, bad=[7])
    with stage.behind(*poison(5, 1234, 2567)) as sandbox:
        result = stage.run(job)
        assert len(list(sandbox.ids())) == len(set(sandbox.ids())) == ROWS - 4
    assert result.code == 3
    assert (result.object["calls"]["delivered"], result.object["calls"]["rejected"]) == (ROWS - 4, 4)
    assert result.object["requests"] < 80
    assert "3 calls: 422" in result.err
    counts = stage.counts()
    assert (counts.refused, counts.split) == (3, 2)  # two of them were planned in one batch
    rejects = stage.rejects().filter(pl.col("code") == "HTTP422")
    assert sorted(rejects["id"]) == ["u000005", "u001234", "u002567"]
    assert rejects["message"].str.contains("scripted_fault").all()
    kept = stage.segments()
    assert kept
    again_and_again(stage, job, kept)


def again_and_again(stage: Stage, job: Path, kept: list[str]) -> None:
    """Two of the three are taken at the second try, the last one at the third; only what was refused is sent."""
    stage.tap.heard.clear()
    with stage.behind(*poison(5, 1234, 2567)):
        assert stage.resume("--retry-rejected").code == 3  # three in a row, but of batches that were accepted else
    assert len(stage.tap.heard) == 3
    assert len(stage.rejects()) == 4
    stage.tap.heard.clear()
    with stage.behind(*poison(1234)):
        second = stage.resume("--retry-rejected")
    assert (second.code, len(stage.tap.heard)) == (3, 3)
    assert [len(heard.ids) for heard in stage.tap.heard] == [1, 1, 1]
    assert second.object["calls"]["rejected"] == 2
    rejects = stage.rejects()
    assert sorted(rejects["id"]) == ["u000007", "u001234"]
    assert rejects.filter(pl.col("id") == "u001234")["record"].to_list() == [1235]
    assert set(stage.segments()) <= set(kept)
    with stage.behind() as sandbox:
        third = stage.resume("--retry-rejected")
        assert len(list(sandbox.ids())) == len(set(sandbox.ids())) == ROWS - 1
    assert (third.code, len(stage.tap.heard)) == (3, 4)
    assert third.object["calls"]["rejected"] == 1
    assert stage.rejects()["id"].to_list() == ["u000007"]
    assert stage.segments() == []
    with stage.behind():
        fourth = backfill(
            "resume", stage.folder.run_id, "--retry-rejected", *stage.words, "--state-dir", stage.project.state
        )
        fifth = stage.run(job)
    assert (fourth.code, fifth.code, len(stage.tap.heard)) == (3, 3, 4)
    assert "nothing to try again" in fourth.err
    assert stage.resume("--retry-rejected").code == 2


def test_a_wrong_shape_stops_at_the_first_batch(stage: Stage) -> None:
    """All is refused: 19 requests for the ten calls of the canary, exit 5; once that is mended all is delivered."""
    job = stage.project.people(WRONG_ROWS)
    with stage.behind("status=400"):
        first = stage.run(job)
    assert (first.code, len(stage.tap.heard)) == (5, 19)
    assert "--retry-rejected" in first.err
    assert "scripted_fault" in first.err
    assert (first.object["calls"]["rejected"], first.object["calls"]["pending"]) == (10, WRONG_ROWS - 10)
    assert len(stage.rejects()) == 10
    with stage.behind("status=400"):
        second = stage.resume()
    assert second.code == 5
    assert len(stage.tap.heard) < 250  # not two for each of the calls
    assert stage.counts().refused < 100
    with stage.behind() as sandbox:
        third = stage.resume("--retry-rejected")
        assert len(list(sandbox.ids())) == len(set(sandbox.ids())) == WRONG_ROWS
    assert (third.code, third.object["calls"]["delivered"]) == (0, WRONG_ROWS)
    assert len(stage.rejects()) == 0
    assert stage.segments() == []


def test_declined_it_stays_finished(stage: Stage) -> None:
    """Whoever does not confirm has changed nothing."""
    job = stage.project.people(100)
    with stage.behind(*poison(50)):
        assert stage.run(job).code == 3
    with stage.behind():
        words = [word for word in stage.words if word != "--yes"]
        assert backfill("resume", "--retry-rejected", *words, "--state-dir", stage.project.state).code == 2
        assert stage.run(job).code == 3
    assert stage.counts().refused == 1
    assert len(stage.rejects()) == 1


@pytest.mark.parametrize("requests", [3, 11, 24])
def test_killed_while_halving(stage: Stage, requests: int) -> None:
    """The next process goes on with the parts that are left: nothing delivered is sent again, nothing is lost."""
    job = stage.project.people(ROWS)
    at_fault = [row for row in range(ROWS) if row % 600 == 517]
    with stage.behind(*poison(*at_fault), "delay=0.02"):
        process = stage.project.process("run", job, *stage.words)
        until(lambda: len(stage.tap.heard) >= requests, process)
        process.send_signal(signal.SIGKILL)
        process.communicate(timeout=20)
    with closing(sqlite3.connect(stage.folder.ledger)) as connection:
        done = set(
            connection.execute("SELECT crc32, bytes FROM batches WHERE state IN ('delivered', 'rejected', 'split')")
        )
    before = len(stage.tap.heard)
    with stage.behind(*poison(*at_fault)) as sandbox:
        result = stage.resume()
        held = list(sandbox.ids())
        stats = sandbox.stats()
    assert result.code == 3
    assert not {heard.batch for heard in stage.tap.heard[before:]} & done
    assert len(held) == len(set(held)) == ROWS - len(at_fault)
    assert stats["duplicate"] <= 2 * 2_500  # what was in flight, of two senders
    assert (result.object["calls"]["delivered"], result.object["calls"]["rejected"]) == (
        ROWS - len(at_fault),
        len(at_fault),
    )
    assert stage.counts().in_doubt == 0
    assert sorted(stage.rejects()["id"]) == [f"u{row:06}" for row in at_fault]


def test_killed_before_the_list_of_rejects_was_taken_away(stage: Stage) -> None:
    """The ledger says that it is tried again, the files do not yet: the next process ends with a list that is true."""
    job = stage.project.people(3_000)
    with stage.behind(*poison(50, 60)):
        assert stage.run(job).code == 3
    with Ledger.open(stage.folder.ledger) as ledger:
        assert ledger.retry_rejected() == 2
    with stage.behind(*poison(60)):
        result = stage.resume()
    assert (result.code, result.object["calls"]["delivered"]) == (3, 2_999)
    rejects = stage.rejects()
    assert rejects["id"].to_list() == ["u000060"]
    assert rejects["record"].to_list() == [61]
    with stage.behind():
        assert stage.resume("--retry-rejected").code == 0
    assert len(stage.rejects()) == 0


def test_status_tells_what_was_split(stage: Stage) -> None:
    """The summary and `status` count the batches as planned, and say how many calls the target refused."""
    job = stage.project.people(3_000)
    with stage.behind(*poison(50)):
        assert stage.run(job).object["batches"] == backfill("dry-run", job, "--output", "json").object["batches"]
    text = backfill("status", stage.folder.run_id, "--state-dir", stage.project.state).out
    assert "(1 of them split)" in text
    assert "1 of the rejected calls by the target; " in text
    assert f"backfill resume {stage.folder.run_id} --retry-rejected" in text
