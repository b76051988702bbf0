"""Lines of records, looked up when a problem is shown."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

from backfill.job.models import Job
from backfill.records import SourceFile
from backfill.sources.checksum import plain_pieces
from backfill.sources.delimited import delimiter, dialect, encoding, first_record, is_utf8
from backfill.sources.files import format_of, unchanged
from backfill.sources.json_lines import lines
from backfill.sources.lines import record_starts
from backfill.sources.rewrite import rewrite
from backfill.sources.survey import survey


def line_of(file: SourceFile, job: Job, records: Sequence[int]) -> dict[int, int]:
    """The line, from 1, that each of those records of a text file begins at.

    The file is read again, so nothing is told of one that has changed since, and nothing of formats without lines.
    Records are numbered as problems number them.
    """
    kind = format_of(job, file.path)
    if kind not in ("csv", "tsv", "ndjson") or not records or not unchanged(file):
        return {}
    wanted = sorted(set(records))
    if kind == "ndjson":
        return _ndjson_lines(file, wanted)
    spec = job.source.csv
    header = 1 if spec.header else 0
    with tempfile.TemporaryDirectory(prefix="backfill-") as folder:
        path = Path(file.path)
        if not is_utf8(spec):
            path = Path(folder) / "utf-8"
            rewrite(Path(file.path), path, spec, delimiter(job, kind), encoding(spec))
        seen = survey(path, spec.quote)
        if not seen.odd_lines and seen.empty_lines == seen.leading_empty_lines:
            return {record: record + header + seen.leading_empty_lines for record in wanted}
        starts = record_starts(path, dialect(spec, delimiter(job, kind)))
        single = len(first_record(path, job, kind)) == 1
        return _pick(starts, wanted, header, keep_empty=single)


def _pick(
    starts: Iterable[tuple[int, bool]], wanted: Sequence[int], header: int, *, keep_empty: bool
) -> dict[int, int]:
    """The lines of the wanted records (ascending), given each record's or empty line's first line in order."""
    found: dict[int, int] = {}
    number = -header
    for line, is_empty in starts:
        if is_empty and not (keep_empty and number >= 0):
            continue
        number += 1
        if number == wanted[len(found)]:
            found[number] = line
            if len(found) == len(wanted):
                break
    return found


def _ndjson_lines(file: SourceFile, wanted: Sequence[int]) -> dict[int, int]:
    """The lines of the wanted records (ascending) of an NDJSON file."""
    places = set(wanted)
    found = {}
    for record, line in enumerate(lines(plain_pieces(Path(file.path))), 1):
        if record in places:
            found[record] = line.number
        if record == wanted[-1]:
            break
    return found
