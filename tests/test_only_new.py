"""`run --only-new` and `--abandon`: what was delivered is left out, all of it and nothing else, whatever happens."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backfill.archive import ArchiveReader
from backfill.ledger import LedgerReader
from backfill.pipeline.archiving import archive_run
from tests.projects import KEY, backfill
from tests.reruns import Member, Reruns, id_of, reruns

ROWS = st.lists(st.tuples(st.integers(0, 25), st.sampled_from([30, 31, "old"])), max_size=30)


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    """The write key in the environment."""
    monkeypatch.setenv("SEGMENT_WRITE_KEY", KEY)


def people(count: int, *, bad: Sequence[int] = (), first: int = 0) -> list[Member]:
    """So many members, some of them with an age that is none."""
    return [(number, "old" if number in bad else number % 90) for number in range(first, first + count)]


def ids(numbers: range | Sequence[int]) -> list[str]:
    """Their message ids."""
    return [id_of(number) for number in numbers]


# --------------------------------------------------------------------------------------------------------- what is sent


def expected(rows: Sequence[Member], delivered: set[int]) -> tuple[list[int], dict[str, int]]:
    """Who is to be sent, and the counts: row by row, the first valid row of an id being the one that counts."""
    first: dict[int, object] = {}
    counts = dict.fromkeys(("planned", "delivered", "rejected", "duplicate", "already_delivered"), 0)
    sent = []
    for number, age in rows:
        counts["planned"] += 1
        if age == "old":
            counts["rejected"] += 1
        elif number in first:
            counts["duplicate" if first[number] == age else "rejected"] += 1
        else:
            first[number] = age
            counts["already_delivered" if number in delivered else "delivered"] += 1
            sent += [] if number in delivered else [number]
    return sent, counts


@settings(max_examples=6)
@given(st.lists(st.tuples(ROWS, st.sampled_from(["age", "years"])), min_size=2, max_size=4))
def test_exactly_what_was_not_delivered(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[list[Member], str]]
) -> None:
    """Sources and mappings edited at will, run with --only-new: each id is sent once, the counts are the oracle's."""
    delivered: set[int] = set()
    before = None
    with reruns(tmp_path_factory.mktemp("project")) as bench:
        for rows, trait in steps:
            bench.members([(99, 9), *rows])  # a lone header is no source
            bench.mapping(trait=trait)
            start = bench.requests
            result = bench.run("--only-new")
            sent, counts = expected([(99, 9), *rows], delivered)
            if (rows, trait) == before:  # nothing has changed: the run of before
                assert bench.requests == start
                continue
            before = (rows, trait)
            assert result.code == (3 if counts["rejected"] else 0), result.err
            assert bench.sent(start) == ids(sent)
            assert {name: result.object["calls"][name] for name in counts} == counts
            assert result.object["calls"]["pending"] == result.object["calls"]["in_doubt"] == 0
            delivered.update(sent)


def test_rejects_that_were_mended(tmp_path: Path) -> None:
    """The use of it: the rows that were rejected are mended in the source, and they alone are sent, under their ids."""
    with reruns(tmp_path) as bench:
        bench.members(people(50, bad=[7, 30]))
        assert bench.run().code == 3
        bench.members(people(50))
        start = bench.requests
        assert bench.run().code == 6
        result = bench.run("--only-new")
        assert result.code == 0
        assert bench.sent(start) == ids([7, 30])
        assert result.object["calls"]["already_delivered"] == 48
        assert bench.run().object["requests"] == 0


def test_nothing_new(tmp_path: Path) -> None:
    """Not drifted: 0 requests. Drifted without anything new: 0 requests, finished."""
    with reruns(tmp_path) as bench:
        bench.members(people(30))
        bench.run()
        start = bench.requests
        assert bench.run("--only-new").object["state"] == "finished"
        assert bench.states() == ["finished"]
        bench.members(people(20))
        result = bench.run("--only-new")
        assert (result.code, result.object["requests"], result.object["calls"]["already_delivered"]) == (0, 0, 20)
        assert result.object["state"] == "finished"
        assert bench.requests == start
        assert bench.states() == ["finished", "finished"]


def test_first_of_all(tmp_path: Path) -> None:
    """Where nothing was delivered, all is new."""
    with reruns(tmp_path) as bench:
        bench.members(people(20))
        assert bench.run("--only-new").object["calls"]["delivered"] == 20


def test_over_shards(tmp_path: Path) -> None:
    """Over several shards, some of them delivered whole: the rest is sent, in order, its first batch of ten calls."""
    rows = people(100_000)
    with reruns(tmp_path) as bench:
        bench.members(rows[:70_000:2])
        bench.run()
        start = bench.requests
        bench.members(rows)
        result = bench.run("--only-new")
        left = [*range(1, 70_000, 2), *range(70_000, 100_000)]
        assert sorted(bench.sent(start)) == sorted(ids(left))
        assert [len(heard.ids) for heard in bench.tap.heard[start : start + 1]] == [10]
        assert result.object["calls"]["already_delivered"] == 35_000


def test_repeated_ids(tmp_path: Path) -> None:
    """Repeated ids are judged as if nothing had been delivered: a duplicate is one, a wrong key does not hide."""
    with reruns(tmp_path) as bench:
        bench.members([(1, 10), (2, 20)])
        bench.run()
        bench.members([(1, 10), (2, 20), (1, 10), (2, 99), (3, 30), (3, 30)])
        calls = bench.run("--only-new").object["calls"]
        assert (calls["already_delivered"], calls["duplicate"], calls["rejected"], calls["delivered"]) == (2, 2, 1, 1)


def test_ids_that_exist(tmp_path: Path) -> None:
    """Ids are ids, whatever the generation: one raised keeps ids that come from a column, and they are left out."""
    given = "message_id: {column: id}"
    with reruns(tmp_path) as bench:
        bench.members(people(20))
        bench.mapping(key=given)
        bench.run()
        bench.members(people(25))
        bench.mapping(key=given, generation=2)
        start = bench.requests
        assert bench.run("--only-new").object["calls"]["already_delivered"] == 20
        assert bench.sent(start) == [f"u{number}" for number in range(20, 25)]


def test_another_generation_is_new(tmp_path: Path) -> None:
    """A raised generation makes other ids: --only-new leaves none of them out."""
    with reruns(tmp_path) as bench:
        bench.members(people(20))
        bench.run()
        bench.mapping(generation=2)
        start = bench.requests
        assert bench.run("--only-new").object["calls"]["already_delivered"] == 0
        assert bench.sent(start) == [id_of(number, generation=2) for number in range(20)]


def test_content_keys(tmp_path: Path) -> None:
    """Calls known by their content: left out where they are the same, sent with a warning where the mapping differs."""
    with reruns(tmp_path) as bench:
        bench.members(people(20))
        bench.mapping(key="message_key: content")
        bench.run()
        bench.members(people(25))
        grown = bench.run("--only-new")
        assert (grown.object["calls"]["already_delivered"], grown.object["calls"]["delivered"]) == (20, 5)
        assert "message_key" not in grown.err
        bench.mapping(key="message_key: content", trait="years")
        rehearsed = bench.run("--only-new", verb="dry-run")
        edited = bench.run("--only-new")
        assert edited.object["calls"]["delivered"] == 25
        for said in (rehearsed.err, edited.err):
            assert "`message_key: content`" in said


def test_sandbox(tmp_path: Path) -> None:
    """A rehearsal leaves out what was delivered, too, where that is asked for; else it begins afresh, all of it."""
    with reruns(tmp_path) as bench:
        options = ["--target", "sandbox", "--output", "json"]
        counts = []
        for count, more in ((20, []), (30, ["--only-new"]), (25, []), (45, ["--only-new"])):
            bench.members(people(count))
            calls = backfill("run", bench.job, *options, *more).object["calls"]
            counts.append((calls["delivered"], calls["already_delivered"]))
        assert counts == [(20, 0), (10, 20), (25, 0), (20, 25)]


# ------------------------------------------------------------------------------------------------------ told beforehand


def test_confirmation_and_dry_run(tmp_path: Path) -> None:
    """Before it goes live it says how many are new and how many were delivered; a dry run tells the same."""
    with reruns(tmp_path) as bench:
        bench.members(people(1_500, bad=[3]))
        first = bench.run()
        assert "earlier runs" not in first.err
        bench.members(people(2_000, bad=[3]))
        rehearsed = bench.run("--only-new", verb="dry-run").object["calls"]
        result = bench.run("--only-new")
        calls = result.object["calls"]
        assert (
            "1,499 by earlier runs of this job; 1,499 of this plan are among them and left out, 500 are new"
            in result.err
        )
        assert "500 to send" in result.err
        assert (calls["delivered"], calls["already_delivered"], calls["rejected"]) == (500, 1_499, 1)
        assert (rehearsed["pending"], rehearsed["already_delivered"]) == (500, 1_499)
        bench.mapping(generation=2)
        raised = bench.run("--canary")
        assert "1,999 by earlier runs of this job; none of them is left out, 1,999 are sent" in raised.err


def test_dry_run_needs_a_target(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was delivered differs from target to target."""
    with reruns(tmp_path) as bench:
        bench.members(people(5))
        assert backfill("dry-run", bench.job, "--only-new").code == 2
        monkeypatch.delenv("SEGMENT_WRITE_KEY")
        assert backfill("dry-run", bench.job, "--only-new", "--target", "segment").code == 2
        assert backfill("dry-run", bench.job, "--only-new", "--target", "prod", "--output", "json").code == 0


# ------------------------------------------------------------------------------------------ runs that were not finished


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


# ------------------------------------------------------------------------------------------------ killed, lost, damaged


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
        (path,) = bench.state.runs()[0].spool.glob("*.calls")
        path.unlink()
        bench.members(people(40))
        start = bench.requests
        result = bench.run("--only-new")
        assert result.code == 1
        assert str(path) in result.err
        assert bench.requests == start


# --------------------------------------------------------------------------------------------- whether and when it went


def test_status_of_a_call(tmp_path: Path) -> None:
    """By message id and by key: run, batch, times and answer, of the run of now and of earlier ones."""
    with reruns(tmp_path) as bench:
        bench.members(people(50))
        bench.run("--canary")
        bench.members(people(60, bad=[55]))
        bench.run("--only-new", "--canary")
        run = bench.run_id()
        found = {}
        for number in (3, 12, 40, 55):
            by_id = bench.ask("status", "--message-id", id_of(number), "--output", "json").object
            by_key = bench.ask("status", run, "--key", f"u{number}", "--output", "json").object
            assert by_id["found"] == by_key["found"]
            assert by_key["message_id"] == id_of(number)
            found[number] = by_id["found"]
        assert [[(one["run_id"], one["standing"]) for one in told] for told in found.values()] == [
            [(f"{run}~1", "delivered")],
            [(run, "delivered"), (f"{run}~1", "given_up")],
            [(run, "pending"), (f"{run}~1", "given_up")],
            [],
        ]
        (attempt,) = found[3][0]["attempts"]
        assert (attempt["status"], attempt["outcome"]) == (200, "accepted")
        assert attempt["sent_at"] <= attempt["ended_at"]
        text = bench.ask("status", run, "--key", "u12").out
        assert "was received by the target" in text
        assert "accepted 200" in text
        assert "was not planned by any run" in bench.ask("status", run, "--key", "u55").out


def test_places_in_the_archive(tmp_path: Path) -> None:
    """The archive says of each delivered call where it went, in a run of several shards."""
    with reruns(tmp_path) as bench:
        bench.members(people(40_000, bad=[5]))
        bench.run()
        archive_run(bench.state, bench.state.runs()[0])
        (path,) = (bench.project.state / "delivered").iterdir()
        reader = ArchiveReader.open(path)
        assert reader is not None
        assert len(reader) == 39_999
        for number, shard, call in ((0, 0, 0), (6, 0, 5), (32_767, 0, 32_766), (32_768, 1, 0), (39_999, 1, 7_231)):
            (place,) = reader.find(uuid.UUID(id_of(number)).bytes)
            assert (place.run.run_id, place.shard, place.call) == (bench.run_id(), shard, call)
        assert reader.find(uuid.UUID(id_of(5)).bytes) == []


def test_status_of_a_poison_call(tmp_path: Path) -> None:
    """A call that was refused alone after halving: every request that held it is told, and that it was refused."""
    with reruns(tmp_path, 'status=400,holding="u17"') as bench:
        bench.members(people(50))
        assert bench.run().code == 3
        (told,) = bench.ask("status", "--message-id", id_of(17), "--output", "json").object["found"]
        assert told["standing"] == "rejected"
        assert {attempt["status"] for attempt in told["attempts"]} == {400}
        assert len({attempt["batch"] for attempt in told["attempts"]}) == len(told["attempts"]) > 1
        (other,) = bench.ask("status", "--message-id", id_of(18), "--output", "json").object["found"]
        assert other["standing"] == "delivered"
        assert [attempt["status"] for attempt in other["attempts"]][-1] == 200
        bench.members(people(55))
        start = bench.requests
        bench.run("--only-new")  # what was refused was not delivered: it is tried again
        assert set(bench.sent(start)) == set(ids(range(50, 55)))
        assert id_of(17).encode() in {one for heard in bench.tap.heard[start:] for one in heard.ids}


def test_status_without_the_archive(tmp_path: Path) -> None:
    """The ledgers answer where the archive is gone or wrong, the archive where a ledger is gone."""
    with reruns(tmp_path) as bench:
        bench.members(people(30))
        bench.run()
        bench.members(people(35))
        bench.run("--only-new")
        asked = ["status", "--message-id", id_of(7), "--output", "json"]
        told = bench.ask(*asked).object["found"]
        assert [one["run_id"] for one in told] == [f"{bench.run_id()}~1"]
        for name in ("*.places", "*.high"):
            for path in (bench.project.state / "delivered").glob(f"*/{name}"):
                path.write_bytes(bytes(path.stat().st_size))
            assert bench.ask(*asked).object["found"] == told
        shutil.rmtree(bench.project.state / "delivered")
        assert bench.ask(*asked).object["found"] == told
        bench.members(people(36))
        bench.run("--only-new")
        shutil.rmtree(bench.state.earlier()[0].path)
        (left,) = bench.ask(*asked).object["found"]
        assert (left["run_id"], left["standing"], left["attempts"]) == (bench.run_id(), "delivered", [])
        assert "whose ledger is gone" in bench.ask(*asked[:-2]).out


def test_status_asked_wrongly(tmp_path: Path) -> None:
    """A key needs its run, where there are several, and as many values as the job's; never an id and a key at once."""
    with reruns(tmp_path) as bench:
        bench.members(people(5))
        bench.run()
        assert bench.ask("status", "--key", "u1").code == 0
        assert bench.ask("status", "--key", "u1", "--key", "2").code == 2
        assert bench.ask("status", "--key", "u1", "--message-id", "x").code == 2
        bench.mapping(generation=2)
        bench.run()
        result = bench.ask("status", "--key", "u1")
        assert result.code == 2
        assert "RUN" in result.err


def test_earlier_runs_are_kept(tmp_path: Path) -> None:
    """Ledger, calls and rejects of an earlier run stay, under its id and a number; bytes and snapshot do not."""
    with reruns(tmp_path) as bench:
        bench.members(people(30, bad=[4]))
        bench.run("--canary")
        bench.members(people(40, bad=[6]))
        bench.run("--only-new")
        (earlier,) = bench.state.earlier()
        assert earlier.run_id == f"{bench.run_id()}~1"
        names = {str(path.relative_to(earlier.path)) for path in earlier.path.rglob("*") if path.is_file()}
        assert names >= {"ledger.sqlite3", "spool/000000.calls", "spool/000000.rejects.parquet"}
        assert not {name for name in names if "snapshot" in name or "segment" in name}
        assert "abandoned" in bench.ask("status", earlier.run_id).out
        assert "BF117  members.csv  5 " in bench.ask("rejects", earlier.run_id).out
        assert bench.ask("resume", earlier.run_id, "--yes").code == 2
