"""JSON objects: one a line (NDJSON), elements of arrays, pretty-printed or concatenated documents.

texts (a file's records as text, by lines or documents) -> groups (alike, where the objects have the same keys, else
judged) -> records (those that are valid) -> members or key_columns (keys and values as columns) -> reader. The first
bytes of some files are read for a guess of the columns, then all for the rows; where the guess was wrong, or the job
names a column that the first bytes do not have, all is read once more.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

from backfill.job.models import Job
from backfill.records import SourceFile
from backfill.sources.origins.content import Watch, unwatched
from backfill.sources.reader import Described, Format, Reader

if TYPE_CHECKING:
    from backfill.sources.ndjson.texts import Texts


class Ndjson(Format):
    """JSON objects, in whatever way a file parts them."""

    snapshot_per_byte = 0.12
    spool_per_byte = 0.3
    #: The files are texts, so that a record has a line.
    has_lines: ClassVar[bool] = True

    def open(
        self, job: Job, files: Sequence[SourceFile], *, watch: Watch = unwatched, sample: int | None = None
    ) -> Reader:
        """A reader whose columns are guessed by the beginnings of some files."""
        from backfill.sources.ndjson.reader import open_ndjson

        return open_ndjson(job, files, watch, self.texts(job), sample)

    def describe(self, job: Job, files: Sequence[SourceFile]) -> Described:
        """The columns by the beginnings of some files."""
        from backfill.sources.ndjson.reader import NdjsonReader

        reader = NdjsonReader(job, files, unwatched, self.texts(job), sampled=True)
        return Described(reader.columns, reader.complete, reader.seen, reader.assumed)

    def lines(self, file: SourceFile, job: Job, records: Sequence[int]) -> dict[int, int]:
        """The line that each record begins in."""
        places, found = set(records), dict[int, int]()
        if not self.has_lines:
            return found
        for record, line in enumerate(self.texts(job).of(file, unwatched, None).records, 1):
            if record in places:
                found[record] = line.number
            if record == records[-1]:
                break
        return found

    def texts(self, job: Job) -> Texts:
        """What parts a file into records."""
        from backfill.sources.ndjson.texts import JsonTexts
        from backfill.sources.ndjson.types import PlainTypes, TextTypes

        return JsonTexts(job.source.records, TextTypes() if job.source.all_text else PlainTypes())


JSON, NDJSON = Ndjson("json"), Ndjson("ndjson")
