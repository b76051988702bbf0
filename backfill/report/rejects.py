"""Rows that were not sent as a file: each with its run, its reason and its original columns."""

from __future__ import annotations

from collections.abc import Container, Sequence
from functools import partial
from pathlib import Path

import polars as pl

from backfill import encode
from backfill.disk import fill_beside
from backfill.errors import LedgerError
from backfill.records import INTERNAL_PREFIX, REJECT_COLUMNS, REJECT_PREFIX, StoredRun
from backfill.report.json_text import compact, parse
from backfill.report.lines import with_line_column

_COUNTS = ("record", "line")
#: Unreadable for the query that reads it, but a row with columns.
QUERY_MISFITS = ("BF007", "BF008", "BF133")


def rejects_frame(folder: StoredRun, *, duplicates: bool = False) -> pl.LazyFrame:
    """Every reject (or duplicate) of a run, with its line as far as job file and source are still what they were."""
    schema = {name: pl.UInt64 if name in _COUNTS else pl.String for name in REJECT_COLUMNS}
    frames = [
        pl.scan_parquet(path, glob=False).select(pl.col(name).cast(kind) for name, kind in schema.items())
        for path in folder.rejects().files(duplicates=duplicates)
    ]
    rejects = pl.concat(frames) if frames else pl.LazyFrame(schema=schema)
    return with_line_column(rejects, folder)


def export_rejects(folders: Sequence[StoredRun], path: Path, *, duplicates: bool = False) -> int:
    """Write the rejects, or duplicates, of these runs to a file, whole or not at all; returns how many there are.

    The file is as its suffix says, and replaces one that is there. The row's own columns stand beside the reason, see
    `with_own_columns`.

    Raises:
        StoppedError: The disk is full.
        LedgerError: A ledger or a file of rejects is damaged.
    """
    frames = [
        rejects_frame(folder, duplicates=duplicates).with_columns(run=pl.lit(folder.run_id)) for folder in folders
    ]
    try:
        fill_beside(path, partial(_sink, with_own_columns(frames)))
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        raise LedgerError(
            "a file of rejects is damaged", hint="name a run to see which; the runs themselves are not hurt"
        ) from error
    return int(pl.concat(frames).select(pl.len()).collect().item())


def _sink(rejects: pl.LazyFrame, path: Path) -> None:
    if path.suffix == ".csv":
        rejects.sink_csv(path)
    elif path.suffix == ".parquet":
        rejects.sink_parquet(path)
    else:
        rejects.sink_ndjson(path)


def with_own_columns(frames: Sequence[pl.LazyFrame]) -> pl.LazyFrame:
    """All rejects of the runs, the rows' own columns beside the reasons.

    They are text, every digit as it was read, what is nested as JSON. They keep their names, so that the mended rows
    can be a source again: a reason's column of the same name is called reject_NAME. `original` stays for records that
    could not be read as a row, as the text that they are.
    """
    readable = (pl.col("call") != "") | pl.col("code").is_in(QUERY_MISFITS)
    names = list(dict.fromkeys(name for frame in frames for name in own_names(frame.filter(readable))))
    rejects = pl.concat(frames).select("run", *REJECT_COLUMNS)
    if not names:
        return rejects
    kind = pl.Struct(dict.fromkeys([*names, WHOLE], pl.String))

    def cells(originals: pl.Series) -> pl.Series:
        return pl.Series(originals.name, [own_cells(text) for text in originals], dtype=kind)

    own = pl.when(readable).then(pl.col("original")).map_batches(cells, return_dtype=kind, is_elementwise=True)
    unread = pl.when(pl.col(WHOLE).struct.field(WHOLE).is_null()).then(pl.col("original")).alias("original")
    taken = {name.casefold() for name in names}
    reasons = [pl.col(name).alias(free_name(name, taken)) for name in ("run", *REJECT_COLUMNS)]
    return (
        rejects.with_columns(own.alias(WHOLE))
        .with_columns(unread)
        .select(*reasons, *(encode.field(pl.col(WHOLE), kind, place).alias(name) for place, name in enumerate(names)))
    )


def free_name(name: str, taken: Container[str]) -> str:
    """The name of a reason's column that no column of the row has (`taken`, case folded)."""
    while name.casefold() in taken:
        name = REJECT_PREFIX + name
    return name


#: Marks a row whose columns could be told apart; no source column has a name that begins so.
WHOLE = f"{INTERNAL_PREFIX}whole"


def own_names(readable: pl.LazyFrame) -> list[str]:
    """The names of a run's own columns, in their order: those of the mapped rows, then those a query reads."""
    firsts = readable.group_by((pl.col("call") == "").alias("unread"), pl.col("file")).agg(pl.col("original").first())
    texts = firsts.sort("unread", "file").collect()["original"]
    return list(dict.fromkeys(name for text in texts for name in own_cells(text) or {} if name != WHOLE))


def own_cells(original: str | None) -> dict[str, str | None] | None:
    """A row's columns as text; None where the text is not a whole row."""
    if original is None:
        return None
    try:
        row = parse(original)
    except ValueError:  # cut off: the original of a record that could not be read is kept up to a length
        return None
    if not isinstance(row, dict):
        return None
    cells = {name: each if each is None or isinstance(each, str) else compact(each) for name, each in row.items()}
    return cells | {WHOLE: ""}
