"""The formats that a job file can name: one line each. What is behind a name is in backfill.sources."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class FormatEntry:
    """One format: the object that reads it, and what tells that a source is of it."""

    home: str  # module below backfill.sources, and the name in it
    suffixes: tuple[str, ...] = ()  # of files
    schemes: tuple[str, ...] = ()  # of `source.database`, for formats that are databases
    live: bool = False  # a server answers: there is no file
    takes_csv: bool = False  # the settings under `csv` are for it
    takes_excel: bool = False  # likewise under `excel`
    takes_version: bool = False  # `version` says which state of the table
    takes_table: bool = False  # files of it hold several tables, of which `table` names one
    takes_records: bool = False  # `records` can say where in its documents they stand


FORMATS = {
    "csv": FormatEntry("csv:CSV", (".csv",), takes_csv=True),
    "tsv": FormatEntry("csv:TSV", (".tsv", ".tab"), takes_csv=True),
    "parquet": FormatEntry("parquet:PARQUET", (".parquet", ".pq")),
    "ndjson": FormatEntry("ndjson:NDJSON", (".ndjson", ".jsonl")),
    "json": FormatEntry("ndjson:JSON", (".json",), takes_records=True),
    "mongoexport": FormatEntry("mongodb:MONGOEXPORT"),
    "bson": FormatEntry("mongodb:BSON", (".bson",)),
    "dynamodb": FormatEntry("dynamodb:DYNAMODB"),
    "arrow": FormatEntry("typed:ARROW", (".arrow", ".arrows", ".feather", ".ipc")),
    "avro": FormatEntry("typed:AVRO", (".avro",)),
    "excel": FormatEntry("typed:EXCEL", (".xlsx", ".xlsm", ".xls", ".ods"), takes_excel=True),
    "fixed_width": FormatEntry("csv:FIXED_WIDTH", takes_csv=True),
    "delta": FormatEntry("typed:DELTA", takes_version=True),
    "iceberg": FormatEntry("typed:ICEBERG", takes_version=True),
    "orc": FormatEntry("typed:ORC", (".orc",)),
    "mysqldump": FormatEntry("dumps.mysql:MYSQLDUMP", takes_table=True),
    "pg_dump": FormatEntry("dumps:PG_DUMP", takes_table=True),
    "sqlite_dump": FormatEntry("dumps:SQLITE_DUMP", takes_table=True),
    "sqlite": FormatEntry("sqlite:SQLITE", schemes=("sqlite",)),
    "duckdb": FormatEntry("databases.duckdb_file:DUCKDB", schemes=("duckdb",)),
    "adbc": FormatEntry("databases.driver:ADBC", schemes=("adbc",), live=True),
    "postgresql": FormatEntry("databases.postgres:POSTGRESQL", schemes=("postgresql", "postgres"), live=True),
    "mysql": FormatEntry("databases.mysql:MYSQL", schemes=("mysql", "mariadb"), live=True),
}
#: Those that `source.format` can say: of files.
FILE_FORMATS = tuple(name for name, entry in FORMATS.items() if not entry.schemes)
#: Those that `source.database` can say, by their URL's scheme.
DATABASES = {scheme: name for name, entry in FORMATS.items() for scheme in entry.schemes}
#: File suffix -> format.
SUFFIXES = {suffix: name for name, entry in FORMATS.items() for suffix in entry.suffixes}


def live_format(path: str) -> str | None:
    """The format of a SourceFile's path that is a server's URL; None for a file's path."""
    scheme, separator, _ = path.partition("://")
    name = DATABASES.get(scheme) if separator else None
    return name if name is not None and FORMATS[name].live else None
