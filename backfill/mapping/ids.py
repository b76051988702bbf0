"""What keeps strangers apart: the checks of the text that stands in an id."""

from __future__ import annotations

import polars as pl

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


def check_id(binder: Binder, name: str, cell: Cell) -> None:
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
        ("BF120", LOST_DIGITS_PATTERN),
        ("BF121", BLANK_END_PATTERN),
    ):
        binder.check(code, cell.column, suspect.str.contains(pattern), text)
