"""NDJSON: one JSON object a line, or what other tools call that: arrays, concatenated and pretty-printed objects.

lines (a file's records as text) -> records (those that are valid) -> members (keys and values as columns) -> reader.
The beginnings of some files are read for a guess of the columns, then all for the rows; where the guess was wrong, or
the job names a column that the beginnings do not have, all is read once more.
"""

from __future__ import annotations

from collections.abc import Sequence

from backfill.job.models import Job
from backfill.records import SourceFile
from backfill.sources.origins.content import Watch, origin_of, plain_pieces, unwatched
from backfill.sources.reader import Described, Format, Reader


class Ndjson(Format):
    """JSON objects."""

    snapshot_per_byte = 0.12
    spool_per_byte = 0.3

    def open(
        self, job: Job, files: Sequence[SourceFile], *, watch: Watch = unwatched, sample: int | None = None
    ) -> Reader:
        """A reader whose columns are guessed by the beginnings of some files."""
        from backfill.sources.ndjson.reader import open_ndjson

        return open_ndjson(job, files, watch, sample)

    def describe(self, job: Job, files: Sequence[SourceFile]) -> Described:
        """The columns by the beginnings of some files."""
        from backfill.sources.ndjson.reader import NdjsonReader

        reader = NdjsonReader(job, files, unwatched, sampled=True)
        return Described(reader.columns, reader.complete, reader.seen, reader.assumed)

    def lines(self, file: SourceFile, job: Job, records: Sequence[int]) -> dict[int, int]:
        """The line that each record begins in."""
        from backfill.sources.ndjson.lines import records_in

        del job
        places, found = set(records), {}
        for record, line in enumerate(records_in(plain_pieces(origin_of(file)), file.name), 1):
            if record in places:
                found[record] = line.number
            if record == records[-1]:
                break
        return found


NDJSON = Ndjson("ndjson")
