"""CSV files as people have them: each is read as its grammar says, reported record by record, or refused by name."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import pytest

from backfill.errors import BackfillError, JobError, SourceError
from backfill.memory import MAX_RECORD_BYTES
from backfill.sources import inspect, resolve
from backfill.sources.formats import line_of
from tests.support.projects import JOB, backfill
from tests.support.sourcing import Staged, job_over, staged


def of(tmp_path: Path, data: bytes, *, columns: dict[str, Any] | None = None, **csv: object) -> Staged:
    """Stage one file of those bytes."""
    (tmp_path / "rows.csv").write_bytes(data)
    return staged(job_over(tmp_path / "rows.csv", csv=csv, columns=columns), tmp_path / "state")


def bad(result: Staged) -> list[tuple[int, int, str]]:
    """Number, line and code of what could not be read."""
    return [(one["record"], one["line"], one["code"]) for one in result.rejects]


COPY: dict[str, Any] = {"delimiter": "\t", "quote": "", "escape": "\\", "c_escapes": True, "null_values": ("\\N",)}
READ: list[tuple[str, bytes, dict[str, Any], list[tuple[str | None, ...]], list[tuple[int, int, str]]]] = [
    (
        "extra empty fields at the end",
        b"a,b\n1,2,\n1,2,,,\n1,2\n",
        {},
        [("1", "2")],
        [(1, 2, "BF002"), (2, 3, "BF002")],
    ),
    (
        "an unquoted comma before an empty last column",
        b"id,user,comment,coupon\n1,u,thanks, all good,\n",
        {},
        [],
        [(1, 2, "BF002")],
    ),
    ("a blank before a quote", b'a,b\n1, "x"\n1, "\n2,3\n', {}, [("2", "3")], [(1, 2, "BF003"), (2, 3, "BF003")]),
    ("a blank behind a quote", b'a,b\n"x" ,1\n2,3\n', {}, [("2", "3")], [(1, 2, "BF003")]),
    ("a quote in a text", b'a,b\n5" disk,7""\n', {}, [('5" disk', '7""')], []),
    ("an empty line among others", b"a\n1\n\n2\n", {"null_values": ("NULL",)}, [("1",), ("",), ("2",)], []),
    ("an empty line that is null", b"a\n1\n\n2\n", {}, [("1",), (None,), ("2",)], []),
    ("a mark, then an empty line", b"\xef\xbb\xbf\na,b\n1,2\n3\n", {}, [("1", "2")], [(2, 4, "BF001")]),
    ("escapes with CR", b'a,b\r1,"x\\"y"\r2,\\"\r3\r', {"escape": "\\"}, [("1", 'x"y'), ("2", '"')], [(3, 4, "BF001")]),
    ("an escape that may mean two things", b'a,b\n1,"x\\ny"\n', {"escape": "\\"}, [], [(1, 2, "BF003")]),
    ("CR, a cell at the end, empty lines", b'a,b\r1,"x\ry"\r\r2,"z"\r\r', {}, [("1", "x\ry"), ("2", "z")], []),
    (
        "a colon for delimiter",
        b'a:b\n\x02end\x03:x\n1:"5\n',
        {"delimiter": ":"},
        [("\x02end\x03", "x")],
        [(2, 3, "BF003")],
    ),
    ("a blank for delimiter", b'a b\n"x y" z\n', {"delimiter": " "}, [("x y", "z")], []),
    ("a delimiter past ASCII", 'a§b\n"1\n§"§3\n'.encode(), {"delimiter": "§"}, [("1\n§", "3")], []),
    (
        "quotes past ASCII",
        "þaþ\x14þbþ\nþ1\x14þ\x14þ2þþþ\n".encode(),
        {"delimiter": "\x14", "quote": "þ"},
        [("1\x14", "2þ")],
        [],
    ),
    ("no quotes", b'a,b\n"x,y"\n', {"quote": ""}, [('"x', 'y"')], []),
    ("sep=", b"sep=;\r\na;b\r\n1;2\r\n", {}, [("1", "2")], []),
    ("sep= in quotes", b'"sep=\t"\r\na\tb\r\n1\t2\r\n3\r\n', {}, [("1", "2")], [(2, 4, "BF001")]),
    (
        "lines to skip and comments",
        b'x "\r\n\r\na,b\r\n#x,"y\r\n1,2\r\n"#",3\r\n#',
        {"skip_lines": 2, "comment": "#"},
        [("1", "2"), ("#", "3")],
        [],
    ),
    (
        "COPY text",
        b'a\tb\tc\n\\N\tx\\ny\tz\\\tz\n\\\\N\t\\\\\\N\t\n"\t\\t\t\\N\n',
        COPY,
        [(None, "x\ny", "z\tz"), ('"', "\t", None)],
        [(2, 3, "BF003")],
    ),
    (
        "MySQL",
        b'a,b,c\n"1","x\\"y,z",\\N\n"2","x\\\ny","\\0\\Z"\n',
        {"escape": "\\", "c_escapes": True, "null_values": ("\\N",)},
        [("1", 'x"y,z', None), ("2", "x\ny", "\0\x1a")],
        [],
    ),
    (
        "Redshift",
        b"a|b\n1\\|2|\\N\nx\\\r\\\ny|\\\\N\n",
        {"delimiter": "|", "quote": "", "escape": "\\", "null_values": ("\\N",)},
        [("1|2", None), ("x\r\ny", "\\N")],
        [],
    ),
    ("ASCII alone", "a,b\n1,é\n2,e\n".encode(), {"encoding": "ascii"}, [("2", "e")], [(1, 2, "BF004")]),
    ("a mark inside", b"a,b\n\xef\xbb\xbf1,2\n", {}, [("\ufeff1", "2")], []),
]


@pytest.mark.parametrize(
    ("data", "csv", "rows", "rejects"), [case[1:] for case in READ], ids=[case[0] for case in READ]
)
def test_read(tmp_path: Path, data: bytes, csv: dict[str, Any], rows: list[Any], rejects: list[Any]) -> None:
    """Rows, and number, line and code of what is none; the line of every row is found again."""
    result = of(tmp_path, data, **csv)
    assert result.rows == rows
    assert bad(result) == rejects
    job = job_over(tmp_path / "rows.csv", csv=csv)
    numbers = sorted([*result.records, *(number for number, _, _ in rejects)])
    assert numbers == list(range(1, len(numbers) + 1))
    found = line_of(resolve(job)[0], job, numbers)
    assert [found[number] for number, _, _ in rejects] == [line for _, line, _ in rejects]


REFUSED: list[tuple[str, bytes, dict[str, Any], type[BackfillError], list[str]]] = [
    ("an open quote in the header", b'id,"name\n1,2\n3,4\n', {}, SourceError, ["line 1", "never closed"]),
    ("text behind a quote in the header", b'"a"x,c\n1,2\n3,4\n', {}, SourceError, ["line 1", "behind a closing quote"]),
    ("a header that is not UTF-8", b"id,n\xe9\n1,2\n", {}, SourceError, ["encoding", "cp1252"]),
    ("UTF-16", "a,b\n1,2\n".encode("utf-16"), {}, SourceError, ["UTF-16", "encoding: utf-16"]),
    ("UTF-32", "a,b\n1,2\n".encode("utf-32"), {}, SourceError, ["UTF-32", "encoding: utf-32"]),
    ("UTF-32 stated as UTF-16", "a,b\n".encode("utf-32"), {"encoding": "utf-16"}, SourceError, ["encoding: utf-32"]),
    ("UTF-16 without mark", "a,b\n1,2\n".encode("utf-16-le"), {}, SourceError, ["U+0000", "utf-16-le"]),
    ("the same, stated", "a,b\n".encode("utf-16-le"), {"encoding": "utf-16"}, SourceError, ["utf-16-le"]),
    ("U+0000 in a name", b"a\0,b\n1,2\n", {}, SourceError, ["U+0000"]),
    ("another delimiter", b"id;v\n1;2\n", {}, JobError, ["one column", 'delimiter: ";"']),
    ("a tab", b"id\tv\n1\t2\n", {}, JobError, ["one column", r'delimiter: "\t"']),
    ("sep= against the job", b"sep=;\na;b\n1;2\n", {"delimiter": ","}, JobError, ["sep=;", "skip_lines: 1"]),
    ("a quote that is the delimiter", b"a\n", {"quote": ","}, JobError, ["source.csv.quote"]),
]


@pytest.mark.parametrize(
    ("data", "csv", "kind", "words"), [case[1:] for case in REFUSED], ids=[case[0] for case in REFUSED]
)
def test_refused(tmp_path: Path, data: bytes, csv: dict[str, Any], kind: type[BackfillError], words: list[str]) -> None:
    """Refused by name with the way on, by a look as by reading."""
    said = []
    for look in (lambda: of(tmp_path, data, **csv), lambda: inspect(job_over(tmp_path / "rows.csv", csv=csv))):
        with pytest.raises(kind) as caught:
            look()
        said.append(f"{caught.value} {caught.value.hint}")
    assert said[0] == said[1]
    assert [word for word in words if word not in said[0]] == []


def test_quote_that_is_never_closed(tmp_path: Path) -> None:
    """It costs one record, which says how much it takes with it, however much that is."""
    result = of(tmp_path, b'id,v\n0,x\n1,"a\n' + b"12,345\n" * 900_000)
    assert result.rows == [("0", "x")]
    assert bad(result) == [(2, 3, "BF003")]
    assert "900,001 lines" in result.rejects[0]["message"]
    assert result.rejects[0]["original"].startswith('1,"a\n12,345\n')


def test_cells_over_the_maximum(tmp_path: Path) -> None:
    """They are too long, not broken; reading goes on behind them, and one of just the maximum is read."""
    long = b'1,"' + b'a ""line""\n' * (MAX_RECORD_BYTES // 10) + b'"\n'
    just = b'2,"' + b"x" * (MAX_RECORD_BYTES - 4) + b'"\n'
    over = b"3," + b"x" * (MAX_RECORD_BYTES - 1) + b"\n"
    result = of(tmp_path, b"id,v\n" + long + just + over + b'4,"y"\n5,"z" \n')
    assert result.column("id") == ["2", "4"]
    lines = MAX_RECORD_BYTES // 10
    assert bad(result) == [(1, 2, "BF006"), (3, lines + 4, "BF006"), (5, lines + 6, "BF003")]


def test_header_over_a_megabyte(tmp_path: Path) -> None:
    """Names may be long."""
    name = "x" * 1_500_000
    result = of(tmp_path, f"id,{name}\n1,2\n".encode())
    assert result.rows == [("1", "2")]


def test_united_by_name(tmp_path: Path) -> None:
    """Columns that a file lacks are null in its rows, also where files have dialects of their own."""
    (tmp_path / "a.csv").write_bytes(b"x,y\n1,2\n")
    (tmp_path / "b.csv.gz").write_bytes(gzip.compress(b"sep=;\nz;x\n3;4\n5\n"))
    result = staged(job_over(tmp_path / "*.csv*", union="by_name"), tmp_path / "state")
    assert result.frame.select("x", "y", "z").rows() == [("1", "2", None), ("4", None, "3")]
    assert bad(result) == [(2, 4, "BF001")]


def test_many_small_files_with_row_keys(tmp_path: Path) -> None:
    """Ids of `row` are told apart over many small files."""
    for number in range(40):
        (tmp_path / f"rows-{number:02}.csv").write_bytes(b"id,email,joined,age\n1,a@b.c,2023-05-01 10:00:00,7\n")
    job = tmp_path / "people.yaml"
    text = JOB.format(name="people", source="rows-*.csv")
    assert "message_key: [id]" in text
    job.write_text(text.replace("message_key: [id]", "message_key: row"), encoding="utf-8")
    done = backfill("run", job, "--target", "sandbox", "--output", "json", "--yes")
    assert done.code == 0, done.err
    assert done.object["calls"]["delivered"] == 40
