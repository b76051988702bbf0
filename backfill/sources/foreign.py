"""Files that are no source as they are: what they are called, how they begin, and the command that makes one of them.

One table. A sign is a pattern for the first bytes of the file, unpacked; none of them begins a text that is a source.
"""

from __future__ import annotations

import re

from backfill.frozen import frozen
from backfill.job.formats import FORMATS


@frozen
class Foreign:
    """One kind of file that is not read."""

    what: str
    hint: str
    suffixes: tuple[str, ...] = ()
    signs: tuple[bytes, ...] = ()  # regular expressions


def _by_pandas(reader: str) -> str:
    return f"convert it: `python -c \"import pandas; pandas.{reader}('FILE').to_parquet('rows.parquet')\"`"


_SHEET = "save the sheet as CSV (UTF-8), and name that file"
_ROWS = "export the rows as CSV, NDJSON or Parquet"
_NAMED_SO = "unpack it, and name the folder"
_XML = (
    "convert it to lines of JSON: `yq -p xml -o json -I 0 '.rows.row[]' FILE > rows.ndjson`, with the path of the rows"
)
_R = "convert it: `Rscript -e \"arrow::write_parquet(readRDS('FILE'), 'rows.parquet')\"`"
_R_SPACE = "convert it: `Rscript -e \"load('FILE'); arrow::write_parquet(NAME, 'rows.parquet')\"`"
_HIVE = "write the table anew in Hive: `CREATE TABLE copy STORED AS PARQUET AS SELECT * FROM rows`"
_DUMPS = [name for name, entry in FORMATS.items() if "table" in entry.takes and not entry.schemes]
_SCRIPT = f"say which kind of dump it is: `format: {'`, `'.join(_DUMPS)}`, with `table: NAME`"

#: Suffixes of archives that are read, by their members.
ARCHIVES = (".zip", ".tar", ".tgz", ".taz", ".tbz", ".tbz2", ".txz", ".tzst")
FOREIGN = (
    Foreign("a workbook", _SHEET, (".xlsb",)),
    Foreign("a workbook of Numbers", "export it as CSV (UTF-8), and name that file", (".numbers",)),
    Foreign(
        "an archive", _NAMED_SO, ARCHIVES,
        (rb"PK\x05\x06", rb".{257}ustar"),
    ),
    Foreign(
        "a zip archive or a workbook", "name an archive .zip; of a workbook, say `format: excel`", (),
        (rb"PK\x03\x04",),
    ),
    Foreign(
        "an archive of mongodump", "dump without --archive: `mongodump --out FOLDER`, and name a .bson file of it", (),
        (rb"\x6d\xe2\x99\x81",),
    ),
    Foreign(
        "in Amazon Ion", "export it as JSON; of DynamoDB, in the format DynamoDB JSON", (".ion", ".10n"),
        (rb"\$ion_1_0\b", rb"\xe0\x01\x00\xea"),
    ),
    Foreign("a 7z archive", "unpack it with `7z x FILE`, and name the folder", (".7z",), (rb"7z\xbc\xaf\x27\x1c",)),
    Foreign("a RAR archive", "unpack it with `unrar x FILE`, and name the folder", (".rar",), (rb"Rar!\x1a\x07",)),
    Foreign("compressed by brotli", "unpack it with `brotli -d FILE`", (".br",)),
    Foreign(
        "compressed by LZMA alone", "unpack it with `xz -d FILE`", (".lzma",), (rb"\x5d\x00\x00.{2}[\x00\xff]{4}",)
    ),
    Foreign("compressed by lzip", "unpack it with `lzip -d FILE`", (".lz",), (rb"LZIP\x01",)),
    Foreign("compressed by lzop", "unpack it with `lzop -d FILE`", (".lzo",), (rb"\x89LZO\x00\r\n\x1a\n",)),
    Foreign("compressed by compress", "unpack it with `uncompress FILE`", (".z",), (rb"\x1f\x9d",)),
    Foreign(
        "encrypted", "decrypt it with `gpg -d FILE`", (".gpg", ".pgp"), (rb"-----BEGIN PGP MESSAGE-----",)
    ),
    Foreign("encrypted by age", "decrypt it with `age -d FILE`", (".age",), (rb"age-encryption\.org/v1\n",)),
    Foreign(
        "a SQLite database", "name it as `database: sqlite:///FILE`, with a `query`",
        (".db", ".sqlite", ".sqlite3", ".db3"), (rb"SQLite format 3\x00",),
    ),
    Foreign(
        "a DuckDB database", "write the table with DuckDB's `COPY ... TO 'rows.parquet'`, and name that file",
        (".duckdb",), (rb".{8}DUCK",),
    ),
    Foreign(
        "an Access database", "write the table with `mdb-export FILE TABLE > rows.csv`, and name that file",
        (".mdb", ".accdb"), (rb"\x00\x01\x00\x00Standard (Jet|ACE) DB",),
    ),
    Foreign(
        "a dBase table", "convert it: `ogr2ogr -f CSV rows.csv FILE`", (".dbf",),
        (rb"[\x03\x30\x83\x8b\xf5][\x50-\x8f][\x01-\x0c][\x01-\x1f].{8}\x00\x00",),
    ),
    Foreign(
        "a Feather file of version 1", "write it again with `pyarrow.feather.write_feather`", (), (rb"FEA1\x00{4}",)
    ),
    Foreign(
        "a SAS data set", _by_pandas("read_sas"), (".sas7bdat", ".xpt"),
        (rb"\x00{12}\xc2\xea\x81\x60\xb3\x14\x11\xcf\xbd\x92\x08\x00", rb"HEADER RECORD\*{7}(LIBRARY|LIBV8)"),
    ),
    Foreign("an SPSS data set", _by_pandas("read_spss"), (".sav", ".zsav"), (rb"\$FL[23]@\(#\)",)),
    Foreign(
        "a Stata data set", _by_pandas("read_stata"), (".dta",),
        (rb"<stata_dta>", rb"[\x71-\x73][\x01\x02]\x01\x00"),
    ),
    Foreign("an object of R", _R, (".rds",), (rb"X\n\x00\x00\x00[\x02\x03]",)),
    Foreign("a workspace of R", _R_SPACE, (".rdata", ".rda"), (rb"RD[AX][23]\n[AX]\n",)),
    Foreign(
        "a pickle of Python", f"where you trust it (it may run anything), {_by_pandas('read_pickle')}",
        (".pkl", ".pickle"), (rb"\x80[\x03-\x05][\x95}\](Kc]",),
    ),
    Foreign("an HDF5 file", _by_pandas("read_hdf"), (".h5", ".hdf5", ".hdf"), (rb"\x89HDF\r\n\x1a\n",)),
    Foreign("an array of NumPy", _ROWS, (".npy", ".npz"), (rb"\x93NUMPY",)),
    Foreign("an encrypted Parquet file", "write it without encryption", (), (rb"PARE.{2}[\x00\x01]\x00",)),
    Foreign("a sequence file of Hadoop", _HIVE, (), (rb"SEQ[\x04-\x06]", rb"RCF\x01")),
    Foreign("in the binary form of Protocol Buffers", "decode it with `protoc`, which wants its schema", (".pb",)),
    Foreign("in MessagePack", "convert it to NDJSON", (".msgpack", ".mpk")),
    Foreign(
        "an export of Firestore",
        "load it into BigQuery with `bq load --source_format=DATASTORE_BACKUP`, and export that",
        (".export_metadata",),
    ),
    Foreign("XML", _XML, (".xml",), (rb"(\xef\xbb\xbf)?<\?xml[ \t\r\n]",)),
    Foreign(
        "a web page", "perhaps one that asks to log in: fetch the export again", (".html", ".htm"),
        (rb"(?i:\s*<!doctype html|\s*<html[\s>])",),
    ),
    Foreign("a pointer of Git LFS", "fetch the file itself with `git lfs pull`", (), (rb"version https://git-lfs\.",)),
    Foreign("a PDF", _ROWS, (".pdf",), (rb"%PDF-",)),
    Foreign("a script of SQL", _SCRIPT, (".sql",)),
    Foreign("no table", _ROWS, (".yaml", ".yml", ".docx", ".doc", ".pptx")),
)  # fmt: skip
BY_SUFFIX = {suffix: one for one in FOREIGN for suffix in one.suffixes}
#: All signs at once: most files have none.
_ANY_SIGN = re.compile(b"|".join(b"(?:%s)" % sign for one in FOREIGN for sign in one.signs), re.DOTALL)


def foreign(head: bytes) -> Foreign | None:
    """What a file is that begins so, where that is nothing that is read."""
    if not _ANY_SIGN.match(head):
        return None
    return next(one for one in FOREIGN if any(re.match(sign, head, re.DOTALL) for sign in one.signs))
