"""DynamoDB's export to S3, in DynamoDB JSON: `{"Item": {"id": {"S": "a"}, "n": {"N": "1.10"}}}` a line.

By https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/S3DataExport.Output.html.

items (records as plain JSON
in which the types that JSON lacks are marked) -> the records, members and reader of JSON objects. Where the files hold
the export's manifest, all data files that it lists have to be there, with the MD5 and as many items as it says: their
stored bytes are read once more for that.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from backfill.job.models import Job
from backfill.records import SourceFile
from backfill.sources.ndjson import Ndjson
from backfill.sources.origins.content import Watch, unwatched
from backfill.sources.reader import Reader

if TYPE_CHECKING:
    from backfill.sources.ndjson.texts import Texts


class Dynamodb(Ndjson):
    """An export of a table in full."""

    def open(
        self, job: Job, files: Sequence[SourceFile], *, watch: Watch = unwatched, sample: int | None = None
    ) -> Reader:
        """A reader, after the files were compared with the export's manifest."""
        from backfill.sources.dynamodb.items import DynamoTexts
        from backfill.sources.dynamodb.manifest import check_md5, manifest_of
        from backfill.sources.ndjson.reader import open_ndjson

        listed = manifest_of(files)
        for file in files if sample is None else ():
            if file.path in listed:
                check_md5(file, listed[file.path].md5, watch)
        return open_ndjson(job, files, watch, DynamoTexts(listed), sample)

    def data_files(self, job: Job, path: Path) -> Sequence[Path] | None:
        """Of a manifest's path, the manifests and the data files beside it; the reader compares them."""
        del job
        if path.name not in ("manifest-files.json", "manifest-summary.json") or not path.is_file():
            return None
        return [*sorted(path.parent.glob("manifest-*.json")), *sorted((path.parent / "data").glob("[!.]*"))]

    def texts(self, job: Job) -> Texts:
        """Its items, uncounted."""
        from backfill.sources.dynamodb.items import DynamoTexts

        del job
        return DynamoTexts()


DYNAMODB = Dynamodb("dynamodb")
