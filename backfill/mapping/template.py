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
from backfill.mapping.merge import merged
from backfill.records import Kind

#: What JSON strings must escape (RFC 8259, section 7).
ESCAPED: Final = r'["\\\x00-\x1f]'

#: Stands for a null inside a merge patch, where null itself means: take out. No other text holds this character so.
KEPT_NULL: Final = '"\\u0001backfill:null\\u0001"'

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
    kept: bool = False  # its nulls are sent

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
    """An object being put together: name -> value or inner object, in order.

    `present`: also where it is empty. `whole`: JSON objects from a column, over which the members are put. `replaces`:
    put over another object it takes that one's place, instead of being put into it.
    """

    members: dict[str, Node | Cell] = field(default_factory=dict)
    present: bool = False
    whole: pl.Expr | None = None
    replaces: bool = False

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
        if self.whole is not None:
            return [self._over(self.whole.fill_null("{}"), facts)]
        found = self.parts(facts)
        if not found:
            return ["{}"]
        if isinstance(found[0], str):  # the first member is there in every row: its comma can go now
            return ["{" + found[0][1:], *found[1:], "}"]
        return ["{", joined(found, skip_nulls=True).str.strip_prefix(","), "}"]

    def _over(self, whole: pl.Expr, facts: Facts) -> pl.Expr:
        """The members over a whole object: what they replace is taken out of it, then they are written behind."""
        if not self.members:
            return whole
        into = {name: value for name, value in self.members.items() if isinstance(value, Node) and not value.replaces}
        behind = Node({name: value for name, value in self.members.items() if name not in into})
        gone = [part for name in behind.members for part in (f",{encode.literal(name)}:null",)]
        patches = [part for name, node in into.items() for part in (f",{encode.literal(name)}:", node.patch(facts))]
        rest = merged(whole, encode.braced(joined([*gone, *patches]))).str.replace_all(KEPT_NULL, "null", literal=True)
        members = behind.text(facts)
        spliced = joined([rest.str.strip_suffix("}"), members, "}"])
        return pl.when(rest == "{}").then(encode.braced(members)).otherwise(spliced)

    def patch(self, facts: Facts) -> pl.Expr:
        """The members as a merge patch (RFC 7396): null takes a member out, a null to be sent is KEPT_NULL."""
        parts: list[Part] = []
        for name, value in self.members.items():
            if isinstance(value, Node):
                text = value.patch(facts)
            elif value.kept:
                text = pl.when(value.text == "null").then(pl.lit(KEPT_NULL)).otherwise(value.text).fill_null("null")
            else:
                text = value.text.fill_null("null")
            parts += [f",{encode.literal(name)}:", text]
        return encode.braced(joined(parts))

    def text(self, facts: Facts) -> pl.Expr:
        """The members alone, each with a comma before it."""
        return joined(self.parts(facts), skip_nulls=True)


def _parts(cell: Cell, facts: Facts) -> tuple[Part, ...]:
    return cell.direct if cell.direct and not cell.source else cell.parts(facts)


def nullable(value: Node | Cell, facts: Facts) -> pl.Expr:
    """A member's text, null where it is left out: an inner object is where all its members are."""
    if isinstance(value, Cell):
        return value.nullable(facts)
    if value.whole is not None:
        text = joined(value.braced(facts))
        return pl.when(~text.str.contains(r"^\{\s*\}$")).then(text)
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
