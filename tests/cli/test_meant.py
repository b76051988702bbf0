"""What was meant is said wherever a name is typed: verbs, options, files, targets, runs, fields, columns, codes."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.projects import Project, backfill

RUN = "people-sandbox-g1-"


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A job that was run."""
    monkeypatch.chdir(tmp_path)
    one = Project(tmp_path)
    one.people(3)
    Path("targets.yaml").write_text("version: 1\ntargets:\n  production: {kind: segment}\n", "utf-8")
    assert backfill("run", "people.yaml", "--target", "sandbox").code == 0
    return one


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        ("statsu", "did you mean status?"),
        ("dryrun people.yaml", "did you mean dry-run?"),
        ("Run people.yaml", "did you mean run?"),
        ("people.yaml", "`backfill run people.yaml`"),
        ("run people.yaml --targt sandbox", "--target"),
        ("run people.yaml --only-knew", "--only-new"),
        ("status --output jsn", "json"),
        ("run peopel.yaml", "id you mean people.yaml?"),
        ("check people.yml", "id you mean people.yaml?"),
        ("explain peple.yaml", "id you mean people.yaml?"),
        ("run people.yaml --target prodution", 'did you mean "production"?'),
        ("doctor --target sandbx", 'did you mean "sandbox"?'),
        ("status peolpe-sandbox-g1", f"did you mean {RUN}"),
        ("status People", f"did you mean {RUN}"),
        ("resume people-sanbox", f"did you mean {RUN}"),
        ("rejects poeple.yaml", "id you mean people.yaml?"),
        ("explain BF1113", "did you mean BF113"),
    ],
)
def test_on_the_command_line(project: Project, words: str, meant: str) -> None:
    """A name that is nearly one is told as what it nearly is; nothing is done."""
    result = backfill(*words.split())
    assert result.code == 2
    assert meant in result.out + result.err


@pytest.mark.parametrize(
    ("change", "meant"),
    [
        (("userId: id", "userId: idd"), 'did you mean "id"?'),
        (("email: email", "email: {column: emial}"), 'did you mean "email"?'),
        (("columns: {age: integer}", "columns: {aeg: integer}"), "age"),
        (("columns: {age: integer}", "columns: {age: integr}"), 'did you mean "integer"?'),
        (("userId: id", "userID: id"), 'did you mean "userId"?'),
        (("traits:", "trats:"), 'did you mean "traits"?'),
        (("type: identify", "type: identfy"), 'did you mean "identify"?'),
        (("timezone: UTC", "timezone: UCT2"), 'did you mean "UCT"?'),
        (("timezone: UTC", "timezon: UTC"), 'did you mean "timezone"?'),
        (("version: 1", "version: 1\nrules: {BF115x: warn}"), 'did you mean "BF115"?'),
        (("traits:", "when: agee > 1\n    traits:"), "age"),
    ],
)
def test_in_a_job_file(project: Project, change: tuple[str, str], meant: str) -> None:
    """Fields, columns, types, zones, codes, columns in SQL."""
    job = Path("people.yaml")
    job.write_text(job.read_text("utf-8").replace(*change, 1), "utf-8")
    result = backfill("check", job)
    assert result.code == 2
    assert meant in result.err
