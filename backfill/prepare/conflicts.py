"""Calls of one id and unlike bytes (BF113), described so that the key can be mended."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any, Final

import polars as pl

from backfill.errors import counted
from backfill.mapping import CompiledCall
from backfill.prepare.evaluate import derive, evaluate
from backfill.prepare.found import PROBLEM_SCHEMA, VALUE_CHARACTERS
from backfill.prepare.frames import ROW_COLUMN, Frames
from backfill.prepare.repeats import Places
from backfill.records import FILE_COLUMN, RECORD_COLUMN, Severity, Snapshot

#: Problems of a shard; `message_id` is null where there is none yet.
SCHEMA: Final = {**PROBLEM_SCHEMA, "message_id": pl.String}
#: More members that differ are counted only.
_NAMED: Final = 5
_ANY_SIZE: Final = 1 << 30
#: A call has an index below this.
CALLS: Final = 1 << 8


def places(calls: pl.DataFrame, first_row: int) -> Places:
    """Where calls come from, as one number each: the row in the snapshot, and which call of the row."""
    rows = pl.col("row").cast(pl.UInt64) + first_row
    made: Places = calls.select(rows * CALLS + pl.col("call").cast(pl.UInt64)).to_series().to_numpy()
    return made


def conflict_problems(found: pl.DataFrame, frame: pl.DataFrame, calls: Sequence[CompiledCall]) -> pl.DataFrame:
    """The problems of calls that are in conflict, of one frame: row, call, id, and for the first ones a detail."""
    shown_calls = found.select("row", "call", "id", "detail")
    pieces = []
    for call in calls:
        own = shown_calls.filter(pl.col("call") == call.index)
        if not len(own):
            continue
        rows = frame.filter(pl.col(ROW_COLUMN).is_in(own["row"].implode()))
        values = [bound for bound in call.key_values if bound.column] or call.key_values
        key = pl.concat_str([bound.plain for bound in values], separator=", ") if values else pl.lit("")  # content
        shown = derive(rows, call.derived).select(
            pl.col(ROW_COLUMN).alias("row"), key.str.slice(0, VALUE_CHARACTERS).alias("value")
        )
        column = pl.lit(", ".join(bound.column for bound in values)).alias("column")
        pieces.append(own.join(shown, on="row", how="left", maintain_order="left").with_columns(column))
    listed = pl.concat(pieces).with_columns(
        code=pl.lit("BF113"), severity=pl.lit(Severity.ERROR.value), message_id=pl.col("id")
    )
    return listed.select(list(SCHEMA)).cast(SCHEMA)  # type: ignore[arg-type]


def explain(first: int, own: int, frames: Frames, snapshot: Snapshot, calls: Sequence[CompiledCall]) -> str:
    """What is to be said of a call in conflict: where the first of its id stands, and which members differ.

    `first` and `own` are the places of the two calls, see `places`.
    """
    sent, other = _contents((first, own), frames, calls)
    names = list(differing(sent, other, ""))
    (file, record), (own_file, _) = (_record(place // CALLS, frames, snapshot) for place in (first, own))
    where = f"record {record:,}" + ("" if file == own_file else f" of {file}")
    more = f" and {counted(len(names) - _NAMED, 'other', 'others')}" if len(names) > _NAMED else ""
    unlike = f"differs in {', '.join(names[:_NAMED])}{more}" if names else "is written in another way"
    return f"as {where}, which is sent; {unlike}"


def _contents(places: tuple[int, int], frames: Frames, calls: Sequence[CompiledCall]) -> list[Any]:
    """The JSON documents of two valid calls; of one evaluation where one call of the job makes both."""
    found: dict[int, str] = {}
    for call in calls:
        rows = [place // CALLS for place in places if place % CALLS == call.index]
        if rows:
            frame = pl.concat([frames.read(row, row + 1, call.reads) for row in rows])
            made = evaluate(call, frame, _ANY_SIZE).calls
            found |= dict(zip((row * CALLS + call.index for row in rows), made["json"], strict=True))
    return [json.loads(found[place].removesuffix(",")) for place in places]


def _record(row: int, frames: Frames, snapshot: Snapshot) -> tuple[str, int]:
    """File and record of a row."""
    found = frames.read(row, row + 1, (FILE_COLUMN, RECORD_COLUMN)).row(0, named=True)
    return snapshot.files[int(found[FILE_COLUMN])].name, int(found[RECORD_COLUMN])


def differing(one: Any, other: Any, path: str) -> Iterator[str]:  # noqa: ANN401
    """The paths of members that two JSON documents do not share."""
    if isinstance(one, dict) and isinstance(other, dict):
        for name in {**one, **other}:
            inside = f"{path}.{name}" if path else name
            if name in one and name in other:
                yield from differing(one[name], other[name], inside)
            else:
                yield inside
    elif one != other:
        yield path
