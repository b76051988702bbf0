r"""Keywords of JSON Schema (draft-07) about single values, as expressions; the verdict is the compiled validator's.

Numbers are compared as doubles, which is what a JSON number is to it. Text is counted in code points. A pattern is
searched for, not matched (https://json-schema.org/draft-07/json-schema-validation, section 6.3.3), and becomes one of
Rust's only where both dialects read it alike: ECMA's `\d` and `\w` are ASCII,
its `.` is no line end of any kind.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import reduce
from operator import or_
from typing import Any, Final

import orjson
import polars as pl

from backfill.limits import SAFE_INTEGER
from backfill.mapping.template import BoundValue, Facts, ObjectTemplate, nullable
from backfill.records import Kind
from backfill.tracking.schemas import DESCRIBING, KEYWORDS

_TYPES: Final = {
    Kind.TEXT: "string",
    Kind.DATE: "string",
    Kind.TIMESTAMP: "string",
    Kind.INTEGER: "integer",
    Kind.NUMBER: "number",
    Kind.DECIMAL: "number",
    Kind.BOOLEAN: "boolean",
}
_BOUNDS: Final = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum")
#: Keywords that say nothing of a value of that type, and so never break.
_OF_OBJECTS: Final = frozenset({
    "properties", "required", "additionalProperties", "patternProperties", "propertyNames", "dependencies",
    "minProperties", "maxProperties", "items", "additionalItems", "contains", "minItems", "maxItems", "uniqueItems",
})  # fmt: skip
_OF_TEXT: Final = frozenset({"minLength", "maxLength", "pattern", "format", "contentEncoding", "contentMediaType"})
_OF_NUMBERS: Final = frozenset({*_BOUNDS, "multipleOf"})
#: Formats that a value of the kind always has, as it is written here.
_SURE_FORMATS: Final = {Kind.TIMESTAMP: "date-time", Kind.DATE: "date"}
#: One piece of a pattern that both dialects read alike. Sets hold no brackets, `&`, `~` or blanks, which Rust may take
#: for operators; escapes are of punctuation, or the two that are written out.
_SET: Final = r"\[\^?(?:[A-Za-z0-9_.@:,;!/%+*()$#='\"<>-]|\\[dsw.\-/+*?()^$|])+\]"
_PIECE: Final = re.compile(
    rf"{_SET}|\\[dsw]|\\[.\-/+*?()\[\]{{}}^$|\\]|\(\?:|\((?!\?)|[)|^$.?*+]|\{{\d+(?:,\d*)?\}}|[^\\\[\](){{}}?*+|^$.]"
)
_LINE_ENDS: Final = r"\n\r\x{2028}\x{2029}"
_ESCAPES: Final = {r"\d": "0-9", r"\w": "0-9A-Za-z_", r"\s": rf"\t\x0B\x0C\x{{FEFF}}\p{{Zs}}{_LINE_ENDS}"}

#: A keyword, its value, and where it is broken.
Found = tuple[str, Any, pl.Expr]


def says_something(name: str) -> bool:
    """Whether a word of a schema judges values."""
    return name in KEYWORDS and name not in DESCRIBING and name not in ("$id", "definitions")


def is_there(value: ObjectTemplate | BoundValue) -> pl.Expr:
    """Whether a member is sent."""
    if isinstance(value, BoundValue):
        return _sent(value)
    if value.present:
        return pl.lit(value=True)
    if value.from_column is not None:
        return nullable(value, Facts()).is_not_null()
    return reduce(or_, map(is_there, value.members.values()), pl.lit(value=False))


def _sent(bound: BoundValue) -> pl.Expr:
    """Whether a value is sent, without making its JSON where something else tells."""
    if constant_text(bound) is not None:
        return pl.lit(value=True)
    if bound.source and bound.kind in _TYPES:
        return pl.col(bound.source).is_not_null()
    return (bound.plain if bound.kind is Kind.TEXT and not bound.kept else bound.text).is_not_null()


def constant_text(bound: BoundValue) -> str | None:
    """The JSON text of a value that is the same in every row."""
    texts = [part for part in bound.direct if isinstance(part, str)]
    return "".join(texts) if bound.direct and not bound.source and len(texts) == len(bound.direct) else None


def constant_json(bound: BoundValue) -> Any:  # noqa: ANN401 (any JSON)
    """The value that is the same in every row; None where there is none."""
    text = constant_text(bound)
    return None if text is None else orjson.loads(text)


def split_value(schema: Mapping[str, Any], bound: BoundValue) -> tuple[list[Found], dict[str, Any]]:
    """Where expressions find a value to break its schema, and what is left over of that, for a validator."""
    if bound.kind is Kind.NULL and not bound.kept:
        return [], {}  # it is never sent
    left = {name: value for name, value in schema.items() if says_something(name)}
    kind = _TYPES.get(bound.kind)
    if kind is None:
        return [], left
    found: list[Found] = []
    null = bound.text == "null" if bound.kept else None
    there = _sent(bound) if null is None else _sent(bound) & ~null
    for keyword, value in list(left.items()):
        masks = _masks(keyword, value, kind, bound)
        if masks is None:
            continue
        del left[keyword]
        broken = reduce(or_, masks, pl.lit(value=False))
        mask = there & broken if masks else None
        if null is not None and _refuses_null(keyword, value):
            mask = null if mask is None else null | mask
        if mask is not None:
            found.append((keyword, value, mask))
    return found, left


def _refuses_null(keyword: str, value: Any) -> bool:  # noqa: ANN401
    match keyword:
        case "type":
            return "null" not in ([value] if isinstance(value, str) else value)
        case "enum":
            return None not in value
        case "const":
            return value is not None
    return False


def _masks(keyword: str, value: Any, kind: str, bound: BoundValue) -> list[pl.Expr] | None:  # noqa: ANN401
    """Where a value of that type that is not null breaks the keyword; nothing: nowhere; None: a validator is to say."""
    numeric = kind in ("integer", "number")
    if keyword in _OF_OBJECTS or (keyword in _OF_TEXT and kind != "string") or (keyword in _OF_NUMBERS and not numeric):
        return []
    match keyword:
        case "type":
            return list(_of_type([value] if isinstance(value, str) else value, kind, bound))
        case "enum" | "const":
            return _of_values(value if keyword == "enum" else [value], kind, bound)
        case _ if keyword in _OF_TEXT:
            return _of_text(keyword, value, bound)
        case _ if keyword in _BOUNDS and abs(value) <= SAFE_INTEGER:
            return [_beyond(keyword, number_of(bound), float(value))]
    return None


def _of_text(keyword: str, value: Any, bound: BoundValue) -> list[pl.Expr] | None:  # noqa: ANN401
    match keyword:
        case "minLength":
            return [string_of(bound).str.len_chars() < value]
        case "maxLength":
            return [string_of(bound).str.len_chars() > value]
        case "pattern":
            translated = rust_pattern(value)
            return None if translated is None else [~string_of(bound).str.contains(translated)]
        case "format" if _SURE_FORMATS.get(bound.kind) == value:
            return []
    return None


def _of_type(allowed: list[str], kind: str, bound: BoundValue) -> Iterator[pl.Expr]:
    if kind in allowed or (kind == "integer" and "number" in allowed):
        return
    if kind == "number" and "integer" in allowed:  # 2.0 is one
        number = number_of(bound)
        yield number != number.floor()
    else:
        yield pl.lit(value=True)


def _of_values(allowed: list[Any], kind: str, bound: BoundValue) -> list[pl.Expr] | None:
    match kind:
        case "string":
            return [~string_of(bound).is_in([each for each in allowed if isinstance(each, str)])]
        case "boolean":
            return [~bound.text.is_in([orjson.dumps(each).decode() for each in allowed if isinstance(each, bool)])]
    numbers = [each for each in allowed if isinstance(each, int | float) and not isinstance(each, bool)]
    if any(abs(each) > SAFE_INTEGER for each in numbers):
        return None
    return [~number_of(bound).is_in([float(each) for each in numbers])]


def _beyond(keyword: str, number: pl.Expr, limit: float) -> pl.Expr:
    match keyword:
        case "minimum":
            return number < limit
        case "maximum":
            return number > limit
        case "exclusiveMinimum":
            return number <= limit
    return number >= limit


def number_of(bound: BoundValue) -> pl.Expr:
    """The number as a validator reads it in the JSON."""
    return bound.text.cast(pl.Float64, strict=False)


def string_of(bound: BoundValue) -> pl.Expr:
    """The string, unescaped."""
    if bound.kind is Kind.TEXT:
        return bound.plain
    return bound.text.str.strip_prefix('"').str.strip_suffix('"')  # times have nothing to be escaped


def rust_pattern(pattern: str) -> str | None:
    """The pattern for Rust where it means the same there; else None."""
    pieces: list[str] = []
    place = 0
    while place < len(pattern):
        piece = _PIECE.match(pattern, place)
        if piece is None or (piece[0].startswith("[") and "--" in piece[0]):
            return None
        pieces.append(_translated(piece[0]))
        place = piece.end()
    made = "".join(pieces)
    try:
        pl.Series([""]).str.contains(made)
    except pl.exceptions.PolarsError:
        return None
    return made


def _translated(piece: str) -> str:
    if piece == ".":
        return f"[^{_LINE_ENDS}]"
    if piece in _ESCAPES:
        return f"[{_ESCAPES[piece]}]"
    for escape, characters in _ESCAPES.items() if piece.startswith("[") else ():
        piece = piece.replace(escape, characters)
    return piece
