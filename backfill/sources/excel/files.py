"""A sheet's columns and rows: types by all of a column's cells, since in a workbook they belong to cells."""

from __future__ import annotations

import datetime as dt
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any, Final

import pyarrow as pa  # type: ignore[import-untyped]

from backfill.errors import SourceError, counted
from backfill.frozen import frozen
from backfill.job.models import ExcelSpec, Job
from backfill.memory import BATCH_BYTES
from backfill.records import SourceFile
from backfill.sources.arrow_reader import MOST_ROWS, Head, Marked, TypedFiles
from backfill.sources.arrow_records import Field, field_of, refuse_names
from backfill.sources.excel.workbook import Cell, Place, Sheet, opened_sheet

LOG = logging.getLogger(__name__)
#: One text among fewer numbers than so many is one of a column of texts and numbers, unless it is the only one.
_MANY: Final = 10
#: Excel keeps 15 digits: of a longer number the last are gone, and it is written as Excel shows it.
_EXACT: Final = 10**15
_FIRST_YEAR: Final = 1900  # of dates, where they are not counted from 1904
#: Heads of files that are kept.
_HEADS: Final = 1_024
#: Of a cell without text, about.
_CELL_BYTES: Final = 8
_TYPES: Final = {bool: pa.bool_(), int: pa.int64(), float: pa.float64(), dt.date: pa.date32(), dt.time: pa.time64("us")}
_MOMENT: Final = pa.timestamp("us")
_NUMBERS: Final = {int, float}
_DAYS: Final = {dt.date, dt.datetime}


@frozen
class Row:
    """One row of the sheet that is not empty."""

    number: int  # in the sheet, from 1
    cells: list[Cell]
    wrong: dict[int, str]  # places of cells that have no value, and what they hold


@dataclass(slots=True)
class _Cells:
    """What the cells of a column hold: how many of each type, and the row of its first text."""

    counts: dict[type, int] = field(default_factory=dict)
    first_text: int = 0

    def take(self, cell: Cell, number: int) -> None:
        """Note a cell of that row."""
        kind = _kind(cell)
        if kind is str and not self.first_text:
            self.first_text = number
        self.counts[kind] = self.counts.get(kind, 0) + 1

    def stray(self) -> str:
        """What a few texts make of a column of numbers, or of dates; nothing where it is none."""
        texts = self.counts.get(str, 0)
        others = {kind: count for kind, count in self.counts.items() if kind not in (str, type(None))}
        total = sum(others.values())
        if not texts or total <= texts or texts > max(1, total // _MANY):
            return ""
        if not (set(others) <= _NUMBERS or set(others) <= _DAYS):
            return ""
        names = ("number", "numbers") if set(others) <= _NUMBERS else ("date", "dates")
        row = f"row {self.first_text}" if texts == 1 else f"the first in row {self.first_text}"
        told = f"{counted(total, *names)} and {counted(texts, 'text', 'texts')} ({row}): all are read as text"
        return f"{told}; to be told of such cells, declare its type in `source.columns`"


class ExcelFiles(TypedFiles):
    """How workbooks are opened."""

    def __init__(self, job: Job) -> None:
        self._spec = job.source.excel
        self._texts = frozenset(job.source.columns)

    def head(self, file: SourceFile) -> Head:
        """The columns by all cells: what is declared is text, as is a column of several types."""
        return _head(replace(file, sha256=""), self._spec, self._texts)

    def batches(self, file: SourceFile, head: Head) -> Iterator[pa.RecordBatch | Marked]:
        """The rows; those with a cell whose value is not in the file are marked."""
        with opened_sheet(file, self._spec) as sheet:
            table = _Table(file, sheet, self._spec)
            columns = {place: name for place, name in enumerate(table.names) if name in head.fields}
            for some in _together(table.rows()):
                arrays = [
                    _array([row.cells[place] for row in some], head.fields[name]) for place, name in columns.items()
                ]
                wrong = {
                    index: next((columns[place], what) for place, what in row.wrong.items())
                    for index, row in enumerate(some)
                    if row.wrong
                }
                yield Marked(pa.RecordBatch.from_arrays(arrays, list(columns.values())), wrong)

    def lines(self, file: SourceFile, records: Sequence[int]) -> dict[int, int]:
        """The row in the sheet of each record."""
        with opened_sheet(file, self._spec) as sheet:
            wanted = set(records)
            rows = enumerate(_Table(file, sheet, self._spec).rows(), 1)
            return {record: row.number for record, row in rows if record in wanted}


@lru_cache(maxsize=_HEADS)
def _head(file: SourceFile, spec: ExcelSpec, texts: frozenset[str]) -> Head:
    """The head of a file, whose cells are all looked at for it: once, however often the file is opened."""
    with opened_sheet(file, spec) as sheet:
        table = _Table(file, sheet, spec)
        cells = [_Cells() for _ in table.names]
        rows = 0
        for row in table.rows():
            rows += 1
            for column, cell in zip(cells, row.cells, strict=False):
                column.take(cell, row.number)
    kinds = [set(column.counts) for column in cells]
    for name, column in zip(table.names, cells, strict=True):
        if name not in texts and (stray := column.stray()):
            LOG.warning("%s: %s: %s", file.name, name, stray)
    fields = {
        name: pa.string() if name in texts else _type(found - {type(None)})
        for place, (name, found) in enumerate(zip(table.names, kinds, strict=True))
        if table.is_titled(place) or found - {type(None)}
    }
    refuse_names(file, [name for name in table.names if name in fields])
    return Head({name: field_of(kind) for name, kind in fields.items()}, rows)


def _together(rows: Iterator[Row]) -> Iterator[list[Row]]:
    """The rows, about BATCH_BYTES of them at a time."""
    held: list[Row] = []
    size = 0
    for row in rows:
        held.append(row)
        size += sum(len(cell) if isinstance(cell, str) else _CELL_BYTES for cell in row.cells)
        if size >= BATCH_BYTES or len(held) == MOST_ROWS:
            yield held
            held, size = [], 0
    if held:
        yield held


class _Table:
    """The part of a sheet that is a table: a header, and the rows below it that are not empty."""

    def __init__(self, file: SourceFile, sheet: Sheet, spec: ExcelSpec) -> None:
        self._rows, self._first = sheet.rows(), sheet.first_column
        header = next((row for row in self._rows if _is_header(*row, spec.header_row)), None)
        if header is None:
            where = "" if spec.header_row is None else f" in row {spec.header_row}"
            raise SourceError(f"{file.name}: the sheet has no header{where}", hint="see `header_row` under `excel`")
        self._is_titled = [cell != "" for cell in header[1]]
        self.names = [_text(cell) or f"column_{place}" for place, cell in enumerate(header[1], self._first)]
        self._spoilt, self._no_days = sheet.spoilt, sheet.no_days
        self._covered = _covered(sheet)
        self._fills = spec.merged == "fill"
        self._kept: dict[Place, Cell] = {}  # values of merged cells

    def is_titled(self, place: int) -> bool:
        """The header has a name for the column at that place."""
        return bool(self._is_titled[place])

    def rows(self) -> Iterator[Row]:
        """The rows below the header that are not empty."""
        for number, cells in self._rows:
            wrong = {}
            for place in range(len(cells)):
                at = (number, place + self._first)
                if at in self._spoilt:
                    wrong[place] = f"{self._spoilt[at]}, in row {number}"
                elif at in self._no_days and _shows_a_day(cells[place]):
                    wrong[place] = f"{self._no_days[at]} as a date, which is no day, in row {number}"
                elif at in self._covered:
                    wrong |= self._uncover(at, place, cells)
            if wrong or any(cell != "" for cell in cells):
                yield Row(number, cells, wrong)

    def _uncover(self, at: Place, place: int, cells: list[Cell]) -> dict[int, str]:
        """Give a cell that is merged with others the value of them, or say that it has none of its own."""
        lead = self._covered[at]
        if lead == at:
            self._kept[at] = cells[place]
        elif self._fills:
            cells[place] = self._kept.get(lead, "")
        else:
            return {place: f"no value of its own: row {at[0]} is merged there (see `merged: fill` under `excel`)"}
        return {}


def _shows_a_day(cell: Cell) -> bool:
    """What calamine makes of a number that is no day is a time, or a day of the first year."""
    return isinstance(cell, dt.time) or (isinstance(cell, dt.date) and cell.year == _FIRST_YEAR)


def _is_header(number: int, cells: list[Cell], wanted: int | None) -> bool:
    return number == wanted if wanted is not None else not all(cell == "" for cell in cells)


def _covered(sheet: Sheet) -> dict[Place, Place]:
    """Every cell of those that are merged -> the first of them, which has the value."""
    return {
        (row, column): (top, left)
        for (top, left), (bottom, right) in sheet.merged
        for row in range(top, bottom + 1)
        for column in range(left, right + 1)
    }


def _kind(cell: Cell) -> type:
    """What a cell holds: NoneType for an empty one, int for a whole number whose digits are all there."""
    if cell == "":
        return type(None)
    if isinstance(cell, float):
        return int if cell.is_integer() and abs(cell) < _EXACT else float
    return type(cell)


def _type(kinds: set[type]) -> pa.DataType:
    """The type of a column whose cells hold these: text where they are several."""
    if not kinds:
        return pa.null()
    if kinds <= _DAYS and dt.datetime in kinds:
        return _MOMENT
    if kinds <= _NUMBERS:
        return pa.float64() if float in kinds else pa.int64()
    return _TYPES.get(next(iter(kinds)), pa.string()) if len(kinds) == 1 else pa.string()


def _array(cells: Sequence[Cell], field: Field) -> pa.Array:
    return pa.array([_value(cell, field.type) for cell in cells], field.type)


def _value(cell: Cell, kind: pa.DataType) -> Any:  # noqa: ANN401
    """A cell as a value of the column's type."""
    if cell == "":
        return None
    if pa.types.is_string(kind):
        return _text(cell)
    if pa.types.is_integer(kind):
        return int(cell)
    if pa.types.is_timestamp(kind) and not isinstance(cell, dt.datetime):
        return dt.datetime.combine(cell, dt.time())
    return cell


def _text(cell: Cell) -> str:
    """A cell as text: numbers with the digits that Excel has of them, times in ISO 8601."""
    if isinstance(cell, bool):
        return str(cell).lower()
    if isinstance(cell, float):
        return str(int(cell)) if _kind(cell) is int else repr(cell)
    if isinstance(cell, dt.timedelta):
        seconds, rest = divmod(abs(cell), dt.timedelta(seconds=1))
        whole = f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}"
        fraction = f".{rest.microseconds:06}" if rest else ""
        return f"{'-' if cell < dt.timedelta() else ''}{whole}{fraction}"
    return cell.isoformat() if isinstance(cell, dt.date | dt.time) else str(cell)


def open_files(job: Job) -> ExcelFiles:
    """How the workbooks of a job are opened."""
    return ExcelFiles(job)
