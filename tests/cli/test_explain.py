"""`explain`: each value of each call is named with what it is."""

from __future__ import annotations

from io import StringIO

import pytest

from tests.support.projects import Project, backfill

JOB = """
version: 1
name: shaped
source: {path: none.csv, query: "SELECT *\\nFROM source"}
where: total > 0
defaults: {timestamp: {column: at, format: iso8601, timezone: UTC}}
calls:
  - type: identify
    message_key: content
    userId: {column: email, normalize: email}
    traits: {"*": {exclude: [note]}, plan: {column: plan, on_bad: omit}, hashed: {sql: "a || b", hash: sha256},
             city: {column: city, trim: true, lookup: {values: {a: b}, unknown: reject}}}
  - {type: track, label: order, when: total > 5, message_id: id, userId: u, event: {value: Ordered},
     properties: payload}
"""
WORDS = [
    "query: SQL: SELECT *\n      FROM source",
    "where: SQL: total > 0",
    'messageId: uuid5(uuid5(ROOT, ["<id scope>", "shaped", "identify", "1"]), SHA-256 of the call\'s JSON)',
    "timestamp: column at, format iso8601, timezone UTC",
    "userId: column email, normalize: email\n    as: SQL: nullif(lower(",
    "traits.*: every column that is named nowhere in it, and hashed nowhere, without note",
    "traits.plan: column plan (left out where it is bad)",
    "traits.hashed: an expression, hash: sha256\n    as: SQL: sha256(CAST((a || b",
    "traits.city: column city, trim, lookup in 1 value (others: rejected)",
    "calls[1]: track, order",
    "when: SQL: total > 5",
    "messageId: as it is in message_id",
    "event: the constant 'Ordered'",
    "properties: all members of column payload",
]


class Terminal(StringIO):
    """What says of itself that it is a terminal."""

    def isatty(self) -> bool:
        """Yes."""
        return True


def test_everything_is_named(project: Project) -> None:
    """Without a source: it is not read."""
    (project.folder / "job.yaml").write_text(JOB)
    told = backfill("explain", project.folder / "job.yaml")
    assert told.code == 0
    assert [words for words in WORDS if words not in told.out] == []


def test_lines_fit_a_terminal(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a terminal lines are broken at COLUMNS; piped they are whole."""
    (project.folder / "job.yaml").write_text(JOB)
    assert max(map(len, backfill("explain", project.folder / "job.yaml").out.splitlines())) > 80
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr("tests.support.projects.StringIO", Terminal)
    assert max(map(len, backfill("explain", project.folder / "job.yaml").out.splitlines())) <= 80


def test_tables_of_a_shape_are_cut(project: Project) -> None:
    """The shape is named; of the digits of all scripts only the first are shown."""
    (project.folder / "job.yaml").write_text(JOB.replace("normalize: email", "normalize: phone"))
    told = backfill("explain", project.folder / "job.yaml")
    assert told.code == 0
    assert "normalize: phone" in told.out
    assert "translate(" in told.out
    assert max(map(len, told.out.splitlines())) < 2_000  # of more than 6,000
