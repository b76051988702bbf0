"""The command line: interrupted and terminated, by one signal and by two, at work of any kind."""

from __future__ import annotations

import json
import os
import signal
import sqlite3

import pytest

from backfill.cli.interrupts import Interrupts, run_interruptibly
from backfill.cli.session import Session
from backfill.sandbox import Sandbox
from tests.support.endpoints import faulty, wait_for_request
from tests.support.projects import Project, backfill
from tests.support.summaries import identities_hold
from tests.support.waiting import until, until_worked


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_130_and_143_interrupted(project: Project, number: signal.Signals, code: int) -> None:
    """A signal in the middle of a delivery ends the process cleanly; the rest is sent by `resume`, nothing twice."""
    job = project.people(3000)
    with Sandbox() as sandbox:
        options = ["--target", "segment", "--endpoint", sandbox.endpoint, "--yes"]
        process = project.process("run", job, *options, "--rate", "100/s", "--output", "json")
        wait_for_request(sandbox, process)
        process.send_signal(number)
        out, err = process.communicate(timeout=30)
        assert process.returncode == code, err
        assert "Stopping: what is in flight is finished first. Once more to stop at once." in err
        assert "backfill resume" in err
        summary = json.loads(out)
        assert summary["state"] == "stopped"
        assert identities_hold(summary)
        rest = project.process("resume", "--yes", "--rate", "unlimited", "--output", "json")
        out, err = rest.communicate(timeout=60)
        assert rest.returncode == 0, err
        assert json.loads(out)["calls"]["delivered"] == 3000
        stats = sandbox.stats()
        assert stats["distinct_ids"] == stats["accepted"] == 3000
        assert stats["duplicate"] == 0


def test_a_signal_while_one_is_answered() -> None:
    """Two Ctrl-C in a moment: the second is heard while the answer to the first is written, and counts."""
    written = list[str]()

    def write(text: str) -> None:
        written.append(text)
        assert len(written) < 9
        signal.raise_signal(signal.SIGINT)

    def work(interrupts: Interrupts) -> tuple[bool, bool]:
        os.kill(os.getpid(), signal.SIGINT)
        return interrupts.stop.wait(20), interrupts.abort.wait(20)

    assert run_interruptibly(Session(writer=write), work) == (True, True)
    assert [text.partition(":")[0] for text in written] == ["Stopping"]


SLOW_QUERIES = {
    "many rows": ("path: people.csv", "SELECT a.id, a.joined FROM source a, source b, source c ORDER BY hash(b.id)"),
    "one row": ("path: people.csv", "SELECT id, joined, list_sum([x % 7 FOR x IN range(40000000)]) AS s FROM source"),
    "SQLite": ("database: sqlite:///one.db", "SELECT 'u' AS id, '2024-01-01 00:00:00' AS joined, count(*) AS n FROM n"),
}


@pytest.mark.parametrize("name", SLOW_QUERIES)
def test_130_in_a_long_statement(project: Project, name: str) -> None:
    """One Ctrl-C ends a statement of the database that runs for minutes, also one that takes no heed of it."""
    source, query = SLOW_QUERIES[name]
    if name == "SQLite":
        endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 2000000000)"
        query = f"{endless} {query}"
        sqlite3.connect(project.folder / "one.db").execute("CREATE TABLE t(x)").connection.close()
    job = project.people(3000)
    text = job.read_text(encoding="utf-8").replace("path: people.csv", f'{source}\n  query: "{query}"')
    text = text.replace("{email: email, age: age}", "{}").replace("  columns: {age: integer}\n", "")
    job.write_text(text, encoding="utf-8")
    process = project.process("run", job, "--target", "sandbox")
    until(lambda: list(project.state.glob("runs/*/snapshot")), process)
    until_worked(process, 0.3)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 130, err
    assert "run the same command again" in err
    assert "Stopping: this step has sent nothing." in err
    assert "in flight" not in err


def test_130_twice_ends_at_once(project: Project) -> None:
    """The second Ctrl-C does not wait for an answer that does not come; the ledger tells that it is in doubt."""
    job = project.people(200)
    with faulty("delay=60,after=1") as sandbox:
        options = ["--target", "segment", "--endpoint", sandbox.endpoint, "--yes"]
        process = project.process("run", job, *options, "--rate", "unlimited")
        wait_for_request(sandbox, process)

        def calls() -> dict[str, int]:
            found: dict[str, int] = backfill("status", "--state-dir", project.state, "--output", "json").object["calls"]
            return found

        while calls()["in_doubt"] != 190:  # the second request has left
            assert process.poll() is None, process.communicate()
        process.send_signal(signal.SIGINT)
        assert process.stderr is not None
        while "Stopping" not in (line := process.stderr.readline()):
            assert line, process.wait()
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=20)
        assert process.returncode == 130
        status = backfill("status", "--state-dir", project.state, "--output", "json").object
        assert status["calls"]["delivered"] == 10
        assert status["calls"]["in_doubt"] == 190
        assert identities_hold(status)
