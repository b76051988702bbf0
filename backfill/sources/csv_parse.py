"""Records that are known to be sound, many at once, as columns of text: by pyarrow's parser, with nothing to guess."""

from __future__ import annotations

import codecs
from collections.abc import Sequence

import numpy as np
import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.compute as pc  # type: ignore[import-untyped]
from pyarrow import csv

from backfill.errors import BackfillError, counted
from backfill.sources.csv_dialect import C_ESCAPES, CR, LF, Dialect
from backfill.sources.csv_shape import effective, null_fields, shape_of

_NEVER = b"\xff"  # no text in UTF-8 has this byte
_NULL = _NEVER * 2


class Parser:
    """Parses records of so many fields in one dialect."""

    def __init__(self, dialect: Dialect, fields: int) -> None:
        self._dialect, self._fields = dialect, fields
        names = [str(number) for number in range(fields)]
        self._types = pa.schema([(name, pa.string()) for name in names])
        self._names = names
        escape = None if dialect.escape is None else chr(dialect.escape)
        self._options = csv.ParseOptions(
            delimiter=chr(dialect.separator),
            quote_char=False if dialect.quote is None else chr(dialect.quote),
            double_quote=dialect.escape is None,
            escape_char=escape or False,
            newlines_in_values=True,
            ignore_empty_lines=fields > 1,
        )
        self._null_values = [text for text in dialect.null_values if not (escape and escape in text)]

    def parse(self, records: bytes, count: int) -> list[pa.Array]:
        """The columns of so many records, each with its line end; among records of several fields empty lines are none.

        Raises:
            BackfillError: the parser finds another number of records, which is a mistake of this program.
        """
        null_values: list[str | bytes] = [*self._null_values]
        if self._dialect.escape is not None and bytes([self._dialect.escape]) in records:
            records, has_nulls = _plain_escapes(records, self._dialect)
            null_values = [*null_values, _NULL] if has_nulls else null_values
        if records.startswith(codecs.BOM_UTF8):  # the parser takes one away
            records = codecs.BOM_UTF8 + records
        table = csv.read_csv(
            pa.BufferReader(records),
            read_options=csv.ReadOptions(use_threads=False, block_size=len(records) + 64, column_names=self._names),
            parse_options=self._options,
            convert_options=csv.ConvertOptions(
                check_utf8=False,
                column_types=self._types,
                null_values=null_values,
                strings_can_be_null=bool(null_values),
                quoted_strings_can_be_null=False,
            ),
        )
        if table.num_rows != count:
            raise BackfillError(
                f"of {counted(count, 'record', 'records')} {table.num_rows:,} came of parsing", hint="please report it"
            )
        columns = table.combine_chunks().columns
        return [_swapped(_one(column), self._dialect.swaps) for column in columns]


def _one(column: pa.ChunkedArray) -> pa.Array:
    return column.chunk(0) if column.num_chunks else pa.array([], pa.string())


def _swapped(column: pa.Array, swaps: Sequence[tuple[bytes, bytes]]) -> pa.Array:
    """The column with swapped signs put back."""
    for sign, spare in swaps:
        raw = column.cast(pa.binary())
        for pattern, replacement in ((sign, _NEVER), (spare, sign), (_NEVER, spare)):
            raw = pc.replace_substring(raw, pattern=pattern, replacement=replacement)
        column = raw.cast(pa.string())
    return column


def _plain_escapes(records: bytes, dialect: Dialect) -> tuple[bytes, bool]:
    r"""The records with nothing but the escape to leave out: \n has its sign behind the escape, \N is another text.

    Returns too whether there is any of the latter: _NULL stands for them, which no text in UTF-8 has.
    """
    text = np.frombuffer(records, np.uint8)
    signs = shape_of(records, dialect, final=True).signs
    escapes = effective(np.flatnonzero(text == dialect.escape))
    changed = text.copy()
    found = False
    if dialect.null_escapes:
        nulls = null_fields(signs, text, escapes, dialect)
        if nulls.any():
            changed[escapes[nulls]] = changed[escapes[nulls] + 1] = _NEVER[0]
            found = True
            escapes = escapes[~nulls]
    if dialect.c_escapes:
        table = np.arange(256, dtype=np.uint8)
        table[list(C_ESCAPES)] = list(C_ESCAPES.values())
        changed[escapes + 1] = table[text[escapes + 1]]
    crs = escapes[text[escapes + 1] == CR] + 2
    crs = crs[crs < len(text)]
    changed = np.insert(changed, crs[text[crs] == LF], np.uint8(dialect.escape or 0))
    return changed.tobytes(), found
