"""One call over one frame: which rows make it, what is wrong with which, and the JSON of the rest."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

import polars as pl
import polars_hash  # noqa: F401  registers the expression namespaces `uuidhash` and `chash`

from backfill import encode
from backfill.mapping import CompiledCall
from backfill.mapping.calls import Key
from backfill.mapping.template import ESCAPED, Cell, Facts, joined
from backfill.prepare.frames import ROW_COLUMN
from backfill.records import Severity

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
        return _key_text(call).uuidhash.uuid5(call.namespace).hash(seed=0)  # type: ignore[attr-defined, no-any-return]
    text = call.content.text(Facts()) if call.content is not None else _key_text(call)
    return text.hash(seed=0 if by_id else call.index)


def _key_text(call: CompiledCall) -> pl.Expr:
    assert call.key_text is not None  # CompiledCall: None for CONTENT only
    return call.key_text


def evaluate(call: CompiledCall, frame: pl.DataFrame, call_bytes: int, repeat: pl.Expr | None = None) -> Evaluated:
    """Map, check and encode; `call_bytes` is the largest size a call may have, `repeat` the hash to add, if any."""
    work = derive(frame, call.derived, call.probes)
    masks = {f"m{number}": check.mask.fill_null(value=False) for number, check in enumerate(call.checks)}
    made = call.made if call.made is not None else pl.lit(value=True)
    errors = [pl.col(f"m{n}") for n, check in enumerate(call.checks) if check.severity is Severity.ERROR]
    state = work.select(
        ROW_COLUMN,
        made.alias("made"),
        **{name: mask & made for name, mask in masks.items()},
    )
    state = state.with_columns((pl.any_horizontal(errors) if errors else pl.lit(value=False)).alias("bad"))
    totals = state.select(pl.col("made").sum(), pl.col("bad").sum(), pl.col("^m\\d+$").sum()).row(0, named=True)
    problems, counts = _problems(call, work, state, totals)
    good = work if totals["made"] == len(work) and not totals["bad"] else work.filter(state["made"] & ~state["bad"])
    calls = _encode(call, good, repeat)
    fits = calls["json"].str.len_bytes() <= call_bytes + 1
    oversize = calls.filter(~fits)
    if len(oversize):
        problems = pl.concat([problems, _oversize(oversize)])
        counts["BF107", Severity.ERROR.value] = len(oversize)
        calls = calls.filter(fits)
    return Evaluated(totals["made"], totals["bad"] + len(oversize), calls, problems, counts)


def derive(frame: pl.DataFrame, derived: Iterable[pl.Expr], probes: Mapping[str, pl.Expr]) -> pl.DataFrame:
    """The frame with derived columns added, one after the other since a later one may read an earlier."""
    for column in derived:
        name = column.meta.output_name()
        if name in probes and not frame.select(probes[name]).item():
            frame = frame.with_columns(pl.lit(None, pl.String).alias(name))
            continue
        frame = frame.with_columns(column)
    return frame


def _encode(call: CompiledCall, good: pl.DataFrame, repeat: pl.Expr | None) -> pl.DataFrame:
    """row, call, id, repeat, date, json of the rows that passed every check."""
    facts = facts_of(good, call.members.cells())
    identity = good.select(
        pl.col(ROW_COLUMN).alias("row"),
        pl.lit(call.index, pl.UInt8).alias("call"),
        _identity(call, facts).alias("id"),
        (repeat if repeat is not None else pl.lit(0, pl.UInt64)).alias("repeat"),
        call.timestamp.cast(pl.Date).alias("date"),
    )
    name = pl.col(ID_COLUMN)
    quoted = encode.string(name) if call.key is Key.GIVEN else encode.quoted(name)
    parts = [f'{{"type":"{call.type}","messageId":', quoted, *call.members.parts(facts), "},"]
    text = good.with_columns(identity["id"].alias(ID_COLUMN)).select(joined(parts, skip_nulls=True).alias("json"))
    return identity.with_columns(text["json"])


def facts_of(frame: pl.DataFrame, cells: Iterable[Cell]) -> Facts:
    """What holds of the columns that some cells read directly."""
    cells = tuple(cells)
    sources = {cell.source for cell in cells if cell.source}
    escaping = {cell.source for cell in cells if cell.source and cell.escapes}
    nulls = frame.select(pl.col(sorted(sources)).null_count()) if sources else pl.DataFrame()
    # Joined first: one search through a long text costs a third of as many searches as there are rows.
    found = frame.select(pl.col(sorted(escaping)).str.join("").str.contains(ESCAPED)) if escaping else pl.DataFrame()
    return Facts(
        frozenset(name for name in nulls.columns if nulls[name][0] == 0),
        frozenset(name for name in found.columns if not found[name][0]),
    )


def _identity(call: CompiledCall, facts: Facts) -> pl.Expr:
    if call.key is Key.GIVEN:
        return _key_text(call)
    if call.content is None:
        return _key_text(call).uuidhash.uuid5(call.namespace)  # type: ignore[attr-defined, no-any-return]
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
