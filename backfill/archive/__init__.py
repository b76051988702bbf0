"""The archive of delivered ids: which message ids one job has delivered to one target, and where each of them went.

One folder for each (job, target, id_scope), whatever the generation: ids are ids. It is an index over the ledgers and
calls files of all runs, so it can be made again from those; but it outlives them, too.
"""

from backfill.archive.archive import DELIVERED_FOLDER, Archive, ArchiveReader, archive_folder
from backfill.archive.columns import Piece
from backfill.archive.shared import SharedArchive

__all__ = ["DELIVERED_FOLDER", "Archive", "ArchiveReader", "Piece", "SharedArchive", "archive_folder"]
