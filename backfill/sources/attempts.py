"""An SQL expression asked of a row: its value, or that it fails there, which costs that row and no other.

DuckDB's TRY gives NULL for an expression that fails, so the value is tried inside of a struct: a struct that is NULL
failed, one that holds NULL did not. See https://duckdb.org/docs/stable/sql/expressions/try.
"""

from __future__ import annotations

from collections.abc import Sequence

#: Never true, and DuckDB cannot know that. It works out what expressions have in common beforehand, out of reach of
#: TRY, but leaves the branches of a CASE alone; and a CASE whose condition is constant is no CASE.
_NEVER = "random() > 2"
#: A pass of DuckDB's optimizer that takes long IN lists out of their expressions, and so out of reach of TRY.
UNSAFE_OPTIMIZERS = "in_clause"


def attempt(value: str, skip: Sequence[str] = ()) -> str:
    """SQL: a struct of the `value` and whether it `failed`; neither where any of `skip` holds, which cannot fail."""
    return (
        f"CASE WHEN {' OR '.join([*skip, _NEVER])} THEN struct_pack(value := NULL, failed := false) "
        f"ELSE coalesce(TRY(struct_pack(value := {value}, failed := false)), "
        "struct_pack(value := NULL, failed := true)) END"
    )
