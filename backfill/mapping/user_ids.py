"""Checks of the text in userId, anonymousId, groupId, previousId, which keep strangers apart."""

from __future__ import annotations

from functools import cache

import polars as pl

from backfill.job.models import Call, ColumnValue, SqlValue, Value
from backfill.limits import SAFE_INTEGER
from backfill.mapping.binder import Binder
from backfill.mapping.calls import RareMatch
from backfill.mapping.template import BoundValue
from backfill.placeholders import (
    ADDRESS_PATTERN,
    BLANK_END_PATTERN,
    FLOAT_ID_PATTERN,
    HIDDEN_PATTERN,
    LOST_DIGITS_PATTERN,
    UUID_4_PATTERN,
    odd_id_pattern,
    placeholder_pattern,
)
from backfill.records import Kind
from backfill.rules import severity


def check_id(binder: Binder, name: str, value: Value, bound: BoundValue) -> None:
    """Add the checks of an id that is there. One search through all ids of a frame tells whether any is odd at all."""
    own, text = binder.job.placeholders, bound.plain
    # Where ids are addresses, all are odd: a job that says so is spared the search.
    addresses = name != "groupId" and severity("BF124", dict(binder.job.rules)) is not None
    lines = text.str.join("\n")
    odd = lines.str.contains(odd_id_pattern(own.add, lines=True, addresses=addresses)) | (
        lines.str.count_matches("\n", literal=True) >= text.count()  # one is inside an id
    )
    binder.rare_matches[f"__bf_rare:{name}"] = RareMatch(
        pl.when(text.str.contains(odd_id_pattern(own.add, addresses=addresses))).then(text), odd
    )
    rare = pl.col(f"__bf_rare:{name}")
    nobody = (rare != "") & rare.str.contains(placeholder_pattern(own.add))
    if own.allow:
        nobody &= ~rare.str.strip_chars().str.to_lowercase().is_in(own.allow)
    binder.check("BF105", bound.column, nobody, text)
    for code, pattern in (
        ("BF115", FLOAT_ID_PATTERN),
        ("BF119", HIDDEN_PATTERN),
        ("BF121", BLANK_END_PATTERN),
        *([("BF124", ADDRESS_PATTERN)] if addresses else []),
    ):
        binder.check(code, bound.column, rare.str.contains(pattern), text)
    rounded = _rounded(binder, value)
    lost = rare.str.contains(LOST_DIGITS_PATTERN) if rounded is None else rounded
    binder.check("BF120", bound.column, lost, text)


def check_anonymous_id(binder: Binder, call: Call, bound: BoundValue) -> None:
    """Add the check of an anonymousId for Mixpanel, where the job sends the call there."""
    on = [name for name, options in (call.integrations or {}).items() if options is not False and name != "All"]
    if on and not frozenset(on).isdisjoint(_mixpanel()):
        text = bound.plain
        binder.check("BF125", bound.column, (text != "") & ~text.str.contains(UUID_4_PATTERN), text)


@cache
def _mixpanel() -> tuple[str, ...]:
    from backfill.advice import destinations  # noqa: PLC0415 (its file is read where a job names a destination)

    return next(destination.names for destination in destinations() if destination.key == "mixpanel")


def _rounded(binder: Binder, value: Value) -> pl.Expr | None:
    """Where a float is beyond what floats tell apart; None where the id comes from no column of floats."""
    if not isinstance(value, ColumnValue | SqlValue):
        return None
    column = binder.column(binder.expressions[value.sql] if isinstance(value, SqlValue) else value.column)
    if column.kind is not Kind.NUMBER:
        return None
    number = binder.read(column.name)
    return number.is_finite() & ~number.is_between(-SAFE_INTEGER, SAFE_INTEGER)
