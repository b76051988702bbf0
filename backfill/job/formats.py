"""The formats that a job file can name: one line each. What is behind a name is in backfill.sources."""

from __future__ import annotations

from pathlib import PurePath

from backfill.frozen import frozen


@frozen
class FormatEntry:
    """One format: the object that reads it, and what tells that a source is of it."""

    home: str  # module below backfill.sources, and the name in it
    suffixes: tuple[str, ...] = ()  # of files
    schemes: tuple[str, ...] = ()  # of `source.database`, for formats that are databases
    live: bool = False  # a server answers: there is no file
    takes: tuple[str, ...] = ()  # of the settings below those that are for it


#: Settings of `source` that are for some formats only -> what those are called, and what to write.
SETTINGS = {
    "csv": ("csv and tsv files", ""),
    "excel": ("workbooks", ""),
    "fixed_width": ("fixed-width text", "say `format: fixed_width`"),
    "records": ("JSON documents", "say `format: json`, or leave it out"),
    "table": ("dumps and databases", "say which `format` the dump has"),
    "version": ("tables that keep their versions", "say `format: delta` or `format: iceberg`"),
}


FORMATS = {
    "csv": FormatEntry("csv:CSV", (".csv",), takes=("csv",)),
    "tsv": FormatEntry("csv:TSV", (".tsv", ".tab"), takes=("csv",)),
    "parquet": FormatEntry("parquet:PARQUET", (".parquet", ".pq")),
    "ndjson": FormatEntry("ndjson:NDJSON", (".ndjson", ".jsonl")),
    "json": FormatEntry("ndjson:JSON", (".json",), takes=("records",)),
    "mongoexport": FormatEntry("mongodb:MONGOEXPORT"),
    "bson": FormatEntry("mongodb:BSON", (".bson",)),
    "dynamodb": FormatEntry("dynamodb:DYNAMODB"),
    "arrow": FormatEntry("typed:ARROW", (".arrow", ".arrows", ".feather", ".ipc")),
    "avro": FormatEntry("typed:AVRO", (".avro",)),
    "excel": FormatEntry("typed:EXCEL", (".xlsx", ".xlsm", ".xls", ".ods"), takes=("excel",)),
    "fixed_width": FormatEntry("csv:FIXED_WIDTH", takes=("csv", "fixed_width")),
    "delta": FormatEntry("typed:DELTA", takes=("version",)),
    "iceberg": FormatEntry("typed:ICEBERG", takes=("version",)),
    "orc": FormatEntry("typed:ORC", (".orc",)),
    "mysqldump": FormatEntry("dumps.mysql:MYSQLDUMP", takes=("table",)),
    "pg_dump": FormatEntry("dumps:PG_DUMP", takes=("table",)),
    "sqlite_dump": FormatEntry("dumps:SQLITE_DUMP", takes=("table",)),
    "sqlite": FormatEntry("sqlite:SQLITE", schemes=("sqlite",), takes=("table",)),
    "duckdb": FormatEntry("databases.duckdb_file:DUCKDB", schemes=("duckdb",), takes=("table",)),
    "adbc": FormatEntry("databases.driver:ADBC", schemes=("adbc",), live=True, takes=("table",)),
    "postgresql": FormatEntry(
        "databases.postgres:POSTGRESQL", schemes=("postgresql", "postgres"), live=True, takes=("table",)
    ),
    "mysql": FormatEntry("databases.mysql:MYSQL", schemes=("mysql", "mariadb"), live=True, takes=("table",)),
}
#: Those that `source.format` can say: of files.
FILE_FORMATS = tuple(name for name, entry in FORMATS.items() if not entry.schemes)
#: Those that `source.database` can say, by their URL's scheme.
DATABASES = {scheme: name for name, entry in FORMATS.items() for scheme in entry.schemes}
#: File suffix -> format.
SUFFIXES = {suffix: name for name, entry in FORMATS.items() for suffix in entry.suffixes}
#: Suffixes of compressed files, and what compresses them so.
COMPRESSED = {
    ".gz": "gzip", ".zst": "zstd", ".bz2": "bzip2", ".xz": "xz", ".lz4": "lz4", ".sz": "snappy", ".snappy": "snappy",
}  # fmt: skip


def suffix_within(name: PurePath) -> str:
    """The suffix, in lower case, that tells the format: the one before a compression's."""
    suffix = name.suffix.lower()
    return PurePath(name.stem).suffix.lower() if suffix in COMPRESSED else suffix


def live_format(path: str) -> str | None:
    """The format of a SourceFile's path that is a server's URL; None for a file's path."""
    scheme, separator, _ = path.partition("://")
    name = DATABASES.get(scheme) if separator else None
    return name if name is not None and FORMATS[name].live else None
