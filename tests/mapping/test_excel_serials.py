"""A spreadsheet's serial days in columns of numbers, as a call's timestamp: wall clocks of the stated zone."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest

from tests.support.projects import backfill

JOB = """\
version: 1
name: serials
source: {{path: {path}, timezone: Europe/Berlin}}
calls:
  - type: track
    message_key: [id]
    userId: id
    timestamp: {{column: day, format: excel}}
    event: {{value: Paid}}
    integrations: {{All: false}}
"""
DAYS = [44928.0, 44928.5, 45383.0625]  # two winter days, and one in summer: 2024-04-01 01:30 in Berlin
WANTED = ["2023-01-01T23:00:00.000Z", "2023-01-02T11:00:00.000Z", "2024-03-31T23:30:00.000Z"]
NO_DAYS = [12.0, -5.0, 45382.104166666664]  # before 1 March 1900 twice, and in the hour that Berlin's clocks skip


@pytest.mark.parametrize("suffix", ["parquet", "ndjson"])
def test_serials_are_wall_clocks(tmp_path: Path, suffix: str) -> None:
    """Numbers of Parquet and of JSON are read alike; what is no day is a problem of its row."""
    days = [*DAYS, *NO_DAYS]
    path = tmp_path / f"rows.{suffix}"
    ids = [f"u{place}" for place in range(len(days))]
    if suffix == "parquet":
        pl.DataFrame({"id": ids, "day": days}).write_parquet(path)
    else:
        path.write_text("".join(json.dumps({"id": one, "day": day}) + "\n" for one, day in zip(ids, days, strict=True)))
    job = tmp_path / "job.yaml"
    job.write_text(JOB.format(path=path.name), "utf-8")
    end = backfill("preview", job, "-n", "9")
    assert end.code == 3, end.err
    found = [line.split('"')[3] for line in end.out.splitlines() if line.strip().startswith('"timestamp": "')]
    assert found == WANTED
    assert end.out.count("BF202") == 2
    assert end.out.count("BF206") == 1
