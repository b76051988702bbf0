"""The table of problem codes: consistent in itself, and documented to the letter."""

import re

import pytest

from backfill import rules
from backfill.records import Severity
from backfill.rules import CODES, Rule
from tests.support.code_pages import DOCUMENT, document


def test_the_document_is_that_of_the_rules() -> None:
    """docs/problems.md has the rows and the pages of all codes, in their order: `make pages` writes it again."""
    assert DOCUMENT.read_text("utf-8") == document()


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
