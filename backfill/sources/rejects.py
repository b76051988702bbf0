"""Unreadable records: a Parquet file of them, and the record numbers that they take."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path

from backfill.sources.engine import PARQUET, Engine, literal, quoted

ORIGINAL_CHARACTERS = 2000
VALUE_CHARACTERS = 80
#: Rows between two entries of the table of offsets (see numbered).
BLOCK_BITS = 12


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


def reject_changes(rejected: Sequence[int]) -> list[tuple[int, int]]:
    """Where rejected records move the numbers of those read, for `numbered`.

    The j-th rejected record (from 0) stands before the n-th read one where its number less j is at most n.
    """
    return [(number - index, 1) for index, number in enumerate(rejected)]


def numbered(row: str, rows: int, changes: Sequence[tuple[int, int]]) -> str:
    """SQL: `row`, a number from 1 to `rows`, plus every change (place, by how much) whose place is not above it.

    The sums are looked up in two steps, by block of rows and then inside the block: a join would lose the order.
    """
    if not changes:
        return row
    steps: dict[int, int] = {}
    for place, change in sorted(changes):
        steps[place] = steps.get(place, 0) + change
    places = list(steps)
    sums = [0, *accumulate(steps.values())]
    inner, counts = [], []
    for block in range((rows >> BLOCK_BITS) + 1):
        first = bisect_right(places, (block << BLOCK_BITS) - 1)
        last = bisect_right(places, ((block + 1) << BLOCK_BITS) - 1)
        inner.append(places[first:last])
        counts.append(sums[first : last + 1])
    block_of = f"(({row}) >> {BLOCK_BITS}) + 1"
    return (
        f"{row} + CAST({_lists(counts)} AS BIGINT[][])[{block_of}]"
        f"[1 + len(list_filter(CAST({_lists(inner)} AS BIGINT[][])[{block_of}], lambda place: place <= {row}))]"
    )


def _lists(lists: Sequence[Sequence[int]]) -> str:
    return "[" + ", ".join("[" + ", ".join(map(str, numbers)) + "]" for numbers in lists) + "]"
