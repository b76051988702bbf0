"""Fixed-width text: every line has the same number of characters, and each column its places in it.

Lines are read as CSV's are, in any of its encodings, with one column that nothing divides; that column is then cut.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Final

import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.compute as pc  # type: ignore[import-untyped]

from backfill.frozen import frozen
from backfill.job.models import ColumnSpec, Job
from backfill.records import FILE_COLUMN, RECORD_COLUMN, SourceFile
from backfill.sources.columns import SourceColumn, text_columns
from backfill.sources.csv.reader import CsvReader, lines_of, open_csv
from backfill.sources.origins.content import Watch, unwatched
from backfill.sources.reader import CompleteReader, Unreadable, UnreadableSink

#: No text has the control character that divides units (ASCII's US), by which a line would be divided.
_DIVIDER: Final = "\x1f"
_DIVIDED: Final = "U+001F in the line, by which nothing of fixed width can be read"
_LINE: Final = "line"
_BLANK: Final = " "
_TEXT: Final = ColumnSpec(type="text")


@frozen
class _Lines:
    """Hands on what is wrong with lines: one that is divided has the sign that divides."""

    sink: UnreadableSink

    def add(self, record: Unreadable) -> None:
        """Note a line."""
        self.sink.add(replace(record, message=_DIVIDED) if record.code == "BF002" else record)


@frozen
class FixedWidthReader(CompleteReader):
    """The lines of files, cut into columns; see reader.Reader."""

    columns: tuple[SourceColumn, ...]
    widths: tuple[int, ...]
    lines: CsvReader

    def batches(self, unreadable: UnreadableSink) -> Iterator[pa.RecordBatch]:
        """All records in source order; a line of another length is unreadable. Raises as the protocol says."""
        expected = sum(self.widths)
        for batch in self.lines.batches(_Lines(unreadable)):
            lengths = pc.utf8_length(batch.column(_LINE))
            fits = pc.equal(lengths, expected)
            for place in pc.indices_nonzero(pc.invert(fits)).to_pylist():
                unreadable.add(self._unreadable(batch.slice(place, 1), lengths[place].as_py(), expected))
            kept = batch.filter(fits)
            if kept.num_rows:
                yield self._cut(kept)

    def _cut(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """The columns of some lines, without the blanks around values; nothing but blanks is null."""
        line, start, arrays = batch.column(_LINE), 0, []
        for width in self.widths:
            text = pc.utf8_trim(pc.utf8_slice_codeunits(line, start, start + width), _BLANK)
            arrays.append(pc.if_else(pc.equal(text, ""), pa.scalar(None, pa.string()), text))
            start += width
        places = [batch.column(FILE_COLUMN), batch.column(RECORD_COLUMN)]
        names = [*(column.name for column in self.columns), FILE_COLUMN, RECORD_COLUMN]
        return pa.RecordBatch.from_arrays([*arrays, *places], names)

    @staticmethod
    def _unreadable(row: pa.RecordBatch, length: int, expected: int) -> Unreadable:
        line, file, record = (row.column(name)[0].as_py() for name in (_LINE, FILE_COLUMN, RECORD_COLUMN))
        code, what = ("BF001", "short") if length < expected else ("BF002", "long")
        message = f"the line is too {what}: {length:,} characters where the widths add up to {expected:,}"
        return Unreadable(file, record, code, message, line)


def open_fixed_width(job: Job, files: Sequence[SourceFile], watch: Watch = unwatched) -> FixedWidthReader:
    """A reader of those files.

    Raises:
        SourceError: a file cannot be read.
        JobError: a declared column's name cannot be used.
    """
    widths = job.source.fixed_width
    lines = open_csv(_of_lines(job), files, _DIVIDER, watch)
    return FixedWidthReader(text_columns(job, list(widths)), tuple(widths.values()), lines)


def lines_of_records(file: SourceFile, job: Job, records: Sequence[int]) -> dict[int, int]:
    """The line that each record is."""
    return lines_of(file, _of_lines(job), _DIVIDER, records)


def _of_lines(job: Job) -> Job:
    """The job as one over a CSV file of one column."""
    plain = {"delimiter": _DIVIDER, "quote": "", "escape": None, "header": False, "null_values": ()}
    csv = job.source.csv.model_copy(update=plain)
    columns = {_LINE: _TEXT}
    return job.model_copy(update={"source": job.source.model_copy(update={"csv": csv, "columns": columns})})
