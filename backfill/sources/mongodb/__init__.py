"""MongoDB's exports: `mongoexport` (extended JSON) and `mongodump` (BSON), read into the same rows.

texts (a file's records, as plain JSON in which the types that JSON lacks are marked) -> the records, members and reader
of JSON objects, which see a column's type by the marks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from backfill.job.models import Job
from backfill.sources.ndjson import Ndjson

if TYPE_CHECKING:
    from backfill.sources.ndjson.texts import Texts


class Mongoexport(Ndjson):
    """Extended JSON."""

    def texts(self, job: Job) -> Texts:
        """Its records."""
        from backfill.sources.mongodb.texts import ExtendedTexts

        del job
        return ExtendedTexts()


class Bson(Ndjson):
    """Documents of BSON."""

    has_lines = False

    def begins(self, head: bytes) -> bool:
        """The length of a document, and the type and name of its first value (https://bsonspec.org/spec.html)."""
        length, kind, name = int.from_bytes(head[:4], "little"), head[4:5], head[5:]
        return 5 <= length < 2**25 and (kind == b"\0" or (b"\0" in name and b"\1" <= kind <= b"\x13"))  # noqa: PLR2004

    def texts(self, job: Job) -> Texts:
        """Its records."""
        from backfill.sources.mongodb.texts import BsonTexts

        del job
        return BsonTexts()


MONGOEXPORT, BSON = Mongoexport("mongoexport"), Bson("bson")
