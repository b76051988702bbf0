"""Problems as people need them: the file, the record, the reason, and the row's original columns."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import Final

import polars as pl

from backfill import encode
from backfill.mapping import CompiledCall
from backfill.memory import COLUMNS_AT_ONCE, PAGE_BYTES
from backfill.prepare.faults import library_errors
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

#: How many samples of each code are kept of a shard.
SAMPLES: Final = 5

#: Columns and types of the problems frame of a shard, as records.REJECT_COLUMNS names them.
REJECT_TYPES: Final = {
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
) -> tuple[Iterator[pl.DataFrame] | None, tuple[Problem, ...]]:
    """The rejected calls of a shard with their originals, page by page (None where there are none), and samples.

    `problems` has conflicts.SCHEMA. The samples are of every code, and of each column and detail where
    these are few; the pages are read as they are taken.
    """
    if not len(problems):
        return None, ()
    scopes = {call.index: call.scope for call in calls}
    titles = {code: rule.title for code, rule in CODES.items()}
    described = problems.sort("row", "call", "code", "column", maintain_order=True).with_columns(
        pl.lit(0, pl.UInt64).alias("line"),
        pl.col("call").replace_strict(scopes, return_dtype=pl.String),
        pl.concat_str(
            pl.col("code").replace_strict(titles, return_dtype=pl.String),
            pl.format(": {}", pl.col("detail")).fill_null(""),
        ).alias("message"),
    )
    shown = _varied(described)
    places = pl.concat(_rows(shown["row"], shard, snapshot, frames, []))
    samples = shown.join(places, on="row", how="left", maintain_order="left")
    errors = described.filter(pl.col("severity") == Severity.ERROR.value)
    pages = (
        page.select(list(REJECT_TYPES)).cast(REJECT_TYPES)  # type: ignore[arg-type]
        for page in with_originals(one_a_call(errors), shard, snapshot, frames)
    )
    return (pages if len(errors) else None), tuple(_problem(row, snapshot) for row in samples.iter_rows(named=True))


def _varied(problems: pl.DataFrame) -> pl.DataFrame:
    """SAMPLES of each code: first one of each column and detail, then a second one, so that none hides the others."""
    turn = pl.int_range(pl.len()).over("code", "column", "detail")
    order = problems.with_row_index("__bf_place").with_columns(turn.alias("__bf_turn")).sort("__bf_turn", "__bf_place")
    some = order.group_by("code", maintain_order=True).head(SAMPLES)
    return some.sort("__bf_place").select(problems.columns)


def one_a_call(errors: pl.DataFrame) -> pl.DataFrame:
    """One line of each rejected call: its first problem, whose message names the others by code and column.

    So a line is a call, as it is in the accounts, and whoever mends the row mends it once.
    """
    first = errors.select("row", "call").is_unique()
    if first.all():
        return errors
    column = pl.col("column").fill_null("")
    named = pl.when(column == "").then(pl.col("code")).otherwise(pl.col("code") + " of " + column)
    rest = pl.exclude("row", "call", "message").first()
    calls = errors.group_by("row", "call", maintain_order=True)
    found = calls.agg(rest, pl.col("message").first(), named.slice(1).unique(maintain_order=True).alias("others"))
    others = pl.format(" (also {})", pl.col("others").list.join(", "))
    message = pl.col("message") + pl.when(pl.col("others").list.len() > 0).then(others).otherwise(pl.lit(""))
    return found.select(message.alias("message") if name == "message" else name for name in errors.columns)


def _problem(row: Mapping[str, object], snapshot: Snapshot) -> Problem:
    code, column, value = str(row["code"]), str(row["column"]), str(row["value"])
    return Problem(
        code=code,
        severity=Severity(str(row["severity"])),
        message=str(row["message"]),
        file=str(row["file"]),
        record=int(str(row["record"])),
        call=str(row["call"]),
        column=column,
        value=value,
        hint=hint_of(code, column, value, of_source=snapshot.column(column) is not None, detail=str(row["detail"])),
    )


def with_originals(calls: pl.DataFrame, shard: int, snapshot: Snapshot, frames: Frames) -> Iterator[pl.DataFrame]:
    """Calls of a shard (`row`) with where their rows stood, page by page in the order of the rows.

    Added are file (its name), record and original, see `originals`. A page holds about PAGE_BYTES of rows.
    """
    pages = _rows(calls["row"], shard, snapshot, frames, shown_columns(snapshot))
    yield from (calls.join(page, on="row", how="inner", maintain_order="left") for page in pages)


def _rows(
    wanted: pl.Series, shard: int, snapshot: Snapshot, frames: Frames, own: Sequence[Column]
) -> Iterator[pl.DataFrame]:
    """Those rows of a shard, page by page: row, file, record, and their `own` columns as `original`."""
    files = {index: file.name for index, file in enumerate(snapshot.files)}
    names = names_read(own)
    rows = wanted.unique().implode()
    for frame in frames.walk(shard, [*names, FILE_COLUMN, RECORD_COLUMN]):
        found = frame.filter(pl.col(ROW_COLUMN).is_in(rows))
        length = -(-len(found) // max(1, round(found.estimated_size() / PAGE_BYTES)))
        places = (
            pl.col(ROW_COLUMN).alias("row"),
            pl.col(FILE_COLUMN).cast(pl.UInt32).replace_strict(files, return_dtype=pl.String).alias("file"),
            pl.col(RECORD_COLUMN).cast(pl.UInt64).alias("record"),
        )
        for page in found.iter_slices(max(1, length)):
            with library_errors("reading rejected rows"):
                shown = page.select(places).with_columns(original=originals(own, page))
            yield shown
            del page, shown
        del frame, found  # before the next one is read


def originals(columns: Sequence[Column], rows: pl.DataFrame) -> pl.Series:
    """Each row's columns as one JSON object, nulls kept; what was cast from text is shown as that text."""
    texts = [pl.repeat("", len(rows), dtype=pl.String, eager=True)]
    for first in range(0, len(columns), COLUMNS_AT_ONCE):
        for is_text, run in groupby(columns[first : first + COLUMNS_AT_ONCE], _is_text):
            some = list(run)
            texts.append(rows.select(_texts(some) if is_text else _others(some, rows.schema)).to_series())
    groups = [text.alias(str(place)) for place, text in enumerate(texts)]
    return pl.DataFrame(groups).select(encode.braced(pl.concat_str(pl.all()))).to_series()


def shown_columns(snapshot: Snapshot) -> list[Column]:
    """The source's own columns that `originals` can show: polars panics on INTERVAL as Parquet files have it."""
    return [c for c in snapshot.columns if not c.name.startswith(INTERNAL_PREFIX) and c.kind is not Kind.INTERVAL]


def names_read(columns: Sequence[Column]) -> list[str]:
    """The columns of a snapshot that `originals` takes."""
    return [name for column in columns for name in (column.name, column.raw) if name is not None]


def _is_text(column: Column) -> bool:
    """Whether the column is shown as it stands in its rows: as text."""
    return column.raw is not None or column.kind is Kind.TEXT


def _texts(columns: Sequence[Column]) -> pl.Expr:
    """The members of columns of text; one expression for all, as thousands take long to make."""
    values = [_as_read(column).alias(column.name) for column in columns]
    return pl.concat_str(
        pl.lit(","), pl.struct(values).struct.json_encode().str.strip_prefix("{").str.strip_suffix("}")
    )


def _as_read(column: Column) -> pl.Expr:
    """The text as read, or the value where it prints as that."""
    value = pl.col(frame_name(column.name))
    return value if column.raw is None else pl.coalesce(pl.col(column.raw), value.cast(pl.String))


def _others(columns: Sequence[Column], schema: Mapping[str, pl.DataType]) -> pl.Expr:
    """The members of columns that are no text."""
    return pl.concat_str([encode.member(column.name, _shown(column, schema).fill_null("null")) for column in columns])


def _shown(column: Column, schema: Mapping[str, pl.DataType]) -> pl.Expr:
    name = frame_name(column.name)
    value, dtype = pl.col(name), schema[name]
    match column.kind:
        case Kind.BINARY if dtype.is_nested():  # bytes somewhere inside
            return pl.when(value.is_not_null()).then(pl.lit('"(bytes inside)"'))
        case Kind.BINARY:
            return encode.quoted(value.cast(pl.Binary).bin.encode("hex"))
        case Kind.NUMBER:
            finite = pl.when(value.is_finite()).then(value.cast(pl.String))
            return pl.coalesce(finite, encode.quoted(value.cast(pl.String)))
        case Kind.TIMESTAMP | Kind.DATE | Kind.TIME:
            return encode.quoted(encode.shown(value, column.kind, dtype))
        case _:
            return encode.encode(value, column.kind, dtype, encode.AS_THEY_ARE).text
