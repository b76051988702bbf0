"""`reconcile --requeue`: what a destination lacks is sent again, the same bytes, nothing else, and not twice."""

from __future__ import annotations

import json
import sqlite3
import zlib
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from random import Random

import polars as pl
import pytest

from backfill.state.folder import StateFolder
from tests.support.batch_server import BatchServer, batch_in
from tests.support.projects import Project, Result, backfill

ROWS, BAD = 3_000, 7
JOB = """\
version: 1
name: people
source: {path: people.csv, timezone: UTC, columns: {age: integer}}
defaults: {userId: id, timestamp: {column: joined, format: "%Y-%m-%d %H:%M:%S"}, integrations: {All: false}}
calls:
  - {type: identify, message_key: [id], traits: {email: email, age: age}}
  - {type: track, when: age > 44, message_key: [id], event: {value: Grew Old}, properties: {age: age}}
"""


class Receiver(BatchServer):
    """Takes everything, and keeps each call's bytes by its id, in the order in which they came."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, str]] = []

    def answer(self, path: str, headers: dict[str, str], body: bytes) -> tuple[int | None, bytes]:
        """Accepted."""
        del path
        text = batch_in(body, packed=headers.get("Content-Encoding") == "gzip").decode()[len('{"batch":[') :]
        decoder, at = json.JSONDecoder(), 0
        while at < len(text):
            call, end = decoder.raw_decode(text, at)
            self.calls.append((call["messageId"], text[at:end]))
            at = end + 1
        return 200, b'{"success":true}'


@pytest.fixture
def receiver(monkeypatch: pytest.MonkeyPatch) -> Iterator[Receiver]:
    """It, and a write key for it."""
    monkeypatch.setenv("SEGMENT_WRITE_KEY", "a-key")
    with Receiver() as server:
        yield server


class Sent:
    """A finished run, and what the receiver has of it."""

    def __init__(self, folder: Path, receiver: Receiver, *options: str, rows: int = ROWS) -> None:
        self.project = Project(folder)
        self.job = self.project.people(rows, bad=[BAD], text="x" * 400)
        self.job.write_text(JOB, "utf-8")
        self.receiver = receiver
        self.live = ("--endpoint", receiver.url, "--yes", "--rate", "unlimited")
        assert backfill("run", self.job, "--target", "segment", *self.live, *options).code == 3
        self.calls = list(receiver.calls)
        self.ids = [identity for identity, _ in self.calls]
        receiver.calls.clear()

    def reconcile(self, lost: set[str], *options: str, run: str | Path | None = None) -> Result:
        """Compare with a warehouse that has all calls but those."""
        rows = [(one, json.loads(text)["timestamp"]) for one, text in self.calls if one not in lost]
        frame = pl.DataFrame(rows, schema=["id", "original_timestamp"], orient="row")
        twice, moved = frame.head(20), pl.col("original_timestamp").str.replace("T10", "T15")
        frame = pl.concat([frame.head(-50), frame.tail(50).with_columns(moved), twice])
        frame.sample(fraction=1, shuffle=True, seed=3).write_csv(self.project.folder / "there.csv")
        state = ("--state-dir", self.project.state)
        against = ("--against", self.project.folder / "there.csv", "--late", "0s", "--output", "json")
        return backfill("reconcile", run or self.own, *state, *against, *options)

    def requeue(self, lost: set[str], **options: str) -> dict[str, object]:
        """What it says of planning them again."""
        found: dict[str, object] = self.reconcile(lost, "--requeue", **options).object["requeue"]
        return found

    def resume(self, run: object) -> list[tuple[str, str]]:
        """What is sent by a run that is prepared."""
        self.receiver.calls.clear()
        assert backfill("resume", str(run), "--state-dir", self.project.state, *self.live).code == 0
        return list(self.receiver.calls)

    @property
    def own(self) -> str:
        """The id of the run of the job."""
        return min((run.run_id for run in StateFolder(self.project.state).runs()), key=len)

    def lose(self, count: int, seed: int = 1) -> set[str]:
        """Some of the calls."""
        return set(Random(seed).sample(self.ids[:-50][20:], count))


@pytest.mark.parametrize("options", [("--keep-spool",), ()], ids=["bytes kept", "bytes made again"])
def test_the_missing_alone_are_sent_again(tmp_path: Path, receiver: Receiver, options: tuple[str, ...]) -> None:
    """Exactly those, each with its very bytes, in the order of the plan, and only once `resume` is said."""
    sent = Sent(tmp_path, receiver, *options)
    lost = sent.lose(200)
    before = backfill("status", sent.own, "--state-dir", sent.project.state, "--output", "json").object
    found = sent.reconcile(lost, "--requeue")
    counts = found.object["counts"]
    assert (counts["missing"], counts["doubled"], counts["shifted"]) == (200, 20, 50)
    told = found.object["requeue"]
    assert (found.code, told["calls"], told["requeued_before"]) == (3, 200, {})
    assert (receiver.calls, f"`backfill resume {told['run_id']}" in found.err) == ([], True)
    assert sorted(sent.resume(told["run_id"])) == sorted(one for one in sent.calls if one[0] in lost)
    status = backfill("status", told["run_id"], "--state-dir", sent.project.state, "--output", "json").object
    rows, calls = status["rows"], status["calls"]
    assert (status["state"], calls["planned"], calls["delivered"]) == ("finished", 200, 200)
    assert rows["read"] == rows["filtered"] + rows["unreadable"] + rows["mapped"] == ROWS
    assert 2 * rows["mapped"] == calls["planned"] + calls["skipped"]
    wanted = {
        kind: sum(json.loads(text)["type"] == kind for one, text in sent.calls if one in lost)
        for kind in ("identify", "track")
    }
    assert {one["call"]: one["calls"] for one in status["plan"]["calls"]} == wanted
    after = backfill("status", sent.own, "--state-dir", sent.project.state, "--output", "json").object
    beside: dict[str, object] = {"requeues": [], "with_requeues": None}
    assert after | beside == before
    assert after["requeues"] == [told["run_id"]]
    again = {"sent": len(sent.calls), "requeued": 200, "delivered_again": 200, "adds_up": True}
    assert after["with_requeues"] == dict.fromkeys(("rejected", "in_doubt", "pending", "given_up"), 0) | again
    assert backfill("verify", told["run_id"], "--state-dir", sent.project.state).code == 0
    assert backfill("verify", sent.own, "--state-dir", sent.project.state).code == 0


def test_nothing_is_planned_twice(tmp_path: Path, receiver: Receiver) -> None:
    """The same command again plans nothing; other calls are planned without those; lost once more, by their run."""
    sent = Sent(tmp_path, receiver)
    lost = sent.lose(100)
    first = sent.requeue(lost)
    again = sent.requeue(lost)
    assert (again["run_id"], again["calls"], again["requeued_before"]) == (None, 0, {first["run_id"]: 100})
    more = lost | set(sent.ids[1_000:1_030])
    new = len(more) - 100
    second = sent.requeue(more)
    assert (second["calls"], second["requeued_before"]) == (new, {first["run_id"]: 100})
    for run, calls in ((first, 100), (second, new)):
        assert len(sent.resume(run["run_id"])) == calls
    assert sent.requeue(more)["requeued_before"] == {first["run_id"]: 100, second["run_id"]: new}
    still = set(sorted(lost)[:3])
    third = sent.reconcile(still, "--requeue", run=str(first["run_id"])).object["requeue"]
    assert (third["calls"], str(third["run_id"]).startswith(f"{first['run_id']}-requeue-")) == (3, True)
    assert {identity for identity, _ in sent.resume(third["run_id"])} == still
    shown = backfill("status", sent.own, "--state-dir", sent.project.state)
    told = f"requeues: of {len(sent.calls):,} sent {len(more)} planned again: {len(more)} delivered again"
    assert told in " ".join(shown.err.split())
    for run in (sent.own, str(first["run_id"])):  # short for the run itself, whatever there is beside it
        short = backfill("status", run[:-1], "--state-dir", sent.project.state, "--output", "json")
        assert short.object["run_id"] == run
    none = sent.reconcile(set(), "--requeue").object["requeue"]
    assert none == {"run_id": None, "calls": 0, "requeued_before": {}}


def test_a_plan_that_was_not_finished(tmp_path: Path, receiver: Receiver) -> None:
    """A process that is killed while it plans has sent nothing: the next one makes the same run, whole."""
    sent = Sent(tmp_path, receiver)
    lost = sent.lose(10)
    run = sent.requeue(lost)["run_id"]
    with closing(sqlite3.connect(sent.project.state / "runs" / str(run) / "ledger.sqlite3")) as ledger:
        ledger.execute("UPDATE run SET state = 'preparing', plan_digest = NULL")
        ledger.execute("DELETE FROM batches")
        ledger.execute("DELETE FROM shards")
        ledger.commit()
    assert sent.requeue(lost) == {"run_id": run, "calls": 10, "requeued_before": {}}
    assert {identity for identity, _ in sent.resume(run)} == lost


def test_bytes_that_cannot_be_had(tmp_path: Path, receiver: Receiver) -> None:
    """Another source than the run's, another hash than that of a call: refused, and no run is begun."""
    sent = Sent(tmp_path, receiver, rows=200)
    lost = sent.lose(5)
    hashes = sent.project.state / "runs" / sent.own / "spool" / "000000.hashes"
    kept = hashes.read_bytes()
    source = tmp_path / "people.csv"
    content = source.read_bytes()
    source.write_bytes(content.replace(b"@example.org", b"@example.com"))
    changed = sent.reconcile(lost, "--requeue")
    assert (changed.code, "cannot be made again" in changed.err) == (6, True)
    source.write_bytes(content)
    flipped = bytearray(kept)
    flipped[:-4] = bytes(len(kept) - 4)
    flipped[-4:] = zlib.crc32(flipped[:-4]).to_bytes(4, "little")
    hashes.write_bytes(flipped)
    other = sent.reconcile(lost, "--requeue")
    assert (other.code, "other bytes come out than were prepared" in other.err) == (6, True)
    assert [run.run_id for run in StateFolder(sent.project.state).runs()] == [sent.own]
    hashes.write_bytes(kept)
    assert sent.requeue(lost)["calls"] == 5


def test_too_early(tmp_path: Path, receiver: Receiver) -> None:
    """A run that ended just now, one that is not over, and a source whose newest row is older than the run."""
    sent = Sent(tmp_path, receiver, rows=200)
    early = sent.reconcile(set(), "--requeue", "--late", "1h")
    assert (early.code, "may only be late" in early.err) == (6, True)
    pl.DataFrame({"id": sent.ids[:9], "received_at": ["2020-01-01T00:00:00Z"] * 9}).write_csv(tmp_path / "old.csv")
    told = backfill("reconcile", sent.job, "--against", tmp_path / "old.csv", "--late", "0s", "--requeue")
    assert "the newest row was received at 2020-01-01 00:00:00Z" in " ".join(told.out.split())
    assert max(map(len, told.out.replace(str(tmp_path), "").splitlines())) <= 80
    sent.job.write_text(JOB.replace("name: people", "name: people\ngeneration: 2"), "utf-8")
    run = ("run", sent.job, "--target", "segment", *sent.live, "--canary")
    assert backfill(*run).code == 5
    (stopped,) = [run.run_id for run in StateFolder(sent.project.state).runs() if "-g2-" in run.run_id]
    unfinished = sent.reconcile(set(), "--requeue", run=stopped)
    assert (unfinished.code, f"`backfill resume {stopped}" in unfinished.err) == (2, True)


def test_what_is_asked_before(tmp_path: Path, receiver: Receiver) -> None:
    """A live requeue needs a confirmation like any run, which says what arrives twice; a sandbox needs no waiting."""
    sent = Sent(tmp_path, receiver, rows=200)
    run = sent.requeue(sent.lose(5))["run_id"]
    state = ("--state-dir", sent.project.state)
    unasked = backfill("resume", str(run), *state, "--endpoint", receiver.url)
    assert (unasked.code, "--yes" in unasked.err, receiver.calls) == (2, True, [])
    asked = backfill("resume", str(run), *state, *sent.live)
    assert "warning   these calls were delivered before: what is not missing but late arrives twice" in asked.err
    assert "first received in the last 24 hours" in asked.err


@pytest.mark.parametrize(
    "ids", [(), ("a", "b"), ("B" * 8 + "-0000-0000-0000-000000000000",)], ids=["none", "text", "uuid"]
)
def test_a_source_without_one_call_plans_nothing(tmp_path: Path, receiver: Receiver, ids: tuple[str, ...]) -> None:
    """An export that is empty, or of something else, has nothing sent again, unless it is said that it is right."""
    sent = Sent(tmp_path, receiver, rows=100)
    pl.DataFrame({"id": ids}, schema={"id": pl.String}).write_csv(tmp_path / "strange.csv")
    ask = ("reconcile", sent.job, "--against", tmp_path / "strange.csv", "--late", "0s")
    refused = backfill(*ask, "--requeue")
    assert (refused.code, "--none-there" in refused.err) == (6, True)
    assert f"none of the {len(sent.ids)} calls" in " ".join(refused.err.split())
    assert [run.run_id for run in StateFolder(sent.project.state).runs()] == [sent.own]
    assert backfill(*ask, "--none-there").code == 2
    planned = backfill(*ask, "--requeue", "--none-there", "--output", "json").object["requeue"]
    assert planned["calls"] == len(sent.ids)


def test_uuids_as_databases_write_them(tmp_path: Path, receiver: Receiver) -> None:
    """In capitals, in braces, without hyphens, padded: each is found, which is said; no other text is taken for one."""
    sent = Sent(tmp_path, receiver, rows=100)
    ways = [
        str.upper,
        "{{{}}}".format,
        "{{ {} }}".format,
        " {} ".format,
        lambda one: one.replace("-", ""),
        lambda one: f"x{one}",
    ]
    there = [ways[place % len(ways)](one) for place, one in enumerate(sent.ids)]
    pl.DataFrame({"id": there}).write_csv(tmp_path / "there.csv")
    found = backfill("reconcile", sent.job, "--against", tmp_path / "there.csv", "--output", "json").object
    lost = sum(place % len(ways) in {2, 5} for place in range(len(there)))
    assert (found["counts"]["missing"], found["counts"]["unknown_rows"]) == (lost, lost)
    rewritten = len(there) - lost
    assert any(note.startswith(f"{rewritten} ids are UUIDs in capitals") for note in found["notes"])


def test_an_event_that_is_lacking_altogether_is_named(tmp_path: Path, receiver: Receiver) -> None:
    """As where one table of a warehouse was left out; nothing is said where some of its calls are there."""
    sent = Sent(tmp_path, receiver, rows=300)
    old = {identity for identity, text in sent.calls if json.loads(text)["type"] == "track"}
    told = "not one call is there of Grew Old: if a table was left out"
    for lost, said in ((old, True), (set(sorted(old)[1:]), False)):
        there = [identity for identity in sent.ids if identity not in lost]
        pl.DataFrame({"id": there}).write_csv(tmp_path / "there.csv")
        ask = ("reconcile", sent.job, "--against", tmp_path / "there.csv", "--late", "0s", "--requeue")
        found = backfill(*ask, "--output", "json").object
        assert any(note.startswith(told) for note in found["notes"]) is said


def test_requeues_are_of_the_very_run(tmp_path: Path, receiver: Receiver) -> None:
    """Not of the one that took its place, whether they were planned before that or after; each has its own accounts."""
    sent = Sent(tmp_path, receiver, rows=200)
    state = ("--state-dir", sent.project.state)
    first = sent.requeue(sent.lose(5))["run_id"]
    sent.job.write_text(JOB.replace("Grew Old", "Grew"), "utf-8")
    receiver.calls.clear()
    assert backfill("run", sent.job, "--target", "segment", *sent.live, "--only-new").code == 3
    place, before = sent.own, f"{sent.own}~1"
    later = sent.reconcile(sent.lose(12), "--requeue", run=before).object["requeue"]
    assert (later["calls"], later["requeued_before"]) == (7, {first: 5})
    of_before = backfill("status", before, *state, "--output", "json").object
    assert sorted(of_before["requeues"]) == sorted([first, later["run_id"]])
    accounts = of_before["with_requeues"]
    assert (accounts["requeued"], accounts["pending"], accounts["adds_up"]) == (12, 12, True)
    of_place = backfill("status", place, *state, "--output", "json").object
    assert (of_place["requeues"], of_place["with_requeues"]) == ([], None)
    assert "requeue" not in backfill("status", place, *state).err


def test_nothing_is_left_in_temporary_folders(
    tmp_path: Path, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither by reconciling nor by a process that was killed before: what it has read is removed by the next."""
    sent = Sent(tmp_path, receiver, rows=60)
    temporary = tmp_path / "temporary"
    killed = temporary / "backfill-unpacked-killed"
    (killed / "files" / "snapshot").mkdir(parents=True)
    (killed / "lock").touch()
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    state = ("--state-dir", sent.project.state)
    assert sent.requeue(sent.lose(3))["calls"] == 3
    for verb in (("verify", sent.own), ("calls", sent.own), ("undo", sent.own, "-o", tmp_path / "undone")):
        assert backfill(*verb, *state).code == 0, verb
    assert list(temporary.iterdir()) == []
