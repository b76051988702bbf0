"""CSV and TSV: a record is read exactly or unreadable, never both and never mended."""

from __future__ import annotations

import csv
import io
import random
import signal
from pathlib import Path

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from backfill.errors import InterruptedRunError, JobError, SourceError
from backfill.job.models import ColumnSpec, TimestampSpec
from backfill.sources import resolve, stage
from backfill.sources.csv import reader as csv_reader
from backfill.sources.csv import text as csv_text
from backfill.sources.formats import line_of
from backfill.sources.origins import content
from backfill.sources.origins.content import PIECE
from tests.support.examples import examples
from tests.support.projects import JOB, Project
from tests.support.sourcing import Staged, job_over, staged
from tests.support.waiting import until


def nasty_file(seed: int) -> bytes:
    """A file of three columns with whatever CSV files have in them, good and bad."""
    rng = random.Random(seed)
    end = rng.choice(["\n", "\r\n", "\r"])
    inner, mixed, blanks, bad = (
        rng.choice(["\n", "\r\n", end]),
        rng.random() < 0.2,
        rng.random() < 0.3,
        rng.choice([0, 0.02]),
    )
    cells = ["", '""', "12", "é" * 3, '5" disk', '"x ""q"" y"']
    if rng.random() < 0.6:
        cells += [
            f'"a{inner}b"',
            f'"he said ""hi"",{inner}ok"',
            f'"1,2,3{inner}4,5,6{inner}{inner}7,8,9"',
            f'"{inner}"',
        ]

    def ended(line: bytes) -> bytes:
        return line + (rng.choice(["\n", "\r\n", "\r"]) if mixed else end).encode()

    lines = [ended(b"")] * (2 * (rng.random() < 0.2)) + [ended(b"a,b,c")]
    for index in range(rng.choice([0, 1, 40, 1500])):
        line = f"{index},{rng.choice(cells)},{rng.choice(cells)}".encode()
        lines.append(ended(rng.choice([b"x,y", b"1,2,3,4", b"1,\xff,3"]) if rng.random() < bad else line))
        lines += [ended(b"")] * (blanks and rng.random() < 0.02)
    mark = b"\xef\xbb\xbf" * (rng.random() < 0.2)
    return mark + b"".join(lines)


def by_python(data: bytes) -> tuple[list[tuple[int, list[str]]], list[tuple[int, int]]]:
    """(record number, fields) of the good records and (record number, line) of the others, by the csv module."""
    text = data.decode("utf-8", "surrogateescape").removeprefix("\ufeff")
    reader = csv.reader(io.StringIO(text, newline=""))
    good, bad, number, line = [], [], -1, 1
    for fields in reader:
        start, line = line, reader.line_num + 1
        if not fields:
            continue
        number += 1
        if number and (len(fields) != 3 or any("\udc80" <= sign <= "\udcff" for sign in "".join(fields))):
            bad.append((number, start))
        elif number:
            good.append((number, fields))
    return good, bad


@pytest.mark.parametrize("seed", range(48))
def test_agrees_with_the_csv_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    """Rows, record numbers and lines are those of Python's csv module, with pieces small enough to cut the file."""
    for module in (content, csv_reader, csv_text):
        monkeypatch.setattr(module, "PIECE", 4096)
    path = tmp_path / "rows.csv"
    path.write_bytes(nasty_file(seed))
    result = staged(job_over(path), tmp_path / "state", threads=1 + seed % 4)
    good, bad = by_python(path.read_bytes())
    found = [(number, [text or "" for text in row]) for number, row in zip(result.records, result.rows, strict=True)]
    assert found == good
    assert [(reject["record"], reject["line"]) for reject in result.rejects] == bad


@pytest.mark.parametrize("seed", range(100, 124))
@pytest.mark.parametrize("tail", [b'9,"open', b'"\n"'])
def test_record_left_open_at_the_end(tmp_path: Path, seed: int, tail: bytes) -> None:
    """A last record that a quote leaves open is one unreadable record: nothing before it is lost, nor is it."""
    whole = nasty_file(seed)
    line_end = b"\r" if b"\r" in whole and b"\n" not in whole else b"\n"
    whole = whole if whole.endswith((b"\n", b"\r")) else whole + line_end
    good, bad = by_python(whole)
    path = tmp_path / "rows.csv"
    path.write_bytes(whole + tail.replace(b'"\n"', b'9,x,"\n') + line_end + b"1,2,3" + line_end)
    result = staged(job_over(path), tmp_path / "state", threads=2)
    assert result.records == [number for number, _ in good]
    assert [reject["record"] for reject in result.rejects] == [*(number for number, _ in bad), len(good) + len(bad) + 1]
    assert result.rejects[-1]["code"] == "BF003"
    assert result.rejects[-1]["original"].startswith("9,")


def test_one_column_with_cells_of_several_lines(tmp_path: Path) -> None:
    """Empty lines and cells of several lines in a file of one column, and one left open."""
    assert of(tmp_path, b'a\n"x\n\ny"\n\n2\n').rows == [("x\n\ny",), (None,), ("2",)]
    result = of(tmp_path, b'a\n"x\ny"\n\n"2\n')
    assert result.rows == [("x\ny",), (None,)]
    assert [reject["record"] for reject in result.rejects] == [3]


def of(tmp_path: Path, data: bytes, **options: object) -> Staged:
    """Stage one file of those bytes."""
    (tmp_path / "rows.csv").write_bytes(data)
    return staged(job_over(tmp_path / "rows.csv", **options), tmp_path / "state")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("line", "code"),
    [
        (b"1,2", "BF001"),
        (b"1,2,3,4", "BF002"),
        (b'1,"x"y,3', "BF003"),
        (b"1,\xff\xfe,3", "BF004"),
    ],
)
def test_unreadable_records(tmp_path: Path, line: bytes, code: str) -> None:
    """Each kind of broken record has its code, its place and its text; the others are read."""
    result = of(tmp_path, b'a,b,c\n1,"two\nlines",3\n' + line + b"\n4,5,6\n")
    assert result.column("a") == ["1", "4"]
    assert result.records == [1, 3]
    reject = result.rejects[0]
    assert reject["file"].endswith("rows.csv")
    assert (reject["record"], reject["line"], reject["code"]) == (2, 4, code)
    assert reject["original"].startswith("1,")


def test_unterminated_quote_swallows_no_row_in_silence(tmp_path: Path) -> None:
    """A quote that nothing closes makes one unreadable record of all behind it, which is counted."""
    result = of(tmp_path, b'a,b\n1,2\n3,"x\n5,6\n')
    assert result.rows == [("1", "2")]
    assert [reject["code"] for reject in result.rejects] == ["BF003"]


def test_nulls(tmp_path: Path) -> None:
    """Unquoted null values are null, quoted ones are text."""
    data = b'a,b,c\nNULL,"NULL",\n,"",x\n'
    assert of(tmp_path, data).rows == [("NULL", "NULL", None), (None, "", "x")]
    assert of(tmp_path, data, csv={"null_values": ("", "NULL")}).rows == [(None, "NULL", None), (None, "", "x")]


def test_dialects(tmp_path: Path) -> None:
    """Delimiter, quote, escape, and no header with the columns in order."""
    assert of(tmp_path, b"a;b\n1;'x;''y'\n", csv={"delimiter": ";", "quote": "'"}).rows == [("1", "x;'y")]
    assert of(tmp_path, b'a,b\n1,"he \\"said\\", ok"\n', csv={"escape": "\\"}).rows == [("1", 'he "said", ok')]
    headless = of(tmp_path, b"1,x\n2,y\n", csv={"header": False}, columns={"id": "text", "name": "text"})
    assert headless.frame.columns[:2] == ["id", "name"]
    assert headless.rows == [("1", "x"), ("2", "y")]


def test_headless_file_with_other_columns(tmp_path: Path) -> None:
    """Without a header the columns have to be named, all of them."""
    with pytest.raises(JobError, match="2 columns"):
        of(tmp_path, b"1,x\n", csv={"header": False}, columns={"id": "text"})
    with pytest.raises(JobError, match="names no columns"):
        of(tmp_path, b"1,x\n", csv={"header": False})


@pytest.mark.parametrize("encoding", ["latin-1", "cp1252", "utf-16", "utf-16-le", "utf-32", "shift_jis"])
def test_encodings(tmp_path: Path, encoding: str) -> None:
    """Encodings other than UTF-8 are read; what is not in them is unreadable."""
    text = "naïve" if encoding != "shift_jis" else "東京"
    result = of(tmp_path, f"a,b\n1,{text}\n2,x\n".encode(encoding), csv={"encoding": encoding})
    assert result.rows == [("1", text), ("2", "x")]


def test_bytes_outside_the_encoding(tmp_path: Path) -> None:
    """A byte that the encoding does not have makes its record unreadable."""
    result = of(tmp_path, b"a,b\n1,\x81\n2,x\n", csv={"encoding": "cp1252"})
    assert result.rows == [("2", "x")]
    assert [(reject["record"], reject["code"]) for reject in result.rejects] == [(1, "BF004")]


def test_utf16_that_is_not_stated(tmp_path: Path) -> None:
    """A UTF-16 file is not taken for UTF-8."""
    with pytest.raises(SourceError, match="UTF-16"):
        of(tmp_path, "a,b\n1,2\n".encode("utf-16"))


def test_column_names(tmp_path: Path) -> None:
    """Names that SQL cannot tell apart, or that are backfill's own, are refused; odd ones are kept."""
    for header in (b"id,ID", b"id,id", b"id,__bf_x"):
        with pytest.raises(JobError):
            of(tmp_path, header + b"\n1,2\n")
    assert of(tmp_path, b'"a ""b""",x.y,select\n1,2,3\n').frame.columns[:3] == ['a "b"', "x.y", "select"]


def test_columns_without_a_name(tmp_path: Path) -> None:
    """As data frames are written, row numbers first: such a column is called by its place."""
    result = of(tmp_path, b'"",a,\n1,x,2\n', columns={"column_1": "integer"})
    assert result.frame.columns[:3] == ["column_1", "a", "column_3"]
    assert result.rows == [(1, "x", "2")]
    with pytest.raises(JobError, match="cannot tell apart"):
        of(tmp_path, b",Column_1\n1,2\n")


def test_declared_column_that_is_not_there(tmp_path: Path) -> None:
    """A declared column has to be in the file."""
    with pytest.raises(JobError, match=r"source\.columns\.total"):
        of(tmp_path, b"a\n1\n", columns={"total": "number"})


def test_one_column_and_empty_lines(tmp_path: Path) -> None:
    """In a file of one column an empty line is a record with null, in any other it is none."""
    assert of(tmp_path, b"a\n1\n\n2\n").rows == [("1",), (None,), ("2",)]
    result = of(tmp_path, b"a,b\n1,2\n\n3\n5,6\n")
    assert result.records == [1, 3]
    assert [(reject["record"], reject["line"]) for reject in result.rejects] == [(2, 4)]


def test_several_files(tmp_path: Path) -> None:
    """Files in byte order of their names; columns by name, whatever their order; records counted in each."""
    (tmp_path / "b.csv").write_bytes(b"y,x\n4,3\n")
    (tmp_path / "B.csv").write_bytes(b"x,y\n1,2\n9\n5,6\n")
    (tmp_path / "c.csv").write_bytes(b"x,y\n")
    (tmp_path / "d.csv").write_bytes(b"")
    result = staged(job_over(tmp_path / "*.csv"), tmp_path / "state")
    assert result.frame.select("x", "y").rows() == [("1", "2"), ("5", "6"), ("3", "4")]
    assert result.records == [1, 3, 1]
    assert [Path(name).name for name in result.files] == ["B.csv", "B.csv", "b.csv"]


def test_files_with_other_columns(tmp_path: Path) -> None:
    """A file that lacks a column is named."""
    (tmp_path / "a.csv").write_bytes(b"x,y\n1,2\n")
    (tmp_path / "b.csv").write_bytes(b"x,z\n1,2\n")
    with pytest.raises(SourceError, match=r"b\.csv lacks y and has z"):
        stage(job_over(tmp_path), tmp_path / "state")


def test_header_only(tmp_path: Path) -> None:
    """A file with a header and no record has no rows."""
    assert of(tmp_path, b"a,b").rows == []


def test_times_of_calls(tmp_path: Path) -> None:
    """A call's timestamp read from text is parsed beside it; all with offsets, none, or both are told apart."""
    pairs = {"utc": b"2024-01-01T00:00:00Z", "naive": b"2024-01-01 00:00:00"}
    for zone, texts in {"utc": ["utc"], "naive": ["naive"], "mixed": ["utc", "naive"]}.items():
        data = b"at,x\n" + b"".join(pairs[text] + b",1\n" for text in texts) + b"never,1\n"
        result = of(tmp_path, data, timestamp=TimestampSpec(column="at", format="iso8601"))
        column = result.snapshot.column("__bf_time_0")
        assert column is not None
        assert (column.raw, column.zone.value) == ("at", zone)
        assert (column.utc_flag is None) == (zone != "mixed")
        assert result.column("__bf_time_0")[-1] is None


def test_naive_times_in_sql_need_a_zone(tmp_path: Path) -> None:
    """SQL sees instants; a time without offset is one by the stated zone, else a bad value. Clocks are the source's."""
    columns = {"moment": ColumnSpec(type="timestamp", format="iso8601")}
    data = b"moment\n2024-01-01T00:00:00Z\n2024-07-01 00:00:00\n"
    alone = of(tmp_path, data, columns=columns, sql=("hour(moment)",))
    assert alone.column("__bf_sql_0") == [0, None]
    assert [str(value) for value in alone.column("moment")] == ["2024-01-01 00:00:00", "2024-07-01 00:00:00"]
    zoned = of(tmp_path, data, columns=columns, sql=("hour(moment)",), timezone="America/New_York")
    assert zoned.column("__bf_sql_0") == [19, 0]


def test_decimals_keep_their_digits(tmp_path: Path) -> None:
    """A decimal stays as written; what SQL makes of it has no digits of SQL's own scale."""
    result = of(tmp_path, b"total\n12.50\n+0.10\n", columns={"total": "decimal"}, sql=("total * 2", "total / 3"))
    assert result.column("total") == ["12.50", "0.10"]
    assert result.column("__bf_sql_0") == ["25", "0.2"]
    assert result.kind("__bf_sql_0") == "decimal"


@settings(max_examples=examples(25))
@given(seed=st.integers(0, 10_000))
def test_lines_are_those_of_the_csv_module(tmp_path_factory: pytest.TempPathFactory, seed: int) -> None:
    """The line of every record, looked up later, is where the csv module begins it."""
    path = tmp_path_factory.mktemp("lines") / "rows.csv"
    path.write_bytes(nasty_file(seed))
    job = job_over(path)
    text = path.read_bytes().decode("utf-8", "replace").removeprefix("\ufeff")
    reader = csv.reader(io.StringIO(text, newline=""))
    lines, line = [], 1
    for fields in reader:
        lines += [line] if fields else []
        line = reader.line_num + 1
    expected = dict(enumerate(lines[1:], 1))
    assert line_of(resolve(job)[0], job, list(expected)) == expected


@pytest.mark.parametrize("encoding", ["utf-8", "cp1252"])
def test_reading_can_be_stopped(tmp_path: Path, encoding: str) -> None:
    """The reading of a file ends at the next piece once it is to end, and the progress is told before."""
    path = tmp_path / "rows.csv"
    path.write_bytes(b"a,b\n" + "1,caf\xe9\n".encode(encoding) * (4 * PIECE // 8))
    job, asked = job_over(path, csv={"encoding": encoding}), []

    def stopping() -> bool:
        asked.append(1)
        return len(asked) > 4

    with pytest.raises(InterruptedRunError, match="stopped"):
        stage(job, tmp_path / "state", files=resolve(job), stopping=stopping)
    assert len(asked) < 10


def test_ctrl_c_while_a_large_file_is_read(tmp_path: Path) -> None:
    """One Ctrl-C ends the program although it is busy with a gigabyte of cells that hold line ends."""
    pack = zstandard.ZstdCompressor().compress
    record = '1,"{} of\ntwo lines",2023-05-01 10:00:00,7\n'
    frame = pack("".join(record.format(number) for number in range(100_000)).encode())
    (tmp_path / "people.csv.zst").write_bytes(pack(b"id,email,joined,age\n") + frame * 220)
    job = tmp_path / "people.yaml"
    job.write_text(JOB.format(name="people", source="people.csv.zst"), encoding="utf-8")
    with Project(tmp_path).process("run", job, "--target", "sandbox") as process:
        until(lambda: list(tmp_path.glob(".backfill/runs/*/snapshot")), process)
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=10) == 130
        assert process.stderr is not None
        assert "nothing was sent yet" in process.stderr.read()
