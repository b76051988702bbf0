"""The command line: two plans compared, call by call and field by field, and what may be told once bytes are gone."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from backfill.pipeline import earlier_plans, plan_diff
from tests.support.projects import Project, backfill

SANDBOX = ("--target", "sandbox")


def edited(path: Path, *pairs: tuple[str, str]) -> None:
    """Change texts in a file."""
    text = path.read_text(encoding="utf-8")
    for old, new in pairs:
        assert old in text
        text = text.replace(old, new)
    path.write_text(text, encoding="utf-8")


@pytest.fixture
def job(project: Project) -> Path:
    """A job of two dry runs: then one row was gone, one new, two had another email, and a trait another name."""
    job = project.people(300)
    backfill("dry-run", job)
    edited(
        project.folder / "people.csv",
        ("u000007,7@example.org,2023-05-08 10:00:00,7\n", ""),
        ("u000008,8@example", "u000008,eight@example"),
        ("u000009,9@example", "u000009,@example"),
    )
    with (project.folder / "people.csv").open("a", encoding="utf-8") as source:
        source.write("u999,new@example.org,2023-05-01 10:00:00,5\n")
    backfill("dry-run", job)
    return job


def test_a_job_without_a_dry_run(project: Project, job: Path) -> None:
    """Dry runs of other jobs are no help: the command that makes one is named."""
    text = job.read_text("utf-8")
    other = job.with_name("others.yaml")
    other.write_text(text.replace("name: people", "name: others", 1), "utf-8")
    refused = backfill("diff", other)
    assert refused.code == 2
    assert f"Hint: `backfill dry-run {other}` makes one" in refused.err


def test_the_last_two_dry_runs(project: Project, job: Path) -> None:
    """Calls added, gone and changed are counted, sampled, and told by field, before and after."""
    found = backfill("diff", job, "--output", "json").object
    assert found["calls"] == {"before": 300, "after": 300, "same": 297, "changed": 2, "added": 1, "gone": 1}
    assert found["by_call"] == {"identify": {"changed": 2, "added": 1, "gone": 1}}
    (basis,) = found["basis"]
    assert basis.startswith("people.csv was changed (")
    (email,) = found["fields"]
    assert (email["field"], email["calls"]) == ("traits.email", 2)
    assert [(one["before"], one["after"]) for one in email["samples"]] == [
        ('"8@example.org"', '"eight@example.org"'),
        ('"9@example.org"', '"@example.org"'),
    ]
    assert [call["userId"] for call in found["samples"]["added"]] == ["u999"]
    assert [call["userId"] for call in found["samples"]["gone"]] == ["u000007"]
    assert found["notes"] == []
    text = backfill("diff", job).out
    assert "  calls     300 before, 300 after: 297 the same, 2 changed, 1 added, 1 gone\n" in text
    assert '      "8@example.org" -> "eight@example.org"\n' in text
    assert max(map(len, text.splitlines())) <= 80


def test_an_edit_of_the_mapping(project: Project, job: Path) -> None:
    """The plan before the edit keeps its rows: every member that has come or gone is told, and in how many calls."""
    edited(job, ("{email: email, age: age}", "{email: email, years: age}"))
    backfill("dry-run", job)
    found = backfill("diff", job, "--output", "json").object
    assert found["calls"]["changed"] == 300
    assert [(one["field"], one["calls"]) for one in found["fields"]] == [("traits.age", 300), ("traits.years", 300)]
    assert found["fields"][0]["samples"][0]["after"] is None
    assert found["basis"] == ["calls[0].traits.age was removed", "calls[0].traits.years was added"]
    few = backfill("diff", job, "--compare", "10", "--output", "json").object
    assert (few["compared"], few["fields"][0]["calls"]) == (10, 10)
    assert "fields, of the first 10 of 300 changed calls" in backfill("diff", job, "--compare", "10").out


def test_with_a_run_and_what_it_delivered(project: Project, job: Path) -> None:
    """The plan of a run is that of the dry run; of a canary only what was delivered is there."""
    assert backfill("run", job, *SANDBOX, "--canary").code == 5
    dry = backfill("status", job, "--dry-run", "--output", "json").object["plan"]["id"]
    run = backfill("status", job, "--output", "json").object["run_id"]
    state = ("--state-dir", project.state, "--output", "json")
    same = backfill("diff", dry, run, *state).object["calls"]
    assert same == {"before": 300, "after": 300, "same": 300, "changed": 0, "added": 0, "gone": 0}
    part = backfill("diff", dry, run, "--delivered", *state).object["calls"]
    assert part == {"before": 300, "after": 10, "same": 10, "changed": 0, "added": 0, "gone": 290}
    assert backfill("diff", run, dry, "--delivered", *state).code == 2


def test_once_the_bytes_are_gone(project: Project, job: Path) -> None:
    """Counts stay, as ids and hashes are kept; the fields cannot be told, which is said."""
    shutil.rmtree(next(project.state.glob("dry-runs/earlier/*/snapshot")))
    found = backfill("diff", job, "--output", "json").object
    assert found["calls"] == {"before": 300, "after": 300, "same": 297, "changed": 2, "added": 1, "gone": 1}
    assert found["fields"] == []
    assert "the fields that have changed cannot be told: " in found["notes"][0]
    assert [set(call) for call in found["samples"]["gone"]] == [{"call", "message_id"}]
    assert backfill("diff", job).code == 0


def test_the_last_plans_are_kept_and_equal_ones_once(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """So many earlier plans are kept, a dry run that changes nothing adds none; only the newest has its rows."""
    monkeypatch.setattr(earlier_plans, "KEPT", 2)
    job = project.people(20)
    assert backfill("diff", job).code == 2  # there is none
    backfill("dry-run", job)
    backfill("dry-run", job)
    only = backfill("diff", job)
    assert only.code == 2
    assert "is the only plan of its job" in only.err
    assert "change the job or its data and dry-run it again" in only.err
    for generation in range(2, 6):
        edited(job, (f"email{generation - 2 or ''}: email", f"email{generation - 1}: email"))
        backfill("dry-run", job)
        backfill("dry-run", job, "--limit", "3")
        backfill("dry-run", job)
    assert len(list(project.state.glob("dry-runs/earlier/*"))) == 2
    assert len(list(project.state.glob("dry-runs/earlier/*/snapshot"))) == 1
    assert backfill("diff", job, "--output", "json").object["calls"]["changed"] == 20


def test_comparing_goes_on_in_pieces(project: Project, job: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever memory holds at a time, the same is told."""
    edited(job, ("age: age", "years: age"))
    backfill("dry-run", job)
    whole = backfill("diff", job, "--output", "json").object
    monkeypatch.setattr(plan_diff, "DIFF_CALLS", 7)
    assert backfill("diff", job, "--output", "json").object == whole
