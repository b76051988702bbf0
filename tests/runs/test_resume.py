"""`resume`: the run's own target wherever the run is by now, and a canary that was sent already."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from backfill.sandbox import FaultScript, Sandbox
from tests.support.projects import KEY, Project, Result, backfill

TARGETS = """\
version: 1
targets:
  prod: {{kind: segment, endpoint: "{url}", write_key: "${{SEGMENT_WRITE_KEY}}", id_scope: shop}}
  twin: {{kind: segment, endpoint: "{other}", write_key: "${{SEGMENT_WRITE_KEY}}", id_scope: shop}}
"""
ROWS = 40
CANARY = 10


@pytest.fixture
def target(monkeypatch: pytest.MonkeyPatch) -> Iterator[Sandbox]:
    """A live target."""
    monkeypatch.setenv("SEGMENT_WRITE_KEY", KEY)
    with Sandbox() as sandbox:
        yield sandbox


@pytest.fixture
def project(tmp_path: Path, target: Sandbox) -> Project:
    """A project whose profiles are beside its state directory, above the folder of the job; its run has stopped."""
    project = Project(tmp_path / "here")
    (project.folder / "jobs").mkdir(parents=True)
    targets = TARGETS.format(url=target.endpoint, other="http://127.0.0.1:9")
    (project.folder / "targets.yaml").write_text(targets, encoding="utf-8")
    job = Project(project.folder / "jobs").people(ROWS)
    assert backfill("run", job, "--target", "prod", "--canary", "--yes").code == 5
    assert received(target) == CANARY
    return project


def received(target: Sandbox) -> int:
    """How many calls the target was sent."""
    return int(target.stats()["received"])


def resume(state: Path, *options: str) -> Result:
    """Go on with the only run of a state directory."""
    return backfill("resume", "--state-dir", state, "--yes", "--rate", "unlimited", *options)


# ------------------------------------------------------------------------------------------------------- elsewhere


def test_moved_as_a_whole(project: Project, target: Sandbox, tmp_path: Path) -> None:
    """On another machine the job's folder is not there: the profiles beside the state directory are found."""
    project.folder.rename(tmp_path / "there")
    assert resume(tmp_path / "there" / ".backfill").code == 0
    assert received(target) == ROWS


def test_only_the_state_was_moved(
    project: Project, target: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor are they beside the state directory: those from the current directory upward are taken."""
    now = tmp_path / "now"
    (now / "below").mkdir(parents=True)
    shutil.move(project.folder / "targets.yaml", now)
    shutil.move(project.state, tmp_path / "elsewhere" / ".backfill")
    shutil.rmtree(project.folder)
    assert resume(tmp_path / "elsewhere" / ".backfill").code == 2
    monkeypatch.chdir(now / "below")
    assert resume(tmp_path / "elsewhere" / ".backfill").code == 0
    assert received(target) == ROWS


def test_the_jobs_own_profiles_come_first(
    project: Project, target: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the job's folder is there, nobody looks into a file of another project."""
    now = tmp_path / "now"
    now.mkdir()
    (now / "targets.yaml").write_text("version: 1\ntargets: {prod: {kind: sandbox}}\n", encoding="utf-8")
    shutil.move(project.state, now)
    monkeypatch.chdir(now)
    assert resume(now / ".backfill").code == 0
    assert received(target) == ROWS


# -------------------------------------------------------------------------------------------------- the run's target


def test_the_variable_is_for_new_runs(project: Project, target: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """BACKFILL_TARGET does not lead a run elsewhere that has a target."""
    monkeypatch.setenv("BACKFILL_TARGET", "sandbox")
    assert resume(project.state).code == 0
    assert received(target) == ROWS


@pytest.mark.parametrize(
    "said",
    [["--target", "twin"], ["--target", "sandbox"], ["--endpoint", "http://127.0.0.1:9"]],
    ids=" ".join,
)
def test_what_is_said_is_compared(project: Project, target: Sandbox, said: list[str]) -> None:
    """Another profile's own endpoint is compared, of the same kind and scope as well; nothing is sent."""
    result = resume(project.state, *said)
    assert result.code == 6, result.err
    assert "was prepared for segment http" in result.err
    assert received(target) == CANARY


@pytest.mark.parametrize("said", [["--target", "prod"], ["--target", "twin", "--endpoint"]], ids=lambda said: said[1])
def test_said_and_the_same(project: Project, target: Sandbox, said: list[str]) -> None:
    """The run's own target may be said, and a profile that leads there."""
    assert resume(project.state, *said, *([target.endpoint] if "--endpoint" in said else [])).code == 0
    assert received(target) == ROWS


def test_an_endpoint_stays_with_its_profile(tmp_path: Path, target: Sandbox) -> None:
    """A run that was begun with --endpoint goes on there when its target is named again."""
    job = Project(tmp_path).people(ROWS)
    words = ["--target", "segment", "--endpoint", target.endpoint, "--canary", "--yes"]
    assert backfill("run", job, *words).code == 5
    assert resume(tmp_path / ".backfill", "--target", "segment").code == 0
    assert received(target) == ROWS


def test_help_tells_the_default() -> None:
    """The default is the run's own target, and no variable."""
    text = " ".join(backfill("resume", "--help").out.split())
    assert "[default: the run's]" in text
    assert "default: sandbox" not in text


# ---------------------------------------------------------------------------------------------------- canary again


@pytest.mark.parametrize("verb", ["run", "resume"])
def test_canary_again(project: Project, target: Sandbox, verb: str) -> None:
    """The first batch was sent: that is said before anybody is asked, nothing is sent, and how to go on is told."""
    job = str(project.folder / "jobs" / "people.yaml")
    words = {"run": ["run", job, "--target", "prod"], "resume": ["resume", "--state-dir", str(project.state)]}[verb]
    result = backfill(*words, "--canary", "--yes", "--output", "json")
    assert result.code == 5
    assert "calls were sent before, 10 calls of this run were received; nothing was sent now" in result.err
    assert "where --canary is left out" in result.err
    assert "LIVE" not in result.err
    assert result.object["requests"] == 0
    assert result.object["calls"]["pending"] == ROWS - CANARY
    assert received(target) == CANARY
    assert backfill(*words, "--yes").code == 0
    assert received(target) == ROWS
    finished = backfill("run", job, "--target", "prod", "--canary", "--yes")
    assert finished.code == 0  # there is nothing left that a canary could keep back


def test_refused_calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before the rest is sent, a call that the target refused is told from those that the checks rejected."""
    monkeypatch.setenv("SEGMENT_WRITE_KEY", KEY)
    job = Project(tmp_path).people(ROWS, bad=[20, 21])
    with Sandbox(faults=FaultScript.parse(["status=400,holding=u000003"])) as sandbox:
        words = ["--target", "segment", "--endpoint", sandbox.endpoint, "--yes"]
        canary = backfill("run", job, *words, "--canary")
        assert canary.code == 5
        assert "9 calls were received" in canary.err
        again = resume(tmp_path / ".backfill", "--canary", "--retry-rejected")
        assert "nothing was sent now" in again.err
        rest = resume(tmp_path / ".backfill")
        assert rest.code == 3
        assert re.search(r"left out +2 calls rejected by the checks, 1 call refused by the target before\n", rest.err)
        over = resume(tmp_path / ".backfill", "--canary", "--retry-rejected")
        assert over.code == 5
        retried = resume(tmp_path / ".backfill", "--retry-rejected")
        assert retried.code == 3
        assert re.search(r"left out +2 calls rejected by the checks\n", retried.err)
        assert "1 call that the target refused is tried again." in retried.err
