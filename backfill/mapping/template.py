"""The text of objects, put together the cheapest way that the rows at hand allow.

A member that may be null is a piece of its own, null where the value is, so that joining skips it. Where a frame has no
null in a column, its text is joined directly; where no text in it needs escaping, it is not escaped. The text that
comes out is the same either way; only the work differs (half of it, in the usual case).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Final

import numpy as np
import polars as pl

from backfill import encode
from backfill.frozen import frozen
from backfill.mapping.merge import has_object, merged
from backfill.records import Kind

#: Stands for a null inside a merge patch, where null itself means: take out. No other text holds this character so.
KEPT_NULL: Final = '"\\u0001backfill:null\\u0001"'

#: Bytes that are compared at a time.
_AT_ONCE: Final = 2**20
_FIRST_PRINTED, _QUOTE, _BACKSLASH = ord(" "), ord('"'), ord("\\")

#: Something to join: constant text, or an expression.
Part = str | pl.Expr


class Escapes(Enum):
    """Which characters of some texts must be escaped in JSON."""

    NONE = "none"
    QUOTES = "quotes"  # no others
    ANY = "any"


@frozen
class Facts:
    """What is known of the columns of one frame."""

    without_nulls: frozenset[str] = frozenset()
    escapes: Mapping[str, Escapes] = field(default_factory=dict)  # of columns of text; any, where not said


@frozen
class BoundValue:
    """A bound value.

    `text` is its JSON text, null where it is left out, right for any frame. `plain` is its text as an id or a key.
    Where the value is that of a column and nothing more, `source` names the column, and `direct` are the parts of its
    text that hold if the column has no null; with `escapes` it is text, and they hold if nothing in it needs escaping.
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
        if not self.direct or self.source not in facts.without_nulls:
            return ()
        return self._string(facts) if self.escapes else self.direct

    def optional(self, facts: Facts) -> tuple[Part, ...]:
        """The text's parts, of which one is null where it is left out."""
        return self._string(facts) if self.escapes else (self.text,)

    def quoted(self, facts: Facts) -> tuple[Part, ...]:
        """The parts of the plain text as a JSON string; of texts, as `Binder.text` binds them."""
        if self.source and not self.escapes:
            return string_parts(self.plain, Escapes.NONE)
        return self._string(facts)

    def _string(self, facts: Facts) -> tuple[Part, ...]:
        return string_parts(self.plain, facts.escapes.get(self.source, Escapes.ANY))


def escapes_in(texts: pl.Series) -> Escapes:
    """What in these texts JSON strings must escape (RFC 8259, section 7).

    Asked of the bytes of all texts at once: a search in polars, even in one joined text, takes three times as long.
    """
    content = texts.rechunk().to_arrow(compat_level=pl.CompatLevel.oldest()).buffers()[2]
    if not content:
        return Escapes.NONE
    everything, found = np.frombuffer(content, np.uint8), Escapes.NONE
    for start in range(0, len(everything), _AT_ONCE):  # which takes no memory to speak of
        characters = everything[start : start + _AT_ONCE]
        if characters.min() < _FIRST_PRINTED or (characters == _BACKSLASH).any():
            return Escapes.ANY
        if (characters == _QUOTE).any():
            found = Escapes.QUOTES
    return found


def string_parts(text: pl.Expr, escapes: Escapes) -> tuple[Part, ...]:
    """A JSON string as parts to be joined; the fewer characters need escaping, the less work."""
    match escapes:
        case Escapes.NONE:
            return '"', text, '"'
        case Escapes.QUOTES:  # a third of the time of `encode.string`
            return '"', text.str.replace_all('"', '\\"', literal=True), '"'
        case Escapes.ANY:
            return (encode.string(text),)


def array(values: Iterable[BoundValue], facts: Facts) -> pl.Expr:
    """The plain texts as a compact JSON array of strings; null where one of them is."""
    parts = [part for bound in values for part in (",", *bound.quoted(facts))]
    return joined(["[", *parts[1:], "]"])


def never_null(*parts: Part) -> BoundValue:
    """A value that no row sent is without."""
    text = joined(parts)
    return BoundValue(text, text, Kind.JSON, source="", direct=parts)


def constant(value: object) -> BoundValue:
    """A constant; null is a value that is never there."""
    if value is None:
        nothing = pl.lit(None, pl.String)
        return BoundValue(nothing, nothing, Kind.NULL)
    text = encode.literal(value)
    plain = value if isinstance(value, str) else text
    return replace(never_null(text), plain=pl.lit(plain))


@dataclass(slots=True)
class ObjectTemplate:
    """An object being put together: name -> value or inner object, in order.

    `present`: also where it is empty. `from_column`: JSON objects from a column, over which the members are put.
    `replaces`: put over another object it takes that one's place, instead of being put into it.
    """

    members: dict[str, ObjectTemplate | BoundValue] = field(default_factory=dict)
    present: bool = False
    from_column: pl.Expr | None = None
    replaces: bool = False

    def put(self, path: Sequence[str], value: ObjectTemplate | BoundValue) -> None:
        """Set the value at that path; inner objects are made on the way, a value in the way gives way."""
        name, *rest = path
        if not rest:
            self.members[name] = value
            return
        inner = self.members.get(name)
        if not isinstance(inner, ObjectTemplate):
            inner = ObjectTemplate()
            self.members[name] = inner
        inner.put(rest, value)

    def bound_values(self) -> Iterable[BoundValue]:
        """Every value inside, depth first."""
        for value in self.members.values():
            if isinstance(value, ObjectTemplate):
                yield from value.bound_values()
            else:
                yield value

    def parts(self, facts: Facts) -> list[Part]:
        """`,"name":value` of every member that is not null, as parts to be joined with nulls skipped."""
        found: list[Part] = []
        for name, value in self.members.items():
            key = f",{encode.literal(name)}:"
            if isinstance(value, ObjectTemplate) and value.present:
                found += [key, *value.braced(facts)]
            elif isinstance(value, BoundValue) and _parts(value, facts):
                found += [key, *_parts(value, facts)]
            else:
                text = value.optional(facts) if isinstance(value, BoundValue) else (nullable(value, facts),)
                found.append(joined((key, *text)))
        return found

    def braced(self, facts: Facts) -> list[Part]:
        """The object, `{}` where it has no members."""
        if self.from_column is not None:
            return [self._over(self.from_column.fill_null("{}"), facts)]
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
        into = {
            name: value
            for name, value in self.members.items()
            if isinstance(value, ObjectTemplate) and not value.replaces
        }
        behind = ObjectTemplate({name: value for name, value in self.members.items() if name not in into})
        gone = [part for name in behind.members for part in (f",{encode.literal(name)}:null",)]
        patches = [template.patch_at((name,), whole, facts) for name, template in into.items()]
        rest = merged(whole, encode.braced(joined([*gone, *patches]))).str.replace_all(KEPT_NULL, "null", literal=True)
        spliced = joined([rest.str.strip_suffix("}"), behind.text(facts), "}"])
        return spliced.str.replace(r"^\{,", "{")  # where nothing was left of the whole

    def patch_at(self, path: tuple[str, ...], whole: pl.Expr, facts: Facts) -> pl.Expr:
        """`,"name":patch`, the last name of the path; nothing where that would only make an empty object there."""
        part = joined((f",{encode.literal(path[-1])}:", self.patch(path, whole, facts)))
        needed = nullable(self, facts).is_not_null() | has_object(whole, path)
        return pl.when(needed).then(part).otherwise(pl.lit(""))

    def patch(self, path: tuple[str, ...], whole: pl.Expr, facts: Facts) -> pl.Expr:
        """The members as a merge patch (RFC 7396): null takes a member out, a null to be sent is KEPT_NULL.

        `path` is where this object stands in the whole.
        """
        parts: list[Part] = []
        for name, value in self.members.items():
            if isinstance(value, ObjectTemplate):
                parts.append(value.patch_at((*path, name), whole, facts))
                continue
            if value.kept:
                text = pl.when(value.text == "null").then(pl.lit(KEPT_NULL)).otherwise(value.text).fill_null("null")
            else:
                text = value.text.fill_null("null")
            parts += [f",{encode.literal(name)}:", text]
        return encode.braced(joined(parts))

    def text(self, facts: Facts) -> pl.Expr:
        """The members alone, each with a comma before it."""
        return joined(self.parts(facts), skip_nulls=True)


def _parts(bound: BoundValue, facts: Facts) -> tuple[Part, ...]:
    return bound.direct if bound.direct and not bound.source else bound.parts(facts)


def nullable(value: ObjectTemplate | BoundValue, facts: Facts) -> pl.Expr:
    """A member's text, null where it is left out: an inner object is where all its members are."""
    if isinstance(value, BoundValue):
        return joined(value.optional(facts))
    if value.from_column is not None:
        return _worked_out(
            joined(value.braced(facts)), lambda text: pl.when(~text.str.contains(r"^\{\s*\}$")).then(text)
        )
    return _worked_out(value.text(facts), lambda inner: pl.when(inner != "").then(encode.braced(inner)))


def _worked_out(text: pl.Expr, then: Callable[[pl.Expr], pl.Expr]) -> pl.Expr:
    """What is made of a text that is named more than once: worked out once, or each level would double the work."""
    found = then(pl.col("text"))
    return text.map_batches(
        lambda values: values.alias("text").to_frame().select(found).to_series(),
        return_dtype=pl.String,
        is_elementwise=True,
    )


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
