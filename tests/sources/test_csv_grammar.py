"""The grammar of docs/sources.md: the reader against a reader byte by byte, over generated files cut anywhere."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from unittest import mock

import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from backfill.errors import BackfillError
from backfill.sources import locate
from backfill.sources.columns import SourceColumn
from backfill.sources.csv import reader as csv_reader
from backfill.sources.csv import scan as csv_scan
from backfill.sources.csv import text as csv_text
from backfill.sources.origins import content
from backfill.sources.reader import Unreadable
from tests.support.csv_oracle import Oracle, Read, Written
from tests.support.examples import examples
from tests.support.sourcing import job_over

LIMIT = 60


class Kept:
    """A sink that keeps what it is told."""

    def __init__(self) -> None:
        self.records: list[Unreadable] = []

    def add(self, record: Unreadable) -> None:
        """Keep one."""
        self.records.append(record)


@contextmanager
def pieces_of(size: int, limit: int = LIMIT) -> Iterator[None]:
    """Files are read in pieces of so many bytes, records are too long beyond a limit."""
    with (
        mock.patch.object(content, "PIECE", size),
        mock.patch.object(csv_text, "PIECE", size),
        mock.patch.object(csv_reader, "PIECE", size),
        mock.patch.object(csv_scan, "_LONG", 3 * size % 40),
        mock.patch.object(csv_scan.Scanner.__init__, "__defaults__", (1, limit)),
    ):
        yield


def read(path: Path, data: bytes, how: Written) -> Read:
    """The file as backfill reads it."""
    path.write_bytes(data)
    job = job_over(path, csv=how.settings())
    files = locate(job)
    result, sink = Read(), Kept()
    try:
        names = csv_reader.header_names(files, job, ",")
    except BackfillError as error:
        result.header_is_bad = "empty" not in str(error)
        return result
    result.names = list(names)
    reader = csv_reader.CsvReader(tuple(SourceColumn(name, pa.string()) for name in names), job, ",", files)
    for batch in reader.batches(sink):
        *values, _, numbers = (column.to_pylist() for column in batch.columns)
        result.rows += zip(numbers, zip(*values, strict=True), strict=True)
    result.bad = [(one.record, one.line, one.code) for one in sink.records]
    return result


def compare(path: Path, data: bytes, how: Written, size: int) -> None:
    """The reader and the oracle agree."""
    expected = Oracle(data, how, LIMIT).read()
    with pieces_of(size):
        found = read(path, data, how)
    assert found == expected, f"{data!r} {how} in pieces of {size}"


HEADERS = {1: ["h"], 2: ["h", "i"], 3: ["h", "i", "j"]}


def cells(how: Written, line_end: str) -> list[str]:
    """Cells good and bad."""
    q, s, e = how.quote, how.separator, how.escape
    found = ["", "x", " ", " x ", "é", "NULL", "N", f"x{line_end}y"]
    if q:
        inner = (e or q) + q
        found += [q + q, f"{q}x{q}", f"{q}{s}{q}", f"{q}a{line_end}b{q}", f"{q}{inner}{q}", f"{q}{inner}{s}{q}"]
        found += [f" {q}x{q}", f"{q}x{q} ", f"\t{q}x{q}", f"{q}x{q}\t", f"5{q} disk", f"{q}x{q}y", f"{q}NULL{q}", q]
        found += [f"x{q}{q}", f"{q}{q}x", f"{q}{q}{q}", f"{q}\n\r\n{q}"]
    if e:
        found += [
            f"{e}{s}",
            f"{e}{line_end}",
            f"{e}{e}",
            f"a{e}{q}" if q else "a",
            f"{e}N",
            f"{e}Nx",
            f"x{e}N",
            f"{e}n",
        ]
        found += [f"{q}{e}n{q}", e]
    return found


DIALECTS = [
    Written(separator=s, quote=q, escape=e, null_values=n, comment=c, c_escapes=bool(e) and s != ",")
    for s, q, e, n, c in itertools.product(
        (",", ";", "\t", ":", " ", "|", "¦"),
        ('"', "'", ""),
        ("", "\\"),
        (("",), ("NULL", "\\N"), ()),
        ("", "#"),
    )
    if not (c and e)
]


@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("columns", [1, 2, 3])
def test_small_files(tmp_path: Path, columns: int, line_end: str) -> None:
    """Every dialect, with cells, blanks, empty lines and line ends of all kinds, in one to three columns and rows."""
    rng = random.Random(f"{columns}{line_end}")
    for how in DIALECTS:
        for _ in range(examples(1)):
            pool = cells(how, line_end)
            rows = [HEADERS[columns]]
            rows += [[rng.choice(pool) for _ in range(columns)] for _ in range(rng.randint(1, 3))]
            lines = [how.separator.join(row) for row in rows]
            for _ in range(rng.choice([0, 0, 1])):
                lines.insert(rng.randint(0, len(lines)), rng.choice(["", "", f'#x{how.separator}"y', "x"]))
            mixed = rng.random() < 0.2
            text = "".join(line + (rng.choice(["\n", "\r\n", "\r"]) if mixed else line_end) for line in lines)
            text = text.removesuffix(line_end) if rng.random() < 0.3 else text
            data = b"\xef\xbb\xbf" * (rng.random() < 0.1) + text.encode()
            compare(tmp_path / "rows.csv", data, how, rng.choice([1, 2, 3, 5, 17, 1000]))


@settings(max_examples=examples(400), deadline=None)
@given(
    body=st.lists(
        st.sampled_from(
            [b'"', b",", b"\n", b"\r", b"\r\n", b"a", b" ", b"\\", b"N", b"#", b"\xc3\xa9", b"\xff", b"bc"]
        ),
        max_size=60,
    ).map(b"".join),
    how=st.builds(
        Written,
        escape=st.sampled_from(["", "\\"]),
        comment=st.sampled_from(["", "#"]),
        quote=st.sampled_from(['"', '"', ""]),
        c_escapes=st.booleans(),
        null_values=st.sampled_from([("",), ("N",), ("\\N",), ()]),
    ),
    width=st.integers(1, 3),
    size=st.integers(1, 20),
)
@example(body=b'a\r,\n\n"', how=Written(), width=1, size=9)
@example(body=b"\\\\N\n\\N\n", how=Written(escape="\\", null_values=("\\N",)), width=1, size=2)
@example(body=b'"' * 70, how=Written(), width=1, size=1)
@example(body=b"\\" * 71, how=Written(escape="\\"), width=1, size=1)
@example(body=b'a,"' + b"x\n" * 50 + b'",\n1,2,3\n', how=Written(), width=3, size=7)
def test_any_bytes(tmp_path_factory: pytest.TempPathFactory, body: bytes, how: Written, width: int, size: int) -> None:
    """Whatever the bytes are, and wherever they are cut."""
    how = replace(how, comment="" if how.escape else how.comment)
    path = tmp_path_factory.getbasetemp() / "any.csv"
    header = how.separator.join(HEADERS[width]).encode() + b"\n"
    compare(path, header + body, how, size)
