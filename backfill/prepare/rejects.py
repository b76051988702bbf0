"""Problems as people need them: the file, the record, the reason, and the row's original columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import polars as pl

from backfill import encode
from backfill.mapping import CompiledCall
from backfill.prepare.frames import ROW_COLUMN, Frames
from backfill.prepare.hints import hint_of
from backfill.records import (
    FILE_COLUMN,
    INTERNAL_PREFIX,
    RECORD_COLUMN,
    Column,
    Kind,
    Problem,
    Severity,
    Snapshot,
    frame_name,
)
from backfill.rules import CODES

#: At most so many samples of each code are kept of a shard.
SAMPLES: Final = 5

#: Columns and types of the problems frame of a shard, as records.REJECT_COLUMNS names them.
_TYPES: Final = {
    "file": pl.String,
    "record": pl.UInt64,
    "line": pl.UInt64,
    "call": pl.String,
    "code": pl.String,
    "severity": pl.String,
    "column": pl.String,
    "value": pl.String,
    "message": pl.String,
    "message_id": pl.String,
    "original": pl.String,
}


def describe(
    problems: pl.DataFrame, shard: int, snapshot: Snapshot, frames: Frames, calls: Sequence[CompiledCall]
) -> tuple[pl.DataFrame | None, tuple[Problem, ...]]:
    """The rejected calls of a shard with their originals (None where there are none), and samples of every code.

    `problems` has conflicts.SCHEMA.
    """
    if not len(problems):
        return None, ()
    rows = originals(problems["row"].unique(), shard, snapshot, frames)
    scopes = {call.index: call.scope for call in calls}
    titles = {code: rule.title for code, rule in CODES.items()}
    described = (
        problems.join(rows, on="row", how="left", maintain_order="left")
        .sort("row", "call", "code", "column", maintain_order=True)
        .with_columns(
            pl.lit(0, pl.UInt64).alias("line"),
            pl.col("call").replace_strict(scopes, return_dtype=pl.String),
            pl.concat_str(
                pl.col("code").replace_strict(titles, return_dtype=pl.String),
                pl.format(": {}", pl.col("detail")).fill_null(""),
            ).alias("message"),
        )
    )
    samples = described.group_by("code", maintain_order=True).head(SAMPLES)
    errors = described.filter(pl.col("severity") == Severity.ERROR.value).select(list(_TYPES)).cast(_TYPES)  # type: ignore[arg-type]
    return (errors if len(errors) else None), tuple(_problem(row) for row in samples.iter_rows(named=True))


def _problem(row: Mapping[str, object]) -> Problem:
    code = str(row["code"])
    return Problem(
        code=code,
        severity=Severity(str(row["severity"])),
        message=str(row["message"]),
        file=str(row["file"]),
        record=int(str(row["record"])),
        call=str(row["call"]),
        column=str(row["column"]),
        value=str(row["value"]),
        hint=hint_of(code, str(row["column"]), str(row["value"])),
    )


def originals(rows: pl.Series, shard: int, snapshot: Snapshot, frames: Frames) -> pl.DataFrame:
    """Some rows of a shard with where they stood: row, file (its name), record, original (see `original`)."""
    files = {index: file.name for index, file in enumerate(snapshot.files)}
    # polars panics on Parquet's INTERVAL, and DuckDB never hands one over: a job has to cast it
    own = [c for c in snapshot.columns if not c.name.startswith(INTERNAL_PREFIX) and c.kind is not Kind.INTERVAL]
    names = [column.raw or column.name for column in own]
    found = []
    for frame in frames.walk(shard, [*names, FILE_COLUMN, RECORD_COLUMN]):
        wanted = frame.filter(pl.col(ROW_COLUMN).is_in(rows.implode()))
        if len(wanted):
            found.append(
                wanted.select(
                    pl.col(ROW_COLUMN).alias("row"),
                    pl.col(FILE_COLUMN).cast(pl.UInt32).replace_strict(files, return_dtype=pl.String).alias("file"),
                    pl.col(RECORD_COLUMN).cast(pl.UInt64).alias("record"),
                    original(own, dict(wanted.schema)).alias("original"),
                )
            )
    return pl.concat(found)


def original(columns: Sequence[Column], schema: Mapping[str, pl.DataType]) -> pl.Expr:
    """A row's columns as one JSON object, nulls kept; what was cast from text is shown as that text."""
    members = [encode.member(column.name, _shown(column, schema).fill_null("null")) for column in columns]
    return encode.braced(pl.concat_str(members)) if members else pl.lit("{}")


def _shown(column: Column, schema: Mapping[str, pl.DataType]) -> pl.Expr:
    if column.raw is not None:
        return encode.string(pl.col(column.raw))
    name = frame_name(column.name)
    value, dtype = pl.col(name), schema[name]
    match column.kind:
        case Kind.BINARY:
            return encode.quoted(value.cast(pl.Binary).bin.encode("hex"))
        case Kind.NUMBER:
            finite = pl.when(value.is_finite()).then(value.cast(pl.String))
            return pl.coalesce(finite, encode.quoted(value.cast(pl.String)))
        case Kind.TIMESTAMP | Kind.DATE | Kind.TIME:
            return encode.quoted(encode.shown(value, column.kind, dtype))
        case _:
            return encode.encode(value, column.kind, dtype, encode.AS_THEY_ARE).text
