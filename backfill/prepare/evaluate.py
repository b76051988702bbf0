"""One call over one frame: which rows make it, what is wrong with which, and the JSON of the rest."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import reduce
from typing import Final

import polars as pl
import polars_hash  # noqa: F401  registers the expression namespaces `uuidhash` and `chash`

from backfill import encode
from backfill.errors import counted
from backfill.frozen import frozen
from backfill.limits import CALL_DEPTH
from backfill.mapping import CompiledCall
from backfill.mapping.calls import Key, RareMatch, grouped
from backfill.mapping.template import BoundValue, Facts, array, escapes_in, joined
from backfill.prepare.faults import library_error, library_errors, library_failures
from backfill.prepare.found import PROBLEM_SCHEMA, found_problems
from backfill.prepare.frames import ROW_COLUMN
from backfill.records import Severity
from backfill.records.profile import BadValues, merged_values
from backfill.wire import call_start

#: The message id beside the snapshot's columns, one of which may be called id.
ID_COLUMN: Final = "__bf_id"
#: Code and severity of a row on which a library failed; of more such rows in one frame, the library is at fault.
FAILED: Final = ("BF134", Severity.ERROR.value)
FAILURES: Final = 20


@frozen
class Evaluated:
    """A call over a frame. `calls`: row, call, id, date, json (with a comma behind); `rows`: theirs, and maybe others.

    The rows have the derived columns.
    """

    made_calls: int
    rejected: int
    calls: pl.DataFrame
    problems: pl.DataFrame
    counts: dict[tuple[str, str], int]  # (code, severity) -> problems, the warnings not listed included
    rows: pl.DataFrame
    values: Mapping[tuple[str, str], BadValues]  # of the problems, by code and column


def evaluate(call: CompiledCall, frame: pl.DataFrame, call_bytes: int) -> Evaluated:
    """Map, check and encode; `call_bytes` is the largest size a call may have.

    A row on which a library fails is a problem (BF134).

    Raises:
        LibraryError: a library fails on many rows, or on none in particular.
    """
    try:
        return _evaluate(call, frame, call_bytes)
    except library_failures() as error:
        doing = f"making the {call.scope} calls of {counted(len(frame), 'row', 'rows')}"
        with library_errors(doing):
            nothing = _evaluate(call, frame.clear(), call_bytes)
        found = list(_apart(call, frame, call_bytes, nothing))
        if sum(each.counts.get(FAILED, 0) for each in found) > FAILURES:
            raise library_error(doing, error) from error
        return _united(found)


def _apart(call: CompiledCall, frame: pl.DataFrame, call_bytes: int, nothing: Evaluated) -> Iterator[Evaluated]:
    """A frame on which a library failed, evaluated in halves down to the rows at fault; `nothing`: of no row."""
    failed = 0
    frames = [frame]
    while frames:
        frame = frames.pop()
        try:
            yield _evaluate(call, frame, call_bytes)
        except library_failures():
            half = len(frame) // 2
            if half:
                frames += [frame.slice(half), frame.slice(0, half)]
                continue
            yield replace(nothing, made_calls=1, rejected=1, problems=_failure(call, frame), counts={FAILED: 1})
            failed += 1
            if failed > FAILURES:
                return


def _failure(call: CompiledCall, row: pl.DataFrame) -> pl.DataFrame:
    return _unfit(row.select(row=pl.col(ROW_COLUMN), call=pl.lit(call.index)), FAILED[0], pl.lit(""))


def _united(found: Sequence[Evaluated]) -> Evaluated:
    counts: Counter[tuple[str, str]] = Counter()
    for each in found:
        counts.update(each.counts)
    return Evaluated(
        sum(each.made_calls for each in found),
        sum(each.rejected for each in found),
        pl.concat([each.calls for each in found]),
        pl.concat([each.problems for each in found]),
        dict(counts),
        pl.concat([each.rows for each in found]),
        merged_values(each.values for each in found),
    )


def _evaluate(call: CompiledCall, frame: pl.DataFrame, call_bytes: int) -> Evaluated:
    work = _with_rare_matches(derive(frame, call.derived), call.rare_matches)
    condition = call.condition if call.condition is not None else pl.lit(value=True)
    masks = {f"m{number}": check.mask for number, check in enumerate(call.checks)}
    state = work.select(pl.col(ROW_COLUMN), condition.alias("made"), **masks)
    totals = {name: int(state[name].sum()) for name in ("made", *masks)}
    problems, counts, values = found_problems(call.index, call.checks, work, state, totals)
    errors = [name for name, check in zip(masks, call.checks, strict=True) if check.severity is Severity.ERROR]
    passed = reduce(lambda rows, name: rows & ~state[name], filter(totals.get, errors), state["made"])
    good = work if passed.all() else work.filter(passed)
    calls = _encode(call, good)
    sizes = calls["json"].str.len_bytes()
    fits = sizes <= call_bytes + 1
    if not fits.all():
        size = pl.format("{} bytes", pl.col("json").str.len_bytes() - 1)
        problems = pl.concat([problems, _unfit(calls.filter(~fits), "BF107", size)])
        counts["BF107", Severity.ERROR.value] = int((~fits).sum())
        calls = calls.filter(fits)
    if (sizes > 2 * CALL_DEPTH).any():  # shorter ones cannot be nested so deep
        deep = calls.select(encode.too_deep(pl.col("json"), CALL_DEPTH)).to_series()
        if deep.any():
            said = pl.lit(f"nested more than {CALL_DEPTH:,} deep")
            problems = pl.concat([problems, _unfit(calls.filter(deep), "BF117", said)])
            key = ("BF117", Severity.ERROR.value)
            counts[key] = counts.get(key, 0) + int(deep.sum())
            calls = calls.filter(~deep)
    if call.planned is not None and len(calls):
        from backfill.prepare.planned import judge  # noqa: PLC0415 (few jobs have a tracking plan)

        made = good if len(calls) == len(good) else _rows_of(good, calls)
        judged = judge(call.index, call.planned, made, calls["json"])
        problems = pl.concat([problems, judged.problems])
        counts |= judged.counts
        values = merged_values([values, judged.values])
        calls = calls.filter(~pl.col("row").is_in(judged.rejected.implode())) if len(judged.rejected) else calls
    return Evaluated(totals["made"], totals["made"] - len(calls), calls, problems, counts, good, values)


def _rows_of(good: pl.DataFrame, calls: pl.DataFrame) -> pl.DataFrame:
    return good.join(calls.select("row"), left_on=ROW_COLUMN, right_on="row", how="semi", maintain_order="left")


def reads_of(call: CompiledCall, expression: pl.Expr) -> tuple[list[str], tuple[tuple[pl.Expr, ...], ...]]:
    """The snapshot's columns that one expression of a call reads, and the derived ones, in groups as `derive` takes."""
    names = dict.fromkeys(expression.meta.root_names())
    derived: list[pl.Expr] = []
    for column in reversed([column for group in call.derived for column in group]):
        if column.meta.output_name() in names:
            del names[column.meta.output_name()]
            names.update(dict.fromkeys(column.meta.root_names()))
            derived.insert(0, column)
    return [name for name in names if name != ROW_COLUMN], grouped(derived)


def derive(frame: pl.DataFrame, derived: Iterable[Iterable[pl.Expr]]) -> pl.DataFrame:
    """The frame with derived columns added, group by group since a later one may read an earlier."""
    for group in derived:
        frame = frame.with_columns(group)
    return frame


def _with_rare_matches(frame: pl.DataFrame, rare_matches: Mapping[str, RareMatch]) -> pl.DataFrame:
    if not rare_matches:
        return frame
    found = frame.select(**{name: rare.probe for name, rare in rare_matches.items()}).row(0, named=True)
    none = pl.lit(None, pl.String)
    return frame.with_columns(**{name: each.value if found[name] else none for name, each in rare_matches.items()})


def _encode(call: CompiledCall, good: pl.DataFrame) -> pl.DataFrame:
    """row, call, id, date, json of the rows that passed every check."""
    facts = column_facts(good, [*call.members.bound_values(), *call.key_values])
    identity = good.select(
        pl.col(ROW_COLUMN).alias("row"),
        pl.lit(call.index, pl.UInt8).alias("call"),
        message_id(call, facts).alias("id"),
        call.timestamp.cast(pl.Date).alias("date"),
    )
    name = pl.col(ID_COLUMN)
    id_parts = (encode.string(name),) if call.key is Key.GIVEN else ('"', name, '"')
    parts = [call_start(call.type), *id_parts, *call.members.parts(facts), "},"]
    text = good.hstack([identity["id"].alias(ID_COLUMN)]).select(joined(parts, skip_nulls=True).alias("json"))
    return identity.hstack(text)


def column_facts(frame: pl.DataFrame, values: Iterable[BoundValue]) -> Facts:
    """What holds of the columns that some values read directly."""
    escapes = {bound.source: bound.escapes for bound in values if bound.source}
    return Facts(
        frozenset(name for name in escapes if not frame[name].null_count()),
        {name: escapes_in(frame[name]) for name, asked in escapes.items() if asked},
    )


def message_id(call: CompiledCall, facts: Facts) -> pl.Expr:
    """The message id of a call: the one given, or the UUID made of its key."""
    if call.key is Key.GIVEN:
        return call.key_values[0].plain
    if call.content is None:
        return array(call.key_values, facts).uuidhash.uuid5(call.namespace)  # type: ignore[attr-defined, no-any-return]
    content = joined([f'{{"type":"{call.type}"', *call.content.parts(facts), "}"], skip_nulls=True)
    digest = content.chash.sha2_256()  # type: ignore[attr-defined]
    key = joined(['["', digest, '"]'])
    return key.uuidhash.uuid5(call.namespace)  # type: ignore[attr-defined, no-any-return]


def _unfit(calls: pl.DataFrame, code: str, said: pl.Expr) -> pl.DataFrame:
    """A problem of each of these calls, which were made and are not fit to be sent."""
    told = {"code": pl.lit(code), "severity": pl.lit(Severity.ERROR.value), "column": pl.lit(""), "value": said}
    found = calls.select("row", "call", **told, detail=pl.lit(None, pl.String))
    return found.cast(PROBLEM_SCHEMA)  # type: ignore[arg-type]
