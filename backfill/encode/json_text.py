"""JSON text that others wrote, or SQL made: what in it strict readers refuse or alter, found without parsing it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Final

import numpy as np
import polars as pl

from backfill.arrays import series
from backfill.limits import JSON_DEPTH, SAFE_INTEGER

#: Without an exponent of three digits, or that many digits before the point, a number fits a double.
_LARGE_EXPONENT: Final = r"[0-9][eE]\+?[0-9]{3}"
_DOUBLE_DIGITS: Final = 308
_STRING: Final = r'"(?:[^"\\]|\\.)*"'
_PLAIN: Final = r"^(?:-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?|true|false|null)$"
_NUMBER: Final = r"-?[0-9][0-9.eE+-]*"
#: What DuckDB takes and writes in JSON, and RFC 8259 has not: NaN and infinities, in any case, and closing commas.
_NOT_FINITE: Final = "(?i)nan|inf"
_COMMA: Final = r",\s*[\]}]"
#: A whole string, not a key, that is an instant or wall clock as DuckDB writes them.
_SQL_TIME: Final = (
    r'"[0-9]{4,6}-[0-9]{2}-[0-9]{2} [0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]+)?(?:[+-][0-9:]+)?(?: \(BC\))?"\s*(?:[,\]}]|$)'
)


def json_plain(value: pl.Expr) -> pl.Expr:
    """JSON text as it stands; the word null is a null."""
    return pl.when(value != "null").then(value)


def scalar_text(value: pl.Expr) -> pl.Expr:
    """A JSON scalar as plain text: a string without quotes and escapes, anything else as written."""
    is_string = value.str.starts_with('"')
    wrapped = pl.concat_str([pl.lit('{"v":'), pl.when(is_string).then(value), pl.lit("}")])
    unescaped = wrapped.str.json_decode(pl.Struct({"v": pl.String})).struct.field("v")
    return pl.when(is_string).then(unescaped).when(value != "null").then(value)


def is_plain(text: pl.Expr) -> pl.Expr:
    """True where JSON text is a number, true, false or null, exactly as RFC 8259 has them."""
    return text.str.contains(_PLAIN)


def overflows(text: pl.Expr) -> pl.Expr:
    """True where JSON text holds a number beyond doubles, such as 1e400: strict readers refuse the body for it."""
    long = pl.when(text.str.len_bytes() > _DOUBLE_DIGITS).then(text).str.contains(r"[0-9]{309}")
    few = pl.when(text.str.contains(_LARGE_EXPONENT) | long.fill_null(value=False)).then(text)
    numbers = few.str.replace_all(_STRING, '""').str.extract_all(_NUMBER)
    infinite = numbers.list.eval(pl.element().cast(pl.Float64, strict=False).is_infinite()).list.any()
    return infinite.fill_null(value=False)


def doubtful(text: pl.Expr) -> pl.Expr:
    """The JSON texts in which `not_json` may find something, the others null: one look in place of several."""
    long = text.str.len_bytes() > _DOUBLE_DIGITS
    return pl.when(long | text.str.contains(f"{_NOT_FINITE}|{_COMMA}|{_LARGE_EXPONENT}")).then(text)


def not_json(text: pl.Expr) -> tuple[tuple[str, pl.Expr], ...]:
    """What DuckDB takes for JSON and writes as such, and RFC 8259 and strict readers refuse; never null."""
    unfit = _outside_strings(text, _COMMA) | too_deep(text)
    return (("BF111", overflows(text) | _outside_strings(text, _NOT_FINITE)), ("BF117", unfit))


def too_deep(text: pl.Expr, depth: int = JSON_DEPTH) -> pl.Expr:
    """True where JSON text is nested deeper than `depth` levels."""
    long = pl.when(text.str.len_bytes() > 2 * depth).then(text)  # with fewer bytes it cannot be
    many = pl.when(long.str.count_matches(r"[\[{]") > depth).then(long)
    bare = many.str.replace_all(_STRING, "").str.replace_all(r"[^\[\]{}]+", "")
    deep = bare.map_batches(partial(_too_deep, depth=depth), return_dtype=pl.Boolean, is_elementwise=True)
    return deep.fill_null(value=False)


def _too_deep(brackets: pl.Series, depth: int) -> pl.Series:
    """Of texts of brackets in pairs, one behind the other, whether one opens more than `depth` before they close."""
    found = np.zeros(len(brackets), np.bool_)
    some = np.flatnonzero((brackets.str.len_bytes() > 0).fill_null(value=False).to_numpy())
    if len(some):
        texts = brackets.gather(series(some))
        signs = np.frombuffer("".join(texts).encode(), np.uint8)
        level = np.cumsum(np.where((signs == ord("[")) | (signs == ord("{")), 1, -1))
        ends = np.cumsum(texts.str.len_bytes().to_numpy(), dtype=np.int64)
        found[some] = np.maximum.reduceat(level, np.concatenate([[0], ends[:-1]])) > depth
    return series(found)


def _outside_strings(text: pl.Expr, pattern: str) -> pl.Expr:
    """True where JSON text has the pattern outside of its strings."""
    few = pl.when(text.str.contains(pattern)).then(text)
    return few.str.replace_all(_STRING, '""').str.contains(pattern).fill_null(value=False)


def computed_json(text: pl.Expr) -> tuple[tuple[str, pl.Expr], ...]:
    """What may be wrong in JSON text that SQL made: integers that doubles round, and times in the database's form."""
    few = pl.when(text.str.contains("[0-9]{16}")).then(text)
    numbers = few.str.replace_all(_STRING, '""').str.extract_all(_NUMBER)
    digits = pl.element().str.extract(r"^-?([0-9]{16,})$")
    large = (digits.str.len_bytes() > len(str(SAFE_INTEGER))) | (digits > str(SAFE_INTEGER))
    rounded = numbers.list.eval(large.fill_null(value=False)).list.any().fill_null(value=False)
    return (("BF110", rounded), ("BF131", text.str.contains(_SQL_TIME).fill_null(value=False)))


def rounded(result: pl.Expr, sources: Sequence[pl.Expr]) -> pl.Expr:
    """True where text that SQL made has a number that was another, with more digits, in the JSON it was made of."""
    before = [_printed(source.str.replace_all(_STRING, '""'), as_written=False) for source in sources]
    lost = pl.concat_list([each.fill_null([]) for each in before])
    some = pl.when(lost.list.len() > 0).then(result)
    return _printed(some, as_written=True).list.set_intersection(lost).list.len().fill_null(0) > 0


def _printed(text: pl.Expr, *, as_written: bool) -> pl.Expr:
    """The numbers of some JSON text as doubles are printed: those that are written so, or those that are not."""
    if not as_written:  # integers are never printed anew
        text = pl.when(text.str.contains("[0-9.]{17}")).then(text)
    number = pl.element()
    printed = number.cast(pl.Float64, strict=False).cast(pl.String)
    same = _digits(number) == _digits(printed)
    wanted = same if as_written else ~same & number.str.contains("[.eE]")
    return text.str.extract_all(_NUMBER).list.eval(pl.when(wanted).then(printed).drop_nulls())


def _digits(number: pl.Expr) -> pl.Expr:
    """The digits that count, whatever the exponent and wherever the point is."""
    mantissa = number.str.replace("[eE].*", "").str.replace_all("[-.]", "")
    return mantissa.str.strip_chars_start("0").str.strip_chars_end("0")
