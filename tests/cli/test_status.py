"""`status`: runs in a table, one in full, one whose process was killed, those that cannot be read."""

from __future__ import annotations

import re
import zlib

from backfill.sandbox import Sandbox
from backfill.state.folder import StateFolder
from tests.support.endpoints import wait_for_request
from tests.support.projects import Project, backfill


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


def test_status_of_a_job_that_was_never_run(project: Project) -> None:
    """Other jobs' runs are not listed; what comes next is said."""
    backfill("run", project.people(3), "--target", "sandbox")
    other = project.folder / "other.yaml"
    other.write_text((project.folder / "people.yaml").read_text("utf-8").replace("name: people", "name: x"), "utf-8")
    for verb in (("status",), ("calls",), ("report", "-o", project.folder / "x.html")):
        told = backfill(verb[0], other, *verb[1:])
        assert told.code == 2
        assert f"Hint: `backfill dry-run {other}` tells what a run would send\n" in told.err, told


def test_status(project: Project) -> None:
    """A table of all runs, and one run in full by the beginning of its id."""
    backfill("run", project.people(5, name="first"), "--target", "sandbox")
    backfill("run", project.people(6, name="second"), "--target", "sandbox")
    table = backfill("status", "--state-dir", project.state)
    assert [line.split("-")[0] for line in table.out.splitlines() if not line.startswith(" ")] == ["second", "first"]
    one = backfill("status", "first", "--state-dir", project.state)
    assert "finished (exit 0)" in one.out
    (ledger,) = re.findall(r"^  ledger +(.*)$", one.out, re.MULTILINE)
    assert StateFolder(project.state).runs()[1].ledger.samefile(ledger)
    assert backfill("status", "--state-dir", project.folder / "nowhere").code == 0


def test_status_of_a_dry_run(project: Project) -> None:
    """Its plan, for which target it is, and how long it took, as it told itself; that nothing is sent."""
    planned = backfill("dry-run", project.people(5), "--output", "json").object
    table = backfill("status", "--dry-run", "--state-dir", project.state)
    assert f"plan {planned['plan']['id']} for sandbox; nothing is sent" in table.out
    told = backfill("status", planned["run_id"], "--state-dir", project.state, "--output", "json").object
    assert 0 < told["seconds"] <= planned["seconds"]
    sent = backfill("run", project.folder / "people.yaml", "--target", "sandbox", "--output", "json").object
    told = backfill("status", sent["run_id"], "--state-dir", project.state, "--output", "json").object
    assert 0 < told["seconds"] <= sent["seconds"]


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


def counts_of(table: str, run: str) -> dict[str, int]:
    """The columns of a run in the table, by their titles."""
    lines = table.splitlines()
    titles = re.findall(r"[A-Z]+(?: [A-Z]+)*", lines[0])
    (at,) = [place for place, line in enumerate(lines) if line.startswith(run)]
    numbers = [int(cell.replace(",", "")) for cell in lines[at + 1].split()]
    return dict(zip(titles, numbers, strict=True))


def test_the_table_adds_up(project: Project) -> None:
    """Its columns add up on screen, repeated ids and what earlier runs delivered included, within 80 columns."""
    job = project.people(20, bad=[3])
    backfill("run", job, "--target", "sandbox")
    source = project.rows(26, bad=[3])
    source.write_text(source.read_text(encoding="utf-8") + source.read_text(encoding="utf-8").splitlines()[-1] + "\n")
    assert backfill("run", job, "--target", "sandbox", "--only-new").code == 3
    table = backfill("status", "--state-dir", project.state).out
    assert counts_of(table, "people") == {
        "PLANNED": 27, "DELIVERED": 6, "REJECTED": 1, "DUPLICATE": 1, "BEFORE": 19, "IN DOUBT": 0, "PENDING": 0,
    }  # fmt: skip
    assert max(map(len, table.splitlines())) <= 80


def test_targets_are_told_apart(project: Project, key: str) -> None:
    """Two runs of a job to two endpoints of one kind show where each went."""
    job = project.people(3)
    with Sandbox() as one, Sandbox() as other:
        for sandbox in (one, other):
            assert backfill("run", job, "--target", "segment", "--endpoint", sandbox.endpoint, "--yes").code == 0
        table = backfill("status", "--state-dir", project.state).out
        assert one.endpoint in table
        assert other.endpoint in table
