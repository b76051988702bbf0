"""Problems by the values that they are about, the most frequent ones, masked where the job says so."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from backfill.masking import MASKED
from backfill.prepare import found
from backfill.records.profile import BAD_VALUES, BadValues, merged_values
from tests.support.projects import Project, backfill

JOB = """version: 1
name: ages
source: {path: ages.csv, columns: {age: integer}, timezone: UTC}
MORE
calls:
  - {type: identify, message_key: [id], userId: user, timestamp: {value: 2024-01-01T00:00:00Z}, traits: {age: age},
     integrations: {All: false}}
"""
#: Of each row the user and the age.
ROWS = [("u1", "old"), ("u2", "n/a"), ("null", "3"), ("u4", "old"), ("7.0", "5"), ("u6", ""), ("u7", "old")] * 9


def job_of(project: Project, more: str = "", rows: list[tuple[str, str]] = ROWS) -> Path:
    """A job over these rows."""
    text = "".join(f"{number},{user},{age}\n" for number, (user, age) in enumerate(rows))
    (project.folder / "ages.csv").write_text(f"id,user,age\n{text}", encoding="utf-8")
    job = project.folder / "ages.yaml"
    job.write_text(JOB.replace("MORE", more), encoding="utf-8")
    return job


def values_of(job: Path) -> dict[tuple[str, str], dict[str, Any]]:
    """The values in the plan's JSON by code and column."""
    plan = backfill("dry-run", job, "--output", "json").object["plan"]
    return {(one["code"], one["column"]): one for one in plan["problem_values"]}


def counts(*values: tuple[str, int]) -> list[dict[str, Any]]:
    """These values as the JSON has them."""
    return [{"value": value, "count": count} for value, count in values]


def test_problems_by_value(project: Project) -> None:
    """Errors and warnings, all of them counted, however few are listed."""
    job, page = job_of(project), project.folder / "plan.html"
    result = backfill("dry-run", job, "--report", page)
    assert result.code == 3
    assert "    by value: age = 'old' 27, age = 'n/a' 9\n" in result.err
    assert "    by value: user = '7.0' 9\n" in result.err
    values = values_of(job)
    assert values["BF117", "age"]["values"] == counts(("old", 27), ("n/a", 9))
    assert values["BF115", "user"]["values"] == counts(("7.0", 9))
    assert values["BF105", "user"]["values"] == counts(("null", 9))
    assert all(one["exact"] for one in values.values())
    assert '<td class="s">old</td><td>age</td><td class="n">27</td>' in page.read_text("utf-8")


@pytest.mark.parametrize("mask", ["mask: [age]", "mask: all"])
def test_masked_values_are_only_counted(project: Project, mask: str) -> None:
    """Neither JSON nor page has them, and no line tells of them."""
    job, page = job_of(project, mask), project.folder / "plan.html"
    result = backfill("dry-run", job, "--report", page)
    assert "by value: age" not in result.err
    assert values_of(job)["BF117", "age"]["values"] == counts((MASKED, 36))
    assert ">old<" not in page.read_text("utf-8")


def test_very_many_values(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """The most frequent are kept, and it is said that their counts are lower bounds."""
    monkeypatch.setattr(found, "VALUES_PROBED", 80)
    rows = [("u", "old"), *(("u", f"x{number}") for number in range(70)), *[("u", "old")] * 20]
    result = backfill("dry-run", job_of(project, rows=rows))
    assert "by value: age = 'old' at least 10, age = 'x" in result.err
    assert "and 77 others" in result.err
    values = values_of(project.folder / "ages.yaml")["BF117", "age"]
    assert len(values["values"]) == BAD_VALUES
    assert values["exact"] is False


def test_a_page_has_no_empty_columns(project: Project) -> None:
    """What is of all calls together has no record and no value, and no column for them."""
    job, page = job_of(project, rows=[("u", f"{number}") for number in range(9)]), project.folder / "plan.html"
    track = (
        job.read_text("utf-8")
        .replace("identify", "track")
        .replace("traits: {", "event: {value: Aged}, properties: {id: id, ")
    )
    job.write_text(track, encoding="utf-8")
    assert backfill("dry-run", job, "--report", page).code == 0
    below = page.read_text("utf-8").partition("<b>BF302</b>")[2].partition("</table>")[0]
    assert "<thead><tr><th>Call</th><th>Column</th></tr></thead>" in below
    assert below.count("<td") == 2


def test_merged() -> None:
    """Sums, whatever the order of the parts."""
    key = ("BF117", "age")
    parts = [
        {key: BadValues({"a": 2, "b": 1})},
        {key: BadValues({"b": 4})},
        {("BF105", "x"): BadValues({"c": 1}, False)},
    ]
    wanted = {key: BadValues({"b": 5, "a": 2}), ("BF105", "x"): BadValues({"c": 1}, exact=False)}
    assert merged_values(parts) == merged_values(parts[::-1]) == wanted
