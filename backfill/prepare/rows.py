"""Rows with their calls, for people and tests: the same line as `prepare`, without packing."""

from __future__ import annotations

import json
from typing import Any, Final

import polars as pl

from backfill.frozen import frozen
from backfill.job.models import Job
from backfill.limits import SEGMENT, Limits
from backfill.mapping import compile_job
from backfill.mapping.calls import CompiledCall
from backfill.prepare.evaluate import evaluate
from backfill.prepare.found import PROBLEM_SCHEMA
from backfill.prepare.frames import ROW_COLUMN, Frames, snapshot_schema
from backfill.prepare.hints import hint_of
from backfill.prepare.masks import Masks
from backfill.prepare.rejects import names_read, originals, shown_columns
from backfill.records import FILE_COLUMN, RECORD_COLUMN, Problem, Severity, Snapshot
from backfill.records.plan import SHARD_ROWS
from backfill.rules import CODES

_PROBLEM: Final = pl.Struct({name: PROBLEM_SCHEMA[name] for name in ("code", "severity", "column", "value", "detail")})
_CALL_SCHEMA: Final[dict[str, pl.DataType | type[pl.DataType]]] = {
    "row": pl.UInt32,
    "call": pl.UInt8,
    "state": pl.String,
    "codes": pl.List(pl.String),
    "warnings": pl.List(pl.String),
    "message_id": pl.String,
    "json": pl.String,
    "problems": pl.List(_PROBLEM),
}


@frozen
class PreviewCall:
    """One call of one row: its JSON, or why there is none."""

    scope: str  # label or type
    state: str  # ok, skipped, rejected
    call: dict[str, Any] | None
    problems: tuple[Problem, ...]  # errors first
    text: str | None = None  # the JSON as it is sent, every digit of it
    hidden: tuple[tuple[str, ...], ...] = ()  # the paths in it of values that the job masks


@frozen
class PreviewRow:
    """One row as it was read, and what becomes of it."""

    file: str
    record: int
    row: dict[str, Any]
    calls: tuple[PreviewCall, ...]
    text: str = "{}"  # the row as JSON, every digit as it was read
    hidden: tuple[str, ...] = ()  # the columns of it that the job masks


def map_rows(
    job: Job,
    snapshot: Snapshot,
    *,
    id_scope: str,
    library_version: str,
    now: float,
    frame_rows: int | None = None,
    first: int = 0,
    limit: int | None = None,
    limits: Limits = SEGMENT,
) -> pl.DataFrame:
    """Every staged row (from the `first` on) times every call, in order.

    Columns are row, call, state, codes, warnings, message_id, json, problems. `state` is ok, skipped (`when`) or
    rejected; `codes` the errors and `warnings` the warnings of the call, sorted. Of warnings only the first few of a
    frame are listed. Repeated ids are not looked for.
    """
    frames = Frames(snapshot, frame_rows=frame_rows, limit=limit)
    calls = compile_job(
        job, snapshot, snapshot_schema(snapshot), id_scope=id_scope, library_version=library_version, now=now
    )
    columns = list(dict.fromkeys(name for call in calls for name in call.reads))
    found = [pl.DataFrame(schema=_CALL_SCHEMA)]
    for shard in range(first // SHARD_ROWS, frames.shards):
        offset = max(first, shard * SHARD_ROWS)
        for frame in frames.walk_rows(offset, frames.bounds(shard)[1], columns):
            parts = [_states(call, frame, limits.call_bytes) for call in calls]
            found.append(pl.concat(parts).with_columns((pl.col("row") + offset).cast(pl.UInt32)).sort("row", "call"))
    return pl.concat(found)


def _states(call: CompiledCall, frame: pl.DataFrame, call_bytes: int) -> pl.DataFrame:
    result = evaluate(call, frame, call_bytes)
    errors, warnings = (
        result.problems.filter(pl.col("severity") == level.value)
        .group_by("row")
        .agg(pl.col("code").unique().sort().alias(name))
        for level, name in ((Severity.ERROR, "codes"), (Severity.WARNING, "warnings"))
    )
    told = (
        result.problems.sort("severity", "code", maintain_order=True)  # errors come first
        .group_by("row")
        .agg(pl.struct(list(_PROBLEM.to_schema())).alias("problems"))
    )
    good = result.calls.select("row", pl.col("id").alias("message_id"), pl.col("json").str.strip_suffix(","))
    return (
        frame.select(pl.col(ROW_COLUMN).alias("row"), pl.lit(call.index, pl.UInt8).alias("call"))
        .join(good, on="row", how="left", maintain_order="left")
        .join(errors, on="row", how="left", maintain_order="left")
        .join(warnings, on="row", how="left", maintain_order="left")
        .join(told, on="row", how="left", maintain_order="left")
        .with_columns(
            pl.when(pl.col("json").is_not_null())
            .then(pl.lit("ok"))
            .when(pl.col("codes").is_not_null())
            .then(pl.lit("rejected"))
            .otherwise(pl.lit("skipped"))
            .alias("state"),
            pl.col("codes").fill_null([]),
            pl.col("warnings").fill_null([]),
            pl.col("problems").fill_null([]),
        )
        .select(list(_CALL_SCHEMA))
    )


def preview(
    job: Job,
    snapshot: Snapshot,
    *,
    id_scope: str,
    library_version: str,
    now: float,
    rows: int,
    limits: Limits,
    first: int = 0,
) -> list[PreviewRow]:
    """The first rows of a snapshot, or those from the `first` to before `rows`, and what becomes of each.

    What the job masks is named in them, and not shown in their problems.
    """
    frames = Frames(snapshot, limit=rows)
    if not frames.rows:
        return []
    own = shown_columns(snapshot)
    names = names_read(own)
    mapped = map_rows(
        job,
        snapshot,
        id_scope=id_scope,
        library_version=library_version,
        now=now,
        first=first,
        limit=rows,
        limits=limits,
    )
    result = []
    masks = Masks.of(job, snapshot)
    compiled = compile_job(
        job, snapshot, snapshot_schema(snapshot), id_scope=id_scope, library_version=library_version, now=now
    )
    paths = {call.scope: masks.hidden_paths(call) for call in compiled}
    columns = tuple(column.name for column in snapshot.columns if masks.hides_column(column.name))
    by_row = {key[0]: part for key, part in mapped.partition_by("row", as_dict=True).items()}
    frame = frames.read(first, frames.rows, [*names, FILE_COLUMN, RECORD_COLUMN])
    shown = frame.select(ROW_COLUMN, FILE_COLUMN, RECORD_COLUMN).with_columns(row=originals(own, frame))
    for position, file, record, text in shown.iter_rows():
        calls = []
        for each in by_row[position].iter_rows(named=True):
            call = json.loads(each["json"]) if each["json"] is not None else None
            scope = job.calls[each["call"]].scope
            problems = tuple(masks.problem(_problem(told, snapshot)) for told in each["problems"])
            calls.append(PreviewCall(scope, each["state"], call, problems, each["json"], paths.get(scope, ())))
        name = snapshot.files[file].name
        result.append(PreviewRow(name, record, json.loads(text), tuple(calls), text, columns))
    return result


def _problem(told: dict[str, str], snapshot: Snapshot) -> Problem:
    """One problem of a call without its place, which is the row's that is shown."""
    code, column, detail = told["code"], told["column"], told["detail"] or ""
    hint = hint_of(code, column, told["value"], of_source=snapshot.column(column) is not None, detail=detail)
    message = ": ".join(filter(None, (CODES[code].title, detail)))
    return Problem(code, Severity(told["severity"]), message, "", 0, column=column, value=told["value"], hint=hint)
