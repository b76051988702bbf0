"""Rows of a snapshot that are left out for a bad value in them, as unreadable records beside those of the reader."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from backfill.frozen import frozen
from backfill.records import FILE_COLUMN, INTERNAL_PREFIX, RECORD_COLUMN, Column, Snapshot
from backfill.sources.reader import ORIGINAL_CHARACTERS, VALUE_CHARACTERS
from backfill.sources.sql.engine import PARQUET, Engine, literal, own_parquet, quoted
from backfill.sources.staging import Staging

#: The columns of records.REJECT_COLUMNS with their types.
_REJECT_COLUMNS = {
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


@frozen
class Bad:
    """What keeps a row from a query or from `latest`: a test in SQL, and what is said of it; `why` is SQL too."""

    test: str
    code: str
    column: str
    value: str
    why: str


def own_columns(rows: Snapshot) -> list[Column]:
    """The source's own columns of a snapshot."""
    return [column for column in rows.columns if not column.name.startswith(INTERNAL_PREFIX)]


def rows_relation(rows: Snapshot) -> str:
    """SQL: the rows of a snapshot as a relation."""
    return own_parquet([part.path for part in rows.parts])


def save_unreadable(staging: Staging, rows: Snapshot, bad: Sequence[Bad]) -> int:
    """Write what was unreadable before and the rows with something bad; returns how many that is."""
    selects = [f"SELECT * FROM {own_parquet([rows.unreadable_file])}"] if rows.unreadable_file else []
    count = rows.unreadable
    if bad:
        asked = " OR ".join(each.test for each in bad)
        left_out = int(staging.engine.run(f"SELECT count(*) FROM {rows_relation(rows)} WHERE {asked}")[0][0])
        count += left_out
        if left_out:
            selects.append(_left_out(rows, bad, asked))
    if selects:
        _save_rejects(staging.engine, selects, staging.unreadable_file)
    return count


def _left_out(rows: Snapshot, bad: Sequence[Bad], asked: str) -> str:
    """SQL: the rows with a bad value that the query would have read, as unreadable records."""
    file = f"{literal([file.name for file in rows.files])}[{FILE_COLUMN} + 1]"

    def first(said: Iterable[str]) -> str:
        return f"CASE {' '.join(f'WHEN {each.test} THEN {one}' for each, one in zip(bad, said, strict=True))} END"

    members = ", ".join(f"{quoted(own.name)} := {_as_read(own)}" for own in own_columns(rows))
    row = _unreadable_row(
        file,
        RECORD_COLUMN,
        "0",
        first(literal(each.code) for each in bad),
        first(each.why for each in bad),
        f"CAST(to_json(struct_pack({members})) AS VARCHAR)",
        column=first(literal(each.column) for each in bad),
        value=first(each.value for each in bad),
    )
    return f"SELECT {row} FROM {rows_relation(rows)} WHERE {asked}"


def _as_read(column: Column) -> str:
    """SQL: the text as read, or the value where it prints as that."""
    name = quoted(column.name)
    return name if column.raw is None else f"coalesce({quoted(column.raw)}, CAST({name} AS VARCHAR))"


def _unreadable_row(
    file: str, record: str, line: str, code: str, message: str, original: str, *, column: str = "''", value: str = ""
) -> str:
    """SQL: the select list of one unreadable record, in the order of records.REJECT_COLUMNS, of SQL values."""
    shown = value or original
    values = (
        *(file, record, line, "''", code, "'error'", column, f"left({shown}, {VALUE_CHARACTERS})", message, "NULL"),
        f"left({original}, {ORIGINAL_CHARACTERS})",
    )
    pairs = zip(_REJECT_COLUMNS.items(), values, strict=True)
    return ", ".join(f"CAST({text} AS {kind}) AS {quoted(name)}" for (name, kind), text in pairs)


def _save_rejects(engine: Engine, selects: Sequence[str], path: Path) -> None:
    """Write the file of unreadable records, in the order given; some of them may be in it now."""
    made = path.with_suffix(".new")
    engine.run(f"COPY ({' UNION ALL '.join(f'({select})' for select in selects)}) TO {literal(str(made))} ({PARQUET})")
    made.replace(path)
