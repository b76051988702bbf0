"""The cells of one sheet, and what is wrong with those that calamine gives as empty: errors and missing results.

Calamine gives an empty text for a cell that holds an error such as #N/A, and for a formula without its result, which
programs that write workbooks leave out. Neither is empty: such cells are looked up in the file's own parts, which are
zip archives of XML (ECMA-376 part 1, 18.3.1.4; OpenDocument 1.3 part 3, 19.385), or by xlrd in a file of xls.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import field
from pathlib import Path
from typing import Any, Final
from xml.etree import ElementTree as ET
from xml.parsers import expat

from backfill.errors import JobError, SourceError
from backfill.extras import required
from backfill.frozen import frozen
from backfill.job.models import ExcelSpec
from backfill.memory import LARGEST_WORKBOOK_BYTES
from backfill.records import SourceFile
from backfill.sources.origins.content import origin_of

Cell = Any
#: A cell's place: its row and its column in the sheet, both from 1.
Place = tuple[int, int]

_PIECE: Final = 2**20
_ZIP: Final = b"PK"
_NO_RESULT: Final = "a formula whose result is not in the file"
_XLRD_ERROR: Final = 5
_XLRD_NUMBERS: Final = (2, 3)  # the latter is a date
_MAYBE_NO_DAY: Final = ("-", "60")  # how such numbers begin, as few others do
#: What Excel counts for 29 February 1900; where days are counted from 1904 it is another one, which was.
_LEAP_DAY: Final = 60
#: What calamine says of the container of an .xls (a compound file) whose parts are not all there ...
_DAMAGED: Final = "Cfb error"
#: ... and what it raises where it does not look: of a class that Rust's libraries make for themselves.
_PANIC: Final = "PanicException"


@frozen
class Sheet:
    """One sheet."""

    cells: Any  # calamine's
    spoilt: Mapping[Place, str] = field(default_factory=dict)  # cells without the value they show, and what they hold
    #: Numbers that are no day where a cell shows one, as text: calamine gives midnight, or the day before.
    no_days: Mapping[Place, str] = field(default_factory=dict)
    merged: tuple[tuple[Place, Place], ...] = ()  # the first and the last cell of each

    def rows(self) -> Iterator[tuple[int, list[Cell]]]:
        """Every row with its number in the sheet, from 1, and its cells from the sheet's first used column on."""
        return enumerate(self.cells.iter_rows(), 1)

    @property
    def first_column(self) -> int:
        """The number, from 1, of the column that rows begin with."""
        return int(self.cells.start[1]) + 1 if self.cells.start else 1


@contextmanager
def opened_sheet(file: SourceFile, spec: ExcelSpec) -> Iterator[Sheet]:
    """The sheet that the job means.

    Raises:
        SourceError: the file is no workbook, damaged, protected or too large.
        JobError: which sheet is meant is not said, or there is none of that name.
        UsageError: the extra is not installed.
    """
    calamine = required("python_calamine", "excel", "workbooks")
    path = origin_of(file).local_path()
    try:
        _refuse_large(file, path)
        with calamine.load_workbook(str(path)) as book:
            name = _named(file, book, spec.sheet)
            cells = book.get_sheet_by_name(name)
            merged = tuple(
                ((top + 1, left + 1), (bottom + 1, right + 1))
                for (top, left), (bottom, right) in cells.merged_cell_ranges or ()
            )
            yield Sheet(cells, *_misread(file, path, name), merged)
    except (calamine.CalamineError, zipfile.BadZipFile, ET.ParseError, expat.ExpatError, KeyError, EOFError) as error:
        said = "it is protected by a password" if "password" in str(error).lower() else str(error)
        if said.startswith(_DAMAGED):
            raise _cut(file) from error
        raise SourceError(f"{file.name} cannot be read: {said}", hint="save it again, and name that copy") from error
    except BaseException as error:
        if type(error).__name__ != _PANIC:
            raise
        raise _cut(file) from error


def _cut(file: SourceFile) -> SourceError:
    return SourceError(f"{file.name} is truncated or corrupt", hint="fetch or export the file again")


def _is_zip(path: Path) -> bool:
    with path.open("rb") as content:
        return content.read(len(_ZIP)) == _ZIP


def _refuse_large(file: SourceFile, path: Path) -> None:
    size = file.bytes
    if _is_zip(path):
        if not zipfile.is_zipfile(path):  # an archive has its directory at its end
            raise SourceError(f"{file.name} is truncated: its end is missing", hint="fetch or export the file again")
        with zipfile.ZipFile(path) as parts:
            size = sum(part.file_size for part in parts.infolist())
    if size > LARGEST_WORKBOOK_BYTES:
        raise SourceError(
            f"{file.name} holds {size // 10**6:,} MB of cells; a workbook is held in memory whole,"
            f" so that at most {LARGEST_WORKBOOK_BYTES // 10**6} MB are read",
            hint="save the sheet as CSV (UTF-8), and name that file",
        )


def _named(file: SourceFile, book: Any, wanted: str | int | None) -> str:  # noqa: ANN401
    """The name of the sheet that is meant; hidden ones are counted, but never meant unless they are named."""
    names: list[str] = book.sheet_names
    said = ", ".join(names)
    if isinstance(wanted, str):
        if wanted not in names:
            raise JobError(f'source.excel.sheet: {file.name} has no sheet "{wanted}"', hint=f"it has {said}")
        return wanted
    if wanted is not None:
        if wanted > len(names):
            raise JobError(f"source.excel.sheet: {file.name} has no sheet {wanted}", hint=f"it has {said}")
        return names[wanted - 1]
    seen: list[str] = [sheet.name for sheet in book.sheets_metadata if str(sheet.visible).endswith(".Visible")]
    if len(seen) != 1:
        raise JobError(
            f"{file.name} has several sheets: which one is meant is not said",
            hint=f"name it, by `excel: {{sheet: ...}}` under `source`, to `guess` by `--table`: it has {said}",
        )
    return seen[0]


def _misread(file: SourceFile, path: Path, sheet: str) -> tuple[dict[Place, str], dict[Place, str]]:
    """The sheet's cells that calamine gives as empty and are not, and those whose numbers are no day.

    Raises:
        SourceError: It cannot be told.
    """
    if not _is_zip(path):
        return _misread_by_xlrd(file, path, sheet)
    with zipfile.ZipFile(path) as parts:
        if "content.xml" in parts.namelist():
            _refuse_errors(file, parts)
            return {}, {}
        if "xl/workbook.xml" not in parts.namelist():
            raise SourceError(
                f"{file.name} is a workbook in Excel's binary format", hint="save it as xlsx, and name that file"
            )
        found = _Cells()
        _parse(parts, _sheet_part(parts, sheet), found.begin, found.text, found.end)
        return found.spoilt, found.no_days


def _misread_by_xlrd(file: SourceFile, path: Path, sheet: str) -> tuple[dict[Place, str], dict[Place, str]]:
    xlrd = required("xlrd", "excel", "workbooks of xls")
    try:
        with xlrd.open_workbook(str(path), on_demand=True) as book:
            cells = book.sheet_by_name(sheet)
    except Exception as error:  # damage shows as any of Python's errors
        raise SourceError(f"{file.name} cannot be read: {error}", hint="save it again, and name that copy") from error
    spoilt, no_days = {}, {}
    for row in range(cells.nrows):
        for column, kind in enumerate(cells.row_types(row)):
            value = cells.cell_value(row, column)
            if kind == _XLRD_ERROR:
                spoilt[row + 1, column + 1] = f"the error {xlrd.error_text_from_code.get(value, '?')}"
            elif kind in _XLRD_NUMBERS and is_no_day(value):
                no_days[row + 1, column + 1] = f"{value:g}"
    return spoilt, no_days


def is_no_day(number: float) -> bool:
    """Whether a number cannot be a day: before the first, or Excel's 29 February 1900, which was none."""
    return number < 0 or int(number) == _LEAP_DAY


def _sheet_part(parts: zipfile.ZipFile, sheet: str) -> str:
    """The part of an xlsx that holds the sheet; its two kinds, transitional and strict, have other namespaces."""
    # expat itself refuses entities that unfold without end
    relations = ET.fromstring(parts.read("xl/_rels/workbook.xml.rels"))  # noqa: S314
    targets = {one.get("Id"): one.get("Target", "") for one in relations}
    sheets = ET.fromstring(parts.read("xl/workbook.xml")).iterfind("{*}sheets/{*}sheet")  # noqa: S314
    for one in sheets:
        if one.get("name") == sheet:
            target = next(targets[value] for key, value in one.items() if key.endswith("}id"))
            return target.removeprefix("/") if target.startswith("/") else f"xl/{target}"
    raise KeyError(f"no sheet {sheet} in it")


def _parse(parts: zipfile.ZipFile, name: str, begin: Any, text: Any, end: Any) -> None:  # noqa: ANN401
    """Hand what one part holds to the functions."""
    parser = expat.ParserCreate(namespace_separator=" ")
    parser.StartElementHandler, parser.CharacterDataHandler, parser.EndElementHandler = begin, text, end
    with parts.open(name) as content:
        parser.ParseFile(content)


class _Cells:
    """What an xlsx says of its cells, as it is parsed."""

    def __init__(self) -> None:
        self.spoilt: dict[Place, str] = {}
        self.no_days: dict[Place, str] = {}
        self._row = self._column = 0
        self._kind = self._inside = self._said = ""
        self._formula = False

    def begin(self, name: str, attributes: dict[str, str]) -> None:
        """A row or a cell, both of which may leave out where they stand, or what is in a cell."""
        self._inside = name.rpartition(" ")[2]
        if self._inside == "row":
            self._row, self._column = int(attributes.get("r", self._row + 1)), 0
        elif self._inside == "c":
            place = attributes.get("r")
            self._column = _column(place) if place else self._column + 1
            self._kind, self._formula, self._said = attributes.get("t", ""), False, ""
        elif self._inside == "f":
            self._formula = True

    def text(self, data: str) -> None:
        """The value of a cell, or a part of it."""
        if self._inside == "v":
            self._said += data

    def end(self, name: str) -> None:
        """The end of a cell, or of what is in it. The result of a formula may be an empty text."""
        self._inside = ""
        if name.endswith(" c"):
            if self._kind == "e":
                self.spoilt[self._row, self._column] = f"the error {self._said}"
            elif self._formula and not self._said and self._kind != "str":
                self.spoilt[self._row, self._column] = _NO_RESULT
            elif self._said.startswith(_MAYBE_NO_DAY) and self._kind in ("", "n") and is_no_day(float(self._said)):
                self.no_days[self._row, self._column] = self._said


def _column(place: str) -> int:
    """The number of a column, from 1, of a place such as AB12."""
    number = 0
    for letter in place:
        if not letter.isalpha():
            break
        number = number * 26 + ord(letter) - ord("A") + 1
    return number


def _refuse_errors(file: SourceFile, parts: zipfile.ZipFile) -> None:
    """Raise SourceError for a workbook of ods with errors in it: where its cells stand it does not say."""
    errors = 0

    def begin(name: str, attributes: dict[str, str]) -> None:
        nonlocal errors
        del name
        errors += any(key.endswith(" value-type") and value == "error" for key, value in attributes.items())

    _parse(parts, "content.xml", begin, lambda _: None, lambda _: None)
    if errors:
        raise SourceError(
            f"{file.name} holds cells with an error, such as #N/A, in {errors:,} places",
            hint="mend them; or save it as xlsx, of which each row is told",
        )
