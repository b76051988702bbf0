"""The command line: the exit codes from 3 on, and the one that stands for several jobs."""

from __future__ import annotations

import gzip
import os
import re
from pathlib import Path

import pytest

from backfill.sandbox import Sandbox
from backfill.state.folder import StateFolder
from tests.support.endpoints import faulty
from tests.support.projects import Project, backfill
from tests.support.summaries import KEYS_OF_JSON, identities_hold


def test_3_rejected_rows(project: Project) -> None:
    """Some rows rejected: the rest is delivered, a sample of each problem is on stderr, the run is finished."""
    job = project.people(100, bad=range(20, 28))
    result = backfill("run", job, "--target", "sandbox", "--output", "json")
    assert result.code == 3
    assert result.object["calls"]["rejected"] == 8
    assert result.object["calls"]["delivered"] == 92
    assert result.object["problems"] == {"BF117": 8}
    assert identities_hold(result.object)
    assert len(re.findall(r"\(record \d+\): .* = 'old'$", result.err, re.MULTILINE)) == 5
    assert "by value: age = 'old' 8\n" in result.err
    assert "people.csv" in result.err
    assert backfill("run", job, "--target", "sandbox").code == 3


def test_3_unreadable_rows(project: Project) -> None:
    """A record with a field too many is unreadable, counted, and told with its line."""
    job = project.people(50)
    source = project.folder / "people.csv"
    source.write_text(source.read_text(encoding="utf-8") + "u9,x@example.org,2023-05-01 10:00:00,5,more\n")
    result = backfill("run", job, "--target", "sandbox", "--output", "json")
    assert result.code == 3
    assert result.object["rows"] == {"read": 51, "filtered": 0, "unreadable": 1, "mapped": 50}
    assert identities_hold(result.object)
    assert "BF002" in result.err
    assert "people.csv:52" in result.err


@pytest.mark.parametrize(("gate", "code"), [("7", 4), ("8", 3), ("7.9%", 4), ("8%", 3)])
@pytest.mark.parametrize("verb", ["run", "dry-run"])
def test_4_gate(project: Project, verb: str, gate: str, code: int) -> None:
    """--max-rejects lets exactly so many pass, as a number or a share; beyond it nothing is sent."""
    job = project.people(100, bad=range(8))
    result = backfill(verb, job, "--target", "sandbox", "--max-rejects", gate, "--output", "json")
    assert result.code == code
    if code == 4:
        assert result.object["requests"] == result.object["calls"]["delivered"] == 0
        assert f"max_rejects allows {gate}: " in result.err
        assert result.object["gates"] == [{"gate": "max_rejects", "allowed": gate, "found": 8}]


def test_4_then_a_higher_gate(project: Project) -> None:
    """What a gate held back is sent as it was prepared once the gate lets it pass."""
    job = project.people(100, bad=range(8))
    assert backfill("run", job, "--target", "sandbox", "--max-rejects", "0").code == 4
    result = backfill("run", job, "--target", "sandbox", "--output", "json")
    assert result.code == 3
    assert result.object["calls"]["delivered"] == 92


def test_5_canary_then_resume(project: Project, endpoint: str, key: str) -> None:
    """--canary stops after ten calls; `resume` finds the run, its endpoint and its rest by itself."""
    job = project.people(400)
    first = backfill("run", job, "--target", "segment", "--endpoint", endpoint, "--yes", "--canary", "--output", "json")
    assert first.code == 5, first.err
    assert first.object["calls"]["delivered"] == 10
    assert first.object["state"] == "stopped"
    assert "resume" in first.err
    rest = backfill("resume", "--yes", "--output", "json", "--state-dir", project.state)
    assert rest.code == 0, rest.err
    assert rest.object["calls"]["delivered"] == 400
    assert rest.object["live"] is True


def test_5_answer_that_is_neither(project: Project, key: str) -> None:
    """An answer that is neither success nor retry nor refusal stops the run, resumable."""
    job = project.people(100)
    with faulty("status=501,first=1") as sandbox:
        options = ["--target", "segment", "--endpoint", sandbox.endpoint, "--yes", "--output", "json"]
        stopped = backfill("run", job, *options)
        assert stopped.code == 5
        assert "501" in stopped.err
        assert identities_hold(stopped.object)
        assert backfill("run", job, *options).code == 0


def test_6_changed_mapping(project: Project, endpoint: str, key: str) -> None:
    """An edited job is refused for a live run, naming the field and the ways on; a comment is no edit."""
    job = project.people(20)
    options = ["--target", "segment", "--endpoint", endpoint, "--yes"]
    assert backfill("run", job, *options).code == 0
    text = job.read_text(encoding="utf-8")
    job.write_text("# a remark\n" + text, encoding="utf-8")
    assert backfill("run", job, *options).code == 0
    job.write_text(text.replace("age: age", "years: age"), encoding="utf-8")
    result = backfill("run", job, *options)
    assert result.code == 6
    assert "calls[0].traits.years" in result.err
    assert "generation: 2" in result.err


def test_6_changed_source(project: Project, endpoint: str, key: str) -> None:
    """A source with other bytes is refused by the name of its file, grown or of the same size; a touched one is not."""
    job = project.people(20)
    source = project.folder / "people.csv"
    options = ["--target", "segment", "--endpoint", endpoint, "--yes"]
    assert backfill("run", job, *options).code == 0
    source.touch()
    assert backfill("run", job, *options).code == 0
    source.write_bytes(source.read_bytes().replace(b"u000007", b"u000077"))
    same_size = backfill("run", job, *options)
    assert same_size.code == 6
    assert "people.csv" in same_size.err
    project.rows(21)
    assert backfill("run", job, *options).code == 6


def test_6_another_key(project: Project, endpoint: str, key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a key rotation the ids would be others: refused, with the id_scope to state."""
    job = project.people(20)
    options = ["--target", "segment", "--endpoint", endpoint, "--yes"]
    assert backfill("run", job, *options).code == 0
    monkeypatch.setenv("SEGMENT_WRITE_KEY", "another")
    result = backfill("run", job, *options)
    assert result.code == 6
    assert "id_scope" in result.err
    assert "another" not in result.err


def test_6_abandon(project: Project, endpoint: str, key: str) -> None:
    """--abandon gives up what a changed run has not sent; what it delivered stays left out."""
    job = project.people(30, bad=[1])
    options = ["--target", "segment", "--endpoint", endpoint, "--yes", "--output", "json"]
    assert backfill("run", job, *options, "--max-rejects", "0").code == 4
    project.rows(30)
    assert backfill("run", job, *options).code == 6
    assert backfill("run", job, *options, "--abandon", "--canary").code == 5
    given_up = backfill("run", job, *options, "--abandon")
    assert given_up.code == 0
    assert (given_up.object["calls"]["delivered"], given_up.object["calls"]["already_delivered"]) == (20, 10)


def test_sandbox_begins_afresh(project: Project) -> None:
    """For the sandbox a changed job is no refusal: it is prepared again."""
    job = project.people(20)
    backfill("run", job, "--target", "sandbox")
    project.rows(25)
    result = backfill("run", job, "--target", "sandbox", "--output", "json")
    assert result.code == 0
    assert result.object["calls"]["delivered"] == 25
    assert "people.csv was changed" in result.err


def test_7_run_is_held(project: Project) -> None:
    """Another process holds the run: exit 7 at once, naming it."""
    job = project.people(20)
    backfill("run", job, "--target", "sandbox")
    state = StateFolder(project.state)
    (run,) = state.runs()
    with state.lock(run.run_id):
        result = backfill("run", job, "--target", "sandbox")
    assert result.code == 7
    assert run.run_id in result.err


@pytest.mark.parametrize("status", [401, 403, 404])
def test_8_target_refuses(project: Project, key: str, status: int) -> None:
    """401, 403 and 404 stop the run at its first call."""
    with faulty(f"status={status}") as sandbox:
        options = ["--target", "segment", "--endpoint", sandbox.endpoint, "--yes", "--output", "json"]
        result = backfill("run", project.people(100), *options)
    assert result.code == 8
    assert result.object["requests"] == 1
    assert result.object["calls"]["delivered"] == 0


def test_8_then_the_right_key(project: Project, key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a wrong key nothing has arrived: the run can be given up for one with the right key."""
    job = project.people(100)
    with faulty("status=401") as sandbox:
        wrong = ["--target", "segment", "--endpoint", sandbox.endpoint, "--yes"]
        assert backfill("run", job, *wrong).code == 8
        monkeypatch.setenv("SEGMENT_WRITE_KEY", "theRightOne")
        refused = backfill("run", job, *wrong)
        assert refused.code == 6
        assert "--abandon" in refused.err
        assert backfill("run", job, *wrong, "--abandon").code == 8


@pytest.mark.parametrize("verb", ["check", "dry-run", "run"])
def test_9_source_is_missing(project: Project, verb: str) -> None:
    """A source that is not there."""
    job = project.people(5)
    (project.folder / "people.csv").unlink()
    options = ["--target", "sandbox"] if verb != "check" else []
    result = backfill(verb, job, *options)
    assert result.code == 9
    assert "people.csv" in result.err


def test_9_source_is_cut_off(project: Project) -> None:
    """A truncated compressed file is found before anything is sent."""
    job = project.people(2000)
    job.write_text(job.read_text(encoding="utf-8").replace("people.csv", "people.csv.gz"), encoding="utf-8")
    packed = gzip.compress((project.folder / "people.csv").read_bytes())
    (project.folder / "people.csv.gz").write_bytes(packed[:-100])
    result = backfill("run", job, "--target", "sandbox", "--output", "json")
    assert result.code == 9
    assert result.object["requests"] == 0


def test_precedence_over_several_jobs(project: Project) -> None:
    """A job that cannot be read does not keep the next from being prepared; the graver code stands for both."""
    broken, good = project.people(5, name="a"), project.people(5, name="b", bad=[1])
    (project.folder / "a.csv").unlink()
    result = backfill("run", broken, good, "--target", "sandbox", "--output", "json")
    assert result.code == 9
    assert [one["state"] for one in result.objects] == ["failed", "prepared"]
    assert [list(one) for one in result.objects] == [KEYS_OF_JSON, KEYS_OF_JSON]


def test_7_sandbox_store_is_held(project: Project) -> None:
    """A store in use is found out before anything is staged, and leaves no run behind."""
    job = project.people(20)
    state = StateFolder(project.state)
    state.make_usable()
    with Sandbox(project.state / "sandbox"):
        result = backfill("run", job, "--target", "sandbox")
    assert result.code == 7
    assert "--endpoint http://127.0.0.1:" in result.err
    assert state.runs() == []


@pytest.mark.parametrize("verb", ["check", "preview", "dry-run", "run"])
def test_2_names_that_are_not_utf_8(project: Project, verb: str) -> None:
    """A job file or state directory whose name cannot be written down is refused by name, not in the middle."""
    job = project.people(3)
    odd = Path(os.fsdecode(os.fsencode(project.folder) + b"/j\xfe.yaml"))
    odd.write_text(job.read_text("utf-8"), "utf-8")
    options = ["--target", "sandbox"] if verb == "run" else []
    for words in ([odd], *([[job, "--state-dir", odd.with_suffix("")]] if verb in ("dry-run", "run") else [])):
        result = backfill(verb, *words, *options)
        assert result.code == 2
        assert "the name is not UTF-8" in result.err
        assert "\\udcfe" in result.err
