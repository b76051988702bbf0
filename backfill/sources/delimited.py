"""CSV and TSV: header, reading clause, and what DuckDB rejects."""

from __future__ import annotations

import codecs
import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from backfill.errors import JobError, SourceError, counted
from backfill.job.models import CsvSpec, Job
from backfill.records import SourceFile
from backfill.sources.checksum import plain_pieces
from backfill.sources.files import nothing_in
from backfill.sources.survey import whole_line_ends

#: A record longer than this is rejected as too long.
MAX_RECORD_BYTES = 4 * 2**20
#: What a thread reads at once; stated, so that no setting changes where DuckDB cuts a file.
BUFFER_BYTES = 16 * 2**20
#: Why a record is rejected: DuckDB's name for it -> the problem's code and message.
REJECTIONS = {
    "MISSING COLUMNS": ("BF001", "too few fields"),
    "TOO MANY COLUMNS": ("BF002", "too many fields"),
    "UNQUOTED VALUE": ("BF003", "broken quotes"),
    "INVALID ENCODING": ("BF004", "bytes that are not in the file's encoding"),
    "LINE SIZE OVER MAXIMUM": ("BF006", "the record is too long"),
    "INVALID STATE": ("BF003", "broken quotes"),
}
csv.field_size_limit(2**31 - 1)


def delimiter(job: Job, kind: str) -> str:
    """The delimiter as the job states it, or as the format has it."""
    return job.source.csv.delimiter or ("\t" if kind == "tsv" else ",")


def encoding(spec: CsvSpec) -> str:
    """Python's own name of the stated encoding; raises JobError for one that nobody knows."""
    try:
        return codecs.lookup(spec.encoding).name
    except LookupError:
        raise JobError(
            f"source.csv.encoding: {spec.encoding!r} is no known encoding", hint="for example utf-8, utf-16, cp1252"
        ) from None


def is_utf8(spec: CsvSpec) -> bool:
    """DuckDB reads the file as it is; anything else is rewritten first."""
    return encoding(spec) in ("utf-8", "utf-8-sig", "ascii")


def first_record(path: Path, job: Job, kind: str, *, utf8: bool = True) -> list[str]:
    """The fields of the first record of a file, in UTF-8 or the job's encoding; none where there is none."""
    spec = job.source.csv
    codec = "utf-8" if utf8 else encoding(spec)
    head = next(whole_line_ends(plain_pieces(path)), b"")
    text = codecs.getincrementaldecoder(codec)("replace").decode(head).removeprefix("\ufeff")
    reader = csv.reader(io.StringIO(text, newline=""), **dialect(spec, delimiter(job, kind)))
    return next((row for row in reader if row), [])


def dialect(spec: CsvSpec, separator: str) -> dict[str, Any]:
    """The same dialect for Python's csv module."""
    if not spec.quote:
        return {"delimiter": separator, "quoting": csv.QUOTE_NONE}
    escaped = spec.escape not in (None, "", spec.quote)
    return {
        "delimiter": separator,
        "quotechar": spec.quote,
        "doublequote": not escaped,
        "escapechar": spec.escape if escaped else None,
    }


def column_names(path: Path, name: str, job: Job, kind: str, *, utf8: bool = True) -> list[str]:
    """The file's column names: its header, or the job's `columns` in order; none where it has no record."""
    spec = job.source.csv
    fields = first_record(path, job, kind, utf8=utf8)
    if not fields:
        return []
    if not spec.header:
        if not job.source.columns:
            raise JobError(
                "source.csv.header is false, and `columns` names no columns",
                hint="list every column of the file under `source.columns`, in its order",
            )
        if len(fields) != len(job.source.columns):
            there = counted(len(fields), "column", "columns")
            raise JobError(
                f"{name} has {there}, and `columns` names {len(job.source.columns)}",
                hint="without a header, list every column of the file under `source.columns`, in its order",
            )
        return list(job.source.columns)
    if "" in fields:
        place = fields.index("") + 1
        raise SourceError(f"{name}: column {place} of the header has no name", hint="give it one, or header: false")
    return fields


def header_names(files: Sequence[SourceFile], job: Job, kind: str) -> list[str]:
    """The source's column names by the headers alone; raises as staging would."""
    codec_is_utf8 = is_utf8(job.source.csv)
    named = [(file, column_names(Path(file.path), file.name, job, kind, utf8=codec_is_utf8)) for file in files]
    filled = [(file.name, names) for file, names in named if names]
    if not filled:
        raise nothing_in(files, job)
    same_names(filled)
    return filled[0][1]


def same_names(named: Sequence[tuple[str, Sequence[str]]]) -> None:
    """Raise SourceError where a file has other columns than the first one; their order may differ."""
    leader, first = named[0]
    for name, columns in named:
        lost, new = set(first) - set(columns), set(columns) - set(first)
        if lost or new:
            said = [f"lacks {', '.join(sorted(lost))}"] * bool(lost) + [f"has {', '.join(sorted(new))}"] * bool(new)
            raise SourceError(
                f"{name} {' and '.join(said)}, unlike {leader}",
                hint="files of one source have the same columns: stage others with a job of their own",
            )
