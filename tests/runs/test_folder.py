"""Several jobs: all are prepared before the first is sent, and go on from where any process left them."""

from __future__ import annotations

import re
import signal
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from backfill.errors import ExitCode, StoppedError
from backfill.job import load_job
from backfill.pipeline import Options, RunContext, RunRequest, run_jobs
from backfill.pipeline.disk_forecast import forecast
from backfill.records import RunState
from backfill.sandbox import Sandbox
from backfill.sources import locate
from backfill.state import open_store
from backfill.targets import load_target
from tests.support.endpoints import faulty
from tests.support.projects import KEY, Project, Result, backfill
from tests.support.terminals import Terminal
from tests.support.waiting import until


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """Two jobs: people, and what they did, in a later phase."""
    monkeypatch.setenv("SEGMENT_WRITE_KEY", KEY)
    project = Project(tmp_path, {"SEGMENT_WRITE_KEY": KEY})
    project.people(300, name="people")
    later(project, 3_000)
    return project


def later(project: Project, rows: int, *, bad: tuple[int, ...] = ()) -> None:
    """The job of the second phase, by its name before the other."""
    job = project.people(rows, bad=bad, name="acts")
    job.write_text(
        job.read_text()
        .replace("type: identify", "type: track\n    event: {value: Acted}")
        .replace("traits:", "properties:")
    )


def states(project: Project) -> dict[str, tuple[RunState, float]]:
    """Where the runs stand, and when each was begun."""
    found = {}
    for run in open_store(project.state).runs():
        with run.read() as reader:
            status = reader.status()
        found[status.record.job_name] = status.state, status.record.created_at
    return found


def live(sandbox: Sandbox) -> list[str]:
    """The options of a live run to that endpoint, without a question."""
    return ["--target", "segment", "--endpoint", sandbox.endpoint, "--yes"]


def finished(told: Result) -> list[tuple[str, int, int]]:
    """Job, calls delivered and requests of each object; all are finished."""
    assert {one["state"] for one in told.objects} == {"finished"}
    return [(one["job"], one["calls"]["delivered"], one["requests"]) for one in told.objects]


def wait_for(sandbox: Sandbox, calls: int, process: subprocess.Popen[str]) -> None:
    """Wait until the endpoint has so many calls."""
    until(lambda: sandbox.stats()["received"] >= calls, process)


def test_killed_between_prepare_and_deliver(project: Project) -> None:
    """At the question all is prepared and nothing sent; the same command sends what was prepared then."""
    with Sandbox() as sandbox:
        options = ["--target", "segment", "--endpoint", sandbox.endpoint]
        terminal = Terminal(project, "run", project.folder, *options, columns=80)
        text = terminal.read_until(lambda text: "[y/N]" in text)
        terminal.process.kill()
        terminal.end()
        assert text.count("[y/N]") == 1
        assert "Send 3,300 calls of 2 jobs?" in text
        assert sandbox.stats()["requests"] == 0
        before = states(project)
        assert {state for state, _ in before.values()} == {RunState.PREPARED}
        told = backfill("run", project.folder, *live(sandbox), "--output", "json")
        assert told.code == 0
        assert finished(told) == [("people", 300, 2), ("acts", 3_000, 3)]
        assert {job: begun for job, (_, begun) in states(project).items()} == {
            job: at for job, (_, at) in before.items()
        }
        assert (sandbox.stats()["received"], sandbox.stats()["duplicate"]) == (3_300, 0)


def test_killed_in_the_second_phase(project: Project) -> None:
    """What is finished sends no request, the rest of the second phase is sent."""
    later(project, 8_000)
    with Sandbox() as sandbox:
        process = project.process("run", project.folder, *live(sandbox), "--rate", "4000/s")
        wait_for(sandbox, 310, process)
        process.kill()
        process.wait()
        stands = {job: state for job, (state, _) in states(project).items()}
        assert stands == {"people": RunState.FINISHED, "acts": RunState.DELIVERING}
        told = backfill("run", project.folder, *live(sandbox), "--output", "json")
        assert told.code == 0
        (people, acts) = finished(told)
        assert people == ("people", 300, 0)
        assert acts[1] == 8_000
        assert sandbox.stats()["received"] - sandbox.stats()["duplicate"] == 8_300


def test_killed_while_the_second_is_prepared(project: Project) -> None:
    """The first keeps its plan, the second goes on."""
    later(project, 200_000)
    with Sandbox() as sandbox:
        process = project.process("run", project.folder, *live(sandbox))
        until(lambda: states(project).get("people", (None, 0))[0] is RunState.PREPARED, process)
        process.kill()
        process.wait()
        begun = states(project)["people"]
        assert sandbox.stats()["requests"] == 0
        later(project, 3_000)
        told = backfill("run", project.folder, *live(sandbox), "--output", "json")
        assert finished(told) == [("people", 300, 2), ("acts", 3_000, 3)]
        assert states(project)["people"][1] == begun[1]


def test_a_gate_of_the_last_job_holds_back_the_first(project: Project) -> None:
    """Nothing of any job is sent; with a wider gate the plans are sent as they are."""
    later(project, 3_000, bad=(5, 6))
    with Sandbox() as sandbox:
        told = backfill("run", project.folder, *live(sandbox), "--max-rejects", "1", "--output", "json")
        assert told.code == ExitCode.GATE
        assert sandbox.stats()["requests"] == 0
        assert sorted((one["job"], one["state"], one["calls"]["pending"]) for one in told.objects) == [
            ("acts", "prepared", 2_998),
            ("people", "prepared", 300),
        ]
        assert "Nothing of any job was sent, since all are or none: see acts." in told.err
        told = backfill("run", project.folder, *live(sandbox), "--max-rejects", "2", "--output", "json")
        assert told.code == ExitCode.REJECTS
        assert sandbox.stats()["received"] == 3_298


def test_a_source_that_is_missing_holds_back_all(project: Project) -> None:
    """What can be prepared is, and is resumed by itself or sent by the next run of the folder."""
    (project.folder / "acts.csv").rename(project.folder / "elsewhere.csv")
    with Sandbox() as sandbox:
        told = backfill("run", project.folder, *live(sandbox))
        assert told.code == ExitCode.SOURCE
        assert sandbox.stats()["requests"] == 0
        assert {job: state for job, (state, _) in states(project).items()} == {"people": RunState.PREPARED}
        assert re.search(r"^acts +2 +- +- +- +-$", told.err, re.MULTILINE)
        assert backfill("resume", project.folder / "people.yaml", *live(sandbox)).code == 0
        (project.folder / "elsewhere.csv").rename(project.folder / "acts.csv")
        told = backfill("run", project.folder, *live(sandbox), "--output", "json")
        assert finished(told) == [("people", 300, 0), ("acts", 3_000, 3)]


def test_a_lock_keeps_all_from_being_read(project: Project) -> None:
    """Another process at work on one run: nothing is begun."""
    store = open_store(project.state)
    store.make_usable()
    with Sandbox() as sandbox:
        target = live_target(sandbox)
        run = store.find("acts", target.kind, target.identity, 1)
        with store.lock(run.run_id):
            told = backfill("run", project.folder, *live(sandbox), "--output", "json")
        assert told.code == ExitCode.LOCKED
        assert [(one["job"], one["state"]) for one in told.objects] == [("acts", "failed"), ("people", "interrupted")]
        assert states(project) == {}


def test_a_no_is_for_all(project: Project) -> None:
    """One question, one answer; what was prepared is kept."""
    with Sandbox() as sandbox:
        options = ["--target", "segment", "--endpoint", sandbox.endpoint]
        terminal = Terminal(project, "run", project.folder, *options, columns=80)
        terminal.read_until(lambda text: "[y/N]" in text)
        terminal.type("n\n")
        code, text = terminal.end()
        assert code == 130
        assert text.count("nothing was sent, as the answer was no".capitalize()) == 1
        assert sandbox.stats()["requests"] == 0
        assert [len(line) <= 80 for line in text.splitlines() if "jobs  " in line] == [True] * 2
        assert "  jobs      people, acts\n" in text
        assert "the same command goes on with it" in text
        assert "people -> segment" not in text


def test_canaries_go_together(project: Project) -> None:
    """The first batch of each job, whatever its phase."""
    with Sandbox() as sandbox:
        told = backfill("run", project.folder, *live(sandbox), "--canary", "--output", "json")
        assert told.code == ExitCode.STOPPED
        assert [one["calls"]["delivered"] for one in told.objects] == [10, 10]
        project.people(20, name="late")
        told = backfill("run", project.folder, *live(sandbox), "--canary", "--output", "json")
        assert told.code == ExitCode.STOPPED
        assert sorted((one["job"], one["requests"]) for one in told.objects) == [
            ("acts", 0),
            ("late", 1),
            ("people", 0),
        ]
        (project.folder / "late.yaml").unlink()
        told = backfill("run", project.folder, *live(sandbox), "--output", "json")
        assert [one[1] for one in finished(told)] == [300, 3_000]


def test_interrupted_in_the_first_phase(project: Project) -> None:
    """Each job has its object; the second is prepared, and nothing of it was sent."""
    project.people(20_000, name="people")
    with Sandbox() as sandbox:
        process = project.process("run", project.folder, *live(sandbox), "--rate", "2000/s", "--output", "json")
        wait_for(sandbox, 10, process)
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=60)
        told = Result(process.returncode, out, err)
        assert told.code == 143
        assert [(one["job"], one["state"]) for one in told.objects] == [("people", "stopped"), ("acts", "prepared")]


def test_an_outage_in_the_first_phase(project: Project) -> None:
    """The second phase waits; it is told why."""
    with faulty("status=404") as sandbox:
        told = backfill("run", project.folder, *live(sandbox), "--output", "json")
        assert told.code == ExitCode.TARGET_REFUSED
        assert [(one["job"], one["state"]) for one in told.objects] == [("people", "stopped"), ("acts", "prepared")]
        assert "acts is not begun: people, of an earlier phase, is not finished." in told.err


def test_a_changed_job_holds_back_the_others(project: Project) -> None:
    """A run that was prepared from something else is refused before anything of any job is sent."""
    with Sandbox() as sandbox:
        assert backfill("run", project.folder / "acts.yaml", *live(sandbox), "--canary").code == ExitCode.STOPPED
        later(project, 3_001)
        told = backfill("run", project.folder, *live(sandbox))
        assert told.code == ExitCode.REFUSED
        assert sandbox.stats()["received"] == 10
        assert states(project)["people"][0] is RunState.PREPARED


def live_target(sandbox: Sandbox) -> Any:
    """The target of `live`."""
    return load_target("segment", targets_file=None, endpoint=sandbox.endpoint, environ={"SEGMENT_WRITE_KEY": KEY})


def test_the_disk_has_to_take_all(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each alone would fit; none is staged."""
    jobs = [load_job(project.folder / f"{name}.yaml") for name in ("people", "acts")]
    free = max(forecast(job, locate(job)).bytes for job in jobs) + 1
    monkeypatch.setattr("backfill.state.place.shutil.disk_usage", lambda _folder: SimpleNamespace(free=free))
    context = RunContext(open_store(project.state))
    with Sandbox() as sandbox:
        target = live_target(sandbox)
        ends = [end for _, end in run_jobs([RunRequest(job, target, Options(), context) for job in jobs])]
    assert isinstance(ends[0], StoppedError)
    assert ends[1:] == [None]
    assert {state for state, _ in states(project).values()} == {RunState.STAGING}
