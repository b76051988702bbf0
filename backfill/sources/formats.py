"""Which format a file has: by the job, by its name, and whether its first bytes agree."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from backfill.errors import JobError, SourceError
from backfill.job.models import Job
from backfill.records import SourceFile
from backfill.sources.origins.compression import is_cut, packing_of
from backfill.sources.origins.content import HEAD_BYTES, first_bytes, plain_pieces

SUFFIXES = {
    ".csv": "csv",
    ".tsv": "tsv",
    ".tab": "tsv",
    ".parquet": "parquet",
    ".pq": "parquet",
    ".ndjson": "ndjson",
    ".jsonl": "ndjson",
    ".json": "ndjson",
}
COMPRESSED = {".gz": "gzip", ".zst": "zstd", ".bz2": "bzip2", ".xz": "xz"}

_WORKBOOK = ("a workbook", "save the sheet as CSV (UTF-8), and name that file")
_ARCHIVE = ("an archive", "unpack it, and name the folder")
_TABLE = ("a table that is not read", "convert it to Parquet or CSV, and name that file")
_SQLITE = ("a SQLite database", "name it as `database: sqlite:///FILE`, with a `query`")
_DUCKDB = ("a DuckDB database", "write the table with DuckDB's `COPY ... TO 'rows.parquet'`, and name that file")
_PACKED = ("compressed in a way that is not read", "compress it with gzip or zstd, or not at all")
_DOCUMENT = ("no table", "export the rows as CSV, NDJSON or Parquet")
#: Suffixes of what people try, and what is said of it.
_KNOWN = {
    **dict.fromkeys((".xlsx", ".xls", ".xlsm", ".xlsb", ".ods", ".numbers"), _WORKBOOK),
    **dict.fromkeys((".zip", ".tar", ".tgz", ".7z", ".rar"), _ARCHIVE),
    **dict.fromkeys((".avro", ".orc", ".feather", ".arrow", ".ipc", ".rds", ".sav", ".dta", ".sas7bdat"), _TABLE),
    **dict.fromkeys((".db", ".sqlite", ".sqlite3", ".db3"), _SQLITE),
    ".duckdb": _DUCKDB,
    **dict.fromkeys((".lz4", ".br", ".lzma", ".sz", ".z", ".lzo"), _PACKED),
    **dict.fromkeys((".xml", ".html", ".htm", ".pdf", ".sql", ".yaml", ".yml"), _DOCUMENT),
}
#: First bytes that no text begins with, and what they are.
_SIGNS = (
    (b"PK\x03\x04", ("a zip archive or a workbook", "unpack it, or save the sheet as CSV, and name what comes out")),
    (b"PK\x05\x06", _ARCHIVE),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", _WORKBOOK),
    (b"7z\xbc\xaf\x27\x1c", _ARCHIVE),
    (b"Rar!\x1a\x07", _ARCHIVE),
    (b"\x04\x22\x4d\x18", _PACKED),
    (b"\xff\x06\x00\x00sNaPpY", _PACKED),
    (b"SQLite format 3\x00", _SQLITE),
    (b"ARROW1\x00\x00", _TABLE),
    (b"Obj\x01", _TABLE),
    (b"%PDF-", _DOCUMENT),
)
_PARQUET = b"PAR1"
#: Where the head of a tar archive says so (POSIX, ustar).
_TAR_PLACE, _TAR = 257, b"ustar"


def format_of(job: Job, path: str) -> str:
    """csv, tsv, parquet, ndjson or sqlite, as the job says or the file's suffix tells.

    Raises:
        JobError: neither does, or the suffix is of something that is not read.
    """
    if job.source.database is not None:
        return "sqlite"
    if job.source.format is not None:
        return job.source.format
    return format_by_suffix(Path(path))


def format_by_suffix(name: Path) -> str:
    """What a file's suffix tells; raises JobError as `format_of` does."""
    suffix = name.suffix.lower()
    inner = Path(name.stem).suffix.lower() if suffix in COMPRESSED else suffix
    found = SUFFIXES.get(inner)
    if found is not None:
        return found
    if inner in _KNOWN:
        what, hint = _KNOWN[inner]
        raise JobError(f"source.path: {name.name} is {what}, by its suffix", hint=hint)
    raise JobError(
        f"source.format: what {name.name or 'the standard input'} holds cannot be told by its name",
        hint=f"say it in the job file, for example `format: csv` ({', '.join(sorted(set(SUFFIXES.values())))})",
    )


def one_format(job: Job, files: Iterable[SourceFile]) -> str:
    """The format that all the files have; raises JobError where they differ."""
    kinds = {format_of(job, file.path): file for file in files}
    if len(kinds) > 1:
        these = ", ".join(f"{kinds[kind].name} is {kind}" for kind in sorted(kinds))
        raise JobError(f"source.path: files of several formats: {these}", hint="make a job of each format")
    return next(iter(kinds))


def refuse_foreign(path: Path, name: str, kind: str) -> None:
    """Look at a file's first bytes, unpacked.

    Raises:
        SourceError: they are of something else than the format, or cannot be read or unpacked.
    """
    head = first_bytes(path, name)
    packing = packing_of(head)
    if kind == "parquet":
        if packing is not None:
            raise SourceError(
                f"{name} is compressed as a whole, by {packing.name}", hint="unpack it, and name that file"
            )
        return
    expected = COMPRESSED.get(path.suffix.lower())
    if packing is None and expected is not None and is_cut(head, expected):
        raise SourceError(f"{name} is truncated: it holds no {expected} data", hint="fetch or export the file again")
    if packing is not None:
        head = next(plain_pieces(path, name), b"")[:HEAD_BYTES]
        if packing_of(head) is not None:
            raise SourceError(f"{name} is compressed twice", hint="unpack it once, and name that file")
    found = next((said for sign, said in _SIGNS if head.startswith(sign)), None)
    found = _ARCHIVE if head[_TAR_PLACE:].startswith(_TAR) else found
    if head.startswith(_PARQUET) and b"\x00" in head:
        found = ("Parquet", "say `format: parquet`")
    if found is not None:
        raise SourceError(f"{name} is {found[0]}, not {kind}", hint=found[1])
