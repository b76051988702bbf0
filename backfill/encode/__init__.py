"""Columns to JSON text, as polars expressions: one value table, no Python per row."""

from backfill.encode.json_text import computed_json, is_plain, json_plain, rounded, scalar_text, too_deep
from backfill.encode.nested import AS_THEY_ARE, LocalTimePolicy, encode, field, marked, nested, tag_of
from backfill.encode.scalars import (
    Encoded,
    braced,
    inside_quotes,
    kind_of,
    literal,
    member,
    number_from_text,
    plain,
    quoted,
    shown,
    string,
)

__all__ = [
    "AS_THEY_ARE",
    "Encoded",
    "LocalTimePolicy",
    "braced",
    "computed_json",
    "encode",
    "field",
    "inside_quotes",
    "is_plain",
    "json_plain",
    "kind_of",
    "literal",
    "marked",
    "member",
    "nested",
    "number_from_text",
    "plain",
    "quoted",
    "rounded",
    "scalar_text",
    "shown",
    "string",
    "tag_of",
    "too_deep",
]
