"""How counts are written in messages."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from backfill.deliver import DeliveryEnd, TargetAccess
from backfill.deliver.endings import canary_end, window_end
from backfill.errors import counted
from backfill.pipeline.deliver import doubt_text
from backfill.records import Batch, Decision, DeliveryTotals

#: A count put before a noun in the plural by an f-string: right of most numbers, wrong of 1.
PLURAL = re.compile(r"\{[^{}]*(?::,|len\([^{}]*\))\} (?:calls|rows|batches|requests|rejects|records|commits|columns)\b")


@pytest.mark.parametrize(("count", "text"), [(0, "0 calls"), (1, "1 call"), (2, "2 calls"), (12345, "12,345 calls")])
def test_counted(count: int, text: str) -> None:
    """One of a kind is in the singular; thousands are told apart."""
    assert counted(count, "call", "calls") == text


def test_no_count_has_a_fixed_plural(repository: Path) -> None:
    """Messages have their counts and nouns from `counted`."""
    assert PLURAL.search('f"{calls:,} calls that"')
    found = [
        f"{path.name}:{number}: {line.strip()}"
        for path in sorted((repository / "backfill").rglob("*.py"))
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if PLURAL.search(line) and "raise ValueError" not in line and "== 1" not in line
    ]
    assert not found


def test_texts_of_a_job_name_no_target(repository: Path) -> None:
    """A job is judged before it is known where it goes: what is said of it holds for any target."""
    found = []
    for path in sorted((repository / "backfill" / "job").rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        described = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.keyword | ast.Expr)}
        found += [
            f"{path.name}:{node.lineno}: {node.value}"
            for node in ast.walk(tree)
            if isinstance(node, ast.Constant) and "Segment" in str(node.value) and id(node) not in described
        ]
    assert not found


def ended(calls: int) -> DeliveryEnd:
    """A canary that so many calls of were received."""
    return canary_end(DeliveryTotals(calls=calls), TargetAccess("https://x/v1/batch", "key"))


def test_canary() -> None:
    """Of ten calls nine may be refused."""
    assert ended(1).message.endswith("1 call was received")
    assert ended(10).message.endswith("10 calls were received")


@pytest.mark.parametrize("decision", [None, *Decision])
def test_doubts(decision: Decision | None) -> None:
    """Verbs and pronouns go with their nouns."""
    one = doubt_text([Batch(1, 0, 1, 9, 0, 9, 0)], decision, 60.0)
    assert one.startswith("1 call, ")
    assert " is " in one
    assert not re.search(r"\b(are|they)\b", one)
    more = doubt_text([Batch(1, 0, 1, 9, 0, 9, 0), Batch(2, 0, 1, 9, 0, 9, 0)], decision, 60.0)
    assert more.startswith("2 calls, ")
    assert " are " in more


def test_doubts_of_a_target_that_remembers_nothing() -> None:
    """There is no window that a batch of a minute ago could be past."""
    batch = Batch(1, 0, 1, 9, 0, 9, 0)
    for text in (doubt_text([batch], None, 0.0), window_end(DeliveryTotals(), (1,), 0.0).message):
        assert "not known to drop" in text
        assert "longer" not in text
