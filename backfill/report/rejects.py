"""Rows that were not sent, each with its reason and its original columns: a table, or a file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import polars as pl

from backfill.errors import UsageError
from backfill.records import REJECT_COLUMNS

#: Suffix of an export -> how it is written.
FORMATS = (".csv", ".parquet", ".ndjson")
#: The order of the table's columns, which leave the original out.
SHOWN = ("code", "file", "record", "line", "call", "column", "value", "message")
TABLE_ROWS = 100
_COUNTS = ("record", "line")


def rejects_frame(spool: Path) -> pl.LazyFrame:
    """Every rejected row of a run: the unreadable ones first, then each shard's, by our rules or by the target."""
    schema = {name: pl.UInt64 if name in _COUNTS else pl.String for name in REJECT_COLUMNS}
    files = [
        spool / "unreadable.parquet",
        *sorted([*spool.glob("*.rejects.parquet"), *spool.glob("*.refused.parquet")]),
    ]
    frames = [
        pl.scan_parquet(path).select(pl.col(name).cast(kind) for name, kind in schema.items())
        for path in files
        if path.exists()
    ]
    return pl.concat(frames) if frames else pl.LazyFrame(schema=schema)


def export_rejects(frames: Sequence[pl.LazyFrame], path: Path) -> int:
    """Write the problems to a .csv, .parquet or .ndjson file, replacing it; returns how many there are.

    Raises:
        UsageError: The suffix is another one, or there is no such folder.
    """
    if not path.absolute().parent.is_dir():
        raise UsageError(f"--export {path}: there is no such folder")
    rejects = pl.concat(frames)
    if path.suffix == ".csv":
        rejects.sink_csv(path)
    elif path.suffix == ".parquet":
        rejects.sink_parquet(path)
    elif path.suffix == ".ndjson":
        rejects.sink_ndjson(path)
    else:
        raise UsageError(f"--export {path}: the suffix says the format", hint=f"one of {', '.join(FORMATS)}")
    return int(rejects.select(pl.len()).collect().item())


def rejects_table(frames: Sequence[pl.LazyFrame], rows: int = TABLE_ROWS) -> str:
    """The first problems as an aligned table, and how many more there are; empty where there is none."""
    rejects = pl.concat(frames)
    total = rejects.select(pl.len()).collect().item()
    if not total:
        return ""
    table = [tuple(name.upper() for name in SHOWN)]
    shown = rejects.select(SHOWN).head(rows).collect()
    table += [tuple("" if cell in (None, 0) else one_line(str(cell)) for cell in row) for row in shown.iter_rows()]
    widths = [max(len(row[place]) for row in table) for place in range(len(SHOWN))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in table]
    if total > rows:
        lines.append(f"and {total - rows:,} more: --export FILE writes them all, with the rows' own columns")
    return "\n".join(lines)


def one_line(text: str) -> str:
    """The text without line breaks and other control characters, which would break the table."""
    return "".join(character if character.isprintable() else repr(character)[1:-1] for character in text)
