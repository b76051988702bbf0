"""Blanks are refused, all at once, each by its line and with its choices."""

from __future__ import annotations

from pathlib import Path

import pytest

from backfill.errors import JobError
from backfill.job import load_job

JOB = """\
version: 1
name: orders
source:
  path: orders.csv
  timezone: CHOOSE             # "2024-01-02 03:04" says no zone: UTC, Europe/Berlin
  columns:
    paid: {type: timestamp, format: CHOOSE} # %d/%m/%Y or %m/%d/%Y
calls:
  - type: CHOOSE
    message_key: CHOOSE        # order_id
                               # or line_id
    userId: user
    timestamp: {sql: "timezone('CHOOSE', paid)"}
    event: {value: "CHOOSE"}   # in quotes it is text
"""
BLANKS = [
    (5, "source.timezone", '"2024-01-02 03:04" says no zone: UTC, Europe/Berlin'),
    (7, "source.columns.paid.format", "%d/%m/%Y or %m/%d/%Y"),
    (9, "calls[0].type", "write a value in place of CHOOSE"),
    (10, "calls[0].message_key", "order_id or line_id"),
    (13, "calls[0].timestamp.sql", "write a value in place of CHOOSE"),
]


def test_blanks_are_refused_by_line(tmp_path: Path) -> None:
    """Each is a fault of its own, with the comment behind it, and nothing else is said of its field."""
    path = tmp_path / "job.yaml"
    path.write_text(JOB, "utf-8")
    with pytest.raises(JobError) as caught:
        load_job(path)
    found = [(fault.line, fault.path, fault.hint) for fault in caught.value.faults]
    assert found == BLANKS
    assert {fault.message for fault in caught.value.faults} == {"is still to be chosen"}


def test_a_filled_job_has_none(tmp_path: Path) -> None:
    """With values in their places the job is sound, and quoted text that reads so is text."""
    path = tmp_path / "job.yaml"
    text = JOB.replace("timezone: CHOOSE", "timezone: UTC").replace("format: CHOOSE", "format: '%d/%m/%Y'")
    text = text.replace("type: CHOOSE", "type: track").replace("message_key: CHOOSE", "message_key: order_id")
    path.write_text(text.replace("'CHOOSE'", "'UTC'"), "utf-8")
    assert load_job(path).calls[0].event.value == "CHOOSE"  # type: ignore[union-attr]
