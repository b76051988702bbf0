"""Every source keeps the contract of tests/support/contracts/sources.py."""

from __future__ import annotations

import codecs
import gzip
import json
import lzma
import sqlite3
from collections.abc import Iterable
from pathlib import Path
from typing import Any, ClassVar

import bson
import duckdb
import fastavro
import polars as pl
import pyarrow as pa  # type: ignore[import-untyped]
import pytest
import zstandard
from pyarrow import orc

from backfill.job.formats import FORMATS
from backfill.job.models import Job
from backfill.sources.formats import format_of
from tests.support.contracts.sources import Row, SourceContract
from tests.support.sourcing import job_over


class Csv:
    """CSV, as most tools write it."""

    name, separator, line_end = "rows.csv", ",", "\n"
    lines: ClassVar[dict[int, int]] = {1: 2, 3: 5, 4: 6}

    def text(self, rows: Iterable[Row]) -> str:
        """The file's text."""
        lines = ["id,text".replace(",", self.separator)]
        for key, value in rows:
            shown = "" if value is None else '"' + value.replace('"', '""') + '"'
            lines.append(f"{key}{self.separator}{shown}")
        return self.line_end.join([*lines, ""])

    def write(self, folder: Path, rows: Iterable[Row]) -> None:
        """Write the rows."""
        (folder / self.name).write_bytes(self.packed(self.text(rows)))

    def packed(self, text: str) -> bytes:
        """The file's bytes."""
        return text.encode()

    def job(self, folder: Path, **options: Any) -> Job:
        """A job over the file."""
        return job_over(folder / self.name, **options)


class CrLf(Csv):
    """CSV with Windows' line ends and a byte order mark."""

    line_end = "\r\n"

    def packed(self, text: str) -> bytes:
        """With a mark."""
        return codecs.BOM_UTF8 + text.encode()


class CrOnly(Csv):
    """CSV with the line ends of the old Macintosh."""

    line_end = "\r"


class Utf16(Csv):
    """CSV as spreadsheets save "Unicode text", the high byte first."""

    def packed(self, text: str) -> bytes:
        """With its mark."""
        return codecs.BOM_UTF16_BE + text.encode("utf-16-be")

    def job(self, folder: Path, **options: Any) -> Job:
        """The job says the encoding."""
        return job_over(folder / self.name, csv={"encoding": "utf-16"}, **options)


class Tsv(Csv):
    """Tab-separated, gzip in two members."""

    name, separator = "rows.tsv.gz", "\t"

    def packed(self, text: str) -> bytes:
        """In two members."""
        data = text.encode()
        return gzip.compress(data[: len(data) // 2], 1) + gzip.compress(data[len(data) // 2 :], 1)


class Ndjson:
    """NDJSON, zstd."""

    name = "rows.ndjson.zst"
    lines: ClassVar[dict[int, int]] = {1: 1, 3: 3, 4: 4}

    def write(self, folder: Path, rows: Iterable[Row]) -> None:
        """Write the rows."""
        text = "".join(json.dumps({"id": key, "text": value}, ensure_ascii=False) + "\n" for key, value in rows)
        (folder / self.name).write_bytes(zstandard.compress(text.encode(), 1))

    def job(self, folder: Path, **options: Any) -> Job:
        """A job over the file."""
        return job_over(folder / self.name, **options)


class JsonArray(Ndjson):
    """One pretty-printed array."""

    name = "rows.json.gz"
    lines: ClassVar[dict[int, int]] = {1: 2, 3: 10, 4: 14}

    def write(self, folder: Path, rows: Iterable[Row]) -> None:
        """Write the rows, some at a time."""
        with gzip.open(folder / self.name, "wt", 1, encoding="utf-8") as file:
            for place, (key, value) in enumerate(rows):
                record = json.dumps({"id": key, "text": value}, indent=1, ensure_ascii=False)
                file.write(("," if place else "[") + "\n" + record)
            file.write("]\n")


class Mysqldump:
    """A dump as mariadb-dump writes one."""

    name = "rows.sql"
    lines: ClassVar[dict[int, int]] = {1: 5, 3: 7, 4: 8}
    marks: ClassVar[dict[int, str]] = str.maketrans(
        {"\0": r"\0", "\n": r"\n", "\r": r"\r", "'": r"\'", '"': r"\"", "\\": r"\\"}
    )

    def write(self, folder: Path, rows: Iterable[Row]) -> None:
        """Write the rows, a statement for each 2,000."""
        lines = [
            f"('{key}',NULL)" if text is None else f"('{key}','{text.translate(self.marks)}')" for key, text in rows
        ]
        blocks = [",\n".join(lines[start : start + 2_000]) for start in range(0, len(lines), 2_000)]
        inserts = "".join(f"INSERT INTO `rows` VALUES\n{block};\n" for block in blocks)
        text = (
            "-- MariaDB dump 10.19\n/*!40101 SET NAMES utf8mb4 */;\nCREATE TABLE `rows` (`id` text, `text` longtext);\n"
        )
        (folder / self.name).write_text(f"{text}{inserts}-- Dump completed\n", encoding="utf-8", newline="")

    def job(self, folder: Path, **options: Any) -> Job:
        """A job over the table."""
        return job_over(folder / self.name, format="mysqldump", table="rows", **options)


class Mongoexport(Ndjson):
    """Lines of extended JSON."""

    name = "rows.mongo.gz"

    def write(self, folder: Path, rows: Iterable[Row]) -> None:
        """Write the rows, ids as symbols."""
        with gzip.open(folder / self.name, "wt", 1, encoding="utf-8") as file:
            for key, value in rows:
                file.write(json.dumps({"id": {"$symbol": key}, "text": value}, ensure_ascii=False) + "\n")

    def job(self, folder: Path, **options: Any) -> Job:
        """The job says the format."""
        return job_over(folder / self.name, format="mongoexport", **options)


class Bson:
    """A collection dumped by mongodump."""

    name = "rows.bson.gz"
    lines: ClassVar[dict[int, int]] = {}

    def write(self, folder: Path, rows: Iterable[Row]) -> None:
        """Write the rows."""
        with gzip.open(folder / self.name, "wb", 1) as file:
            for key, value in rows:
                file.write(bson.encode({"id": key, "text": value}))

    def job(self, folder: Path, **options: Any) -> Job:
        """A job over the file."""
        return job_over(folder / self.name, **options)


class Dynamodb(Ndjson):
    """A data file of an export of DynamoDB's."""

    name = "rows.json.gz"

    def write(self, folder: Path, rows: Iterable[Row]) -> None:
        """Write the rows."""
        with gzip.open(folder / self.name, "wt", 1, encoding="utf-8") as file:
            for key, value in rows:
                text = {"NULL": True} if value is None else {"S": value}
                file.write(json.dumps({"Item": {"id": {"S": key}, "text": text}}, ensure_ascii=False) + "\n")

    def job(self, folder: Path, **options: Any) -> Job:
        """The job says the format."""
        return job_over(folder / self.name, format="dynamodb", **options)


class Parquet:
    """Parquet."""

    name = "rows.parquet"
    lines: ClassVar[dict[int, int]] = {}

    def write(self, folder: Path, rows: Iterable[Row]) -> None:
        """Write the rows."""
        frame = pl.DataFrame(list(rows), schema={"id": pl.String, "text": pl.String}, orient="row")
        frame.write_parquet(folder / self.name, row_group_size=10_000)

    def job(self, folder: Path, **options: Any) -> Job:
        """A job over the file."""
        return job_over(folder / self.name, **options)


class Typed(Parquet):
    """A format whose files say the types of their columns."""

    def table(self, rows: Iterable[Row]) -> pa.Table:
        """The rows."""
        keys, texts = zip(*rows, strict=True)
        return pa.table({"id": pa.array(keys, pa.string()), "text": pa.array(texts, pa.string())})


class ArrowFile(Typed):
    """An Arrow file, compressed as Feather is, strings in a dictionary."""

    name = "rows.feather"

    def write(self, folder: Path, rows: Iterable[Row]) -> None:
        """Write the rows."""
        table = self.table(rows)
        table = table.set_column(1, "text", table["text"].dictionary_encode())
        with pa.ipc.new_file(folder / self.name, table.schema, options=pa.ipc.IpcWriteOptions(compression="lz4")) as to:
            to.write_table(table.unify_dictionaries(), max_chunksize=10_000)


class ArrowStream(Typed):
    """An Arrow stream."""

    name = "rows.arrows"

    def write(self, folder: Path, rows: Iterable[Row]) -> None:
        """Write the rows."""
        table = self.table(rows)
        with pa.ipc.new_stream(folder / self.name, table.schema) as to:
            to.write_table(table, max_chunksize=10_000)


class Orc(Typed):
    """ORC."""

    name = "rows.orc"

    def write(self, folder: Path, rows: Iterable[Row]) -> None:
        """Write the rows."""
        orc.write_table(self.table(rows), str(folder / self.name), compression="zstd")


class Avro(Typed):
    """Avro, text or null."""

    name = "rows.avro"

    def write(self, folder: Path, rows: Iterable[Row]) -> None:
        """Write the rows."""
        fields = [{"name": "id", "type": "string"}, {"name": "text", "type": ["null", "string"]}]
        schema = {"type": "record", "name": "row", "fields": fields}
        with (folder / self.name).open("wb") as file:
            fastavro.writer(file, schema, ({"id": key, "text": text} for key, text in rows), codec="snappy")


class Sqlite:
    """A table of an SQLite file."""

    name = "rows.db"
    lines: ClassVar[dict[int, int]] = {}

    def write(self, folder: Path, rows: Iterable[Row]) -> None:
        """Write the rows."""
        (folder / self.name).unlink(missing_ok=True)
        connection = sqlite3.connect(folder / self.name)
        connection.execute("CREATE TABLE rows (place INTEGER PRIMARY KEY, id TEXT, text TEXT)")
        connection.executemany("INSERT INTO rows (id, text) VALUES (?, ?)", rows)
        connection.commit()
        connection.close()

    def job(self, folder: Path, **options: Any) -> Job:
        """A job over the table."""
        database = f"sqlite:///{folder / self.name}"
        return job_over(database=database, query="SELECT id, text FROM rows ORDER BY place", **options)


class PgDump:
    """A COPY block of a plain pg_dump, xz."""

    name = "rows.sql.xz"
    lines: ClassVar[dict[int, int]] = {1: 8, 3: 10, 4: 11}
    escapes: ClassVar[dict[str, str]] = {
        "\\": r"\\", "\b": r"\b", "\f": r"\f", "\n": r"\n", "\r": r"\r", "\t": r"\t", "\v": r"\v"
    }  # fmt: skip

    def write(self, folder: Path, rows: Iterable[Row]) -> None:
        """Write the rows."""
        with lzma.open(folder / self.name, "wt", encoding="utf-8", newline="", preset=0) as file:
            file.write("--\n-- PostgreSQL database dump\n--\n\n")
            file.write("CREATE TABLE public.rows (id text, text text);\n\nCOPY public.rows (id, text) FROM stdin;\n")
            table = str.maketrans(self.escapes)
            texts = ((key, r"\N" if value is None else value.translate(table)) for key, value in rows)
            file.writelines(f"{key}\t{text}\n" for key, text in texts)
            file.write("\\.\n\n\n--\n-- PostgreSQL database dump complete\n--\n\n")

    def job(self, folder: Path, **options: Any) -> Job:
        """A job over the table."""
        return job_over(folder / self.name, format="pg_dump", table="rows", **options)


class SqliteDump:
    """INSERTs of a dump of SQLite."""

    name = "rows.sql"
    lines: ClassVar[dict[int, int]] = {1: 4, 3: 7, 4: 8}

    def write(self, folder: Path, rows: Iterable[Row]) -> None:
        """Write the rows."""
        with (folder / self.name).open("w", encoding="utf-8", newline="") as file:
            file.write("PRAGMA foreign_keys=OFF;\nBEGIN TRANSACTION;\nCREATE TABLE rows (id TEXT, text TEXT);\n")
            for row in rows:
                values = ("NULL" if value is None else "'" + value.replace("'", "''") + "'" for value in row)
                file.write(f"INSERT INTO rows VALUES({','.join(values)});\n")
            file.write("COMMIT;\n")

    def job(self, folder: Path, **options: Any) -> Job:
        """A job over the table."""
        return job_over(folder / self.name, format="sqlite_dump", table="rows", **options)


class DuckdbFile:
    """A table of a DuckDB file."""

    name = "rows.duckdb"
    lines: ClassVar[dict[int, int]] = {}

    def write(self, folder: Path, rows: Iterable[Row]) -> None:
        """Write the rows."""
        (folder / self.name).unlink(missing_ok=True)
        frame = pl.DataFrame(list(rows), schema={"id": pl.String, "text": pl.String}, orient="row").to_arrow()
        with duckdb.connect(str(folder / self.name)) as connection:
            connection.register("made", frame)
            connection.execute("CREATE TABLE rows AS SELECT row_number() OVER () AS place, * FROM made")

    def job(self, folder: Path, **options: Any) -> Job:
        """A job over the table."""
        database = f"duckdb:///{folder / self.name}"
        return job_over(database=database, query="SELECT id, text FROM rows ORDER BY place", **options)


KINDS = [
    Csv,
    CrLf,
    CrOnly,
    Utf16,
    Tsv,
    Ndjson,
    JsonArray,
    Mongoexport,
    Bson,
    Dynamodb,
    Parquet,
    ArrowFile,
    ArrowStream,
    Orc,
    Avro,
    Sqlite,
    DuckdbFile,
    PgDump,
    SqliteDump,
    Mysqldump,
]


#: Formats that cannot hold all of those texts: a cell has no CR and at most 32,767 characters, a line no LF.
#: See test_excel and test_fixed_width; tables are Parquet, see test_delta and test_iceberg.
APART = {"delta", "excel", "fixed_width", "iceberg"}


def test_every_format_is_here(tmp_path: Path) -> None:
    """A format of the registry has a class above that writes it; a server's has the contract in its own tests."""
    jobs = [kind().job(tmp_path) for kind in KINDS]
    files = {name for name, entry in FORMATS.items() if not entry.live}
    assert {format_of(job, (*job.source.path, "")[0]).name for job in jobs} == files - APART


@pytest.mark.parametrize("kind", KINDS, scope="class")
class TestSource(SourceContract):
    """The contract, of every source."""

    @pytest.fixture(autouse=True)
    def _kind(self, kind: type) -> None:
        self.kind = kind

    @property
    def source(self) -> Any:
        """The format at hand."""
        return self.kind()
