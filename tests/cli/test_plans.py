"""The command line: plans that dry runs name, and runs that send nothing but such a plan."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from backfill import __version__
from backfill.cli.here import display_path
from tests.support.projects import KEY, Project, backfill

SANDBOX = ("--target", "sandbox")


def replaced(path: Path, old: str, new: str) -> None:
    """Change a text in a file."""
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")


def plan_of(job: Path, *options: str) -> str:
    """The id of the plan of a dry run."""
    plan: str = backfill("dry-run", job, *options, "--output", "json").object["plan"]["id"]
    return plan


def test_a_dry_run_names_its_plan(project: Project) -> None:
    """The plan is named with its digest, the job's fingerprint, the version and the source; `status` shows it again."""
    job = project.people(120)
    dry = backfill("dry-run", job, "--output", "json").object
    plan = dry["plan"]
    assert plan["digest"].startswith(plan["id"])
    assert len(plan["id"]) == 12
    assert plan["backfill_version"] == __version__
    assert plan["id_scope"] == "sandbox"
    assert [file["name"] for file in plan["sources"]] == ["people.csv"]
    text = backfill("dry-run", job)
    assert f"  plan      {plan['id']}, by backfill {__version__}, ids of the scope sandbox\n" in text.out
    assert plan["digest"] in text.out
    assert plan["job_fingerprint"] in text.out
    assert f"run {display_path(job)} --plan {plan['id']} --target sandbox`" in text.out
    assert plan["id"] in backfill("status", dry["run_id"], "--state-dir", project.state).out
    run = backfill("run", job, *SANDBOX, "--plan", plan["id"], "--output", "json")
    assert run.code == 0
    assert run.object["calls"]["delivered"] == 120
    assert run.object["plan"]["digest"] == plan["digest"]
    assert f"plan      {plan['id']}" in backfill("status", job).out


def test_a_plan_without_calls_is_not_to_be_sent(project: Project) -> None:
    """No command is named that would send nothing."""
    told = backfill("dry-run", project.people(3, bad=[0, 1, 2]))
    assert "  plan      " in told.out
    assert "send it" not in told.out


def test_a_plan_is_sent_by_the_command_that_is_told(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """With sandbox ids to the sandbox, whatever target was named, and how to plan with live ids; else to the target."""
    job, target = project.people(20), ("--target", "segment")
    monkeypatch.delenv("SEGMENT_WRITE_KEY", raising=False)
    text = backfill("dry-run", job, *target).out
    sent = re.search(r"`backfill (run \S+ --plan \w+ --target sandbox)`", text)
    assert sent, text
    assert backfill(*sent[1].split()).code == 0
    assert f"`backfill dry-run {display_path(job)} --target segment` plans with them" in text
    assert "--target NAME` plans with them" in backfill("dry-run", job).out
    monkeypatch.setenv("SEGMENT_WRITE_KEY", KEY)
    live = backfill("dry-run", job, *target).out
    assert re.search(r"`backfill run \S+ --plan \w+ --target segment`", live)
    assert "live ids" not in live


def test_a_plan_may_be_named_where_nothing_is_known_of_it(project: Project) -> None:
    """The digest alone is compared where the dry run is not on this machine: equal is sent, other is refused."""
    job = project.people(20)
    plan = plan_of(job)
    for path in sorted((project.state / "dry-runs").rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    other = backfill("run", job, *SANDBOX, "--plan", "0123456789ab", "--output", "json")
    assert other.code == 6
    assert other.object["requests"] == 0
    assert f"is not the plan 0123456789ab: its digest begins with {plan}" in other.err
    assert backfill("run", job, *SANDBOX, "--plan", plan).code == 0
    assert backfill("run", job, *SANDBOX, "--plan", plan).code == 0  # finished: sends nothing again
    finished = backfill("run", job, *SANDBOX, "--plan", "0123456789ab")
    assert finished.code == 6


def edit_mapping(project: Project) -> None:
    """Another field of the job."""
    replaced(project.folder / "people.yaml", "calls:", "where: age <> 1\ncalls:")


def edit_source(project: Project) -> None:
    """Another row in the source."""
    with (project.folder / "people.csv").open("a", encoding="utf-8") as source:
        source.write("u999,x@example.org,2023-05-01 10:00:00,5\n")


@pytest.mark.parametrize(
    ("edit", "told"), [(edit_mapping, "where was added"), (edit_source, "people.csv was changed (+")]
)
def test_what_differs_from_a_plan_is_said(project: Project, edit: Callable[[Project], None], told: str) -> None:
    """Exit 6 before anything is prepared, naming the field or the file; nothing is sent."""
    job = project.people(50)
    plan = plan_of(job)
    edit(project)
    result = backfill("run", job, *SANDBOX, "--plan", plan, "--output", "json")
    assert result.code == 6
    assert f"the plan {plan} was made of something else" in result.err
    assert told in result.err
    assert result.object["state"] == "failed"
    assert not (project.state / "runs").exists() or not list((project.state / "runs").iterdir())


def test_a_plan_of_the_sandbox_is_not_for_a_live_target(project: Project, endpoint: str, key: str) -> None:
    """The ids of the sandbox are not the live ones: the plan of the live target is sent, the other refused."""
    job = project.people(30)
    live = ("--target", "segment", "--endpoint", endpoint)
    rehearsed = plan_of(job)
    refused = backfill("run", job, *live, "--yes", "--plan", rehearsed)
    assert refused.code == 6
    assert "a plan of the sandbox's ids cannot be sent to a live target" in refused.err
    sent = backfill("run", job, *live, "--yes", "--plan", plan_of(job, *live), "--output", "json")
    assert sent.code == 0, sent.err
    assert sent.object["calls"]["delivered"] == 30


def test_limits_are_compared(project: Project) -> None:
    """A dry run against other limits, or of the first rows alone, is no plan of this run."""
    job = project.people(60)
    first = plan_of(job, "--limit", "10")
    refused = backfill("run", job, *SANDBOX, "--plan", first)
    assert refused.code == 6
    assert "it is of rows 1 to 10 alone, as --limit asked" in refused.err
    plan = plan_of(job)
    (kept,) = project.state.glob("dry-runs/runs/*/plan.json")
    replaced(kept, '"batch_calls": 2500', '"batch_calls": 25')
    refused = backfill("run", job, *SANDBOX, "--plan", plan)
    assert refused.code == 6
    assert "the target's limit batch_calls was 25, now it is 2,500" in refused.err


def test_another_version_between_plan_and_run(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """An upgrade makes other bytes, as calls name the version: refused, and said; nothing is sent."""
    job = project.people(20)
    plan = plan_of(job)
    monkeypatch.setattr("backfill.pipeline.new_run.__version__", "99.0")
    result = backfill("run", job, *SANDBOX, "--plan", plan, "--output", "json")
    assert result.code == 6
    assert f"made by backfill {__version__}, whose calls say so, and this is 99.0" in result.err
    assert result.object["requests"] == 0
    assert result.object["state"] == "prepared"
    assert backfill("resume", "--state-dir", project.state, "--plan", plan).code == 6


@pytest.mark.parametrize("named", [["people"], ["0123456789ab", "0123456789ac"]])
def test_what_is_no_plan_is_refused(project: Project, named: list[str]) -> None:
    """--plan takes a plan's id, one for each job."""
    options = [word for one in named for word in ("--plan", one)]
    assert backfill("run", project.people(5), *SANDBOX, *options).code == 2


def test_plans_of_two_jobs(project: Project) -> None:
    """Each job has its plan, in any order; a plan of another job is refused."""
    one, two = project.people(10), project.people(11, name="others")
    plans = [plan_of(two), plan_of(one)]
    result = backfill("run", one, two, *SANDBOX, *("--plan", plans[0], "--plan", plans[1]))
    assert result.code == 0, result.err
    assert "TOTAL of 2 jobs" in result.out
    wrong = backfill("run", one, *SANDBOX, "--plan", plans[0])
    assert wrong.code == 6
    assert "no --plan is of people" in wrong.err


def test_gates_are_no_difference_of_jobs(project: Project) -> None:
    """What of the job makes other calls is named, and nothing else; what is no plan is refused, by `resume` too."""
    job = project.people(12)
    plan = plan_of(job)
    replaced(job, "calls:", "gates: {max_calls: 50}\nwhere: age <> 1\ncalls:")
    refused = backfill("run", job, *SANDBOX, "--plan", plan)
    assert f"the plan {plan} was made of something else: where was added; nothing was sent" in refused.err
    assert backfill("run", job, *SANDBOX, "--canary").code == 5
    assert backfill("resume", "--state-dir", project.state, "--plan", "people").code == 2


def test_a_live_confirmation_names_the_plan(project: Project, endpoint: str, key: str) -> None:
    """What is confirmed is the plan that was agreed to, by its id."""
    job = project.people(12)
    live = ("--target", "segment", "--endpoint", endpoint)
    plan = plan_of(job, *live)
    assert f"\n  plan      {plan}\n" in backfill("run", job, *live, "--yes", "--plan", plan).err
