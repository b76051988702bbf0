"""Lines of records, looked up when a problem is shown."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from backfill.job.models import Job
from backfill.records import SourceFile
from backfill.sources.formats import format_of
from backfill.sources.ndjson.lines import records_in
from backfill.sources.origins.content import plain_pieces
from backfill.sources.origins.stamps import unchanged


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
    from backfill.sources.csv.reader import lines_of  # pyarrow

    return lines_of(file, job, kind, wanted)


def _ndjson_lines(file: SourceFile, wanted: Sequence[int]) -> dict[int, int]:
    """The lines of the wanted records (ascending) of an NDJSON file."""
    places = set(wanted)
    found = {}
    for record, line in enumerate(records_in(plain_pieces(Path(file.path)), file.name), 1):
        if record in places:
            found[record] = line.number
        if record == wanted[-1]:
            break
    return found
