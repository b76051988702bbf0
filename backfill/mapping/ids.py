"""What keeps strangers apart: the checks of the text that stands in an id."""

from __future__ import annotations

import polars as pl

from backfill.job.models import ColumnValue, SqlValue, Value
from backfill.limits import SAFE_INTEGER
from backfill.mapping.calls import Suspect
from backfill.mapping.cells import Binder
from backfill.mapping.template import Cell
from backfill.placeholders import (
    BLANK_END_PATTERN,
    FLOAT_ID_PATTERN,
    HIDDEN_PATTERN,
    LOST_DIGITS_PATTERN,
    odd_id_pattern,
    placeholder_pattern,
)
from backfill.records import Kind


def check_id(binder: Binder, name: str, value: Value, cell: Cell) -> None:
    """Add the checks of an id that is there. One search through all ids of a frame tells whether any is odd at all."""
    own, text = binder.job.placeholders, cell.plain
    lines = text.str.join("\n")
    odd = lines.str.contains(odd_id_pattern(own.add, lines=True)) | (
        lines.str.count_matches("\n", literal=True) >= text.count()  # one is inside an id
    )
    binder.suspects[f"__bf_suspect:{name}"] = Suspect(
        pl.when(text.str.contains(odd_id_pattern(own.add))).then(text), odd
    )
    suspect = pl.col(f"__bf_suspect:{name}")
    nobody = (suspect != "") & suspect.str.contains(placeholder_pattern(own.add))
    if own.allow:
        nobody &= ~suspect.str.strip_chars().str.to_lowercase().is_in(own.allow)
    binder.check("BF105", cell.column, nobody, text)
    for code, pattern in (
        ("BF115", FLOAT_ID_PATTERN),
        ("BF119", HIDDEN_PATTERN),
        ("BF121", BLANK_END_PATTERN),
    ):
        binder.check(code, cell.column, suspect.str.contains(pattern), text)
    rounded = _rounded(binder, value)
    lost = suspect.str.contains(LOST_DIGITS_PATTERN) if rounded is None else rounded
    binder.check("BF120", cell.column, lost, text)


def _rounded(binder: Binder, value: Value) -> pl.Expr | None:
    """Where a float is beyond what floats tell apart; None where the id comes from no column of floats."""
    if not isinstance(value, ColumnValue | SqlValue):
        return None
    column = binder.column(binder.expressions[value.sql] if isinstance(value, SqlValue) else value.column)
    if column.kind is not Kind.NUMBER:
        return None
    number = binder.read(column.name)
    return number.is_finite() & ~number.is_between(-SAFE_INTEGER, SAFE_INTEGER)
