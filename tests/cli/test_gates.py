"""The command line: gates of a job and of the command line; exit 4, nothing sent, all that were hit told at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from backfill.job.gates import Share, parse_gate
from tests.support.projects import Project, backfill

SANDBOX = ("--target", "sandbox")


def with_gates(job: Path, *gates: str) -> Path:
    """The job with these gates."""
    text = job.read_text(encoding="utf-8").partition("gates:")[0]
    job.write_text(text + "gates:\n" + "".join(f"  {gate}\n" for gate in gates), encoding="utf-8")
    return job


#: A gate that lets a plan of 92 calls pass (2023-05-01 to 2023-05-28, 8 of 100 rejected), one that does not, and why.
CASES = [
    ("max_rejects: 8", "max_rejects: 7", "8 of 100 are rejected or unreadable, max_rejects allows 7"),
    ("max_rejects: 8%", "max_rejects: 7.5%", "8 of 100 are rejected or unreadable, max_rejects allows 7.5%"),
    ("earliest: 2023-05-01", "earliest: 2023-05-02", "the first call is of 2023-05-01, earliest is 2023-05-02"),
    ("latest: 2023-05-28", "latest: 2023-05-27", "the last call is of 2023-05-28, latest is 2023-05-27"),
    ("min_calls: 92", "min_calls: 93", "92 calls are to send, min_calls asks for 93"),
    ("max_calls: 92", "max_calls: 91", "92 calls to send, max_calls allows 91"),
    ("max_users: 92", "max_users: 91", "92 users, max_users allows 91"),
    ("max_bytes: 1 MB", "max_bytes: 1 KB", "bytes of JSON, max_bytes allows 1,000"),
]


@pytest.mark.parametrize(("open_", "shut", "told"), CASES)
def test_each_gate_of_a_job(project: Project, open_: str, shut: str, told: str) -> None:
    """A plan that keeps to a gate passes, one that does not is exit 4, in the dry run as in the run."""
    job = with_gates(project.people(100, bad=range(8)), open_)
    assert backfill("dry-run", job).code == 3
    with_gates(job, shut)
    dry = backfill("dry-run", job, "--output", "json")
    assert dry.code == 4
    assert told in dry.err
    assert [hit["gate"] for hit in dry.object["gates"]] == [shut.partition(":")[0]]
    name, _, value = shut.partition(": ")
    with_gates(job, open_)
    assert backfill("dry-run", job, "--gate", f"{name}={value}").code == 4


def test_all_gates_that_were_hit_are_told_at_once(project: Project) -> None:
    """Nothing is sent, the run can be resumed under the same gates, and other ones let the same plan pass."""
    job = with_gates(project.people(100, bad=range(8)), "max_rejects: 0", "max_calls: 50", "earliest: 2020-01-01")
    run = backfill("run", job, *SANDBOX, "--output", "json")
    assert run.code == 4
    assert [hit["gate"] for hit in run.object["gates"]] == ["max_rejects", "max_calls"]
    assert run.object["requests"] == 0
    assert run.object["state"] == "prepared"
    assert backfill("resume", "--state-dir", project.state).code == 4
    raised = ("--max-rejects", "10", "--gate", "max_calls=92")
    sent = backfill("resume", "--state-dir", project.state, *raised, "--output", "json")
    assert sent.code == 3
    assert sent.object["calls"]["delivered"] == 92


def test_gates_make_no_other_job(project: Project) -> None:
    """What a gate held back is sent as it was prepared once the job's gate is changed."""
    job = with_gates(project.people(100), "max_calls: 50")
    plan = backfill("dry-run", job, "--output", "json").object["plan"]
    assert backfill("run", job, *SANDBOX).code == 4
    with_gates(job, "max_calls: 100")
    assert backfill("dry-run", job, "--output", "json").object["plan"] == plan
    assert backfill("run", job, *SANDBOX, "--plan", plan["id"]).code == 0


@pytest.mark.parametrize(
    ("gate", "told"),
    [
        ("max_rejects: many", "'many' is neither a number nor a share"),
        ("earliest: 01/02/2019", "is no day"),
        ("latest: 2019-02-30", "is no day"),
        ("max_bytes: much", "is no size"),
        ("max_reject: 5", "max_rejects"),
    ],
)
def test_faulty_gates(project: Project, gate: str, told: str) -> None:
    """A gate that is none is a fault with its place in the job file, and a usage error on the command line."""
    job = with_gates(project.people(3), gate)
    found = backfill("check", job)
    assert found.code == 2
    assert "people.yaml:15" in found.err
    assert told in found.err
    good = with_gates(job, "max_calls: 5")
    name, _, value = gate.partition(": ")
    typed = backfill("dry-run", good, "--gate", f"{name}={value}")
    assert typed.code == 2
    assert told in typed.err


def test_names_of_events(project: Project) -> None:
    """Names of events are counted, each once; calls without one are none."""
    job = project.people(60)
    text = job.read_text(encoding="utf-8")
    track = text[text.index("  - type: identify") :].replace("identify", "track").replace("traits", "properties")
    job.write_text(text + track + "    event: {sql: \"'Age ' || (age % 3)\"}\n", encoding="utf-8")
    assert backfill("dry-run", job, "--gate", "max_events=3").code == 0
    shut = backfill("dry-run", job, "--gate", "max_events=2")
    assert shut.code == 4
    assert "3 event names, max_events allows 2" in shut.err
    job.write_text(text + track + "    event: {value: Seen}\n", encoding="utf-8")
    assert "1 event name, max_events allows 0" in backfill("dry-run", job, "--gate", "max_events=0").err


@pytest.mark.parametrize(("percent", "some", "whole"), [("64.6", 323, 500), ("4.6", 69, 1_500), ("0.29", 290, 100_000)])
def test_a_share_at_its_border_passes(percent: str, some: int, whole: int) -> None:
    """Exactly so many percent of the whole are allowed, whatever binary fractions make of it; one more is not."""
    share = parse_gate("max_rejects", f"{percent}%")
    assert isinstance(share, Share)
    assert share.allows(some, whole)
    assert not share.allows(some + 1, whole)
