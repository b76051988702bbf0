"""What a plan tells: on one page of a terminal, as JSON, and without what the job masks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.projects import Project, backfill

JOB = """version: 1
name: orders
source: {path: orders.csv, columns: {total: number}, timezone: UTC}
MASKcalls:
  - type: track
    message_key: [id]
    userId: user
    anonymousId: visitor
    event: kind
    timestamp: {column: at, format: iso8601}
    properties: {total: total, mail: email, copy: {sql: "upper(email)"}, always: {value: 1}}
    integrations: {All: false, Amplitude: {session: {column: visitor}}}
"""
ROWS = """id,user,visitor,at,kind,total,email
1,u1,,2024-01-31T00:00:00Z,Bought,1.5,ann@example.org
2,u2,a2,2024-01-31T10:00:00Z,Bought,,bob@example.org
3,,a3,2024-02-01T10:00:00Z,Seen,x1,eve@example.org
4,u2,a2,2024-02-01T10:00:00.5Z,Seen,7,
5,,a3,2024-02-02T10:00:00Z,Seen,8,
"""


def project(folder: Path, mask: str = "") -> Path:
    """A job over a few rows, of which one is bad."""
    (folder / "orders.csv").write_text(ROWS, encoding="utf-8")
    job = folder / "orders.yaml"
    job.write_text(JOB.replace("MASK", mask), encoding="utf-8")
    return job


def dry_run(job: Path, *options: str) -> dict[str, Any]:
    """The plan of a dry run as JSON."""
    result = backfill("dry-run", job, "--output", "json", *options)
    assert result.code == 3, result.err
    plan: dict[str, Any] = json.loads(result.out)["plan"]
    return plan


def test_as_json(tmp_path: Path) -> None:
    """Counted from the calls that would be sent: the rejected one is not among them."""
    plan = dry_run(project(tmp_path))
    (call,) = plan["calls"]
    assert call == {
        "call": "track", "type": "track", "calls": 4, "first": "2024-01-31T00:00:00.000Z",
        "last": "2024-02-02T10:00:00.000Z", "midnight": 1,
        "integrations": {"All": False, "Amplitude": {"session": "(column visitor)"}},
    }  # fmt: skip
    assert plan["events"] == [
        {"call": "track", "event": "Bought", "calls": 2},
        {"call": "track", "event": "Seen", "calls": 2},
    ]
    assert plan["event_names"] == {"count": 2, "exact": True, "other_calls": 0}
    found = {(one["event"], one["property"]): one for one in plan["properties"]}
    assert found["Bought", "total"] == {
        "call": "track", "event": "Bought", "property": "total", "fill": 0.5, "constant": True,
        "types": {"number": {"calls": 1, "sample": "1.5", "long": 0}},
    }  # fmt: skip
    assert found["Bought", "mail"]["types"]["string"]["sample"] == "a...@...org"
    assert found["Seen", "always"]["fill"] == 1
    assert plan["months"] == {"2024-01": 2, "2024-02": 2}
    assert plan["users"] == {"count": 2, "exact": True}
    assert plan["anonymous"] == {"count": 2, "exact": True}
    assert plan["tracked_users"] == 3
    assert plan["batches"]["count"] == plan["forecast"]["requests"] == 1
    assert set(plan["forecast"]["seconds"]) == {"500", "1000", "5000"}


def test_on_a_terminal(tmp_path: Path) -> None:
    """In 80 columns, again by `status`, and nothing of it in what a run says at its end."""
    job = project(tmp_path)
    told = backfill("dry-run", job).out
    assert "  Bought                                                   2 track" in told
    assert "    total                      50%  number          1.5 (always)" in told
    assert "  people    2 userIds, 2 anonymousIds" in told
    assert "  billed    4 calls; 3 tracked users (MTU)" in told
    assert "    2024-02                2  ####" in told
    contents = told[told.index("  by month") : told.index("  plan  ")]
    assert max(map(len, contents.splitlines())) <= 80
    run_id = next(line.split()[2] for line in told.splitlines() if line.startswith("  dry run")).rstrip(":")
    assert contents in backfill("status", run_id, "--state-dir", tmp_path / ".backfill").out


@pytest.mark.parametrize("mask", ["all", "[email]"])
def test_masked(tmp_path: Path, mask: str) -> None:
    """Of masked columns nothing is shown, also by way of SQL; of all columns no value of a problem either."""
    plan = dry_run(project(tmp_path, f"mask: {mask}\n"))
    samples = {one["property"]: one["types"].popitem()[1]["sample"] for one in plan["properties"]}
    assert samples["mail"] == samples["copy"] == "(masked)"
    assert samples["total"] == ("(masked)" if mask == "all" else "7.0")
    told = backfill("dry-run", tmp_path / "orders.yaml")
    assert "example.org" not in told.out + told.err
    assert ("x1" in told.err) == (mask != "all")


@pytest.mark.parametrize("mask", ["all", "[email]", "[note]"])
def test_records_that_cannot_be_read_are_masked(tmp_path: Path, mask: str) -> None:
    """Whatever column is masked, it is somewhere in the text of the record: on terminals, in JSON, on pages."""
    job = project(tmp_path, f"mask: {mask}\n")
    source = tmp_path / "orders.csv"
    source.write_text(ROWS.replace("id,", "note,id,", 1).replace("\n", "\n,")[:-1] + "s3cr3t,short\n", "utf-8")
    page = tmp_path / "page.html"
    told = [backfill(verb, job, *more) for verb, *more in (
        ("check",), ("preview", "-n", "9"), ("dry-run", "--report", page), ("dry-run", "--output", "json"),
        ("run", "--target", "sandbox"), ("status", "--state-dir", tmp_path / ".backfill"),
    )]  # fmt: skip
    said = [one.out + one.err for one in told] + [page.read_text("utf-8")]
    assert not [text for text in said if "s3cr3t" in text]
    assert all("BF" in text and "(masked)" in text for text in (*said[:3], said[-1])), said
    job.write_text(job.read_text("utf-8").replace(f"mask: {mask}\n", ""), "utf-8")
    assert "s3cr3t" in backfill("check", job).err


def test_a_mask_of_no_column(tmp_path: Path) -> None:
    """A name that is no column's is refused by its line: what was meant would be shown."""
    result = backfill("check", project(tmp_path, "mask: [e_mail]\n"))
    assert result.code == 2
    assert 'orders.yaml:4:8: mask[0]: the source has no column "e_mail"' in result.err
    assert 'did you mean "email"?' in result.err


@pytest.mark.parametrize("rows", [8, 60])
def test_the_forecast_counts_the_calls_that_go_ahead(tmp_path: Path, rows: int) -> None:
    """As many requests as a run then sends: the first ten calls go alone, where the first batch has more."""
    job = Project(tmp_path).people(rows)
    forecast = backfill("dry-run", job, "--output", "json").object["plan"]["forecast"]["requests"]
    assert forecast == backfill("run", job, "--target", "sandbox", "--output", "json").object["requests"]
    told = f"forecast  {forecast} request"
    assert told in backfill("status", job, "--dry-run").out
