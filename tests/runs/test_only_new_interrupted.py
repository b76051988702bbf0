"""`run --only-new` and `--abandon` after runs that were not finished, killed, lost or damaged."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from backfill.ledger import LedgerReader
from tests.support.members import ids, people
from tests.support.reruns import Reruns, reruns

pytestmark = pytest.mark.usefixtures("key")


def test_unfinished_makes_room(tmp_path: Path) -> None:
    """A stopped run whose source has grown: what it delivered is left out, what it had not sent is prepared anew."""
    with reruns(tmp_path) as bench:
        bench.members(people(50))
        assert bench.run("--canary").code == 5
        bench.members(people(60))
        assert bench.run().code == 6
        start = bench.requests
        result = bench.run("--only-new")
        assert result.code == 0
        assert bench.sent(start) == ids(range(10, 60))
        assert bench.states() == ["abandoned", "finished"]


def test_unfinished_goes_on(tmp_path: Path) -> None:
    """Not drifted, --only-new goes on with what was prepared."""
    with reruns(tmp_path) as bench:
        bench.members(people(50))
        bench.run("--canary")
        assert bench.run("--only-new").object["calls"]["delivered"] == 50
        assert bench.states() == ["finished"]


def test_abandon(tmp_path: Path) -> None:
    """--abandon gives up what was not sent; what was delivered stays left out, whether it drifted or not."""
    with reruns(tmp_path) as bench:
        bench.members(people(50))
        bench.run("--canary")
        start = bench.requests
        again = bench.run("--abandon", "--canary")
        assert again.object["calls"]["already_delivered"] == 10
        assert bench.sent(start) == ids(range(10, 20))
        bench.mapping(trait="years")
        start = bench.requests
        assert bench.run("--abandon").code == 0
        assert bench.sent(start) == ids(range(20, 50))
        assert bench.states() == ["abandoned", "abandoned", "finished"]
        assert bench.run("--abandon").object["requests"] == 0  # a finished run has nothing to give up


def test_abandon_where_nothing_was_sent(tmp_path: Path) -> None:
    """A run of which nothing was sent is thrown away: nothing of it is kept."""
    with reruns(tmp_path) as bench:
        bench.members(people(50, bad=[1]))
        assert bench.run("--max-rejects", "0").code == 4
        bench.members(people(50))
        assert bench.run("--abandon").object["calls"]["delivered"] == 50
        assert bench.states() == ["finished"]


@pytest.mark.parametrize("way", ["--only-new", "--abandon"])
def test_in_doubt_is_not_guessed(tmp_path: Path, way: str) -> None:
    """Calls in doubt are neither left out nor sent without somebody saying so: exit 6, and nothing was done."""
    with reruns(tmp_path, "status=501,stored,after=1,first=1") as bench:
        doubtful(bench)
        start = bench.requests
        refused = bench.run(way)
        assert refused.code == 6
        assert "40 calls are in doubt" in refused.err
        assert "resume" in refused.err
        assert bench.requests == start
        assert bench.states() == ["stopped"]
        bench.members(people(50))
        assert bench.run().object["calls"]["delivered"] == 50  # goes on as if nothing had been asked


@pytest.mark.parametrize(("decision", "sent"), [("skip", range(50, 60)), ("resend", range(10, 60))])
def test_in_doubt_as_decided(tmp_path: Path, decision: str, sent: range) -> None:
    """--in-doubt says it: skip leaves them out for good, resend sends them under their ids."""
    with reruns(tmp_path, "status=501,stored,after=1,first=1") as bench:
        doubtful(bench)
        start = bench.requests
        result = bench.run("--only-new", "--in-doubt", decision)
        assert result.code == 0, result.err
        assert bench.sent(start) == ids(sent)
        assert bench.states() == ["abandoned", "finished"]


def doubtful(bench: Reruns) -> None:
    """Leave a run with 10 calls delivered and 40 in doubt, and a source that has grown since."""
    bench.members(people(50))
    assert bench.run().code == 5
    bench.tap.forward, forward = (lambda *_: (None, b"")), bench.tap.forward  # type: ignore[method-assign]
    assert bench.run("--attempts", "1").code == 5
    bench.tap.forward = forward  # type: ignore[method-assign]
    with LedgerReader(bench.state.runs()[0].ledger) as reader:
        counts = reader.counts()
    assert (counts.delivered, counts.in_doubt) == (10, 40)
    bench.members(people(60))


def crashes(bench: Reruns, folder: Path, monkeypatch: pytest.MonkeyPatch, work: Callable[[], object]) -> list[Path]:
    """Copies of the state folder as a crash would leave it at each step of some work before its first request."""
    copies: list[Path] = []
    start = bench.requests

    def taken(act: Callable[..., object]) -> Callable[..., object]:
        def acting(*arguments: object, **named: object) -> object:
            if bench.requests == start:
                copies.append(folder / f"crash{len(copies)}")
                shutil.copytree(bench.project.state, copies[-1], ignore=shutil.ignore_patterns("dry-runs"))
            return act(*arguments, **named)

        return acting

    with monkeypatch.context() as watched:
        for name in ("fsync", "unlink", "rename", "replace"):
            watched.setattr(os, name, taken(getattr(os, name)))
        work()
    return copies


@pytest.mark.parametrize("finished", [True, False])
def test_killed_at_any_step(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch, finished: bool
) -> None:
    """Killed at any step from the old run to the new one, and run again without a word: nothing is sent twice."""
    with reruns(tmp_path) as bench:
        bench.members(people(30))
        bench.run(*([] if finished else ["--canary"]))
        delivered = set(bench.sent())
        bench.members(people(40))
        copies = crashes(bench, tmp_path_factory.mktemp("crashes"), monkeypatch, lambda: bench.run("--only-new"))
        assert len(copies) > 20
        outcomes = set()
        for copy in copies[:: len(copies) // 9]:
            shutil.rmtree(bench.project.state)
            shutil.move(copy, bench.project.state)
            start = bench.requests
            result = bench.run()
            outcomes.add(result.code)
            if result.code == 6:  # the old run stands as it stood
                assert bench.requests == start
                result = bench.run("--only-new")
            assert result.code == 0, result.err
            assert set(bench.sent(start)) == set(ids(range(40))) - delivered
            assert len(bench.sent(start)) == 40 - len(delivered)
        assert outcomes == {0, 6}


def test_interrupted_while_preparing(tmp_path: Path) -> None:
    """A run begun with --only-new stays one, whether the process that goes on was told so or not."""
    with reruns(tmp_path) as bench:
        bench.members(people(30))
        bench.run()
        bench.members(people(40, bad=[35]))
        assert bench.run("--only-new", "--max-rejects", "0").code == 4
        start = bench.requests
        assert bench.run().object["calls"]["already_delivered"] == 30
        assert bench.sent(start) == ids([*range(30, 35), *range(36, 40)])


def test_archive_is_made_again(tmp_path: Path) -> None:
    """Removed or damaged, the archive is made again from the ledgers: still nothing is sent twice."""
    with reruns(tmp_path) as bench:
        bench.members(people(30))
        bench.run()
        for count, harm in ((31, "none"), (32, "gone"), (33, "flipped"), (34, "cut")):
            for path in (bench.project.state / "delivered").glob("*/*.high"):
                plain = bytearray(path.read_bytes())
                plain[5] ^= 1
                if harm == "flipped":
                    path.write_bytes(plain)
                elif harm == "cut":
                    path.write_bytes(plain[:-1])
            if harm == "gone":
                shutil.rmtree(bench.project.state / "delivered")
            bench.members(people(count))
            start = bench.requests
            assert bench.run("--only-new").code == 0
            assert bench.sent(start) == ids([count - 1])


def test_archive_that_cannot_be_made_again(tmp_path: Path) -> None:
    """Damaged, and the ledger of one of its runs gone: refused, for nobody knows what was delivered."""
    with reruns(tmp_path) as bench:
        bench.members(people(30))
        bench.run()
        bench.members(people(35))
        bench.run("--only-new")
        bench.members(people(40))
        shutil.rmtree(bench.state.earlier()[0].path)
        kept = bench.project.folder / "kept"
        shutil.copytree(bench.project.state, kept)
        start = bench.requests
        assert bench.run("--only-new").object["calls"]["already_delivered"] == 35  # the archive outlives the ledger
        assert bench.sent(start) == ids(range(35, 40))
        shutil.rmtree(bench.project.state)
        kept.rename(bench.project.state)
        for path in (bench.project.state / "delivered").glob("*/*.low"):
            path.write_bytes(b"")
        start = bench.requests
        result = bench.run("--only-new")
        assert result.code == 1
        assert "delivered" in result.err
        assert bench.requests == start


def test_ledger_that_was_removed(tmp_path: Path) -> None:
    """The archive remembers what was in it of runs whose folders were removed: that is not sent again."""
    with reruns(tmp_path) as bench:
        bench.members(people(30))
        bench.run()
        assert bench.run("--only-new").code == 0  # nothing is new, and the archive is asked
        bench.members(people(31))
        bench.run("--only-new", "--canary")
        for folder in (*bench.state.runs(), *bench.state.earlier()):
            shutil.rmtree(folder.path)
        bench.members(people(35))
        start = bench.requests
        assert bench.run().object["calls"]["already_delivered"] == 30
        assert bench.sent(start) == ids(range(30, 35))


def test_calls_file_that_is_gone(tmp_path: Path) -> None:
    """Without its calls file nobody knows what an unfinished run delivered: refused, nothing sent."""
    with reruns(tmp_path) as bench:
        bench.members(people(30))
        bench.run("--canary")
        (path,) = bench.state.runs()[0].spool_folder.glob("*.calls")
        path.unlink()
        bench.members(people(40))
        start = bench.requests
        result = bench.run("--only-new")
        assert result.code == 1
        assert str(path) in result.err
        assert bench.requests == start
