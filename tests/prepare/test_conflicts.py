"""Calls of one id and unlike bytes: told by their key, by the record that came first, and by what differs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backfill.prepare.conflicts import differing
from tests.support.projects import backfill

JOB = """\
version: 1
name: conflicts
source: {{path: {path}}}
calls:
  - type: track
    message_key: {key}
    userId: user
    timestamp: {{column: at, format: iso8601, timezone: UTC}}
    event: {{value: Seen}}
    properties: {{total: total, note: note}}
    integrations: {{All: false}}
"""
HEADER = "order,line,user,at,total,note\n"


def rejected(folder: Path, *, path: str = "a.csv", key: str = "[order, line]") -> list[dict[str, Any]]:
    """The rejects of a dry run of the job over the CSV files in the folder."""
    job = folder / "job.yaml"
    job.write_text(JOB.format(path=path, key=key), "utf-8")
    result = backfill("run", job, "--target", "sandbox", "--output", "json")
    assert result.code == 3, result.err
    (folder / "rejects.csv").unlink(missing_ok=True)
    exported = backfill("rejects", "--export", folder / "rejects.ndjson", "--state-dir", folder / ".backfill")
    assert exported.code == 0, exported.err
    return [json.loads(line) for line in (folder / "rejects.ndjson").read_text("utf-8").splitlines()]


def test_what_a_conflict_says(tmp_path: Path) -> None:
    """Key columns and values, the first record of that key, the members that differ."""
    rows = ["1,1,u1,2024-01-01,5,a", "1,2,u1,2024-01-01,5,a", "1,1,u2,2024-01-01,7,a", "1,1,u1,2024-01-01,5,a"]
    (tmp_path / "a.csv").write_text(HEADER + "\n".join(rows) + "\n", "utf-8")
    (found,) = rejected(tmp_path)
    assert (found["code"], found["record"]) == ("BF113", 3)
    assert (found["column"], found["value"]) == ("order, line", "1, 1")
    wanted = "same message id, other content: as record 1, which is sent; differs in userId, properties.total"
    assert found["message"] == wanted


def test_a_conflict_over_files_and_shards(tmp_path: Path) -> None:
    """The record that came first may be in another file, and as far away as can be."""
    many = [f"{number},1,u1,2024-01-01,5,a" for number in range(40_000)]
    (tmp_path / "a.csv").write_text(HEADER + "\n".join(many) + "\n", "utf-8")
    (tmp_path / "b.csv").write_text(HEADER + "17,1,u1,2024-01-01,,a\n39999,1,u1,2024-01-02,5,b\n", "utf-8")
    first, second = rejected(tmp_path, path="[a.csv, b.csv]")
    assert "as record 18 of a.csv, which is sent; differs in properties.total" in first["message"]
    assert "as record 40,000 of a.csv, which is sent; differs in timestamp, properties.note" in second["message"]


def test_many_conflicts(tmp_path: Path) -> None:
    """A wrong key is told in full a few times; each conflict has its key."""
    rows = [f"{number % 3},{number},u1,2024-01-01,{number},a" for number in range(60)]
    (tmp_path / "a.csv").write_text(HEADER + "\n".join(rows) + "\n", "utf-8")
    found = rejected(tmp_path, key="[order, {value: x}, {sql: 'order_ || 1'}]".replace("order_", '"order"'))
    assert len(found) == 57
    assert [("differs in" in one["message"]) for one in found] == [True] * 5 + [False] * 52
    assert {one["value"] for one in found} == {"0, 01", "1, 11", "2, 21"}
    assert {one["column"] for one in found} == {'order, "order" || 1'}


def test_a_conflict_between_calls_of_given_ids(tmp_path: Path) -> None:
    """Ids that exist already may collide between calls of two types."""
    (tmp_path / "a.csv").write_text(HEADER + "1,1,u1,2024-01-01,5,a\n", "utf-8")
    job = tmp_path / "job.yaml"
    text = JOB.format(path="a.csv", key="[order]").replace("message_key: [order]", "message_id: order")
    text += "  - {type: identify, message_id: order, userId: user, timestamp: {value: 2024-01-01T00:00:00Z},"
    job.write_text(text.replace("2024-01-01T00:00:00Z", "'2024-01-01T00:00:00Z'") + " integrations: {All: false}}\n")
    result = backfill("dry-run", job)
    assert result.code == 3
    assert "as record 1, which is sent; differs in type, event, properties" in result.err


VALUES = st.recursive(
    st.integers(0, 2) | st.none() | st.sampled_from(["a", "b"]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from("ab"), inner, max_size=2),
    max_leaves=6,
)


@given(VALUES, VALUES)
def test_what_differs(one: Any, other: Any) -> None:
    """Nothing is named exactly where documents are equal; no name is said twice."""
    names = list(differing(one, other, ""))
    assert (names == []) is (one == other)
    assert len(names) == len(set(names))


@pytest.mark.parametrize(
    ("one", "other", "names"),
    [
        ({"a": {"b": 1, "c": 2}}, {"a": {"b": 1, "c": 3}}, ["a.c"]),
        ({"a": 1}, {"b": 1}, ["a", "b"]),
        ({"a": [1]}, {"a": [2]}, ["a"]),
        ({"a": {}}, {"a": 1}, ["a"]),
    ],
)
def test_the_names_of_what_differs(one: Any, other: Any, names: list[str]) -> None:
    """A member is named by its whole path."""
    assert list(differing(one, other, "")) == names
