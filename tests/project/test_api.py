"""The program as a library: what the verbs promise, without printing, asking or raising what a ledger tells."""

from __future__ import annotations

import re
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

import backfill
from backfill import Job, dry_run, plans, run, runs
from backfill.errors import ExitCode, GateError, InterruptedRunError, JobError, RefusedError, UsageError
from backfill.sandbox import Sandbox
from tests.support.projects import Project
from tests.support.projects import backfill as typed


@pytest.fixture
def job(project: Project, monkeypatch: pytest.MonkeyPatch) -> Job:
    """Thirty people, of whom one cannot be sent; the folder is the current one."""
    monkeypatch.chdir(project.folder)
    return Job.load(project.people(30, bad=[3]))


def test_a_plan_is_made_and_sent(job: Job, capsys: pytest.CaptureFixture[str]) -> None:
    """Planned, found by its id, sent as it was, not sent again; the same as the verbs say; nothing is printed."""
    planned = dry_run(job, gates={"max_rejects": "5%"})
    assert (planned.exit_code, planned.ok, planned.problems) == (ExitCode.REJECTS, False, {"BF117": 1})
    assert planned.counts.pending == 29
    assert [one.plan for one in plans()] == [planned.plan]
    sent = run(job, plan=planned.plan).check()
    assert (sent.exit_code, sent.state, sent.counts.delivered) == (ExitCode.REJECTS, "finished", 29)
    assert run(job).run_id == sent.run_id
    [known] = runs()
    assert (known.run_id, known.exit_code, known.plan) == (sent.run_id, ExitCode.REJECTS, planned.plan)
    assert known.details()["calls"]["delivered"] == 29
    assert Path(known.ledger).is_file()
    assert [event["calls"] for event in planned.details()["plan"]["events"]] == [29]
    assert capsys.readouterr() == ("", "")
    told = typed("status", sent.run_id, "--output", "json").object
    assert (told["run_id"], told["calls"]["delivered"], told["target"]) == (sent.run_id, 29, "sandbox")


def test_what_a_run_ends_with_is_told(job: Job) -> None:
    """A gate, another plan: as an outcome, raised by `check` alone."""
    hit = dry_run(job, gates={"max_rejects": "0"})
    assert hit.exit_code is ExitCode.GATE
    with pytest.raises(GateError):
        hit.check()
    other = run(job, plan="0123456789ab")
    assert (other.exit_code, other.counts.delivered) == (ExitCode.REFUSED, 0)
    with pytest.raises(RefusedError):
        other.check()


def test_what_makes_a_run_impossible_is_raised(job: Job, project: Project) -> None:
    """Before anything is done."""
    with pytest.raises(UsageError, match="there is no target"):
        run(job, target="nowhere")
    with pytest.raises(UsageError, match="needs a write key"):
        run(job, target="segment", live=True)
    (project.folder / "broken.yaml").write_text("version: 1\n")
    with pytest.raises(JobError):
        Job.load("broken.yaml")
    job.path.write_text(job.path.read_text().replace("userId: id", "userId: ids"))
    with pytest.raises(JobError):
        dry_run(Job.load(job.path))
    assert plans() == []


def test_a_live_target_is_said_to_be(job: Job, key: str, sandbox: Sandbox, project: Project) -> None:
    """It is the place of the confirmation."""
    profile = f"{{kind: segment, endpoint: '{sandbox.endpoint}', rate: unlimited}}"
    (project.folder / "targets.yaml").write_text(f"version: 1\ntargets:\n  prod: {profile}\n")
    with pytest.raises(UsageError, match="live target"):
        run(job, target="prod")
    assert sandbox.stats()["received"] == 0
    sent = run(job, target="prod", live=True, canary=True)
    assert (sent.exit_code, sent.counts.delivered) == (ExitCode.STOPPED, 10)
    assert run(job, target="prod", live=True).counts.delivered == 29
    assert sandbox.stats()["accepted"] == 29


def test_it_is_stopped_from_outside(job: Job) -> None:
    """An event in place of a signal; the same call goes on."""
    stop = threading.Event()
    stop.set()
    with pytest.raises(InterruptedRunError):
        run(job, stop=stop)
    assert run(job).counts.delivered == 29


def same(function: Callable[..., Any] | None = None, **_: object) -> Any:
    """A decorator that does nothing, with and without arguments."""
    return function if function is not None else same


def drivers(repository: Path) -> dict[str, str]:
    """The Python blocks of the page, by their headings."""
    text = (repository / "docs" / "api.md").read_text("utf-8")
    return dict(re.findall(r"^## ([^\n]+)\n(?:(?!^## ).)*?^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL))


@pytest.mark.parametrize("name", ["Airflow", "Dagster", "A notebook"])
def test_the_drivers_of_the_page_run(
    repository: Path, name: str, key: str, sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As they stand, without a scheduler: what they take of it are decorators and a record."""
    monkeypatch.chdir(tmp_path)
    Project(tmp_path).people(20, name="orders")
    profile = f"{{kind: segment, endpoint: '{sandbox.endpoint}', rate: unlimited}}"
    (tmp_path / "targets.yaml").write_text(f"version: 1\ntargets:\n  prod: {profile}\n")
    airflow, sdk, dagster = ModuleType("airflow"), ModuleType("airflow.sdk"), ModuleType("dagster")
    vars(sdk).update(dag=same, task=same)
    vars(dagster).update(asset=same, MaterializeResult=SimpleNamespace)
    for module in (airflow, sdk, dagster):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    names: dict[str, Any] = {"__name__": "driver"}
    exec(compile(drivers(repository)[name], name, "exec", dont_inherit=True), names)
    if name == "Dagster":
        assert names["orders_in_segment"]().metadata == {"delivered": 20, "rejected": 0}
    assert sandbox.stats()["accepted"] == (0 if name == "A notebook" else 20)
    assert len(drivers(repository)[name].strip().splitlines()) <= 18


def test_names_and_types() -> None:
    """What is promised is there, loads nothing before it is used, and is typed for others."""
    assert set(backfill.__all__) == {"Job", "Outcome", "__version__", "dry_run", "plans", "run", "runs"}
    assert (Path(backfill.__file__).parent / "py.typed").is_file()
    heavy = "{'polars', 'duckdb', 'pyarrow', 'numpy', 'pydantic', 'ruamel', 'httpx'} & set(sys.modules)"
    code = f"import sys; from backfill import Job, dry_run, run, plans; sys.exit(bool({heavy}))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
