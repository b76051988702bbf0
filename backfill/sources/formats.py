"""The registry of formats: which one a file has by the job or its name, and whether its first bytes agree."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from importlib import import_module
from pathlib import Path, PurePath

from backfill.errors import JobError, SourceError
from backfill.job.formats import DATABASES, FILE_FORMATS, FORMATS, SUFFIXES
from backfill.job.models import Job
from backfill.records import SourceFile
from backfill.sources.origins.compression import is_cut, packing_of
from backfill.sources.origins.content import HEAD_BYTES, Origin, first_bytes, plain_pieces
from backfill.sources.origins.stamps import unchanged
from backfill.sources.reader import Format

COMPRESSED = {
    ".gz": "gzip", ".zst": "zstd", ".bz2": "bzip2", ".xz": "xz", ".lz4": "lz4", ".sz": "snappy", ".snappy": "snappy",
}  # fmt: skip
#: Suffixes of archives that are read.
ARCHIVES = (".zip", ".tar", ".tgz", ".taz", ".tbz", ".tbz2", ".txz", ".tzst")
#: What to do with files of a packing that begin otherwise, where others of that name are about.
_OTHER_FRAMES = {
    "lz4": "only LZ4 frames are read: unpack it with `lz4 -d FILE`, and name what comes out",
    "snappy": "only snappy's framing format is read: unpack it, Hadoop's with `snzip -d -t hadoop-snappy FILE`",
}

_DUMPS = [name for name, entry in FORMATS.items() if entry.takes_table]
_WORKBOOK = ("a workbook", "save the sheet as CSV (UTF-8), and name that file")
_ARCHIVE = ("an archive", "unpack it, and name the folder")
_TABLE = ("a table that is not read", "convert it to Parquet or CSV, and name that file")
_SQLITE = ("a SQLite database", "name it as `database: sqlite:///FILE`, with a `query`")
_DUCKDB = ("a DuckDB database", "write the table with DuckDB's `COPY ... TO 'rows.parquet'`, and name that file")
_PACKED = ("compressed in a way that is not read", "compress it with gzip or zstd, or not at all")
_SCRIPT = ("a script of SQL", f"say which kind of dump it is: `format: {'`, `'.join(_DUMPS)}`, with `table: NAME`")
_DOCUMENT = ("no table", "export the rows as CSV, NDJSON or Parquet")
#: Suffixes of what people try, and what is said of it.
_KNOWN = {
    **dict.fromkeys((".xlsb", ".numbers"), _WORKBOOK),
    **dict.fromkeys((*ARCHIVES, ".7z", ".rar"), _ARCHIVE),
    **dict.fromkeys((".rds", ".sav", ".dta", ".sas7bdat"), _TABLE),
    **dict.fromkeys((".db", ".sqlite", ".sqlite3", ".db3"), _SQLITE),
    ".duckdb": _DUCKDB,
    **dict.fromkeys((".br", ".lzma", ".z", ".lzo"), _PACKED),
    **dict.fromkeys((".xml", ".html", ".htm", ".pdf", ".yaml", ".yml"), _DOCUMENT),
    ".sql": _SCRIPT,
}
#: First bytes that no text begins with, and what they are.
_SIGNS = (
    (b"PK\x03\x04", ("a zip archive or a workbook", "name an archive .zip; of a workbook, say `format: excel`")),
    (b"PK\x05\x06", _ARCHIVE),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", ("a workbook", "say `format: excel`")),
    (b"7z\xbc\xaf\x27\x1c", _ARCHIVE),
    (b"Rar!\x1a\x07", _ARCHIVE),
    (b"SQLite format 3\x00", _SQLITE),
    (b"FEA1", ("a Feather file of version 1", "write it again with `pyarrow.feather.write_feather`")),
    (b"%PDF-", _DOCUMENT),
)
#: Where the head of a tar archive says so (POSIX, ustar).
_TAR_PLACE, _TAR = 257, b"ustar"


def format_named(name: str) -> Format:
    """The format of that name, one of backfill.job.formats."""
    module, _, attribute = FORMATS[name].home.partition(":")
    found: Format = getattr(import_module(f"backfill.sources.{module}"), attribute)
    return found


def format_of(job: Job, path: str) -> Format:
    """The format of a file, as the job says or the file's suffix tells.

    Raises:
        JobError: neither does, or the suffix is of something that is not read.
    """
    if job.source.database is not None:
        return format_named(DATABASES.get(job.source.database.partition("://")[0], "sqlite"))
    if job.source.format is not None:
        return format_named(job.source.format)
    return format_named("json") if job.source.records else format_by_suffix(Path(path))


def format_by_suffix(name: Path) -> Format:
    """What a file's suffix tells; raises JobError as `format_of` does."""
    inner = suffix_within(name)
    found = SUFFIXES.get(inner)
    if found is not None:
        return format_named(found)
    if inner in _KNOWN:
        what, hint = _KNOWN[inner]
        raise JobError(f"source.path: {name.name} is {what}, by its suffix", hint=hint)
    raise JobError(
        f"source.format: what {name.name or 'the standard input'} holds cannot be told by its name",
        hint=f"say it in the job file, for example `format: csv` ({', '.join(sorted(FILE_FORMATS))})",
    )


def suffix_within(name: PurePath) -> str:
    """The suffix, in lower case, that tells the format: the one before a compression's."""
    suffix = name.suffix.lower()
    return PurePath(name.stem).suffix.lower() if suffix in COMPRESSED else suffix


def one_format(job: Job, files: Iterable[SourceFile]) -> Format:
    """The format that all the files have; raises JobError where they differ."""
    found = {format_of(job, file.path).name: file for file in files}
    if len(found) > 1:
        these = ", ".join(f"{found[name].name} is {name}" for name in sorted(found))
        raise JobError(
            f"source.path: files of several formats: {these}",
            hint="make a job of each format, or state one `format` that reads them all: json reads ndjson",
        )
    return format_named(next(iter(found)))


def refuse_foreign(origin: Origin, expected: Format) -> None:
    """Look at a file's first bytes, unpacked.

    Raises:
        SourceError: they are of something else than the format, or cannot be read or unpacked.
    """
    head = first_bytes(origin)
    packing = packing_of(head)
    if not expected.packable:
        if packing is not None:
            raise SourceError(
                f"{origin.name} is compressed as a whole, by {packing.name}", hint="unpack it, and name that file"
            )
        return
    by_suffix = COMPRESSED.get(Path(origin.path).suffix.lower())
    if packing is None and by_suffix is not None and is_cut(head, by_suffix):
        raise SourceError(
            f"{origin.name} is truncated: it holds no {by_suffix} data", hint="fetch or export the file again"
        )
    if packing is None and by_suffix in _OTHER_FRAMES:
        raise SourceError(f"{origin.name} holds no {by_suffix} data as its name says", hint=_OTHER_FRAMES[by_suffix])
    if packing is not None:
        head = next(plain_pieces(origin), b"")[:HEAD_BYTES]
        if packing_of(head) is not None:
            raise SourceError(f"{origin.name} is compressed twice", hint="unpack it once, and name that file")
    _refuse_signs(origin.name, head, expected)


def _refuse_signs(name: str, head: bytes, expected: Format) -> None:
    """Raise SourceError where a file begins as another format, or as something that is not read, does."""
    if expected.magic and head.startswith(expected.magic):
        return
    found = next((said for sign, said in _SIGNS if head.startswith(sign)), None)
    found = _ARCHIVE if head[_TAR_PLACE:].startswith(_TAR) else found
    for other in map(format_named, FILE_FORMATS):
        if found is None and other.magic and head.startswith(other.magic) and b"\x00" in head:
            found = (other.name.capitalize(), f"say `format: {other.name}`")
    if found is not None:
        raise SourceError(f"{name} is {found[0]}, not {expected.name}", hint=found[1])


def line_of(file: SourceFile, job: Job, records: Sequence[int]) -> dict[int, int]:
    """The line, from 1, that each of those records of a text file begins at, looked up when a problem is shown.

    The file is read again: empty for a file that has changed since, and for formats without lines.
    Records are numbered as problems number them.
    """
    if not records or not unchanged(file):
        return {}
    return format_of(job, file.path).lines(file, job, sorted(set(records)))
