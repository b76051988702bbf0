"""How one CSV file is to be read: in parallel, by one thread, or from a copy; and what must come of it."""

from __future__ import annotations

import codecs
import hashlib
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from backfill.errors import SourceError
from backfill.job.models import CsvSpec, Job
from backfill.records import SourceFile
from backfill.sources.checksum import Watch, compression_of, plain_pieces, unwatched
from backfill.sources.delimited import (
    BUFFER_BYTES,
    MAX_RECORD_BYTES,
    column_names,
    delimiter,
    dialect,
    encoding,
    is_utf8,
)
from backfill.sources.engine import literal
from backfill.sources.lines import before, record_starts, text_of
from backfill.sources.quoting import Quoting, quoting
from backfill.sources.rewrite import rewrite
from backfill.sources.survey import Survey, survey

#: First field of a record put behind the last one of a copy: where it is not read, a quote before it is left open.
END = "\x02backfill: end of file\x03"
TAIL_CHARACTERS = 2_000


@dataclass(frozen=True, slots=True)
class Reading:
    """How one file is read: itself, or a copy written anew.

    `expected` is how many records there must be, read and rejected ones together, one left open at the end aside;
    None where only reading tells, and then the file has an END.
    """

    path: Path
    names: tuple[str, ...]
    survey: Survey
    skipped: int  # lines before the first record: empty ones, and the header
    parallel: bool
    expected: int | None
    open_at: int | None  # the byte where a last record begins that a quote leaves open
    copied: bool

    def discard(self) -> None:
        """Remove the copy, where there is one."""
        if self.copied:
            self.path.unlink(missing_ok=True)


def open_reading(
    file: SourceFile, job: Job, kind: str, folder: Path, *, doubted: bool = False, watch: Watch = unwatched
) -> Reading | None:
    """Survey a file, and write it anew in `folder` where DuckDB cannot read it as it is; None where it is empty.

    With `doubted` it was read in parallel, and gave another number of records than it has lines.
    `watch` is told the bytes of every pass over it.

    Raises:
        SourceError: the header is no header, or the encoding is not the one stated.
        JobError: the encoding stated is none.
    """
    spec, path, separator = job.source.csv, Path(file.path), delimiter(job, kind)
    copy = folder / f"{hashlib.sha256(file.path.encode()).hexdigest()[:16]}.{kind}"
    codec = "utf-8" if is_utf8(spec) else encoding(spec)
    if is_utf8(spec):
        _refuse_utf16(path, file.name)
        seen = survey(path, spec.quote, watch)
    if not is_utf8(spec) or seen.kinds_of_line_end > 1:
        rewrite(path, copy, spec, separator, codec, watch=watch)
        path, codec = copy, "utf-8"
        seen = survey(path, spec.quote, watch)
    names = column_names(path, file.name, job, kind)
    if not names:
        return None
    quotes = None
    if seen.odd_lines or doubted:
        quotes = _quotes(path, spec, separator, seen, watch, single=len(names) == 1)
    if quotes is not None and not quotes.regular:
        codec = "utf-8" if is_utf8(spec) else encoding(spec)
        rewrite(Path(file.path), copy, spec, separator, codec, end=(END, len(names)), watch=watch)
        path = copy
        seen = survey(path, spec.quote, watch)
    header = 1 if spec.header else 0
    return Reading(
        path=path,
        names=tuple(names),
        survey=seen,
        skipped=seen.leading_empty_lines + header,
        parallel=quotes is None,
        expected=_expected(seen, quotes, header, single=len(names) == 1),
        open_at=quotes.open_at if quotes is not None and quotes.regular else None,
        copied=path == copy,
    )


def _quotes(path: Path, spec: CsvSpec, separator: str, seen: Survey, watch: Watch, *, single: bool) -> Quoting:
    """What the quotes say; nothing where escapes or empty lines that are records would have to be known as well."""
    if spec.escape not in (None, "", spec.quote) or (single and seen.empty_lines > seen.leading_empty_lines):
        return Quoting(regular=False)
    return quoting(path, spec.quote, separator, watch)


def _expected(seen: Survey, quotes: Quoting | None, header: int, *, single: bool) -> int | None:
    """How many records there must be. In a file of one column an empty line is one, unless it is before the header."""
    if quotes is None:
        return seen.lines - header - (seen.leading_empty_lines if single else seen.empty_lines)
    return quotes.records - header if quotes.regular else None


def unterminated(reading: Reading, job: Job, kind: str, watch: Watch = unwatched) -> tuple[int, str]:
    """Line and text of the last record, which a quote leaves open."""
    if reading.open_at is not None:
        line = int(before(reading.path, [reading.open_at], watch)[0][0]) + 1
    else:
        starts = record_starts(reading.path, dialect(job.source.csv, delimiter(job, kind)), watch)
        line, _ = deque(starts, maxlen=1)[0]
    rest = islice(text_of(reading.path, newline="", watch=watch), line - 1, line + 50)
    return line, "".join(rest).partition(END)[0][:TAIL_CHARACTERS]


def _refuse_utf16(path: Path, name: str) -> None:
    if next(plain_pieces(path, name), b"")[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
        raise SourceError(f"{name} is not UTF-8: it begins with the mark of UTF-16", hint="state `encoding: utf-16`")


def reading_clause(reading: Reading, job: Job, kind: str, *, rejects: str) -> str:
    """The relation of one file's records, every column text, in their order; rejects go to the named table."""
    spec = job.source.csv
    columns = ", ".join(f"{literal(name)}: 'VARCHAR'" for name in reading.names)
    options: dict[str, str | int | bool | list[str]] = {
        "auto_detect": False,
        "header": spec.header,
        "skip": reading.survey.leading_empty_lines,
        "delim": delimiter(job, kind),
        "quote": spec.quote,
        "escape": spec.quote if spec.escape is None else spec.escape,
        "nullstr": list(spec.null_values) or ["\x00 no value is null"],
        "allow_quoted_nulls": False,
        "null_padding": False,
        "strict_mode": True,
        "store_rejects": True,
        "rejects_table": rejects,
        "rejects_scan": f"{rejects}_scan",
        "max_line_size": MAX_RECORD_BYTES,
        "buffer_size": BUFFER_BYTES,
        "parallel": reading.parallel,
        "compression": compression_of(reading.path) or "none",
    }
    written = ", ".join(f"{name} = {literal(value)}" for name, value in options.items())
    return f"read_csv({literal(str(reading.path))}, columns = {{{columns}}}, {written})"


def places(
    reading: Reading, job: Job, kind: str, rejects: Sequence[tuple[int, int]], watch: Watch = unwatched
) -> list[tuple[int, int]]:
    """(record, line) of rejects, given DuckDB's line of each and the byte, from 0, that it really starts with.

    DuckDB's line counts a record with line ends in its cells once, and an empty line once.
    """
    seen = reading.survey
    lines, starts = [line for line, _ in rejects], [start for _, start in rejects]
    counted = before(reading.path, starts, watch) if seen.odd_lines or seen.empty_lines else None
    blanks = [0] * len(rejects)
    if len(reading.names) > 1 and seen.empty_lines > seen.leading_empty_lines:
        csv_dialect = dialect(job.source.csv, delimiter(job, kind))
        if seen.odd_lines or counted is None:
            counts: Iterable[int] = _blanks(record_starts(reading.path, csv_dialect, watch), lines)
        else:
            counts = counted[1]
        blanks = [int(count) - seen.leading_empty_lines for count in counts]
    at = lines if counted is None else [int(count) + 1 for count in counted[0]]
    return [(line - reading.skipped - blank, place) for line, blank, place in zip(lines, blanks, at, strict=True)]


def _blanks(starts: Iterator[tuple[int, bool]], wanted: Sequence[int]) -> list[int]:
    """Empty lines before each of the wanted entries (ascending numbers from 1 of records and empty lines)."""
    counts, blanks = [], 0
    entries = enumerate(starts, 1)
    number, (_, is_empty) = next(entries, (0, (0, False)))
    for line in wanted:
        while number < line and number:
            blanks += is_empty
            number, (_, is_empty) = next(entries, (0, (0, False)))
        counts.append(blanks)
    return counts
