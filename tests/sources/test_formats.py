"""Formats: all of them keep the contract, and one more is one module and one line of the registry."""

from __future__ import annotations

import gzip
import json
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType

import pyarrow as pa
import pytest

from backfill.errors import JobError, SourceError
from backfill.job import formats as names
from backfill.job.file import job_schema
from backfill.job.formats import FORMATS, FormatEntry
from backfill.job.models import Job
from backfill.records import FILE_COLUMN, RECORD_COLUMN, SourceFile
from backfill.sources import inspect, resolve
from backfill.sources.columns import SourceColumn, text_columns
from backfill.sources.formats import format_named, line_of, one_format
from backfill.sources.origins.content import Watch, origin_of, plain_pieces, unwatched
from backfill.sources.reader import CompleteReader, Described, Format, Reader, Unreadable, UnreadableSink
from tests.support.sourcing import job_over, staged

SOURCES = Path(__file__).parents[2] / "backfill" / "sources"


class LinesReader(CompleteReader):
    """Each line is one value of the column `line`; a line with a NUL is unreadable."""

    def __init__(self, job: Job, files: Sequence[SourceFile], watch: Watch) -> None:
        self.files, self.watch = files, watch
        self.columns: tuple[SourceColumn, ...] = text_columns(job, ["line"])

    def batches(self, unreadable: UnreadableSink) -> Iterator[pa.RecordBatch]:
        """One batch a file."""
        for index, file in enumerate(self.files):
            lines = b"".join(plain_pieces(origin_of(file), self.watch)).decode().splitlines()
            good = [(number, line) for number, line in enumerate(lines, 1) if "\0" not in line]
            for number, line in enumerate(lines, 1):
                if "\0" in line:
                    unreadable.add(Unreadable(index, number, "BF003", "a NUL", line, number))
            yield pa.RecordBatch.from_pydict({
                "line": pa.array([line for _, line in good], pa.string()),
                FILE_COLUMN: pa.array([index] * len(good), pa.uint32()),
                RECORD_COLUMN: pa.array([number for number, _ in good], pa.uint64()),
            })  # fmt: skip


class Lines(Format):
    """Text without columns: what a newcomer writes."""

    def open(
        self, job: Job, files: Sequence[SourceFile], *, watch: Watch = unwatched, sample: int | None = None
    ) -> Reader:
        """All lines."""
        return LinesReader(job, files, watch)

    def describe(self, job: Job, files: Sequence[SourceFile]) -> Described:
        """One column."""
        return Described(text_columns(job, ["line"]))

    def lines(self, file: SourceFile, job: Job, records: Sequence[int]) -> dict[int, int]:
        """A record's number is its line."""
        return {record: record for record in records}


@pytest.fixture
def _lines(monkeypatch: pytest.MonkeyPatch) -> None:
    """The format `lines`, in a module of its own and one line of the registry."""
    module = ModuleType("backfill.sources.lines_for_test")
    module.LINES = Lines("lines")  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setitem(FORMATS, "lines", FormatEntry("lines_for_test:LINES", (".lines",)))
    monkeypatch.setitem(names.SUFFIXES, ".lines", "lines")


@pytest.mark.usefixtures("_lines")
def test_a_format_more(tmp_path: Path) -> None:
    """Found by its suffix, packed or not, and read with SQL, declared types, unreadable records and their lines."""
    path = tmp_path / "a.lines"
    path.write_bytes(b"1\nx\0y\n3\nz\n")
    job = job_over(path, columns={"line": "integer"}, where="line > 1 OR line IS NULL", sql=("line + 1",))
    result = staged(job, tmp_path / "state")
    assert result.column("line") == [3, None]
    assert result.column("__bf_sql_0") == [4, None]
    assert result.records == [3, 4]
    assert (result.snapshot.read, result.snapshot.filtered, result.snapshot.unreadable) == (4, 1, 1)
    assert {column.name for column in inspect(job).columns} < {column.name for column in result.snapshot.columns}
    assert line_of(resolve(job)[0], job, [3, 2]) == {2: 2, 3: 3}


@pytest.mark.usefixtures("_lines")
def test_first_bytes_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """First bytes that are refused as something that is not read are a format's own where it says so."""
    path = tmp_path / "a.lines"
    path.write_bytes(b"%PDF-\nx\n")
    with pytest.raises(SourceError, match="not lines"):
        staged(job_over(path), tmp_path / "state")
    monkeypatch.setattr(Lines, "magic", b"%PDF-")
    assert staged(job_over(path), tmp_path / "state").column("line") == ["%PDF-", "x"]


def test_names_give_formats() -> None:
    """Every name of the registry gives the format of that name."""
    assert [format_named(name).name for name in FORMATS] == list(FORMATS)


def test_schema_names_the_formats() -> None:
    """The job file's schema tells which formats of files there are."""
    text = json.dumps(job_schema())
    assert all(name in text for name in names.FILE_FORMATS)


HOMES = {entry.home.partition(":")[0] for entry in FORMATS.values()} | {"arrow_ipc", "avro", "orc"}


@pytest.mark.parametrize("name", sorted(HOMES))
def test_no_format_opens_a_path(name: str) -> None:
    """A file is opened by its origin: its path is no more than a name."""
    opening = re.compile(r"\w+\((str\()?files?(\[0\])?\.path\)(?!\.(name|parent|suffix)\b)")
    names = re.compile(r"(get|search|endswith)\(")
    place = SOURCES / name.replace(".", "/")
    modules = [*place.rglob("*.py"), *place.parent.glob(f"{place.name}.py")]
    assert modules
    for module in modules:
        found = [
            match[0] for match in opening.finditer(module.read_text(encoding="utf-8")) if not names.match(match[0])
        ]
        assert not found, module


@pytest.mark.parametrize(
    ("name", "setting", "value", "said"),
    [
        ("a.csv", "excel", {"sheet": 1}, "source.excel: is for workbooks only, and a.csv is csv"),
        ("a.csv.gz", "records", "data", "source.records: is for JSON documents only, and a.csv.gz is csv"),
        ("a.ndjson", "csv", {"delimiter": ";"}, "source.csv: is for csv and tsv files only, and a.ndjson is ndjson"),
        ("a.parquet", "table", "orders", "source.table: is for dumps and databases only, and a.parquet is parquet"),
    ],
)
def test_settings_of_another_format(tmp_path: Path, name: str, setting: str, value: object, said: str) -> None:
    """A setting that nothing would heed is refused, also where a file's name alone tells the format."""
    job = job_over(tmp_path / name).model_copy(update={"raw": {"source": {"path": name, setting: value}}})
    with pytest.raises(JobError) as raised:
        one_format(job, [SourceFile(str(tmp_path / name), name, name, 1, "", 1, 1, 1)])
    assert raised.value.message == said


#: How dumps begin, by the format that reads them.
HEADINGS = {
    "mysqldump": [
        b"-- MySQL dump 10.13  Distrib 8.0.36, for Linux (x86_64)\n--\n",
        b"/*M!999999\\- enable the sandbox mode */ \n-- MariaDB dump 10.19-11.8.3-MariaDB, for debian-linux-gnu\n",
        b"-- MariaDB dump 10.19  Distrib 10.11.6-MariaDB\r\n",
        b"-- phpMyAdmin SQL Dump\n-- version 5.2.1\n",
    ],
    "pg_dump": [
        b"--\n-- PostgreSQL database dump\n--\n\n\\restrict x\n",
        b"--\r\n-- PostgreSQL database dump\r\n--\r\n",
        b"PGDMP\x01\x0e\x00\x04\x08",
    ],
    "sqlite_dump": [
        b"PRAGMA foreign_keys=OFF;\nBEGIN TRANSACTION;\nCREATE TABLE t (i INTEGER);\n",
        b"BEGIN TRANSACTION;\nCREATE TABLE t (i INTEGER);\n",
    ],
}
PAIRS = [
    (said, kind, at) for said in HEADINGS for kind in HEADINGS for at in range(len(HEADINGS[kind])) if said != kind
]


@pytest.mark.parametrize(("said", "kind", "at"), PAIRS)
@pytest.mark.parametrize("packed", [False, True])
def test_a_dump_of_another_kind(tmp_path: Path, said: str, kind: str, at: int, *, packed: bool) -> None:
    """A dump of another kind is refused by its first lines, packed or not, with the format that reads it."""
    text = HEADINGS[kind][at] + b"CREATE TABLE t (i INTEGER);\n" * 40
    path = tmp_path / ("shop.sql.gz" if packed else "shop.sql")
    path.write_bytes(gzip.compress(text) if packed else text)
    with pytest.raises(SourceError, match=f"is a dump of the kind {kind}, not {said}") as caught:
        resolve(job_over(path, format=said, table="t"))
    assert f"`format: {kind}`" in caught.value.hint


@pytest.mark.parametrize(("kind", "text"), [(kind, text) for kind, texts in HEADINGS.items() for text in texts])
def test_a_dump_of_the_kind_that_is_said(tmp_path: Path, kind: str, text: bytes) -> None:
    """Its own heading is no reason to refuse it."""
    path = tmp_path / "shop.sql"
    path.write_bytes(text)
    assert len(resolve(job_over(path, format=kind, table="t"))) == 1
