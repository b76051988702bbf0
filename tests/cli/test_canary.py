"""The command line: canaries of so many calls, or of one user's, and their ids, to be looked up in the destination."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.projects import Project, backfill

SANDBOX = ("--target", "sandbox")


def in_plan_order(job: Path, *options: str) -> list[dict[str, str]]:
    """The calls of the job's plan."""
    return [json.loads(line) for line in backfill("calls", job, *options, "-o", "ndjson").out.split("\n")[:-1]]


@pytest.mark.parametrize("calls", [1, 10, 25, 2600])
def test_so_many_calls_go_first(project: Project, calls: int) -> None:
    """Exactly so many, also of several batches, are sent and listed; the rest follows, each call once."""
    job = project.people(3000)
    first = backfill("run", job, *SANDBOX, "--canary", str(calls), "--output", "json")
    assert first.code == 5
    assert first.object["calls"]["delivered"] == calls
    listed = first.object["canary"]
    assert [call["message_id"] for call in listed] == [call["messageId"] for call in in_plan_order(job)[:calls]]
    assert {call["standing"] for call in listed} == {"delivered"}
    rest = backfill("resume", "--state-dir", project.state)
    assert rest.code == 0
    assert "3,000 planned, 3,000 delivered" in rest.out
    assert "duplicate" not in rest.out


def test_the_calls_of_one_user(project: Project) -> None:
    """Wherever they are in the plan they go alone, ten or N of them; then others, then the rest, each call once."""
    job = project.people(3000)
    text = job.read_text(encoding="utf-8")
    job.write_text(text.replace("userId: id", "userId: email"), encoding="utf-8")
    source = project.folder / "people.csv"
    lines = source.read_text(encoding="utf-8").splitlines()
    for row in (7, 8, 1500, 2999):
        lines[row] = lines[row].replace(lines[row].split(",")[1], "we@example.org")
    source.write_text("\n".join(lines) + "\n", encoding="utf-8")
    chosen = ("--canary-user", "we@example.org", "--output", "json")
    first = backfill("run", job, *SANDBOX, *chosen, "--canary", "3")
    assert (first.code, first.object["calls"]["delivered"]) == (5, 3)
    assert {call["user"] for call in first.object["canary"]} == {"we@example.org"}
    second = backfill("resume", "--state-dir", project.state, *chosen)
    assert (second.code, second.object["calls"]["delivered"]) == (5, 4)
    assert len(second.object["canary"]) == 1
    third = backfill("resume", "--state-dir", project.state, *chosen)
    assert third.code == 2
    assert "no call of people-sandbox-g1-" in third.err
    rest = backfill("resume", "--state-dir", project.state)
    assert rest.code == 0
    assert "3,000 planned, 3,000 delivered" in rest.out
    assert "duplicate" not in rest.out


def test_a_live_canary_is_confirmed_with_its_number(project: Project, endpoint: str, key: str) -> None:
    """What is shown before a live canary is what it sends."""
    job = project.people(60)
    live = ("--target", "segment", "--endpoint", endpoint, "--yes")
    shown = backfill("run", job, *live, "--canary", "12")
    assert "12 of 60 to send now, as --canary asks" in shown.err
    assert "  canary    look these calls up where they went:\n" in shown.out
    assert key not in shown.out


def test_a_canary_of_all_finishes_the_run(project: Project) -> None:
    """More calls than there are is all of them, and they are listed, too."""
    job = project.people(8)
    run = backfill("run", job, *SANDBOX, "--canary", "50", "--output", "json")
    assert run.code == 0
    assert len(run.object["canary"]) == 8


def test_the_word_behind_canary(project: Project) -> None:
    """A job file behind --canary is the job; nought is no canary."""
    job = project.people(30)
    assert backfill("run", *SANDBOX, "--canary", "0", job).code == 2
    assert backfill("run", *SANDBOX, "--canary", job).code == 5
    assert backfill("run", *SANDBOX, "--canary", "nothing").code == 2


def test_an_ordered_job_takes_no_user_before_others(project: Project) -> None:
    """Calls in the order of the source are sent in that order: of a user none goes first."""
    job = project.people(30)
    job.write_text(job.read_text(encoding="utf-8") + "ordered: true\n", encoding="utf-8")
    assert backfill("run", job, *SANDBOX, "--canary-user", "u000007").code == 2
    assert backfill("run", job, *SANDBOX, "--canary", "7").code == 5
