"""`explain`: each value of each call is named with what it is."""

from __future__ import annotations

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
    traits: {"*": {exclude: [note]}, plan: {column: plan, on_bad: omit}, hashed: {sql: "a || b", hash: sha256}}
  - {type: track, label: order, when: total > 5, message_id: id, userId: u, event: {value: Ordered},
     properties: payload}
"""
WORDS = [
    "query: SQL: SELECT *\n      FROM source",
    "where: SQL: total > 0",
    'messageId: uuid5(uuid5(ROOT, ["<id scope>", "shaped", "identify", "1"]), SHA-256 of the call\'s JSON)',
    "timestamp: column at, format iso8601, timezone UTC",
    "userId: SQL: nullif(lower(",
    "traits.*: every column that is named nowhere in it, and hashed nowhere, without note",
    "traits.plan: column plan (left out where it is bad)",
    "traits.hashed: SQL: sha256(CAST((a || b",
    "calls[1]: track, order",
    "when: SQL: total > 5",
    "messageId: as it is in message_id",
    "event: the constant 'Ordered'",
    "properties: all members of column payload",
]


def test_everything_is_named(project: Project) -> None:
    """Without a source: it is not read."""
    (project.folder / "job.yaml").write_text(JOB)
    told = backfill("explain", project.folder / "job.yaml")
    assert told.code == 0
    assert [words for words in WORDS if words not in told.out] == []
