"""What is no source is called what it is, by name or first bytes, with the command that makes one of it."""

from __future__ import annotations

import gzip
import io
import pickle
import sqlite3
import zipfile
from pathlib import Path

import numpy as np
import openpyxl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyarrow import feather, orc

from backfill.errors import BackfillError, JobError, SourceError
from backfill.sources import inspect
from backfill.sources.foreign import FOREIGN, foreign
from tests.support.sourcing import job_over, staged

SAS = bytes(12) + bytes.fromhex("c2ea8160b31411cfbd92080009c7318c181f1011") + bytes(40)


def numpy_file() -> bytes:
    """As numpy.save writes it."""
    target = io.BytesIO()
    np.save(target, np.arange(3))
    return target.getvalue()


def sqlite_file(folder: Path) -> bytes:
    """A database with a table."""
    with sqlite3.connect(folder / "made") as connection:
        connection.execute("CREATE TABLE t (x)")
    connection.close()
    return (folder / "made").read_bytes()


#: First bytes, the usual suffix, what is said of both, and a word of the hint.
KINDS = {
    "xlsb": (None, "xlsb", "a workbook", "CSV"),
    "sql": (None, "sql", "a script of SQL", "pg_dump"),
    "numbers": (None, "numbers", "a workbook of Numbers", "CSV"),
    "mongodump": (b"\x6d\xe2\x99\x81\x66\0\0\0", None, "an archive of mongodump", "mongodump --out"),
    "ion": (b"$ion_1_0 {Item:{}}", "ion", "in Amazon Ion", "DynamoDB JSON"),
    "binary ion": (b"\xe0\x01\0\xea\xee", "10n", "in Amazon Ion", "DynamoDB JSON"),
    "7z": (b"7z\xbc\xaf\x27\x1c\0\x04", "7z", "a 7z archive", "7z x"),
    "rar": (b"Rar!\x1a\x07\x01\0", "rar", "a RAR archive", "unrar x"),
    "brotli": (None, "br", "compressed by brotli", "brotli -d"),
    "lzma": (b"\x5d\0\0\x80\0" + b"\xff" * 8 + b"\0", "lzma", "compressed by LZMA alone", "xz -d"),
    "lzip": (b"LZIP\x01\x0c", "lz", "compressed by lzip", "lzip -d"),
    "lzop": (b"\x89LZO\0\r\n\x1a\n\x10", "lzo", "compressed by lzop", "lzop -d"),
    "compress": (b"\x1f\x9d\x90a", "Z", "compressed by compress", "uncompress"),
    "pgp": (b"-----BEGIN PGP MESSAGE-----\n", "gpg", "encrypted", "gpg -d"),
    "age": (b"age-encryption.org/v1\n-> X25519", "age", "encrypted by age", "age -d"),
    "access": (b"\0\x01\0\0Standard ACE DB\0", "accdb", "an Access database", "mdb-export"),
    "jet": (b"\0\x01\0\0Standard Jet DB\0", "mdb", "an Access database", "mdb-export"),
    "dbase": (b"\x03\x7c\x05\x0b\x02\0\0\0\x61\0\x1e\0\0\0", "dbf", "a dBase table", "ogr2ogr"),
    "duckdb": (bytes(8) + b"DUCK@\0", "duckdb", "a DuckDB database", "COPY"),
    "sas": (SAS, "sas7bdat", "a SAS data set", "read_sas"),
    "xpt": (b"HEADER RECORD*******LIBRARY HEADER RECORD!!!!!!!000", "xpt", "a SAS data set", "read_sas"),
    "spss": (b"$FL2@(#) IBM SPSS", "sav", "an SPSS data set", "read_spss"),
    "zsav": (b"$FL3@(#) IBM SPSS", "zsav", "an SPSS data set", "read_spss"),
    "stata": (b"<stata_dta><header>", "dta", "a Stata data set", "read_stata"),
    "stata 12": (b"\x73\x02\x01\0\x01\0", "dta", "a Stata data set", "read_stata"),
    "rds": (gzip.compress(b"X\n\0\0\0\x03\0\x04\x02\x01"), "rds", "an object of R", "arrow::write_parquet"),
    "rdata": (gzip.compress(b"RDX3\nX\n\0\0\0\x03"), "RData", "a workspace of R", "arrow::write_parquet"),
    "pickle": (pickle.dumps([1, "x"] * 99), "pkl", "a pickle of Python", "read_pickle"),
    "hdf5": (b"\x89HDF\r\n\x1a\n\0", "h5", "an HDF5 file", "read_hdf"),
    "numpy": (numpy_file(), "npy", "an array of NumPy", "CSV"),
    "feather 1": (b"FEA1\0\0\0\0", None, "a Feather file of version 1", "write_feather"),
    "encrypted Parquet": (b"PARE\x15\x02\0\0", None, "an encrypted Parquet file", "without encryption"),
    "sequence": (b"SEQ\x06\x19org.apache.hadoop", None, "a sequence file of Hadoop", "STORED AS PARQUET"),
    "protobuf": (None, "pb", "Protocol Buffers", "protoc"),
    "messagepack": (None, "msgpack", "MessagePack", "NDJSON"),
    "firestore": (None, "export_metadata", "an export of Firestore", "DATASTORE_BACKUP"),
    "xml": (b'<?xml version="1.0"?>\n<rows/>', "xml", "XML", "yq -p xml"),
    "html": (b"\n<!DOCTYPE HTML>\n<html>", "html", "a web page", "log in"),
    "html alone": (b"<html><body>", "htm", "a web page", "log in"),
    "lfs": (b"version https://git-lfs.github.com/spec/v1\n", None, "a pointer of Git LFS", "git lfs pull"),
    "pdf": (b"%PDF-1.7\n", "pdf", "a PDF", "CSV"),
    "yaml": (None, "yaml", "no table", "CSV"),
}


def said_of(path: Path, of: type[BackfillError], **source: str) -> BackfillError:
    """The error for a file."""
    with pytest.raises(of) as caught:
        inspect(job_over(path, **source))
    return caught.value


@pytest.mark.parametrize("kind", KINDS)
def test_what_it_is_and_what_to_do(tmp_path: Path, kind: str) -> None:
    """By the suffix, by the first bytes where the name says nothing, and where name or job say another format."""
    head, suffix, what, hint = KINDS[kind]
    errors = []
    if suffix is not None:
        (tmp_path / f"rows.{suffix}").write_bytes(head or b"anything")
        errors.append(said_of(tmp_path / f"rows.{suffix}", JobError))
        assert "by its suffix" in errors[-1].message
    for name, of in ({"rows.export": JobError, "rows": JobError, "rows.csv": SourceError} if head else {}).items():
        (tmp_path / name).write_bytes(head or b"")
        errors.append(said_of(tmp_path / name, of))
    if head is not None:
        errors.append(said_of(tmp_path / "rows.export", SourceError, format="ndjson"))
        (tmp_path / "rows.csv.gz").write_bytes(head if head[:2] == b"\x1f\x8b" else gzip.compress(head))
        errors.append(said_of(tmp_path / "rows.csv.gz", SourceError))
    for error in errors:
        assert what in error.message, error.message
        assert hint in error.hint, error.hint


def test_every_kind_is_tested() -> None:
    """The table above has what the program's has, but for what the tests of origins and archives have."""
    told = [what for _, _, what, _ in KINDS.values()]
    left = {one.what for one in FOREIGN if not any(what in one.what for what in told)}
    assert left == {"an archive", "a SQLite database"}


@pytest.mark.parametrize("name", ["rows", "rows.dat", "rows.export"])
def test_formats_that_are_known_by_their_bytes(tmp_path: Path, name: str) -> None:
    """Without a suffix that says so and without `format`, what has a sign of its own is read."""
    table = pa.table({"x": [1, 2]})
    for format_, write in (("parquet", pq.write_table), ("arrow", feather.write_feather), ("orc", orc.write_table)):
        write(table, tmp_path / name)
        assert staged(job_over(tmp_path / name), tmp_path / format_).column("x") == [1, 2]
    book = openpyxl.Workbook()
    book.active.append(["x"])
    book.active.append([7])
    book.save(tmp_path / name)
    assert staged(job_over(tmp_path / name), tmp_path / "excel").column("x") == [7]
    with zipfile.ZipFile(tmp_path / name, "w") as archive:
        archive.writestr("rows.parquet", _parquet(table))
    assert staged(job_over(tmp_path / name), tmp_path / "zip").column("x") == [1, 2]


def _parquet(table: pa.Table) -> bytes:
    target = io.BytesIO()
    pq.write_table(table, target)
    return target.getvalue()


def test_text_has_to_be_named(tmp_path: Path) -> None:
    """JSON and CSV have no sign; the hint says what is likely."""
    for content, format_ in ((b"x,y\n1,2\n", "csv"), (b' {"x": 1}\n', "ndjson"), (gzip.compress(b"[1]"), "ndjson")):
        error = said_of(_written(tmp_path / "rows.dat", content), JobError)
        assert f"`format: {format_}`" in error.hint
    assert "a SQLite database" in said_of(_written(tmp_path / "rows.dat", sqlite_file(tmp_path)), JobError).message


def _written(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def test_texts_that_begin_like_something_else() -> None:
    """Words of a header are none of the signs."""
    for text in (
        b"PARENT,x\n",
        b"SEQUENCE,x\n",
        b"ORC,x\n",
        b"Obj,x\n",
        b"LZIP,x\n",
        b"FEA,x\n",
        b"<id>,x\n",
        b"RDX,y\n",
    ):
        assert foreign(text) is None, text
