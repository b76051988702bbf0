"""Whether and when a call went out: `status --message-id` and `--key`, over all runs there were."""

from __future__ import annotations

import re
import shutil
import uuid
from pathlib import Path

import pytest

from backfill.archive import ArchiveReader
from backfill.pipeline.delivered_ids import archive_run
from backfill.pipeline.find_call import instant_in_key
from tests.support.members import ids, people
from tests.support.projects import Project, backfill
from tests.support.reruns import id_of, reruns

pytestmark = pytest.mark.usefixtures("key")


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
        assert "whose ledger is missing" in bench.ask(*asked[:-2]).out


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
        assert "members.csv:6 (record 5): identify" in bench.ask("rejects", earlier.run_id).out
        assert bench.ask("resume", earlier.run_id, "--yes").code == 2


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("2013-01-01T10:00:00Z", "2013-01-01T10:00:00.000000Z"),
        ("2013-01-01 10:00Z", "2013-01-01T10:00:00.000000Z"),
        ("2013-01-01T10:00:00.5+01:30", "2013-01-01T08:30:00.500000Z"),
        ("2013-01-01T10:00:00.123456789-0500", "2013-01-01T15:00:00.123456789Z"),
        ("2013-01-01T10:00:00.123456000Z", "2013-01-01T10:00:00.123456Z"),
        ("0999-01-01T10:00:00Z", "0999-01-01T10:00:00.000000Z"),
        ("2013-01-01T10:00:00", "2013-01-01T10:00:00"),  # of no zone: nobody knows which instant
        ("2013-02-30T10:00:00Z", "2013-02-30T10:00:00Z"),
        ("0001-01-01T00:00:00+01:00", "0001-01-01T00:00:00+01:00"),
        ("2013-01-01", "2013-01-01"),
        ("u1", "u1"),
    ],
)
def test_instants_as_keys_have_them(given: str, kept: str) -> None:
    """The text that ids are made of, where a value is an instant; any other stays."""
    assert instant_in_key(given) == kept


@pytest.mark.parametrize("kind", ["timestamp", "text"])
def test_a_key_with_an_instant(tmp_path: Path, kind: str) -> None:
    """It is found as the source writes it, whether the column was an instant or text, by `status` and `calls`."""
    job = Project(tmp_path).people(3)
    text = job.read_text(encoding="utf-8")
    text = text.replace("age: integer", f"joined: {kind}").replace("message_key: [id]", "message_key: [joined, id]")
    text = re.sub("timestamp: {.*", 'timestamp: {value: "2024-01-31T00:00:00Z"}', text)
    job.write_text(text, encoding="utf-8")
    source = tmp_path / "people.csv"
    source.write_text(source.read_text(encoding="utf-8").replace(" 10:00:00", "T10:00:00Z"), encoding="utf-8")
    assert backfill("run", job, "--target", "sandbox").code == 0
    key = ("--key", "2023-05-02T10:00:00Z", "--key", "u000001")
    assert "was received by the target" in backfill("status", job, *key).out
    assert backfill("calls", job, *key).out.count("--- ") == 1
    for verb in ("status", "calls"):
        missing = backfill(verb, job, "--key", "2023-05-02 10:00:00", "--key", "u000001")
        assert "2024-03-10T07:00:00.000000Z" in missing.err
