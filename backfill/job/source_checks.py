"""What the parts of a source mean together; that it exists is found when it is opened."""

from __future__ import annotations

import codecs
from itertools import combinations
from pathlib import PurePath

from backfill.document import Faults, suggest
from backfill.job.database_checks import check_database
from backfill.job.expand import split_name
from backfill.job.file import SourceForm
from backfill.job.formats import FILE_FORMATS, FORMATS, SETTINGS, SUFFIXES, suffix_within
from backfill.job.models import ColumnSpec, CsvSpec
from backfill.job.remote import is_remote, remote_fault
from backfill.job.times import check_format, check_zone
from backfill.records import INTERNAL_PREFIX

_LATER_SCHEMES = ("hf", "ftp", "sftp", "hdfs", "r2", "minio")
#: Codecs of Python that no file of text is in.
_NO_ENCODINGS = (
    "utf-7",
    "unicode_escape",
    "raw_unicode_escape",
    "unicode-escape",
    "raw-unicode-escape",
    "punycode",
    "idna",
)
_OTHER_FORMATS = {
    ("jsonl", "json-lines", "jsonlines", "ldjson"): "write ndjson: one JSON object a line",
    ("txt", "text", "psv", "ssv", "dsv"): "write csv, and state its `csv: {delimiter: ...}`",
    ("pq", "parq"): "write parquet, and name the Parquet files in `path`",
    ("xlsx", "xlsm", "xls", "ods"): "write excel",
    ("xlsb", "xml"): "export it as CSV, Parquet or NDJSON",
    ("feather", "ipc"): "write arrow",
    ("mysql", "mariadb", "mariadb-dump", "mariadbdump", "dump"): "write mysqldump, and name the `table`",
    ("mongodb", "mongo", "mongodump"): "write mongoexport for lines or arrays of JSON, bson for files of mongodump",
    ("sqlite", "sqlite3", "db", "sql"): "a database has `database: sqlite:///shop.db` and a `query` in place of `path`",
}
_ENCODINGS = ("utf-8", "utf-16", "latin-1", "cp1252", "shift_jis", "gb18030")


def check_source(faults: Faults, source: SourceForm) -> None:
    """Note what is wrong with the source as written; that it exists is found when it is opened."""
    settled = (source.path is None) != (source.database is None)
    if not settled and not faults.is_broken("source.path", "source.database"):
        found = "both `path` and `database`" if source.path is not None else "neither `path` nor `database`"
        faults.add("source", f"has {found}; exactly one is wanted")
    if source.format is not None and source.format not in FILE_FORMATS:
        hint = (
            _format_hint(source.format)
            or suggest(source.format, FILE_FORMATS)
            or f"there are: {', '.join(FILE_FORMATS)}"
        )
        faults.add("source.format", f'there is no format "{source.format}"', hint)
    if source.members is not None and not all([source.members, *source.members]):
        faults.add("source.members", "is empty", 'write the name of a member, or a pattern such as "*.csv"')
    check_zone(faults, source.timezone, "source.timezone")
    if source.query is not None and not source.query.strip():
        faults.add("source.query", "is an empty query")
    check_paths(faults, source)
    check_columns_declared(faults, source)
    check_settings(faults, source)
    check_csv(faults, source)
    check_fixed_width(faults, source)
    check_table(faults, source)
    check_records(faults, source)
    if source.database is not None:
        check_database(faults, source)
    for name in ("partition_on", "partitions") if source.database is None else ():
        if getattr(source, name) is not None:
            faults.add(f"source.{name}", "goes with a live `database`", key=True)
    if source.files and source.query is None:
        faults.add(
            "source.files", "are read by nothing without a `query`", "add `query: SELECT ... FROM source JOIN ...`"
        )


def _format_hint(name: str) -> str:
    """What to do about a format of another name, or of another program."""
    bare = name.casefold().lstrip(".")
    inner = bare.removesuffix(".gz").removesuffix(".zst")
    if inner != bare and inner in FILE_FORMATS:
        return f"write {inner}: that a file is compressed shows by itself"
    return next((hint for names, hint in _OTHER_FORMATS.items() if bare in names), "")


def check_paths(faults: Faults, source: SourceForm) -> None:
    """Note paths that are empty or of a kind that this version cannot read."""
    several = isinstance(source.path, list)
    paths = [("source.path", source.path)] if isinstance(source.path, str) else []
    paths += [(f"source.path[{place}]", path) for place, path in enumerate(source.path or []) if several]
    if several and not source.path:
        faults.add("source.path", "is an empty list")
    for name in source.files:
        if name.casefold() == "source" or name.startswith(INTERNAL_PREFIX) or not name:
            faults.add(
                f"source.files.{name}", f'"{name}" cannot name a file: it is taken', "choose another name", key=True
            )
    for path, text in [*paths, *((f"source.files.{name}", text) for name, text in source.files.items())]:
        scheme = text.split("://")[0].casefold() if "://" in text else ""
        if not text.strip() or "\0" in text:
            faults.add(path, "is an empty path" if not text.strip() else "has a NUL character")
        elif scheme in _LATER_SCHEMES:
            hint = "there are s3://, gs://, az:// and https://; download anything else first"
            faults.add(path, f"{scheme}:// cannot be read", hint)
        elif is_remote(text) and (fault := remote_fault(text)):
            faults.add(path, *fault)
        elif text == "-" and (len(paths) > 1 or path.startswith("source.files.")):
            faults.add(path, "standard input stands alone", "save it to a file first")


def check_columns_declared(faults: Faults, source: SourceForm) -> None:
    """Note declared columns that cannot be."""
    seen: dict[str, str] = {}
    for name, declared in source.columns.items():
        path = f"source.columns.{name}"
        if not name or name.startswith(INTERNAL_PREFIX):
            faults.add(path, f"a column's name is not empty and does not begin with {INTERNAL_PREFIX}", key=True)
        other = seen.setdefault(name.casefold(), name)
        if other != name:
            faults.add(path, f'"{name}" and "{other}" differ in case only', "rename one in the source", key=True)
        if isinstance(declared, ColumnSpec):
            check_declared(faults, declared, path)


def check_declared(faults: Faults, declared: ColumnSpec, path: str) -> None:
    """Note what only a timestamp or a number can say, and formats and zones that do not exist."""
    if declared.decimal is not None and declared.type not in ("integer", "number", "decimal"):
        faults.add(f"{path}.decimal", "only an integer, a number or a decimal has `decimal`", key=True)
    if declared.type != "timestamp":
        for name in sorted(declared.model_fields_set - {"type", "decimal"}):
            faults.add(f"{path}.{name}", f"only a timestamp has `{name}`", key=True)
        return
    check_format(faults, declared.format, f"{path}.format")
    check_zone(faults, declared.timezone, f"{path}.timezone")


def check_settings(faults: Faults, source: SourceForm) -> None:
    """Note settings that are not for the format; where its files' names tell that, they are refused with the source."""
    entry = FORMATS.get(source.format or _by_suffix(source))
    takes = {"table"} if source.database is not None else set(SETTINGS) if entry is None else set(entry.takes)
    for name, (formats, hint) in SETTINGS.items():
        if name in source.model_fields_set and name not in takes:
            faults.add(f"source.{name}", f"is for {formats} only", hint, key=True)


def _by_suffix(source: SourceForm) -> str:
    """The format that the first path's suffix tells; empty where it tells none."""
    path = source.path[0] if isinstance(source.path, list) and source.path else source.path
    return SUFFIXES.get(suffix_within(PurePath(path)), "") if isinstance(path, str) else ""


def check_csv(faults: Faults, source: SourceForm) -> None:
    """Note settings that are not one character, and a header that nothing replaces."""
    csv = source.csv
    if csv is None:
        return
    check_signs(faults, csv)
    if not is_encoding(csv.encoding):
        hint = suggest(csv.encoding, _ENCODINGS) or f"for example {', '.join(_ENCODINGS)}"
        faults.add("source.csv.encoding", f'there is no encoding "{csv.encoding}" here', hint)
    if not csv.header and not source.columns:
        faults.add("source.csv.header", "without a header `columns` names the columns in order", "add `columns`")


def check_records(faults: Faults, source: SourceForm) -> None:
    """Note a way to the records that is none."""
    if source.records is not None and not all(split_name(source.records)):
        faults.add("source.records", "has an empty key on the way", "join the keys by dots: `data.items`")


def check_fixed_width(faults: Faults, source: SourceForm) -> None:
    """Note fixed-width text without widths, and what nothing divides such text by."""
    if source.format != "fixed_width":
        return
    if not source.fixed_width:
        faults.add("source", "fixed-width text has no header", "add `fixed_width: {id: 8, name: 30}`")
    for name in sorted((source.csv.model_fields_set if source.csv else set()) - {"encoding", "skip_lines", "comment"}):
        faults.add(f"source.csv.{name}", "means nothing in fixed-width text", key=True)


def check_table(faults: Faults, source: SourceForm) -> None:
    """Note files of several tables of which none is named."""
    if source.table is not None and not source.table.strip():
        faults.add("source.table", "is an empty name")
    elif source.table is None and source.format in FILE_FORMATS and "table" in FORMATS[source.format].takes:
        faults.add("source", f"a file of {source.format} holds several tables", "name one: `table: orders`")


def check_signs(faults: Faults, csv: CsvSpec) -> None:
    """Note signs that are not one character or stand for two things, and null values that no field can be."""
    names = ("delimiter", "quote", "escape", "comment")
    signs = {name: sign for name in names if (sign := getattr(csv, name)) is not None}
    if csv.quote == "":
        del signs["quote"]
    for name, sign in signs.items():
        if len(sign) != 1 or sign in "\r\n\0":
            hint = r'a tab is "\t" in double quotes' if sign else "leave it out"
            faults.add(f"source.csv.{name}", "is not one character", hint)
    for name, other in combinations(signs, 2):
        if signs[name] == signs[other] and (name, other) != ("quote", "escape"):
            second, first = (name, other) if other == "quote" else (other, name)
            faults.add(f"source.csv.{second}", f"is the {first} as well")
    if csv.c_escapes and csv.escape in (None, csv.quote):
        faults.add("source.csv.c_escapes", "goes with `escape`", r'add `escape: "\\"`')
    if csv.comment is not None and csv.escape not in (None, csv.quote):
        faults.add("source.csv.comment", "does not go with `escape`", "files with escapes have no comments")
    for place, value in enumerate(csv.null_values):
        _check_null(faults, csv, value, f"source.csv.null_values[{place}]")


def _check_null(faults: Faults, csv: CsvSpec, value: str, path: str) -> None:
    """Note a null value that no field without quotes can be."""
    own = csv.escape if csv.escape != csv.quote else None
    if own and own in value:
        if len(value) != len(r"\N") or value[0] != own or value[1] == own:
            faults.add(path, "holds the escape, and is not the escape and one character", r'such as "\\N"')
    elif (csv.quote and value.startswith(csv.quote)) or any(sign in value for sign in (csv.delimiter or "\n", *"\r\n")):
        faults.add(path, "can be no field without quotes", "fields in quotes are never null")


def is_encoding(name: str) -> bool:
    """Whether Python can decode text by that name, piece by piece.

    It also has codecs between bytes and bytes, and some that are for single names or literals: those are none.
    """
    try:
        codec = codecs.lookup(name)
        return codec.name not in _NO_ENCODINGS and "a,1\n".encode(name).decode(name) == "a,1\n"
    except (LookupError, UnicodeError, ValueError):
        return False
