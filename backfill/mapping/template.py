"""The text of objects, put together the cheapest way that the rows at hand allow.

A member that may be null is a piece of its own, null where the value is, so that joining skips it. Where a frame has no
null in a column, its text is joined directly; where no text in it needs escaping, it is not escaped. The text that
comes out is the same either way; only the work differs (half of it, in the usual case).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

import polars as pl

from backfill import encode
from backfill.records import Kind

#: What JSON strings must escape (RFC 8259, section 7).
ESCAPED: Final = r'["\\\x00-\x1f]'

#: Something to join: constant text, or an expression.
Part = str | pl.Expr


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of the columns of one frame."""

    without_nulls: frozenset[str] = frozenset()
    without_escapes: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Cell:
    """A bound value.

    `text` is its JSON text, null where it is left out, right for any frame. `plain` is its text as an id or a key.
    Where the value is that of a column and nothing more, `source` names the column, and `direct` are the parts of its
    text that hold if the column has no null (and, with `escapes`, no text that needs escaping).
    """

    text: pl.Expr
    plain: pl.Expr
    kind: Kind
    column: str = ""  # as problems name it
    source: str = ""
    direct: tuple[Part, ...] = ()
    escapes: bool = False

    def parts(self, facts: Facts) -> tuple[Part, ...]:
        """The text's parts where it cannot be null in the frame; nothing where it can."""
        clean = not self.escapes or self.source in facts.without_escapes
        return self.direct if self.direct and clean and self.source in facts.without_nulls else ()

    def nullable(self, facts: Facts) -> pl.Expr:
        """The text, null where left out."""
        if self.escapes and self.source in facts.without_escapes:
            return joined(self.direct)
        return self.text


def certain(*parts: Part) -> Cell:
    """A value that no row sent is without."""
    text = joined(parts)
    return Cell(text, text, Kind.JSON, source="", direct=parts)


@dataclass(slots=True)
class Node:
    """An object being put together: name -> value or inner object, in order. `present`: also where it is empty."""

    members: dict[str, Node | Cell] = field(default_factory=dict)
    present: bool = False

    def put(self, path: Sequence[str], value: Node | Cell) -> None:
        """Set the value at that path; inner objects are made on the way, a value in the way gives way."""
        name, *rest = path
        if not rest:
            self.members[name] = value
            return
        inner = self.members.get(name)
        if not isinstance(inner, Node):
            inner = Node()
            self.members[name] = inner
        inner.put(rest, value)

    def cells(self) -> Iterable[Cell]:
        """Every value inside, depth first."""
        for value in self.members.values():
            if isinstance(value, Node):
                yield from value.cells()
            else:
                yield value

    def parts(self, facts: Facts) -> list[Part]:
        """`,"name":value` of every member that is not null, as parts to be joined with nulls skipped."""
        found: list[Part] = []
        for name, value in self.members.items():
            key = f",{encode.literal(name)}:"
            if isinstance(value, Node) and value.present:
                found += [key, *value.braced(facts)]
            elif isinstance(value, Cell) and _parts(value, facts):
                found += [key, *_parts(value, facts)]
            else:
                found.append(encode.member(name, nullable(value, facts)))
        return found

    def braced(self, facts: Facts) -> list[Part]:
        """The object, `{}` where it has no members."""
        found = self.parts(facts)
        if not found:
            return ["{}"]
        if isinstance(found[0], str):  # the first member is there in every row: its comma can go now
            return ["{" + found[0][1:], *found[1:], "}"]
        return ["{", joined(found, skip_nulls=True).str.strip_prefix(","), "}"]

    def text(self, facts: Facts) -> pl.Expr:
        """The members alone, each with a comma before it."""
        return joined(self.parts(facts), skip_nulls=True)


def _parts(cell: Cell, facts: Facts) -> tuple[Part, ...]:
    return cell.direct if cell.direct and not cell.source else cell.parts(facts)


def nullable(value: Node | Cell, facts: Facts) -> pl.Expr:
    """A member's text, null where it is left out: an inner object is where all its members are."""
    if isinstance(value, Cell):
        return value.nullable(facts)
    inner = value.text(facts)
    return pl.when(inner != "").then(encode.braced(inner))


def joined(parts: Sequence[Part], *, skip_nulls: bool = False) -> pl.Expr:
    """The parts as one text, neighbouring constants made one; null where a part is, unless nulls are skipped."""
    merged: list[Part] = []
    for part in parts:
        if isinstance(part, str) and merged and isinstance(merged[-1], str):
            merged[-1] += part
        else:
            merged.append(part)
    if not merged:
        return pl.lit("")
    return pl.concat_str([pl.lit(p) if isinstance(p, str) else p for p in merged], ignore_nulls=skip_nulls)
