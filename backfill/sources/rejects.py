"""Unreadable records that SQL finds: a Parquet file of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from backfill.sources.engine import PARQUET, Engine, literal, quoted

ORIGINAL_CHARACTERS = 2000
VALUE_CHARACTERS = 80


#: The columns of records.REJECT_COLUMNS with their types.
COLUMNS = {
    "file": "VARCHAR",
    "record": "UBIGINT",
    "line": "UBIGINT",
    "call": "VARCHAR",
    "code": "VARCHAR",
    "severity": "VARCHAR",
    "column": "VARCHAR",
    "value": "VARCHAR",
    "message": "VARCHAR",
    "message_id": "VARCHAR",
    "original": "VARCHAR",
}


def unreadable_row(
    file: str, record: str, line: str, code: str, message: str, original: str, *, column: str = "''", value: str = ""
) -> str:
    """SQL: the select list of one unreadable record, in the order of COLUMNS, of SQL values."""
    shown = value or original
    values = (
        *(file, record, line, "''", code, "'error'", column, f"left({shown}, {VALUE_CHARACTERS})", message, "NULL"),
        f"left({original}, {ORIGINAL_CHARACTERS})",
    )
    pairs = zip(COLUMNS.items(), values, strict=True)
    return ", ".join(f"CAST({text} AS {kind}) AS {quoted(name)}" for (name, kind), text in pairs)


def save_rejects(engine: Engine, selects: Sequence[str], path: Path) -> None:
    """Write the file of unreadable records, in the order given."""
    engine.run(f"COPY ({' UNION ALL '.join(f'({select})' for select in selects)}) TO {literal(str(path))} ({PARQUET})")
