"""What compiling a call gives: expressions over a frame of the snapshot, and the checks of its values."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import Enum
from typing import Any

import polars as pl

from backfill.frozen import frozen
from backfill.mapping.template import BoundValue, ObjectTemplate
from backfill.records import Severity


class Key(Enum):
    """Where a call's message id comes from."""

    COLUMNS = "columns"  # uuid5 of the canonical text of key values
    CONTENT = "content"  # uuid5 of the call's own JSON
    GIVEN = "given"  # a column holds the id


@frozen
class Check:
    """One way in which one value of a call can be wrong.

    `mask` is true where it is; of a compiled call it is never null, and false where the row does not make the call.
    `shown` is the value as text, for the problem; `column` names where to look; `detail` is said behind the title.
    """

    code: str
    severity: Severity
    column: str
    mask: pl.Expr
    shown: pl.Expr
    detail: str | None = None


@frozen
class RareMatch:
    """A column of text that is nearly always all null: `probe`, one boolean, says whether it is not."""

    value: pl.Expr
    probe: pl.Expr


@frozen
class IdText:
    """The text of one of a call's ids: its field, the text, the column that problems name."""

    name: str
    text: pl.Expr
    column: str


@frozen
class Residue:
    """What of a tracking plan's schema no expression judges: it is compiled and judges JSON.

    `text` is that JSON, a part of the call or all of it (None). `columns` names the source's column of a property by
    its path, `planned` the properties that an object may have, by its path, where others are to be told.
    """

    text: pl.Expr | None
    schema: Mapping[str, Any]
    columns: Mapping[tuple[str, ...], str]
    planned: Mapping[tuple[str, ...], frozenset[str]]


@frozen
class PlannedEvent:
    """How the calls of one event (or all calls, by the common schema) are judged: by expressions, and the rest."""

    checks: tuple[Check, ...]
    residues: tuple[Residue, ...]
    levels: Mapping[str, Severity]  # of the codes that `residues` may find; others are ignored
    told: str  # behind every detail: which event


@frozen
class PlannedCall:
    """A call of a job with what a tracking plan says of it.

    `name` is the event's (page's, screen's), where it comes from the row; else `events` has at most one entry, of "".
    """

    name: pl.Expr | None
    events: Mapping[str, PlannedEvent]
    others: PlannedEvent | None = None  # of names that are not in `events`
    always: PlannedEvent | None = None  # the common schema
    unplanned: Check | None = None  # of events that are not in `events`


@frozen
class CompiledCall:
    """One call of a job, bound to a snapshot's columns.

    To be evaluated in this order over a frame: `derived` and `rare_matches` added as columns; then `condition`,
    `checks`, the key and `members`.
    """

    index: int
    type: str
    scope: str  # label or type: how people and message ids tell the calls apart
    namespace: str  # of its message ids
    reads: tuple[str, ...]  # columns of the snapshot it needs, in snapshot order
    derived: tuple[tuple[pl.Expr, ...], ...]  # group by group: each reads columns of the groups before it
    rare_matches: Mapping[str, RareMatch]  # further columns, that only checks read
    condition: pl.Expr | None  # false or null: the row does not make this call; None: every row does
    checks: tuple[Check, ...]
    key: Key
    key_values: tuple[BoundValue, ...]  # the key's values, or the one that is the id given; none for CONTENT
    timestamp: pl.Expr  # UTC instant
    members: ObjectTemplate  # the call after type and messageId
    content: ObjectTemplate | None  # the same without context.library; only for CONTENT
    ids: tuple[IdText, ...]  # that come from the row
    alike: Severity | None  # of ids equal but for case or blanks, which all rows together show; None: not asked
    planned: PlannedCall | None = None  # what the tracking plan says of it


def grouped(columns: Iterable[pl.Expr]) -> tuple[tuple[pl.Expr, ...], ...]:
    """Columns, of which a later one may read an earlier, in groups that can be added to a frame at once."""
    groups: list[list[pl.Expr]] = []
    known: set[str] = set()  # of the last group
    for column in columns:
        if not groups or not known.isdisjoint(column.meta.root_names()):
            groups.append([])
            known.clear()
        groups[-1].append(column)
        known.add(column.meta.output_name())
    return tuple(map(tuple, groups))
