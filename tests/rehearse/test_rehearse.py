"""`backfill rehearse`: proven where it is so, not where calls are lost; bounded, and leaving nothing behind."""

import re
import signal
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import polars as pl
import pytest

from backfill.disk import TemporaryFolders
from backfill.rehearse import child
from backfill.rehearse.arrivals import digest_of
from backfill.rehearse.run import Plan, Sent, judged
from backfill.sandbox import Sandbox
from tests.support.projects import Project, Result, backfill
from tests.support.sandbox_calls import call, client_of
from tests.support.waiting import until

NOT_LOOKED_AT: Any = None
QUIET = ("--kills", "0", "--faults", "none")


@pytest.fixture
def place(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The system's folder for temporary files, which has nothing in it before and after."""
    folder = tmp_path_factory.mktemp("temporary")
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    monkeypatch.setenv("TMPDIR", str(folder))
    yield folder
    assert list(folder.iterdir()) == []


def rehearse(job: Path, *words: str) -> Result:
    """A rehearsal, and its evidence as JSON."""
    return backfill("rehearse", job, "--output", "json", *words)


def test_faults_and_kills_lose_nothing(project: Project, place: Path) -> None:
    """Three processes, two of them killed, and faults of each kind: every call arrives as planned, exit 0."""
    job = project.people(120, bad=[3])
    result = rehearse(job, "--kills", "2", "--seed", "11")
    found = result.object
    assert result.code == 0, result
    assert (found["proven"], found["kills"], found["processes"], found["seed"]) == (True, 2, 3, 11)
    assert found["plan"] == {
        "calls": 119,
        "rejected": 1,
        "unreadable": 0,
        "batches": 60,
        "made_again": 119,
        "equal": True,
    }
    there = found["arrived"]
    assert there["once"] + there["more_than_once"] == 119
    assert [there[name] for name in ("missing", "other_bytes", "unknown", "unexplained", "refused")] == [0] * 5
    assert found["requests"] >= 60
    assert len(found["faults"]) > 3, "the script was met"
    assert not project.state.exists(), "no run of the user's was touched"


def test_an_endpoint_that_loses_calls_is_found_out(project: Project, place: Path) -> None:
    """A batch that is answered 200 and not kept is missing: exit 3, its calls named, on a screen of 80 columns."""
    job = project.people(61)
    result = backfill("rehearse", job, "--kills", "0", "--faults", "status=200,after=4,first=1", "--seed", "5")
    assert result.code == 3, result
    assert "NOT PROVEN" in result.out
    assert re.search(r"^ +2  missing$", result.out, re.MULTILINE)
    assert len(re.findall(r"^ +[0-9a-f-]{36}$", result.out, re.MULTILINE)) == 2
    assert max(map(len, result.out.splitlines()[:-1])) <= 80
    assert result.out.splitlines()[-1].endswith("--seed 5 --kills 0 --faults status=200,after=4,first=1")


BROKEN = {"twice": ("unexplained", 24), "loses": ("missing", 3), "alters": ("other_bytes", 1)}


@pytest.mark.parametrize("how", BROKEN)
def test_a_broken_delivery_is_found_out(
    project: Project, place: Path, monkeypatch: pytest.MonkeyPatch, repository: Path, how: str
) -> None:
    """A program that sends again without a reason, sends less than it says, or something else: exit 3, and what."""
    monkeypatch.setattr(child, "_MODULE", "tests.rehearse.broken_process")
    monkeypatch.setenv("PYTHONPATH", str(repository))
    monkeypatch.setenv("BROKEN", how)
    result = rehearse(project.people(24), *QUIET)
    assert result.code == 3, result
    found = result.object["arrived"]
    kind, number = BROKEN[how]
    assert found[kind] >= number
    assert [found[other] for other, _ in BROKEN.values() if other != kind] == [0, 0]
    assert result.object["plan"]["equal"], "the plan itself is as it should be"


def test_refusals_are_told_apart_from_losses(project: Project, place: Path) -> None:
    """What the endpoint refuses for good is left out and counted; a key that is refused ends it early."""
    job = project.people(24)
    found = rehearse(job, "--kills", "0", "--faults", "status=400,holding=u000011")
    assert found.code == 0, found
    assert (found.object["arrived"]["refused"], found.object["arrived"]["once"]) == (1, 23)
    shown = backfill("rehearse", job, "--kills", "0", "--faults", "status=400,holding=u000011").out.splitlines()[0]
    assert shown.endswith("PROVEN, what arrived is the plan, but for 1 call refused")
    ended = rehearse(job, "--kills", "0", "--faults", "status=401,after=10")
    assert ended.code == 8, ended
    assert (ended.object["proven"], ended.object["finished"]) == (False, True)
    assert ended.object["arrived"]["missing"] > 0
    assert "401" in ended.object["error"]


def test_where_all_is_refused_nothing_is_proven(project: Project, place: Path) -> None:
    """None is missing of the calls that were to arrive, as there are none."""
    found = rehearse(project.people(2), "--kills", "0", "--faults", "status=400")
    assert (found.code, found.object["finished"], found.object["proven"]) == (3, True, False)
    assert (found.object["arrived"]["refused"], found.object["arrived"]["missing"]) == (2, 0)


def test_of_a_large_source_the_first_rows(project: Project, place: Path) -> None:
    """CSV, and Parquet that is read where it lies: no more rows than were said, the same ids as a dry run has."""
    csv = project.people(90, name="csv")
    rows = pl.read_csv(project.folder / "csv.csv").with_columns(pl.col("joined").str.to_datetime(time_zone="UTC"))
    rows.write_parquet(project.folder / "there.parquet", row_group_size=20)
    parquet = project.folder / "there.yaml"
    text = csv.read_text("utf-8").replace("csv.csv", "there.parquet").replace("name: csv", "name: there")
    text = re.sub(r"  timezone: UTC\n  columns: .*\n", "", text)
    parquet.write_text(re.sub(r"timestamp: \{.*\}", "timestamp: joined", text), encoding="utf-8")
    for job in (csv, parquet):
        found = rehearse(job, *QUIET, "--rows", "30")
        assert found.code == 0, found
        assert found.object["rows"] == {"read": 30, "whole": False, "most": 30}
        assert (found.object["plan"]["calls"], found.object["arrived"]["once"]) == (30, 30)
        assert (found.object["requests"], found.object["faults"]) == (30, {})


def test_of_a_source_that_has_to_be_read_whole(project: Project, place: Path) -> None:
    """`latest` reads all rows before any is the newest; of what it leaves the first rows are taken."""
    job = project.people(200)
    job.write_text(
        job.read_text("utf-8").replace("calls:", "latest: {by: [joined], on: age}\ncalls:"), encoding="utf-8"
    )
    found = rehearse(job, *QUIET, "--rows", "20").object
    assert (found["proven"], found["rows"]["whole"], found["arrived"]["once"]) == (True, False, 20)


def test_the_time_is_bounded(project: Project, place: Path) -> None:
    """Exit 5 where the run, or already the plan, was not made in time; nothing is called missing or proven."""
    job = project.people(10)
    late = backfill("rehearse", job, "--kills", "0", "--faults", "delay=60", "--minutes", "0.04")
    assert late.code == 5, late
    assert "NOT FINISHED within 0.04 minutes" in late.out
    assert "had not arrived when it ended" in late.out
    none = rehearse(job, *QUIET, "--minutes", "0.000001")
    assert (none.code, none.out) == (5, "")
    assert "--rows" in none.err


def test_hints_are_those_of_a_rehearsal(project: Project, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk, a gate, a key that is refused: nothing is named that is there for runs alone."""
    job = project.people(5)
    with monkeypatch.context() as disk:
        disk.setattr("shutil.disk_usage", lambda _path: SimpleNamespace(free=1_000))
        full = rehearse(job, *QUIET)
    assert (full.code, "TMPDIR" in full.err) == (5, True), full
    refused = backfill("rehearse", job, "--kills", "0", "--faults", "status=401")
    assert (refused.code, "HTTP 401" in refused.out) == (8, True)
    job.write_text(job.read_text("utf-8").replace("calls:", "gates: {min_calls: 9}\ncalls:"), encoding="utf-8")
    gate = rehearse(job, *QUIET)
    assert (gate.code, "`gates` of the job file" in gate.err) == (4, True), gate
    for said in (full.err, refused.out, gate.err):
        assert not re.search("--state-dir|resume|--gate", said), said


@pytest.mark.parametrize(
    ("source", "words", "said"),
    [
        ("people.csv", ("--faults", "status=900"), "900"),
        ("'-'", (), "standard input"),
        ("empty.csv", (), "nothing to rehearse"),
    ],
)
def test_what_cannot_be_rehearsed(
    project: Project, place: Path, source: str, words: tuple[str, ...], said: str
) -> None:
    """A usage error that says why, and nothing is left."""
    job = project.people(5)
    project.rows(1, bad=[0], name="empty")
    job.write_text(
        job.read_text("utf-8").replace("people.csv", source).replace("timezone", "format: csv\n  timezone"),
        encoding="utf-8",
    )
    result = backfill("rehearse", job, *words)
    assert (result.code, result.out) == (2, "")
    assert said in result.err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_no_process_outlives_it(project: Project, place: Path, number: signal.Signals) -> None:
    """Ctrl-C ends it with 130; also where it is killed itself, the process that it started ends."""
    job = project.people(10)
    process = project.process("rehearse", job, "--kills", "0", "--faults", "delay=60")
    until(lambda: children_in(place), process)
    process.send_signal(number)
    process.wait(60)
    assert process.returncode == (130 if number == signal.SIGINT else -signal.SIGKILL)
    until(lambda: not children_in(place))
    left = TemporaryFolders()
    left.make(None)  # the next to need such a folder removes what a killed process has left
    left.remove()


def children_in(place: Path) -> list[str]:
    """The processes of a rehearsal whose state is there."""
    lines = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            lines.append(path.read_text("utf-8", errors="replace"))
        except OSError:
            continue  # it has ended
    return [line for line in lines if "backfill.rehearse.process" in line and str(place) in line]


def test_a_second_arrival_that_nothing_explains_is_found(sandbox: Sandbox) -> None:
    """A call that was sent again after its success, one with other bytes and one of nobody are each told."""
    with client_of(sandbox.endpoint, auth=("a-key", "")) as client:
        sent = [client.post("/v1/batch", json={"batch": [call(name)]}) for name in ("a", "b", "b", "c", "d")]
        assert {answer.status_code for answer in sent} == {httpx.codes.OK}
    texts = {row["message_id"]: row["json"].encode() for row in sandbox.calls()}
    planned = {name: digest_of(texts[name]) for name in "abc"} | {"c": digest_of(b"other"), "e": digest_of(b"e")}
    plan = Plan(planned, NOT_LOOKED_AT, 0.0, True, NOT_LOOKED_AT)
    found = judged(plan, Sent({"a": 1}, set()), sandbox)
    assert (found.unexplained, found.altered, found.unknown, found.missing) == (("b",), ("c",), ("d",), ("e",))
    explained = judged(replace(plan, calls=planned | {"d": digest_of(texts["d"])}), Sent({"b": 1}, {"c", "e"}), sandbox)
    assert (explained.unexplained, explained.missing, explained.unknown) == ((), (), ("c",))
