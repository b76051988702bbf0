"""`status`: runs in a table, one in full, one whose process was killed, those that cannot be read."""

from __future__ import annotations

import zlib

from backfill.sandbox import Sandbox
from backfill.state import StateFolder
from tests.endpoints import wait_for_request
from tests.projects import Project, backfill


def test_1_status_of_lost_commits(project: Project) -> None:
    """A ledger that is behind its mark is not shown as if nothing had happened since."""
    job = project.people(40)
    assert backfill("run", job, "--target", "sandbox", "--canary").code == 5
    ledger = StateFolder(project.state).runs()[0].ledger
    number = f"{1_000_000:020}"
    mark = ledger.with_name(f"{ledger.name}-mark")
    mark.write_text(f"{number} {zlib.crc32(number.encode()):08x}\n", encoding="ascii")
    for verb in ("status", "rejects"):
        result = backfill(verb, "--state-dir", project.state)
        assert result.code == 1
        assert "has lost its newest" in result.err
        assert "ledger.sqlite3-wal is damaged or gone" in result.err
    mark.unlink()
    assert backfill("status", "--state-dir", project.state).code == 0


def test_status(project: Project) -> None:
    """A table of all runs, and one run in full by the beginning of its id."""
    backfill("run", project.people(5, name="first"), "--target", "sandbox")
    backfill("run", project.people(6, name="second"), "--target", "sandbox")
    table = backfill("status", "--state-dir", project.state)
    assert [line.split()[0].split("-")[0] for line in table.out.splitlines()] == ["RUN", "second", "first"]
    one = backfill("status", "first", "--state-dir", project.state)
    assert "finished (exit 0)" in one.out
    assert backfill("status", "--state-dir", project.folder / "nowhere").code == 0


def test_status_of_a_killed_run(project: Project) -> None:
    """A run whose process was killed is told from one under way."""
    job = project.people(3000)
    with Sandbox() as sandbox:
        options = ["--target", "segment", "--endpoint", sandbox.endpoint, "--yes"]
        process = project.process("run", job, *options, "--rate", "100/s")
        wait_for_request(sandbox, process)
        assert "(no process)" not in backfill("status", "--state-dir", project.state).out
        process.kill()
        process.communicate(timeout=30)
    assert "delivering (no process)" in backfill("status", "--state-dir", project.state).out
    one = backfill("status", "people", "--state-dir", project.state)
    assert "none is at work on it" in one.out
