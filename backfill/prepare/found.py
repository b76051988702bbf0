"""Problems of a frame, as checks find them: every error listed, of the warnings the first few, all counted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import polars as pl

from backfill.mapping.calls import Check
from backfill.prepare.frames import ROW_COLUMN
from backfill.records import Severity

#: Problems of a frame, one row each; `detail` is what is said behind the title of the code.
PROBLEM_SCHEMA: Final = {
    "row": pl.UInt32,
    "call": pl.UInt8,
    "code": pl.String,
    "severity": pl.String,
    "column": pl.String,
    "value": pl.String,
    "detail": pl.String,
}
#: Warnings are counted all and shown some: the calls they belong to are sent.
WARNINGS_SHOWN: Final = 5
VALUE_CHARACTERS: Final = 80

#: (code, severity) -> how many.
Counted = dict[tuple[str, str], int]


def found_problems(
    call: int, checks: Sequence[Check], work: pl.DataFrame, state: pl.DataFrame, totals: Mapping[str, int]
) -> tuple[pl.DataFrame, Counted]:
    """The problems that checks of a call find: `state` has the mask of check N as `mN`, `totals` how often it is true.

    A mask that is never true need not be in `state`.
    """
    found = [pl.DataFrame(schema=PROBLEM_SCHEMA)]
    counts: Counted = {}
    for number, check in enumerate(checks):
        total = totals[f"m{number}"]
        if not total:
            continue
        key = (check.code, check.severity.value)
        counts[key] = counts.get(key, 0) + total
        rows = work.filter(state[f"m{number}"])
        if check.severity is Severity.WARNING:
            rows = rows.head(WARNINGS_SHOWN)
        found.append(rows.select(**problem_columns(call, check)))
    return pl.concat(found), counts


def problem_columns(call: int, check: Check) -> dict[str, pl.Expr]:
    """PROBLEM_SCHEMA's columns of rows that a check finds."""
    return {
        "row": pl.col(ROW_COLUMN),
        "call": pl.lit(call, pl.UInt8),
        "code": pl.lit(check.code),
        "severity": pl.lit(check.severity.value),
        "column": pl.lit(check.column),
        "value": check.shown.cast(pl.String).fill_null("").str.slice(0, VALUE_CHARACTERS),
        "detail": pl.lit(check.detail, pl.String),
    }
