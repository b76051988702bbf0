"""One call over one frame: which rows make it, what is wrong with which, and the JSON of the rest."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import reduce
from typing import Final

import polars as pl
import polars_hash  # noqa: F401  registers the expression namespaces `uuidhash` and `chash`

from backfill import encode
from backfill.mapping import CompiledCall
from backfill.mapping.calls import Key, Suspect
from backfill.mapping.template import Cell, Facts, array, escapes_in, joined
from backfill.prepare.frames import ROW_COLUMN
from backfill.records import Severity
from backfill.wire import call_start

#: Problems of a frame: one row each.
PROBLEM_SCHEMA: Final = {
    "row": pl.UInt32,
    "call": pl.UInt8,
    "code": pl.String,
    "severity": pl.String,
    "column": pl.String,
    "value": pl.String,
}
#: The message id beside the snapshot's columns, one of which may be called id.
ID_COLUMN: Final = "__bf_id"
#: Warnings are counted all and shown some: the calls they belong to are sent.
WARNINGS_SHOWN: Final = 5
VALUE_CHARACTERS: Final = 80


@dataclass(frozen=True, slots=True)
class Evaluated:
    """A call over a frame. `calls`: row, call, id, repeat (0 unless asked), date, json (with a comma behind)."""

    made: int
    rejected: int
    calls: pl.DataFrame
    problems: pl.DataFrame
    counts: dict[tuple[str, str], int]  # (code, severity) -> problems, the warnings not listed included


def repeat_hash(call: CompiledCall, *, by_id: bool) -> pl.Expr:
    """64-bit hash that is equal where message ids are; `by_id` where ids of different calls could be equal too.

    Hashes are compared within one process only: polars may change its hash between versions.
    """
    if by_id and call.key is Key.COLUMNS:
        return _identity(call, Facts()).hash(seed=0)
    plain = [cell.plain for cell in call.key_cells]
    text = call.content.text(Facts()) if call.content is not None else pl.concat_str(plain, separator="\n")
    return text.hash(seed=0 if by_id else call.index)


def evaluate(call: CompiledCall, frame: pl.DataFrame, call_bytes: int, repeat: pl.Expr | None = None) -> Evaluated:
    """Map, check and encode; `call_bytes` is the largest size a call may have, `repeat` the hash to add, if any."""
    work = _with_suspects(derive(frame, call.derived), call.suspects)
    made = call.made if call.made is not None else pl.lit(value=True)
    masks = {f"m{number}": check.mask for number, check in enumerate(call.checks)}
    state = work.select(pl.col(ROW_COLUMN), made.alias("made"), **masks)
    totals = {name: int(state[name].sum()) for name in ("made", *masks)}
    problems, counts = _problems(call, work, state, totals)
    errors = [name for name, check in zip(masks, call.checks, strict=True) if check.severity is Severity.ERROR]
    passed = reduce(lambda rows, name: rows & ~state[name], filter(totals.get, errors), state["made"])
    calls = _encode(call, work if passed.all() else work.filter(passed), repeat)
    fits = calls["json"].str.len_bytes() <= call_bytes + 1
    if not fits.all():
        oversize = calls.filter(~fits)
        problems = pl.concat([problems, _oversize(oversize)])
        counts["BF107", Severity.ERROR.value] = len(oversize)
        calls = calls.filter(fits)
    return Evaluated(totals["made"], totals["made"] - len(calls), calls, problems, counts)


def derive(frame: pl.DataFrame, derived: Iterable[Iterable[pl.Expr]]) -> pl.DataFrame:
    """The frame with derived columns added, group by group since a later one may read an earlier."""
    for group in derived:
        frame = frame.with_columns(group)
    return frame


def _with_suspects(frame: pl.DataFrame, suspects: Mapping[str, Suspect]) -> pl.DataFrame:
    if not suspects:
        return frame
    found = frame.select(**{name: suspect.probe for name, suspect in suspects.items()}).row(0, named=True)
    none = pl.lit(None, pl.String)
    return frame.with_columns(**{name: each.value if found[name] else none for name, each in suspects.items()})


def _encode(call: CompiledCall, good: pl.DataFrame, repeat: pl.Expr | None) -> pl.DataFrame:
    """row, call, id, repeat, date, json of the rows that passed every check."""
    facts = facts_of(good, [*call.members.cells(), *call.key_cells])
    identity = good.select(
        pl.col(ROW_COLUMN).alias("row"),
        pl.lit(call.index, pl.UInt8).alias("call"),
        _identity(call, facts).alias("id"),
        (repeat if repeat is not None else pl.lit(0, pl.UInt64)).alias("repeat"),
        call.timestamp.cast(pl.Date).alias("date"),
    )
    name = pl.col(ID_COLUMN)
    id_parts = (encode.string(name),) if call.key is Key.GIVEN else ('"', name, '"')
    parts = [call_start(call.type), *id_parts, *call.members.parts(facts), "},"]
    text = good.hstack([identity["id"].alias(ID_COLUMN)]).select(joined(parts, skip_nulls=True).alias("json"))
    return identity.hstack(text)


def facts_of(frame: pl.DataFrame, cells: Iterable[Cell]) -> Facts:
    """What holds of the columns that some cells read directly."""
    escapes = {cell.source: cell.escapes for cell in cells if cell.source}
    return Facts(
        frozenset(name for name in escapes if not frame[name].null_count()),
        {name: escapes_in(frame[name]) for name, asked in escapes.items() if asked},
    )


def _identity(call: CompiledCall, facts: Facts) -> pl.Expr:
    if call.key is Key.GIVEN:
        return call.key_cells[0].plain
    if call.content is None:
        return array(call.key_cells, facts).uuidhash.uuid5(call.namespace)  # type: ignore[attr-defined, no-any-return]
    content = joined([f'{{"type":"{call.type}"', *call.content.parts(facts), "}"], skip_nulls=True)
    digest = content.chash.sha2_256()  # type: ignore[attr-defined]
    key = joined(['["', digest, '"]'])
    return key.uuidhash.uuid5(call.namespace)  # type: ignore[attr-defined, no-any-return]


def _problems(
    call: CompiledCall, work: pl.DataFrame, state: pl.DataFrame, totals: dict[str, int]
) -> tuple[pl.DataFrame, dict[tuple[str, str], int]]:
    """Every error listed, of the warnings the first few; all counted."""
    found = [pl.DataFrame(schema=PROBLEM_SCHEMA)]
    counts: dict[tuple[str, str], int] = {}
    for number, check in enumerate(call.checks):
        total = totals[f"m{number}"]
        if not total:
            continue
        key = (check.code, check.severity.value)
        counts[key] = counts.get(key, 0) + total
        rows = work.filter(state[f"m{number}"])
        if check.severity is Severity.WARNING:
            rows = rows.head(WARNINGS_SHOWN)
        found.append(
            rows.select(
                pl.col(ROW_COLUMN).alias("row"),
                pl.lit(call.index, pl.UInt8).alias("call"),
                pl.lit(check.code).alias("code"),
                pl.lit(check.severity.value).alias("severity"),
                pl.lit(check.column).alias("column"),
                check.shown.cast(pl.String).fill_null("").str.slice(0, VALUE_CHARACTERS).alias("value"),
            )
        )
    return pl.concat(found), counts


def _oversize(oversize: pl.DataFrame) -> pl.DataFrame:
    size = pl.concat_str([(pl.col("json").str.len_bytes() - 1).cast(pl.String), pl.lit(" bytes")])
    return oversize.select(
        pl.col("row"),
        pl.col("call"),
        pl.lit("BF107").alias("code"),
        pl.lit(Severity.ERROR.value).alias("severity"),
        pl.lit("").alias("column"),
        size.alias("value"),
    ).cast(PROBLEM_SCHEMA)  # type: ignore[arg-type]
