"""The command line: the very calls of plans, from the bytes that are kept or made again, one by one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from isal import isal_zlib

from tests.support.projects import Project, backfill

SANDBOX = ("--target", "sandbox")
JOB = """\
version: 1
name: shop
source:
  path: shop.csv
  timezone: UTC
  columns: {total: number, at: {type: timestamp, format: "%Y-%m-%d %H:%M:%S"}}
where: total <> 3
defaults: {userId: user, timestamp: at, integrations: {All: false}}
calls:
  - type: identify
    message_key: [id]
    traits: {note: note}
  - type: track
    message_key: [id]
    when: total > 2
    event: what
    properties: {total: total, note: note}
"""


def shop(project: Project, rows: int = 60) -> Path:
    """A job of two calls a row, with notes that JSON has to escape, a repeated row and one that is rejected."""
    lines = ["id,user,what,total,at,note"]
    for row in range(rows):
        note = '"a ""b"" \\ ü\u2028/"' if row % 7 == 0 else f"n{row}"
        lines.append(f"{row},u{row % 5},{'Order, big' if row % 2 else 'Order'},{row % 9},2023-05-01 10:00:00,{note}")
        lines[-1] = lines[-1].replace("Order, big", '"Order, big"')
    lines.append(lines[5])
    lines.insert(9, "x,u1,Order,many,2023-05-01 10:00:00,bad")
    (project.folder / "shop.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    job = project.folder / "shop.yaml"
    job.write_text(JOB, encoding="utf-8")
    return job


def ndjson(*arguments: str | Path) -> list[str]:
    """The lines that `calls` gives."""
    result = backfill("calls", *arguments, "-o", "ndjson")
    assert result.code == 0, result.err
    return result.out.split("\n")[:-1]


def test_the_same_bytes_from_wherever_they_come(project: Project) -> None:
    """A dry run's calls made again, a run's prepared bytes, a finished run's source read again: all are the same."""
    job = shop(project)
    backfill("dry-run", job)
    planned = ndjson(job)  # no run yet: the dry run's
    assert len(planned) > 80
    assert backfill("run", job, *SANDBOX, "--canary").code == 5
    (segment,) = project.state.glob("runs/*/spool/*.segment")
    assert ndjson(job) == planned
    assert backfill("resume", "--state-dir", project.state).code == 3
    assert not segment.exists()
    finished = backfill("calls", job, "-o", "ndjson")
    assert "the source is read again" in finished.err
    assert finished.out.split("\n")[:-1] == planned
    assert ndjson(job, "--dry-run") == planned


@pytest.mark.parametrize("name", ["03-identity-merges", "05-orders", "06-page-views", "recipes/segment-archive"])
def test_calls_of_real_jobs_are_made_again(name: str, repository: Path, tmp_path: Path) -> None:
    """Whatever a job's source, query, lookups and shapes: what is made again is what was prepared, byte for byte."""
    job, state = repository / f"jobs/{name}.yaml", ("--state-dir", str(tmp_path / "state"))
    dry = backfill("dry-run", job, *state, "--output", "json").object
    again = ndjson(job, "--dry-run", *state)
    assert len(again) == dry["calls"]["pending"] > 0
    backfill("run", job, *SANDBOX, *state, "--gate", "max_calls=0")  # which prepares it, and sends nothing
    assert ndjson(job, *state) == again


@pytest.mark.parametrize("standing", ["dry run", "stopped"])
def test_calls_are_chosen(project: Project, standing: str) -> None:
    """By key, user, event and record, together and alone."""
    job = shop(project)
    if standing == "stopped":
        backfill("run", job, *SANDBOX, "--canary")
    else:
        backfill("dry-run", job)
    calls = [json.loads(line) for line in ndjson(job)]

    def chosen(*options: str) -> list[dict[str, object]]:
        return [json.loads(line) for line in ndjson(job, *options)]

    assert chosen("--user", "u3") == [call for call in calls if call["userId"] == "u3"]
    assert chosen("--event", "Order, big") == [call for call in calls if call.get("event") == "Order, big"]
    both = chosen("--user", "u3", "--event", "Order")
    assert both == [call for call in calls if call["userId"] == "u3" and call.get("event") == "Order"]
    assert both
    assert [call["type"] for call in chosen("--key", "14")] == ["identify", "track"]
    assert chosen("--record", "shop.csv:8") == chosen("--key", "7")
    assert chosen("--record", "shop.csv:4") == []  # left out by `where`
    assert len(chosen("--limit", "3")) == 3
    assert chosen("--user", "nobody") == []


def test_calls_for_people(project: Project) -> None:
    """Ten are shown, with what became of each, and it is said that there are more; never the write key."""
    job = shop(project)
    backfill("run", job, *SANDBOX, "--canary")
    shown = backfill("calls", job)
    assert shown.out.count("--- ") == 10
    assert "--- identify: delivered\n{\n" in shown.out
    assert "there are more" in shown.err
    assert '"total": 4' in backfill("calls", job, "--key", "4").out


def test_of_an_earlier_plan_by_its_id(project: Project) -> None:
    """The plan before an edit of the job is kept with its rows: its calls are made again as they were planned."""
    job = shop(project)
    first = backfill("dry-run", job, "--output", "json").object["plan"]["id"]
    planned = ndjson(job)
    job.write_text(JOB.replace("traits: {note: note}", "traits: {remark: note}"), encoding="utf-8")
    second = backfill("dry-run", job, "--output", "json").object["plan"]["id"]
    assert first != second
    assert ndjson(first, "--state-dir", str(project.state)) == planned
    assert ndjson(second, "--state-dir", str(project.state)) != planned


def test_what_cannot_be_made_again_is_refused(project: Project) -> None:
    """A source that has changed since gives no other calls in place of those that were sent."""
    job = shop(project)
    assert backfill("run", job, *SANDBOX).code == 3
    with (project.folder / "shop.csv").open("a", encoding="utf-8") as source:
        source.write("99,u1,Order,5,2023-05-01 10:00:00,new\n")
    result = backfill("calls", job)
    assert result.code == 6
    assert "cannot be made again: shop.csv was changed (+" in result.err
    assert not result.out


def test_other_bytes_are_never_shown(project: Project) -> None:
    """What this version makes otherwise is told by the hash that was kept of each call."""
    job = shop(project)
    backfill("dry-run", job)
    (hashes,) = project.state.glob("dry-runs/runs/*/spool/*.hashes")
    kept = hashes.read_bytes()
    other = bytes([kept[0] ^ 1]) + kept[1:-4]
    hashes.write_bytes(other + isal_zlib.crc32(other).to_bytes(4, "little"))
    result = backfill("calls", job)
    assert result.code == 6
    assert "other bytes come out than were prepared" in result.err


@pytest.mark.parametrize(
    "options", [["--record", "shop.csv"], ["--record", "other.csv:3"], ["--key", "1", "--key", "2"]]
)
def test_what_no_call_can_be(project: Project, options: list[str]) -> None:
    """A record without a number, of no file of the source, and a key of too many values are usage errors."""
    job = shop(project, 5)
    backfill("dry-run", job)
    assert backfill("calls", job, *options).code == 2
