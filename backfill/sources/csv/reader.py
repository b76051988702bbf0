"""CSV and TSV, read exactly: every record of all files is a row or unreadable (the grammar is in docs/sources.md).

The scanner tells where records are, and which are sound. Those go to pyarrow's parser, many at once, also of several
small files, with nothing left for it to guess. What the two say of the number of records is compared.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa  # type: ignore[import-untyped]
from numpy.typing import NDArray

from backfill.arrays import arrow_array
from backfill.errors import counted
from backfill.frozen import frozen
from backfill.job.models import Job
from backfill.memory import MAX_RECORD_BYTES
from backfill.records import FILE_COLUMN, RECORD_COLUMN, SourceFile
from backfill.sources.columns import SourceColumn, text_columns, united
from backfill.sources.csv.records import Parser, open_records
from backfill.sources.csv.scan import Records
from backfill.sources.csv.structure import Flags, Places, RecordFault
from backfill.sources.csv.text import CR_MARK, Dialect
from backfill.sources.files import nothing_in
from backfill.sources.origins.content import PIECE, Watch, unwatched
from backfill.sources.reader import ORIGINAL_CHARACTERS, CompleteReader, Unreadable, UnreadableSink
from backfill.sources.utf8 import invalid_utf8

FEW, MANY, ENCODING = 20, 21, 22
_ORIGINAL_BYTES = 4 * ORIGINAL_CHARACTERS
_WORDS = {
    RecordFault.ESCAPE: ("BF003", "broken escape: it stands before a sign that needs none"),
    RecordFault.BLANK: ("BF003", "broken quotes: a blank before an opening quote"),
    RecordFault.BEHIND: ("BF003", "broken quotes: text behind a closing quote"),
    RecordFault.UNCLOSED: ("BF003", "broken quotes: one is never closed"),
    RecordFault.TOO_LONG: ("BF006", f"the record is too long: more than {MAX_RECORD_BYTES >> 20} MB"),
    FEW: ("BF001", "too few fields"),
    MANY: ("BF002", "too many fields"),
    ENCODING: ("BF004", "bytes that are not in the file's encoding"),
}


def faults_of(records: Records, fields: int, dialect: Dialect) -> NDArray[np.uint8]:
    """Each record's fault, by the scanner, its encoding or its number of fields, in this order; 0 where it is sound."""
    found = np.where(records.fields < fields, np.uint8(FEW), np.uint8(MANY))
    found[records.fields == fields] = 0
    if not records.text.isascii():
        wrong = invalid_utf8(np.frombuffer(records.text, np.uint8))
        if dialect.only_lf:
            wrong = wrong[np.frombuffer(records.text, np.uint8)[wrong] != CR_MARK[0]]
        owners = records.nexts.searchsorted(wrong, side="right")
        inside = owners < len(records)
        owners = owners[inside]
        found[owners[records.starts[owners] <= wrong[inside]]] = ENCODING
    return np.where(records.faults > 0, records.faults, found)


def unreadable(
    records: Records, faults: NDArray[np.uint8], bad: Places, file: int, first: int, fields: int, dialect: Dialect
) -> Iterator[Unreadable]:
    """The records of those indices as unreadable ones; `first` is the number of the first record of all."""
    places = zip(
        bad.tolist(),
        faults[bad].tolist(),
        records.lines(bad).tolist(),
        records.starts[bad].tolist(),
        records.ends[bad].tolist(),
        records.fields[bad].tolist(),
        strict=True,
    )
    for index, fault, line, start, end, found in places:
        code, message = _WORDS[fault]
        if fault in (FEW, MANY):
            message += f": {found} where {fields} are expected"
        elif fault == RecordFault.UNCLOSED and records.taken_lines:
            message += f", and takes {counted(records.taken_lines, 'line', 'lines')} up to the end of the file"
        original = dialect.shown(records.text[start : min(end, start + _ORIGINAL_BYTES)]).decode("utf-8", "replace")
        yield Unreadable(file, first + index, code, message, original, line)


#: Bytes of each column that a batch holds at least: with very many columns, each column has a cost of its own.
_COLUMN_BYTES = 1_024


@frozen
class CsvReader(CompleteReader):
    """A source of CSV or TSV files; see reader.Reader."""

    columns: tuple[SourceColumn, ...]
    job: Job
    usual: str  # the format's separator
    files: Sequence[SourceFile]
    watch: Watch = unwatched

    def batches(self, unreadable: UnreadableSink) -> Iterator[pa.RecordBatch]:
        """All records in source order; raises as the protocol says."""
        joined = _Joined([column.name for column in self.columns])
        for index, file in enumerate(self.files):
            for names, dialect, records in _numbered(file, self.job, self.usual, self.watch):
                if joined.is_other(names, dialect):
                    yield from joined.take()
                    joined.begin(names, dialect)
                good = _sound(records, len(names), index, dialect, unreadable)
                if good.any():
                    joined.add(index, records, good)
                if joined.size >= max(PIECE, _COLUMN_BYTES * len(names)):
                    yield from joined.take()
        yield from joined.take()


def open_csv(job: Job, files: Sequence[SourceFile], usual: str, watch: Watch = unwatched) -> CsvReader:
    """A reader of those files; looks at every file's header.

    Raises:
        SourceError: a file is of another kind, its header cannot be read, or it has other columns than the first.
        JobError: the job does not fit the headers.
    """
    names = header_names(files, job, usual)
    return CsvReader(text_columns(job, names), job, usual, files, watch)


def header_names(files: Sequence[SourceFile], job: Job, usual: str) -> tuple[str, ...]:
    """The source's column names by the headers alone; raises as `open_csv` does."""
    opened = ((file, open_records(file, job, usual)) for file in files)
    named = [(file.name, dict.fromkeys(text.names, "text")) for file, text in opened if text is not None]
    if not named:
        raise nothing_in(files, job)
    return tuple(united(job, named))


def lines_of(file: SourceFile, job: Job, usual: str, wanted: Sequence[int]) -> dict[int, int]:
    """The lines, from 1, that records of those numbers begin at; `wanted` is ascending."""
    found: dict[int, int] = {}
    for _, _, numbered in _numbered(file, job, usual, unwatched):
        last = numbered.first + len(numbered.records)
        here = wanted[len(found) : bisect_left(wanted, last)]
        chosen = np.array(here, np.int64) - numbered.first
        found |= zip(here, numbered.records.lines(chosen).tolist(), strict=True)
        if len(found) == len(wanted):
            break
    return found


@frozen
class _Numbered:
    """Records with their numbers in the file."""

    records: Records
    first: int  # the number of the first one

    @property
    def numbers(self) -> Places:
        """Each one's number."""
        return np.arange(self.first, self.first + len(self.records))


def _numbered(
    file: SourceFile, job: Job, usual: str, watch: Watch
) -> Iterator[tuple[tuple[str, ...], Dialect, _Numbered]]:
    """The records of a file with its own columns and dialect; empty lines are records where there is one column."""
    text = open_records(file, job, usual, watch)
    if text is None:
        return
    number = 1
    for records in text.records:
        counted = records if len(text.names) == 1 else records.only(records.starts < records.ends)
        if len(counted):
            yield text.names, text.dialect, _Numbered(counted, number)
        number += len(counted)


def _sound(numbered: _Numbered, fields: int, file: int, dialect: Dialect, sink: UnreadableSink) -> Flags:
    """Which records are sound; the others go to the sink."""
    records = numbered.records
    faults = faults_of(records, fields, dialect)
    bad = np.flatnonzero(faults)
    if len(bad):
        for record in unreadable(records, faults, bad, file, numbered.first, fields, dialect):
            sink.add(record)
    sound: Flags = faults == 0
    return sound


@dataclass(slots=True, repr=False, eq=False)
class _Joined:
    """Sound records of one dialect and order of columns that become one batch."""

    columns: Sequence[str]
    size: int = 0
    _key: tuple[tuple[str, ...], Dialect] | None = None
    _parser: Parser | None = None
    _texts: list[bytes] = field(default_factory=list)
    _numbers: list[Places] = field(default_factory=list)
    _files: list[tuple[int, int]] = field(default_factory=list)  # index, rows

    def is_other(self, names: tuple[str, ...], dialect: Dialect) -> bool:
        """Records of those columns and that dialect cannot be added."""
        return self._key != (names, dialect)

    def begin(self, names: tuple[str, ...], dialect: Dialect) -> None:
        """Be ready for records of those columns and that dialect."""
        self._key = (names, dialect)
        self._parser = Parser(dialect, len(names))

    def add(self, file: int, numbered: _Numbered, good: Flags) -> None:
        """Add the good ones of some records."""
        text = sound_text(numbered.records, good)
        self._texts.append(text)
        self.size += len(text)
        numbers = numbered.numbers[good]
        self._numbers.append(numbers)
        self._files.append((file, len(numbers)))

    def take(self) -> Iterator[pa.RecordBatch]:
        """The batch of what was added, if anything was."""
        if not self._texts:
            return
        assert self._parser is not None
        assert self._key is not None
        numbers = np.concatenate(self._numbers).astype(np.uint64)
        values = dict(zip(self._key[0], self._parser.parse(b"".join(self._texts), len(numbers)), strict=True))
        files, rows = np.array(self._files).T
        self._texts, self._numbers, self._files, self.size = [], [], [], 0
        arrays = [values[name] if name in values else pa.nulls(len(numbers), pa.string()) for name in self.columns]
        places = [arrow_array(np.repeat(files.astype(np.uint32), rows)), arrow_array(numbers)]
        yield pa.RecordBatch.from_arrays([*arrays, *places], names=[*self.columns, FILE_COLUMN, RECORD_COLUMN])


def sound_text(records: Records, good: Flags) -> bytes:
    """The good records one behind the other, each with a line end."""
    starts, nexts = records.starts[good], records.nexts[good]
    gaps = np.flatnonzero(starts[1:] != nexts[:-1]) + 1
    firsts, lasts = starts[np.concatenate(([0], gaps))], nexts[np.append(gaps - 1, len(nexts) - 1)]
    parts = [records.text[first:last] for first, last in zip(firsts.tolist(), lasts.tolist(), strict=True)]
    if records.ends[good][-1] == nexts[-1]:
        parts[-1] += b"\r\n"  # an LF alone would belong to an escaped CR before it
    return b"".join(part + b"\n" if part.endswith(b"\r") else part for part in parts)  # an LF may follow
