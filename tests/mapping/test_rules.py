"""The table of problem codes: consistent in itself, and documented to the letter."""

import re
from pathlib import Path

import pytest

from backfill import rules
from backfill.records import Severity
from backfill.rules import CODES, Rule


def documented_row(rule: Rule) -> str:
    """The line of docs/problems.md that describes a rule."""
    may = "yes" if rule.lowerable else "no"
    return f"| {rule.code} | {rule.title} | {rule.severity} | {may} | {rule.hint[0].upper()}{rule.hint[1:]} |"


def test_documentation_lists_every_rule_and_no_other(repository: Path) -> None:
    """docs/problems.md has exactly the rows of the table in backfill/rules.py, in order."""
    page = (repository / "docs" / "problems.md").read_text("utf-8")
    rows = re.findall(r"^\| BF\d{3} \|.*$", page, re.MULTILINE)
    expected = [documented_row(rule) for rule in CODES.values()]
    assert rows == expected, "docs/problems.md should hold:\n" + "\n".join(expected)


@pytest.mark.parametrize("rule", CODES.values(), ids=lambda rule: rule.code)
def test_codes_are_stable_names(rule: Rule) -> None:
    """A code is BF and three digits, found under itself, with a hint that says what to do."""
    assert re.fullmatch(r"BF[0-9]{3}", rule.code)
    assert CODES[rule.code] is rule
    assert rule.title
    assert rule.hint


def test_codes_are_given_once_and_in_order() -> None:
    """No two rules share a code (a later row of the table would hide an earlier one)."""
    assert list(CODES) == sorted(rule[0] for rule in rules._TABLE)


@pytest.mark.parametrize("rule", CODES.values(), ids=lambda rule: rule.code)
def test_severity_under_overrides(rule: Rule) -> None:
    """A job raises any rule to an error, and lowers or ignores only those that may be."""
    stated = rule.severity
    assert rules.severity(rule.code, {}) is stated
    assert rules.severity(rule.code, {rule.code: "error"}) is Severity.ERROR
    assert rules.severity(rule.code, {rule.code: "warn"}) is (Severity.WARNING if rule.lowerable else stated)
    assert rules.severity(rule.code, {rule.code: "ignore"}) is (None if rule.lowerable else stated)
