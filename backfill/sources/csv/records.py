"""A CSV file as records: its header or what stands for one, the records behind it, and how sound ones are parsed."""

from __future__ import annotations

import codecs
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import lru_cache
from itertools import chain

import numpy as np
import pyarrow as pa  # type: ignore[import-untyped]
from pyarrow import csv

from backfill.errors import BackfillError, JobError, SourceError, counted
from backfill.frozen import frozen
from backfill.job.models import Job
from backfill.job.references import references
from backfill.records import SourceFile
from backfill.sources.columns import check_names
from backfill.sources.csv.scan import Records, Scanner
from backfill.sources.csv.structure import RecordFault, null_fields, shape_of
from backfill.sources.csv.text import C_ESCAPES, CR, CR_MARK, LF, CsvText, Dialect, open_text
from backfill.sources.escapes import effective
from backfill.sources.origins.content import Watch, unwatched
from backfill.sources.utf8 import invalid_utf8

_NEVER = b"\xff"  # no text in UTF-8 has this byte
_NULL = _NEVER * 2


class Parser:
    """Parses records of one dialect and one number of fields."""

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
        """The columns of `count` records, each with its line end; among records of several fields empty lines are none.

        Raises:
            BackfillError: the parser finds another number of records, which is a mistake of this program.
        """
        has_crs = self._dialect.only_lf and CR_MARK in records
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
        swapped = [_swapped(_one(column), self._dialect.swaps) for column in columns]
        return [_replaced(column, CR_MARK, b"\r") for column in swapped] if has_crs else swapped


def _one(column: pa.ChunkedArray) -> pa.Array:
    return column.chunk(0) if column.num_chunks else pa.array([], pa.string())


def _replaced(column: pa.Array, pattern: bytes, replacement: bytes) -> pa.Array:
    import pyarrow.compute as pc  # type: ignore[import-untyped]

    raw = column.cast(pa.binary())
    return pc.replace_substring(raw, pattern=pattern, replacement=replacement).cast(pa.string())


def _swapped(column: pa.Array, swaps: Sequence[tuple[bytes, bytes]]) -> pa.Array:
    """The column with swapped signs put back."""
    if not swaps:
        return column
    import pyarrow.compute as pc

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


_FAULTS = {
    RecordFault.UNCLOSED: "a quote of its header is never closed",
    RecordFault.BEHIND: "its header has text behind a closing quote",
    RecordFault.BLANK: "its header has a blank before an opening quote",
    RecordFault.ESCAPE: "its header has an escape before a sign that needs none",
    RecordFault.TOO_LONG: "its header is too long",
}
_OTHER_SEPARATORS = ",;\t|"


@frozen
class OpenRecords:
    """A file opened: its columns, and the records that are rows or unreadable, empty lines among them."""

    names: tuple[str, ...]
    dialect: Dialect
    records: Iterator[Records]


def open_records(file: SourceFile, job: Job, usual: str, watch: Watch = unwatched) -> OpenRecords | None:
    """Open a file and read its header; None where it has no record at all.

    Raises:
        SourceError: the file is of another kind, truncated or corrupt, or its header is none.
        JobError: the job does not fit it.
    """
    text = open_text(file, job, usual, watch)
    found = scanned(text)
    for records in found:
        filled = np.flatnonzero(records.starts < records.ends)
        if len(filled):
            first = int(filled[0])
            behind = first + 1 if job.source.csv.header else first
            names = _names(records, first, text.dialect, file, job)
            return OpenRecords(names, text.dialect, chain([records.since(behind)], found))
    return None


def scanned(text: CsvText) -> Iterator[Records]:
    """All records of a text."""
    scanner = Scanner(text.dialect, text.line)
    for piece in text.pieces:
        yield from scanner.feed(piece)
    yield from scanner.feed(b"", final=True)


def _names(records: Records, index: int, dialect: Dialect, file: SourceFile, job: Job) -> tuple[str, ...]:
    """The file's column names: its header, or the job's `columns` in order."""
    if job.source.csv.header:
        fields = _header(records, index, dialect, file)
        _check(fields, file, job)
        names = named(fields)
        check_names(names)
        return names
    columns = tuple(job.source.columns)
    found = int(records.fields[index])
    if columns and (found == len(columns) or records.faults[index] or job.source.fixed_width):
        return columns  # of fixed width, a line that is divided is told as every other one
    hint = "without a header, list every column of the file under `source.columns`, in its order"
    if not columns:
        raise JobError("source.csv.header is false, and `columns` names no columns", hint=hint)
    there = counted(found, "column", "columns")
    raise JobError(f"{file.name} has {there}, and `columns` names {len(columns)}", hint=hint)


def _header(records: Records, index: int, dialect: Dialect, file: SourceFile) -> tuple[str, ...]:
    """The fields of the header."""
    fault = RecordFault(int(records.faults[index]))
    line = int(records.lines(np.array([index]))[0])
    if fault:
        raise SourceError(f"{file.name}, line {line}: {_FAULTS[fault]}", hint="mend it, or state the `csv` settings")
    header = records.text[int(records.starts[index]) : int(records.ends[index])]
    if len(invalid_utf8(np.frombuffer(header, np.uint8))):
        raise SourceError(
            f"{file.name}, line {line}: its header is not in the encoding stated",
            hint="state the file's own under `csv`, for example `encoding: cp1252`",
        )
    return _fields(header, dialect, int(records.fields[index]))


@lru_cache(maxsize=8)
def _fields(header: bytes, dialect: Dialect, count: int) -> tuple[str, ...]:
    """A header's fields; thousands of files may have the same one."""
    columns = Parser(replace(dialect, null_values=()), count).parse(header + b"\r\n", 1)
    return tuple(column[0].as_py() for column in columns)


def named(fields: tuple[str, ...]) -> tuple[str, ...]:
    """The fields of a header as names: one without text is called by its place, as in `column_1`.

    Data frames are written with their row numbers in front, under no name: pandas and R do so unless told otherwise.
    """
    return tuple(field or f"column_{place}" for place, field in enumerate(fields, 1))


def _check(fields: tuple[str, ...], file: SourceFile, job: Job) -> None:
    """Raise where the fields of a header cannot be names."""
    if any("\0" in name for name in fields):
        raise SourceError(
            f"{file.name}: a name in the header holds U+0000",
            hint="is it UTF-16? state `encoding: utf-16-le` or `utf-16-be`",
        )
    other = next((sign for sign in _OTHER_SEPARATORS if sign in fields[0]), None)
    if len(fields) == 1 and other is not None and not _is_meant(fields[0], job):
        raise JobError(
            f"{file.name}: its header is one column, {fields[0]!r}",
            hint=f'if {other!r} separates its columns, state `csv: {{delimiter: "{_written(other)}"}}`, else the one '
            "that does",
        )


def _is_meant(name: str, job: Job) -> bool:
    """Whether the job means a file of that one column: it states the delimiter, and reads no other column."""
    columns = {reference.column for reference in references(job)} - {None, name}
    return job.source.csv.delimiter is not None and not columns


def _written(sign: str) -> str:
    return r"\t" if sign == "\t" else sign
