"""Jobs of a folder run by phase: people before what they did, unless told otherwise."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.support.projects import Result, backfill

IDENTIFY = "type: identify, userId: id"
TRACK = "type: track, userId: id, event: {value: Ordered}"


def write(folder: Path, name: str, call: str, *, top: str = "", source: str = "rows.csv") -> Path:
    """A job file."""
    path = folder / f"{name}.yaml"
    path.write_text(
        f"version: 1\nname: {name}\nsource: {{path: {source}}}\n{top}\n"
        'defaults: {message_key: id, timestamp: {value: "2024-01-01T00:00:00Z"}, integrations: {All: false}}\n'
        f"calls:\n  - {{{call}}}\n"
    )
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Four jobs, whose names say another order than their calls."""
    (tmp_path / "rows.csv").write_text("id,day\nu1,2024-01-01\n")
    write(tmp_path, "a-orders", TRACK)
    write(tmp_path, "b-users", IDENTIFY)
    write(tmp_path, "c-first", TRACK, top="phase: 0")
    write(tmp_path, "d-groups", "type: group, userId: id, groupId: id")
    return tmp_path


def begun(told: Result) -> list[str]:
    """The jobs in the order in which their ends are told."""
    return re.findall(r"^([a-d]-\w+) -> ", told.out, re.MULTILINE)


def test_a_folder_runs_by_phase(folder: Path) -> None:
    """The order is told first; files that are named run as they are named."""
    told = backfill("run", folder, "--target", "sandbox")
    assert told.code == 0
    assert begun(told) == ["c-first", "b-users", "d-groups", "a-orders"]
    assert "phase 0: c-first; phase 1: b-users, d-groups; phase 2: a-orders." in told.err
    assert begun(backfill("dry-run", folder)) == ["c-first", "b-users", "d-groups", "a-orders"]
    told = backfill("run", folder / "a-orders.yaml", folder / "b-users.yaml", "--target", "sandbox")
    assert begun(told) == ["a-orders", "b-users"]


def test_another_phase_is_no_other_job(folder: Path) -> None:
    """A finished run stays so."""
    path = write(folder, "b-users", IDENTIFY)
    assert backfill("run", path, "--target", "sandbox").code == 0
    write(folder, "b-users", IDENTIFY, top="phase: 7")
    told = backfill("run", path, "--target", "sandbox", "--output", "json")
    assert told.object["requests"] == 0 or told.object["state"] == "finished"
    assert "begins afresh" not in told.err


def test_a_job_that_cannot_be_prepared(folder: Path) -> None:
    """Nothing of any job is sent then, and one table tells the plan of all; a dry run judges all alike."""
    write(folder, "b-users", IDENTIFY, source="none.csv")
    told = backfill("run", folder, "--target", "sandbox")
    assert told.code == 9
    assert begun(told) == []
    assert planned(told.err) == {"c-first": "1", "b-users": "-", "d-groups": "1", "a-orders": "1", "4 jobs": "3"}
    told = backfill("dry-run", folder)
    assert begun(told) == ["c-first", "d-groups", "a-orders"]
    assert planned(told.out) == {"c-first": "1", "b-users": "-", "d-groups": "1", "a-orders": "1", "4 jobs": "3"}


def test_the_table_of_a_plan(folder: Path) -> None:
    """It keeps to 80 columns, however long the names are, and tells what was sent before."""
    write(folder, "e" * 64, TRACK)
    assert backfill("run", folder / "b-users.yaml", "--target", "sandbox").code == 0
    told = backfill("run", folder, "--target", "sandbox")
    assert told.code == 0
    lines = told.err[told.err.index("JOB ") :].splitlines()
    assert max(map(len, lines)) == 80
    assert f"{'e' * 64}\n" in told.err
    assert "  finished before: nothing is sent again\n" in told.err


def planned(text: str) -> dict[str, str]:
    """The calls of each job in the table of a plan."""
    return {found[1]: found[2] for found in re.finditer(r"^([a-d]-\w+|4 jobs)(?: +\d)? +(\d+|-) ", text, re.MULTILINE)}
