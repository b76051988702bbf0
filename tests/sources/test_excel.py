"""Workbooks: cells by their types, what calamine gives as empty and is not, sheets, headers, merged cells."""

from __future__ import annotations

import contextlib
import datetime as dt
import zipfile
from functools import reduce
from pathlib import Path
from typing import Any

import openpyxl
import pytest
from openpyxl.utils.datetime import CALENDAR_MAC_1904

from backfill.errors import JobError, SourceError
from backfill.job.models import ExcelSpec
from backfill.sources import resolve
from backfill.sources.formats import line_of
from tests.support.projects import Project, backfill
from tests.support.sourcing import Staged, job_over, staged

MOMENT = dt.datetime.fromisoformat("2024-01-02T03:04:05.600")
HEADER = ["id", "v"]


def write(path: Path, *rows: list[Any], title: str = "Orders") -> Any:
    """A workbook of one sheet, not saved yet."""
    book = openpyxl.Workbook()
    book.active.title = title
    for row in rows:
        book.active.append(row)
    book.save(path)
    return book


def stage(path: Path, columns: dict[str, Any] | None = None, **excel: Any) -> Staged:
    """What staging makes of a workbook."""
    return staged(job_over(path, columns=columns, excel=ExcelSpec(**excel)), path.parent / "state")


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        ([1, 2.0, None], [1, 2, None]),
        ([1, 2.5], [1.0, 2.5]),
        ([True, None], [True, None]),
        ([dt.date(2024, 1, 2), dt.date(1900, 3, 1)], [dt.date(2024, 1, 2), dt.date(1900, 3, 1)]),
        ([dt.date(2024, 1, 2), MOMENT], [dt.datetime.fromisoformat("2024-01-02"), MOMENT]),
        ([dt.time(12, 30), None], [dt.time(12, 30), None]),
        (["00123", " é東 "], ["00123", " é東 "]),
        (["a", 5, 1.5, True, dt.date(2024, 1, 2), MOMENT], ["a", "5", "1.5", "true", "2024-01-02", MOMENT.isoformat()]),
        ([dt.timedelta(hours=51), "x"], ["51:00:00", "x"]),
        ([dt.timedelta(hours=25, milliseconds=1_500), dt.timedelta(minutes=20)], ["25:00:01.500000", "00:20:00"]),
        ([999999999999999, "x"], ["999999999999999", "x"]),
        ([12345678901234567, "x"], ["1.234567890123457e+16", "x"]),
        ([None, None], [None, None]),
    ],
)
def test_types_of_cells(tmp_path: Path, cells: list[Any], expected: list[Any]) -> None:
    """A column has its cells' type, and is text where they have several; digits that Excel has lost show."""
    write(tmp_path / "a.xlsx", HEADER, *([f"r{place}", cell] for place, cell in enumerate(cells)))
    found = stage(tmp_path / "a.xlsx")
    assert found.column("v") == expected
    assert found.column("id") == [f"r{place}" for place in range(len(cells))]


def test_declared_columns(tmp_path: Path) -> None:
    """What is declared is read from the cells' text, whatever their types."""
    write(tmp_path / "a.xlsx", HEADER, ["a", 5], ["b", "7"], ["c", "x"])
    found = stage(tmp_path / "a.xlsx", {"v": "integer"})
    assert found.column("v") == [5, 7, None]
    assert found.column("__bf_raw:v")[2] == "x"
    assert stage(tmp_path / "a.xlsx", {"v": "text"}).column("v") == ["5", "7", "x"]


def test_errors_and_missing_results(tmp_path: Path) -> None:
    """A cell that holds an error, or a formula without its result, is a problem of its row, not null."""
    book = write(tmp_path / "a.xlsx", HEADER, ["a", 1], ["b", "#N/A"], ["c", "=1+1"], ["d", 4])
    book.active["B3"].data_type = "e"
    book.save(tmp_path / "a.xlsx")
    found = stage(tmp_path / "a.xlsx")
    assert found.rows == [("a", 1), ("d", 4)]
    assert found.records == [1, 4]
    assert [(reject["record"], reject["column"]) for reject in found.rejects] == [(2, "v"), (3, "v")]
    assert "the error #N/A, in row 3" in found.rejects[0]["message"]
    assert "a formula whose result is not in the file, in row 4" in found.rejects[1]["message"]


def test_xls(tmp_path: Path) -> None:
    """The older format, errors in it too."""
    path = tmp_path / "a.xls"
    path.write_bytes((Path(__file__).parent / "data" / "orders.xls").read_bytes())
    found = stage(path)
    assert [reject["record"] for reject in found.rejects] == [1]
    assert "the error #N/A, in row 2" in found.rejects[0]["message"]
    assert found.column("id") == ["é"]


ODS = (
    '<office:document-content xmlns:office="urn:oasis:names:tc:opendocument:xmlns:office:1.0"'
    ' xmlns:table="urn:oasis:names:tc:opendocument:xmlns:table:1.0" xmlns:calcext="urn:calcext"'
    ' xmlns:text="urn:oasis:names:tc:opendocument:xmlns:text:1.0"><office:body><office:spreadsheet>'
    '<table:table table:name="Orders">{rows}</table:table></office:spreadsheet></office:body></office:document-content>'
)


def ods(path: Path, *rows: str) -> None:
    """A workbook of OpenDocument; each row is the XML of its cells."""
    text = ODS.format(rows="".join(f"<table:table-row>{row}</table:table-row>" for row in rows))
    with zipfile.ZipFile(path, "w") as parts:
        parts.writestr("mimetype", "application/vnd.oasis.opendocument.spreadsheet")
        parts.writestr("content.xml", text)
        parts.writestr(
            "META-INF/manifest.xml",
            '<manifest:manifest xmlns:manifest="urn:oasis:names:tc:opendocument:xmlns:manifest:1.0"/>',
        )


def cell(text: str, **attributes: str) -> str:
    """A cell of OpenDocument."""
    said = " ".join(f'{name.replace("_", ":").replace(".", "-")}="{value}"' for name, value in attributes.items())
    return f"<table:table-cell {said}><text:p>{text}</text:p></table:table-cell>"


def test_ods(tmp_path: Path) -> None:
    """OpenDocument; one with errors in it is refused, as where they stand cannot be told."""
    header = cell("id", **{"office_value-type": "string"}) + cell("v", **{"office_value-type": "string"})
    row = cell("a", **{"office_value-type": "string"}) + cell(
        "1.5", **{"office_value-type": "float", "office_value": "1.5"}
    )
    ods(tmp_path / "a.ods", header, row)
    assert stage(tmp_path / "a.ods").rows == [("a", 1.5)]
    error = cell("#N/A", **{"office_value-type": "string", "calcext_value-type": "error"})
    ods(tmp_path / "b.ods", header, cell("a", **{"office_value-type": "string"}) + error)
    with pytest.raises(SourceError, match="an error, such as #N/A, in 1 places"):
        stage(tmp_path / "b.ods")


def test_which_sheet(tmp_path: Path) -> None:
    """One sheet that shows is meant; of several one is to be named, by its name or its place."""
    book = write(tmp_path / "a.xlsx", HEADER, ["a", 1])
    second = book.create_sheet("Notes")
    second.append(["x"])
    second.append(["y"])
    second.sheet_state = "hidden"
    book.save(tmp_path / "a.xlsx")
    assert stage(tmp_path / "a.xlsx").rows == [("a", 1)]
    assert stage(tmp_path / "a.xlsx", sheet="Notes").rows == [("y",)]
    assert stage(tmp_path / "a.xlsx", sheet=2).rows == [("y",)]
    second.sheet_state = "visible"
    book.save(tmp_path / "a.xlsx")
    with pytest.raises(JobError, match="several sheets") as raised:
        stage(tmp_path / "a.xlsx")
    assert "Orders, Notes" in raised.value.hint
    with pytest.raises(JobError, match='no sheet "orders"'):
        stage(tmp_path / "a.xlsx", sheet="orders")
    with pytest.raises(JobError, match="no sheet 3"):
        stage(tmp_path / "a.xlsx", sheet=3)


def test_header_anywhere(tmp_path: Path) -> None:
    """The header is the first row that is not empty, or the one that is stated; empty rows are no records."""
    book = openpyxl.Workbook()
    cells = {"C2": "Report of May", "C4": "id", "D4": "v", "C5": "a", "D5": 1, "C7": "b", "E7": "note"}
    for place, value in cells.items():
        book.active[place] = value
    book.save(tmp_path / "a.xlsx")
    found = stage(tmp_path / "a.xlsx", header_row=4)
    assert found.rows == [("a", 1, None), ("b", None, "note")]
    assert found.records == [1, 2]
    assert [column.name for column in found.snapshot.columns[:3]] == ["id", "v", "column_5"]
    job = job_over(tmp_path / "a.xlsx", excel=ExcelSpec(header_row=4))
    assert line_of(resolve(job)[0], job, [1, 2]) == {1: 5, 2: 7}
    with pytest.raises(SourceError, match="no header in row 40"):
        stage(tmp_path / "a.xlsx", header_row=40)


def test_merged_cells(tmp_path: Path) -> None:
    """Rows with cells that are merged with others are problems, unless the job says that they share the value."""
    book = write(tmp_path / "a.xlsx", HEADER, ["a", 1], ["a", None], ["b", 3])
    book.active.merge_cells("B2:B3")
    book.save(tmp_path / "a.xlsx")
    found = stage(tmp_path / "a.xlsx")
    assert (found.rows, [reject["record"] for reject in found.rejects]) == ([("a", 1), ("b", 3)], [2])
    assert stage(tmp_path / "a.xlsx", merged="fill").column("v") == [1, 1, 3]


def test_dates_of_1904(tmp_path: Path) -> None:
    """Days counted from 1904, as Excel for the Macintosh did, are the days that they show."""
    book = write(tmp_path / "a.xlsx", HEADER)
    book.epoch = openpyxl.utils.datetime.CALENDAR_MAC_1904
    book.active.append(["a", dt.date(2024, 1, 2)])
    book.save(tmp_path / "a.xlsx")
    assert stage(tmp_path / "a.xlsx").column("v") == [dt.date(2024, 1, 2)]


@pytest.mark.parametrize("tenth", range(10))
def test_damage(tmp_path: Path, tenth: int) -> None:
    """A workbook that is cut, or has a byte changed, is refused or gives the rows that it had."""
    path = tmp_path / "a.xlsx"
    write(path, HEADER, *([f"r{place}", place * 7919 % 1000] for place in range(300)))
    whole = path.read_bytes()
    rows = stage(path).rows
    place = len(whole) * tenth // 10
    path.write_bytes(whole[:place] or b"PK")
    with pytest.raises(SourceError):
        stage(path)
    path.write_bytes(whole[:place] + bytes((whole[place] ^ 0x55,)) + whole[place + 1 :])
    with contextlib.suppress(SourceError):
        assert stage(path).rows == rows


def test_too_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A workbook whose cells would not fit the memory is refused, with the way on."""
    write(tmp_path / "a.xlsx", HEADER, ["a", 1])
    monkeypatch.setattr("backfill.sources.excel.workbook.LARGEST_WORKBOOK_BYTES", 1_000)
    with pytest.raises(SourceError, match="held in memory whole") as raised:
        stage(tmp_path / "a.xlsx")
    assert "CSV" in raised.value.hint


def test_strict_workbooks(tmp_path: Path) -> None:
    """What Excel saves as "strict" has other names for all of XML's parts; errors are found there too."""
    path = tmp_path / "a.xlsx"
    book = write(path, HEADER, ["a", 1], ["b", "#N/A"])
    book.active["B3"].data_type = "e"
    book.save(path)
    names = {
        b"http://schemas.openxmlformats.org/spreadsheetml/2006/main": b"http://purl.oclc.org/ooxml/spreadsheetml/main",
        b"http://schemas.openxmlformats.org/officeDocument/2006/relationships": (
            b"http://purl.oclc.org/ooxml/officeDocument/relationships"
        ),
    }
    with zipfile.ZipFile(path) as parts:
        contents = {name: parts.read(name) for name in parts.namelist()}
    with zipfile.ZipFile(path, "w") as parts:
        for name, content in contents.items():
            parts.writestr(name, reduce(lambda text, pair: text.replace(*pair), names.items(), content))
    found = stage(path)
    assert found.rows == [("a", 1)]
    assert "the error #N/A, in row 3" in found.rejects[0]["message"]


def test_xls_that_holds_an_archive(tmp_path: Path) -> None:
    """An .xls with a zip archive embedded, as Excel writes drawings, is no zip archive itself."""
    path = tmp_path / "a.xls"
    archive = tmp_path / "a.zip"
    with zipfile.ZipFile(archive, "w") as parts:
        parts.writestr("drawing.xml", "<x/>")
    path.write_bytes((Path(__file__).parent / "data" / "orders.xls").read_bytes() + archive.read_bytes())
    assert stage(path).column("id") == ["é"]


@pytest.mark.parametrize(("since", "no_days"), [(1900, ["-5", "-0.5", "60", "60.5"]), (1904, ["-5", "-0.5"])])
def test_numbers_that_are_no_day(tmp_path: Path, since: int, no_days: list[str]) -> None:
    """A negative number, and the 29 February 1900 that Excel counts and that was none, are problems, no other days."""
    path = tmp_path / "a.xlsx"
    numbers = [-5, -0.5, 0.5, 1, 59, 60, 60.5, 61, 600, -60]
    book = write(path, ["id", "at", "n"], *([str(place), each, each] for place, each in enumerate(numbers)))
    for row in range(2, len(numbers) + 2):
        book.active.cell(row, 2).number_format = "yyyy-mm-dd hh:mm"
    if since == 1904:
        book.epoch = CALENDAR_MAC_1904
    book.save(path)
    found = stage(path)
    told = [one["message"] for one in found.rejects]
    assert len(told) == len(no_days) + 1
    for one, number in zip(told, [*no_days, "-60"], strict=True):
        assert f"{number} as a date, which is no day, in row " in one
    assert len(found.rows) == len(numbers) - len(told)


@pytest.mark.parametrize("part", [0.05, 0.5, 0.72, 0.8, 0.92, 0.99])
def test_a_cut_xls(tmp_path: Path, part: float) -> None:
    """What the library takes for an error of its own is told as what it is, too."""
    whole = (Path(__file__).parent / "data" / "orders.xls").read_bytes()
    path = tmp_path / "a.xls"
    path.write_bytes(whole[: int(len(whole) * part)])
    with pytest.raises(SourceError, match=r"a\.xls is truncated or corrupt") as caught:
        stage(path)
    assert "fetch or export the file again" in caught.value.hint


@pytest.mark.parametrize("part", [0.2, 0.5, 0.99])
def test_a_cut_workbook(tmp_path: Path, part: float) -> None:
    """It is called truncated, and is to be fetched again: nothing of what is left could be saved."""
    path = tmp_path / "a.xlsx"
    write(path, HEADER, ["a", 1])
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * part)])
    with pytest.raises(SourceError, match=r"a\.xlsx is truncated") as caught:
        stage(path)
    assert "fetch or export the file again" in caught.value.hint


@pytest.mark.parametrize("verb", ["check", "preview", "dry-run", "run"])
def test_a_stray_text_among_numbers_is_told(project: Project, verb: str) -> None:
    """One text makes a column of numbers one of texts: every verb says so, once."""
    job = project.people(1)
    text = job.read_text("utf-8").replace("people.csv", "people.xlsx").replace("columns: {age: integer}", "")
    text = text.replace(', format: "%Y-%m-%d %H:%M:%S"', "")
    rows = [[f"u{place}", "e@x.org", MOMENT, "x" if place == 3 else place] for place in range(6)]
    write(project.folder / "people.xlsx", ["id", "email", "joined", "age"], *rows)
    job.write_text(text, "utf-8")
    told = backfill(verb, job, *(["--target", "sandbox"] if verb == "run" else []))
    assert told.code == 0, told.err
    assert told.err.count("age: 5 numbers and 1 text (row 5): all are read as text") == 1
