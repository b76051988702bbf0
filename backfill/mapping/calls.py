"""What compiling a call gives: expressions over a frame of the snapshot, and the checks of its values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

import polars as pl

from backfill.mapping.template import Node
from backfill.records import Severity


class Key(Enum):
    """Where a call's message id comes from."""

    COLUMNS = "columns"  # uuid5 of the canonical text of key values
    CONTENT = "content"  # uuid5 of the call's own JSON
    GIVEN = "given"  # a column holds the id


@dataclass(frozen=True, slots=True)
class Check:
    """One way in which one value of a call can be wrong.

    `mask` is true where it is. `shown` is the value as text, for the problem; `column` names where to look.
    """

    code: str
    severity: Severity
    column: str
    mask: pl.Expr
    shown: pl.Expr


@dataclass(frozen=True, slots=True)
class CompiledCall:
    """One call of a job, bound to a snapshot's columns.

    To be evaluated in this order over a frame: `derived` added as columns; then `made`, `checks`, `key`, `members`.
    """

    index: int
    type: str
    scope: str  # label or type: how people and message ids tell the calls apart
    namespace: str  # of its message ids
    reads: tuple[str, ...]  # columns of the snapshot it needs, in snapshot order
    derived: tuple[pl.Expr, ...]  # each may read those before it
    probes: Mapping[str, pl.Expr]  # of some derived columns: one boolean, false where all of a frame's column is null
    made: pl.Expr | None  # false or null: the row does not make this call; None: every row does
    checks: tuple[Check, ...]
    key: Key
    key_text: pl.Expr | None  # canonical JSON of the key values, or the id given; None for CONTENT
    timestamp: pl.Expr  # UTC instant
    members: Node  # the call after type and messageId
    content: Node | None  # the same without context.library; only for CONTENT
