"""The formats that a job file can name: one line each. What is behind a name is in backfill.sources."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class FormatEntry:
    """One format: the object that reads it, and what tells that a source is of it."""

    home: str  # module below backfill.sources, and the name in it
    suffixes: tuple[str, ...] = ()  # of files
    scheme: str = ""  # of `source.database`, for formats that are databases
    takes_csv: bool = False  # the settings under `csv` are for it
    takes_excel: bool = False  # likewise under `excel`
    takes_table: bool = False  # files of it hold several tables, of which `table` names one
    takes_records: bool = False  # `records` can say where in its documents they stand


FORMATS = {
    "csv": FormatEntry("csv:CSV", (".csv",), takes_csv=True),
    "tsv": FormatEntry("csv:TSV", (".tsv", ".tab"), takes_csv=True),
    "parquet": FormatEntry("parquet:PARQUET", (".parquet", ".pq")),
    "ndjson": FormatEntry("ndjson:NDJSON", (".ndjson", ".jsonl")),
    "json": FormatEntry("ndjson:JSON", (".json",), takes_records=True),
    "arrow": FormatEntry("typed:ARROW", (".arrow", ".arrows", ".feather", ".ipc")),
    "avro": FormatEntry("typed:AVRO", (".avro",)),
    "excel": FormatEntry("typed:EXCEL", (".xlsx", ".xlsm", ".xls", ".ods"), takes_excel=True),
    "orc": FormatEntry("typed:ORC", (".orc",)),
    "pg_dump": FormatEntry("dumps:PG_DUMP", takes_table=True),
    "sqlite_dump": FormatEntry("dumps:SQLITE_DUMP", takes_table=True),
    "sqlite": FormatEntry("sqlite:SQLITE", scheme="sqlite"),
}
#: Those that `source.format` can say: of files.
FILE_FORMATS = tuple(name for name, entry in FORMATS.items() if not entry.scheme)
#: Those that `source.database` can say, by their URL's scheme.
DATABASES = {entry.scheme: name for name, entry in FORMATS.items() if entry.scheme}
#: File suffix -> format.
SUFFIXES = {suffix: name for name, entry in FORMATS.items() for suffix in entry.suffixes}
