"""In doubt on the command line: the exit codes, the decision, what `status` shows."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import pytest

from backfill.sandbox import FaultScript, Sandbox
from tests.support.lives import HOUR, WINDOW
from tests.support.projects import KEY as PROJECT_KEY
from tests.support.projects import Project, Result, backfill


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """An empty project."""
    return Project(tmp_path)


@pytest.fixture
def doubtful(project: Project, monkeypatch: pytest.MonkeyPatch) -> Iterator[Doubtful]:
    """A live run of 12 people, one of whom cannot be sent, whose first batch met an outage that is over by now."""
    monkeypatch.setenv("SEGMENT_WRITE_KEY", PROJECT_KEY)
    with Sandbox(faults=FaultScript.parse(["status=503,first=1"])) as sandbox:
        job = project.people(13, bad=[12])
        run = Doubtful(project, job, sandbox.endpoint)
        assert run.go("--attempts", "1").code == 5
        yield run


@dataclass
class Doubtful:
    """A run with a batch in doubt, and the command line."""

    project: Project
    job: Path
    endpoint: str

    def go(self, *options: str) -> Result:
        """`backfill run`, the result as JSON."""
        target = ("--target", "segment", "--endpoint", self.endpoint, "--yes")
        return backfill("run", self.job, *target, "--output", "json", *options)

    def status(self, *options: str) -> Result:
        """`backfill status` of the run."""
        return backfill("status", "people", "--state-dir", self.project.state, *options)

    def age(self, hours: float) -> None:
        """Let the doubt be that much older."""
        (ledger,) = self.project.state.glob("runs/*/ledger.sqlite3")
        with closing(sqlite3.connect(ledger)) as connection, connection:
            connection.execute("UPDATE batches SET first_unknown_at = first_unknown_at - ?", (hours * HOUR,))


def test_5_past_the_window(doubtful: Doubtful) -> None:
    """Everything else is delivered; the batch is shown with its calls, its age and its last answer; the way on, too."""
    doubtful.age(25)
    stopped = doubtful.go()
    assert stopped.code == 5
    assert stopped.object["state"] == "stopped"
    assert (stopped.object["calls"]["in_doubt"], stopped.object["calls"]["delivered"]) == (10, 2)
    assert re.search(
        r"batch 2: 10 calls in doubt since \S+ \S+; 1 attempt, the last was answered HTTP 503", stopped.err
    )
    assert "--in-doubt resend" in stopped.err
    again = doubtful.go()
    assert (again.code, again.object["requests"]) == (5, 0)


def test_what_is_confirmed_is_what_is_sent(doubtful: Doubtful) -> None:
    """Calls that stay in doubt are not among those to be sent; those that are sent again are."""
    doubtful.age(25)
    assert re.search(r"calls +2 to send\n", doubtful.go().err)
    assert re.search(r"calls +10 to send\n", doubtful.go("--in-doubt", "resend").err)


def test_5_a_finished_run_with_skipped_batches(doubtful: Doubtful) -> None:
    """5 goes before 3; summary, message and status say why; a re-run says it again and sends nothing."""
    doubtful.age(25)
    skipped = doubtful.go("--in-doubt", "skip")
    assert skipped.code == 5, skipped.err
    calls = skipped.object["calls"]
    assert skipped.object["state"] == "finished"
    assert (calls["in_doubt"], calls["delivered"], calls["rejected"], calls["pending"]) == (10, 2, 1, 0)
    assert "10 calls, for longer than the target remembers ids" in skipped.err
    assert "10 calls are left in doubt, as --in-doubt skip asked" in skipped.err
    again = doubtful.go("--in-doubt", "resend")
    assert (again.code, again.object["requests"], again.object["calls"]) == (5, 0, calls)
    assert "10 calls are left in doubt, as --in-doubt skip asked" in again.err
    text = doubtful.status().out
    assert "10 calls in 1 batch are never sent again" in text
    assert "1 batch (10 calls) in doubt is never sent again" in text
    assert not list(doubtful.project.state.glob("runs/*/spool/*.segment"))


def test_3_a_resend_delivers(doubtful: Doubtful) -> None:
    """The decision is in the history, and the confirmation says that calls may arrive twice."""
    doubtful.age(25)
    resent = doubtful.go("--in-doubt", "resend")
    assert resent.code == 3, resent.err
    assert "they may arrive twice" in resent.err
    assert (resent.object["calls"]["delivered"], resent.object["calls"]["in_doubt"]) == (12, 0)
    assert "to be sent again" in doubtful.status().out


def test_resume_takes_the_decision(doubtful: Doubtful) -> None:
    """`resume` as well as `run`."""
    doubtful.age(25)
    options = ("--state-dir", str(doubtful.project.state), "--yes")
    assert backfill("resume", *options).code == 5
    assert backfill("resume", *options, "--in-doubt", "resend").code == 3


def test_status_shows_doubts(doubtful: Doubtful) -> None:
    """How many, since when, until when they are sent again by themselves; batch by batch for one run; text and JSON."""
    text = doubtful.status().out
    assert re.search(
        r"10 calls in 1 batch: no answer told whether they arrived; since \S+ \S+Z; sent again by itself", text
    )
    table = backfill("status", "--state-dir", doubtful.project.state).out
    assert re.search(r"in doubt since \S+ \S+Z, sent again by itself until \S+ \S+Z", table)
    found = doubtful.status("--output", "json").object["in_doubt"]
    (one,) = found.pop("listed")
    assert (found["batches"], found["calls"], found["age_unknown"], found["left_batches"]) == (1, 10, 0, 0)
    assert (one["batch"], one["calls"], one["attempts"], one["last_status"]) == (2, 10, 1, 503)
    since, until = (datetime.fromisoformat(found[name]) for name in ("since", "sent_again_until"))
    assert (until - since).total_seconds() == WINDOW
    (whole,) = backfill("status", "--state-dir", doubtful.project.state, "--output", "json").objects
    assert "listed" not in whole["in_doubt"]
    doubtful.age(25)
    assert "not all of it is sent again by itself" in doubtful.status().out
    assert doubtful.go("--in-doubt", "resend").code == 3
    assert "in doubt  " not in doubtful.status().out
    assert "DOUBT SINCE" not in backfill("status", "--state-dir", doubtful.project.state).out
