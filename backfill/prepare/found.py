"""Problems of a frame, as checks find them: every error listed, of the warnings the first few, all counted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import polars as pl

from backfill.mapping.calls import Check
from backfill.prepare.frames import ROW_COLUMN
from backfill.records import Severity
from backfill.records.profile import BAD_VALUES, BadValues, merged_values

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
#: Rows of a frame that tell whether the values of a check are to be counted.
VALUES_PROBED: Final = 256

#: (code, severity) -> how many.
Counted = dict[tuple[str, str], int]
#: By code and column.
FoundValues = dict[tuple[str, str], BadValues]


def found_problems(
    call: int, checks: Sequence[Check], work: pl.DataFrame, state: pl.DataFrame, totals: Mapping[str, int]
) -> tuple[pl.DataFrame, Counted, FoundValues]:
    """The problems that checks of a call find: `state` has the mask of check N as `mN`, `totals` how often it is true.

    A mask that is never true need not be in `state`. With them the values that they are about.
    """
    found = [pl.DataFrame(schema=PROBLEM_SCHEMA)]
    counts: Counted = {}
    values = []
    for number, check in enumerate(checks):
        total = totals[f"m{number}"]
        if not total:
            continue
        key = (check.code, check.severity.value)
        counts[key] = counts.get(key, 0) + total
        rows = work.filter(state[f"m{number}"])
        values.append(values_of(rows, check))
        if check.severity is Severity.WARNING:
            rows = rows.head(WARNINGS_SHOWN)
        found.append(rows.select(**problem_columns(call, check)))
    return pl.concat(found), counts, merged_values(values)


def values_of(rows: pl.DataFrame, check: Check) -> FoundValues:
    """What some rows show, the most frequent texts; where the first ones nearly all differ, no others are looked at."""
    shown = problem_columns(0, check)["value"].alias("value")
    found = _counts(rows.head(VALUES_PROBED), shown)
    if len(rows) > VALUES_PROBED and 2 * len(found) <= VALUES_PROBED:
        found = _counts(rows, shown)
    return {(check.code, check.column): _most(found, len(rows))}


def listed_values(problems: pl.DataFrame) -> FoundValues:
    """The values of problems that are all listed, with code, column and value."""
    return {
        (str(code), str(column)): _most(some["value"].value_counts(name="calls"), len(some))
        for (code, column), some in problems.group_by("code", "column")
    }


def _counts(rows: pl.DataFrame, shown: pl.Expr) -> pl.DataFrame:
    """How many rows show each text; beside a column, as one text may stand for all rows."""
    return rows.select(pl.col(ROW_COLUMN), shown)["value"].value_counts(name="calls")


def _most(found: pl.DataFrame, rows: int) -> BadValues:
    most = found.top_k(BAD_VALUES, by="calls")
    return BadValues(dict(most.iter_rows()), int(most["calls"].sum()) == rows)


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
