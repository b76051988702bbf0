"""Calls judged by a tracking plan: by expressions over their rows, and by a compiled validator over their JSON.

Calls whose event comes from the row are judged event by event. JSON that is the same in many calls of a frame is
validated once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

import orjson
import polars as pl

from backfill.frozen import frozen
from backfill.mapping.calls import PlannedCall, PlannedEvent, Residue
from backfill.mapping.planned import label
from backfill.prepare.found import (
    PROBLEM_SCHEMA,
    VALUE_CHARACTERS,
    WARNINGS_SHOWN,
    Counted,
    FoundValues,
    found_problems,
    listed_values,
    problem_columns,
    values_of,
)
from backfill.prepare.frames import ROW_COLUMN
from backfill.records import Severity
from backfill.records.profile import merged_values
from backfill.tracking.describe import code_of, wanted
from backfill.tracking.schemas import Violation, compile_schema, violations

if TYPE_CHECKING:
    from jsonschema_rs import Draft7Validator

#: Names of unplanned events of a frame that are listed where they are warnings.
NAMES_SHOWN: Final = 20
_NAME: Final = "__bf_event"
_JSON: Final = "__bf_call"


@frozen
class Judged:
    """What a tracking plan finds: problems, their counts, and the rows (as ROW_COLUMN counts) that it rejects."""

    problems: pl.DataFrame
    counts: Counted
    rejected: pl.Series
    values: FoundValues


def judge(call: int, planned: PlannedCall, rows: pl.DataFrame, texts: pl.Series) -> Judged:
    """The calls of some rows judged; `texts` are their JSON, row for row, each with a comma behind."""
    work = rows.with_columns(texts.alias(_JSON))
    found: list[Judged] = []
    if planned.always is not None:
        found += _judge_event(call, planned.always, work)
    if planned.name is None:
        for event in planned.events.values():
            found += _judge_event(call, event, work)
    else:
        work = work.with_columns(planned.name.alias(_NAME))
        is_known = pl.col(_NAME).is_in(list(planned.events)).fill_null(value=False)
        for (name,), some in work.filter(is_known).partition_by(_NAME, as_dict=True).items():
            found += _judge_event(call, planned.events[name], some)
        if planned.others is not None:
            found += _judge_event(call, planned.others, work.filter(~is_known))
    if planned.unplanned is not None:
        found += _unplanned(call, planned, work)
    counts: Counter[tuple[str, str]] = Counter()
    for each in found:
        counts.update(each.counts)
    problems = pl.concat([pl.DataFrame(schema=PROBLEM_SCHEMA), *(each.problems for each in found)])
    rejected = pl.concat([pl.Series(dtype=pl.UInt32), *(each.rejected for each in found)])
    return Judged(problems, dict(counts), rejected.unique(), merged_values(each.values for each in found))


def _unplanned(call: int, planned: PlannedCall, work: pl.DataFrame) -> Iterator[Judged]:
    """Calls of events that the plan does not have: of warnings one of each name, so that each name is told."""
    check = planned.unplanned
    assert check is not None
    rows = work.filter(check.mask.fill_null(value=False))
    if not len(rows):
        return
    told = rows
    if check.severity is Severity.WARNING and planned.name is not None:
        told = rows.unique(_NAME, keep="first", maintain_order=True).head(NAMES_SHOWN)
    elif check.severity is Severity.WARNING:
        told = rows.head(1)
    key = (check.code, check.severity.value)
    rejected = rows[ROW_COLUMN].cast(pl.UInt32)
    yield Judged(
        told.select(**problem_columns(call, check)).cast(PROBLEM_SCHEMA),  # type: ignore[arg-type]
        {key: len(rows)},
        rejected if check.severity is Severity.ERROR else rejected.clear(),
        values_of(rows, check),
    )


def _judge_event(call: int, event: PlannedEvent, work: pl.DataFrame) -> Iterator[Judged]:
    masks = {f"m{number}": check.mask.fill_null(value=False) for number, check in enumerate(event.checks)}
    if masks:
        state = work.select(pl.col(ROW_COLUMN), **masks)
        totals = {name: int(state[name].sum()) for name in masks}
        problems, counts, values = found_problems(call, event.checks, work, state, totals)
        errors = [f"m{at}" for at, check in enumerate(event.checks) if check.severity is Severity.ERROR]
        errors = [name for name in errors if totals[name]]
        rejected = state.filter(pl.any_horizontal(errors))[ROW_COLUMN] if errors else state[ROW_COLUMN].clear()
        yield Judged(problems, counts, rejected.cast(pl.UInt32), values)
    for residue in event.residues:
        yield from _validated(call, event, residue, work)


def _validated(call: int, event: PlannedEvent, residue: Residue, work: pl.DataFrame) -> Iterator[Judged]:
    """What the validator finds in the JSON of some calls, by code."""
    text = pl.col(_JSON).str.strip_suffix(",") if residue.text is None else residue.text
    texts = work.select(pl.col(ROW_COLUMN).alias("row"), text.alias("text"))
    once = texts.select("text").unique(maintain_order=True)
    broken = _broken(event, residue, once["text"])
    if not len(broken):
        return
    listed = texts.join(broken, on="text", maintain_order="left").select(
        pl.col("row").cast(pl.UInt32),
        pl.lit(call, pl.UInt8).alias("call"),
        *("code", "severity", "column", "value", "detail"),
    )
    for (code, level), problems in listed.group_by("code", "severity", maintain_order=True):
        is_error = level == Severity.ERROR.value
        shown = problems if is_error else problems.group_by("column", maintain_order=True).head(WARNINGS_SHOWN)
        rows = problems["row"].unique() if is_error else problems["row"].clear()
        counts = {(str(code), str(level)): len(problems)}
        yield Judged(shown.select(list(PROBLEM_SCHEMA)), counts, rows, listed_values(problems))


def _broken(event: PlannedEvent, residue: Residue, texts: pl.Series) -> pl.DataFrame:
    """Each violation of some JSON texts, with the text that it is in. The one loop over values that there is."""
    validator = _compiled(orjson.dumps(residue.schema).decode())
    found: dict[str, list[Any]] = {name: [] for name in ("text", "code", "severity", "column", "value", "detail")}
    for text in texts:
        value = orjson.loads(text)
        broken: list[Violation] = []
        if not validator.is_valid(value):
            found_here = violations(validator, residue.schema, value)
            broken += (one for one in found_here if not one.is_added_later)
        broken += _extra(residue.planned, value, broken)
        for one in broken:
            code = code_of(one.keyword)
            if code in event.levels:
                detail = " ".join(filter(None, (wanted(one.keyword, one.wanted), event.told)))
                row = (text, code, event.levels[code].value, _label(one.path, residue), _shown(one, residue), detail)
                for values, cell in zip(found.values(), row, strict=True):
                    values.append(cell)
    return pl.DataFrame(found, schema=dict.fromkeys(found, pl.String))


def _extra(
    planned: Mapping[tuple[str, ...], frozenset[str]],
    value: Any,  # noqa: ANN401 (any JSON)
    told: Sequence[Violation],
) -> Iterator[Violation]:
    """Properties of whole objects that the plan does not list, but for those that a schema has told of."""
    known = {one.path for one in told if one.keyword == "additionalProperties"}
    for path, names in planned.items():
        inner = value
        for step in path:
            inner = inner.get(step, {})
        for name in inner:
            if name not in names and (*path, name) not in known:
                yield Violation((*path, name), "additionalProperties", None, inner[name])


def _label(path: tuple[str | int, ...], residue: Residue) -> str:
    """The property as problems name it; the column is that of the longest part of its path that has one."""
    steps = tuple(map(str, path))
    inner = next((steps[:end] for end in range(len(steps), 0, -1) if steps[:end] in residue.columns), None)
    return label(steps, residue.columns[inner] if inner is not None else "") if steps else ""


def _shown(broken: Violation, residue: Residue) -> str:
    """The value at fault; nothing of an object that several columns were put into, as any of them may be masked."""
    steps, value = tuple(map(str, broken.path)), broken.value
    if value is None or any(len(path) > len(steps) and path[: len(steps)] == steps for path in residue.columns):
        return ""
    text = value if isinstance(value, str) else orjson.dumps(value).decode()
    return text[:VALUE_CHARACTERS]


@lru_cache(maxsize=1_000)
def _compiled(schema: str) -> Draft7Validator:
    """The validator of a schema, by its JSON text."""
    return compile_schema(orjson.loads(schema))
