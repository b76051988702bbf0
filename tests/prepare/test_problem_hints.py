"""The hints of problems: what they say to do is enough, at the place that they name."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.projects import backfill

JOB = """version: 1
name: visits
source: {{path: a.csv, timezone: America/New_York, columns: {{seen: {at}, n: number}}{csv}}}
calls:
  - type: track
    message_key: [seen]
    userId: id
    event: {{value: Visited}}
    timestamp: seen
    properties: {{seen: seen, day: {{sql: "date_trunc('day', seen)"}}, n: n}}
"""


def dry_run(folder: Path, row: str, at: str = "timestamp", csv: str = "") -> tuple[int, str]:
    """The exit code and the messages of a dry run of one row."""
    (folder / "a.csv").write_text(f"id,seen,n\n{row}\n", encoding="utf-8")
    (folder / "job.yaml").write_text(JOB.format(at=at, csv=csv), encoding="utf-8")
    result = backfill("dry-run", folder / "job.yaml")
    return result.code, result.err


@pytest.mark.parametrize(
    ("time", "policy"),
    [("2023-11-05T01:30:00", "ambiguous: earliest"), ("2023-03-12T02:30:00", "nonexistent: shift_forward")],
)
def test_a_local_time_is_mended_where_the_hint_says(tmp_path: Path, time: str, policy: str) -> None:
    """The policy of the column holds for the timestamp, the key, the property and SQL alike."""
    code, told = dry_run(tmp_path, f"u1,{time},1")
    assert code == 3
    assert f"state `{policy}`" in told
    assert "in `source.columns.seen`; in a `timestamp`" in told
    assert dry_run(tmp_path, f"u1,{time},1", f"{{type: timestamp, {policy}}}")[0] == 0


@pytest.mark.parametrize("null", ["NA", "nan", r"\N"])
def test_a_null_of_another_program_is_named_where_the_hint_says(tmp_path: Path, null: str) -> None:
    """What stands for null in a number's column is answered with the setting that reads it so; it is enough."""
    code, told = dry_run(tmp_path, f"u1,2024-01-01T00:00:00,{null}")
    assert code == 3
    setting = f"""null_values: ["", '{null}']"""
    assert f"`source.csv.{setting}`" in told
    assert dry_run(tmp_path, f"u1,2024-01-01T00:00:00,{null}", csv=f", csv: {{{setting}}}")[0] == 0


@pytest.mark.parametrize(
    ("at", "wanted"),
    [
        ("timestamp", "it is not of iso8601"),
        ("{type: timestamp, format: '%d/%m/%Y'}", "it is not of %d/%m/%Y"),
        ("date", "it is declared as date"),
        ("{type: timestamp, format: epoch_s}", "it is not of epoch_s"),
    ],
)
def test_an_unparsable_timestamp_tells_its_format(tmp_path: Path, at: str, wanted: str) -> None:
    """What the value was to be is told, so that nobody is asked for a format that is stated."""
    code, told = dry_run(tmp_path, "u1,2024.01.31,1", at)
    assert code != 0
    assert wanted in told
    assert "Hint: mend the value, or the `format` that it is read by" in told
