"""How much disk a run will need: a forecast before it is written, corrected meanwhile."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from backfill.errors import JobError
from backfill.frozen import frozen
from backfill.job.formats import COMPRESSED, suffix_within
from backfill.job.leaves import expression_columns
from backfill.job.models import Job
from backfill.records import SourceFile
from backfill.sources import locate
from backfill.sources.foreign import ARCHIVES
from backfill.sources.formats import format_named, format_of
from backfill.sources.origins.standard_input import STANDARD_INPUT
from backfill.sources.reader import Format

# Measured on 1 M rows of 13 columns: 106 MB as CSV, 25 to 40 MB as CSV.gz, 289 MB as NDJSON, 31 MB as Parquet. The
# snapshot is then 31 MB, 45 MB where columns are declared (their text is kept beside them), the spool 84 MB. What that
# makes for each byte of source is said by the formats.
#: Plain bytes in one that is compressed.
PLAIN_PER_COMPRESSED_BYTE = 4.6
#: So much larger is a snapshot with the text of declared columns.
WITH_RAW_TEXT = 1.5
#: Never fill the disk to the last byte: the ledger and everybody else need some.
RESERVE_BYTES = 64_000_000


@frozen
class Forecast:
    """About how many bytes staging and preparing will take."""

    snapshot: int  # while it is made, which is more than it has in the end
    spool: int
    most: int | None = None  # of the spool; None: all of it

    @property
    def bytes(self) -> int:
        """All that has to be free before staging begins."""
        return self.left(0)

    def with_room(self, most: int | None) -> Forecast:
        """The same where at most so many bytes of the spool stay on this machine; None: all of them."""
        return self if most is None else Forecast(self.snapshot, self.spool, most)

    def left(self, written: int) -> int:
        """What has to be free still, once staging has written so much: where that is beyond the forecast, all grows."""
        beyond = max(written / self.snapshot, 1.0) if self.snapshot else 1.0
        spool = self.spool * beyond
        return int(max(self.snapshot - written, 0) + min(spool, self.most or spool)) + RESERVE_BYTES


def forecast(job: Job, files: Sequence[SourceFile]) -> Forecast:
    """The forecast for these files, by their size and format and by what the job has done with them."""
    snapshot = spool = 0.0
    for file in files:
        kind = _format(job, file)
        plain = file.bytes * (PLAIN_PER_COMPRESSED_BYTE if file.path.endswith(tuple(COMPRESSED)) else 1.0)
        snapshot += plain * _snapshot_factor(job, kind, remote=bool(file.pin))
        spool += plain * kind.spool_per_byte
    return Forecast(int(snapshot), int(spool))


def files_at_once(job: Job) -> Sequence[SourceFile]:
    """The files of a source whose sizes a look at folders tells; none of a store, a database or an archive.

    Raises:
        SourceError: One is missing, or the only one and empty.
        JobError: The source is of a kind that is not supported.
    """
    source = job.source
    apart = any("://" in path or suffix_within(Path(path)) in ARCHIVES for path in source.path)
    if source.database is not None or source.members or apart or STANDARD_INPUT in source.path:
        return ()
    return locate(job)


def _format(job: Job, file: SourceFile) -> Format:
    try:
        return format_of(job, file.path)
    except JobError:  # which staging will raise
        return format_named("csv")


def _snapshot_factor(job: Job, kind: Format, *, remote: bool) -> float:
    """Bytes that staging writes for each plain byte of a file of that format, at the most at one time."""
    source = job.source
    declared = any(spec.type != "text" for spec in source.columns.values()) or bool(job.time_columns())
    computed = job.where is not None or source.query is not None or bool(expression_columns(job))
    if kind.may_stay and not (declared or computed or remote):
        return 0.0  # read where it is
    factor = kind.snapshot_per_byte * (WITH_RAW_TEXT if declared else 1.0)
    # The rows, and beside them the result of the query.
    return factor * 2 if source.query is not None else factor


def measure_folder(folder: Path) -> int:
    """Bytes of the files that staging has written so far; what DuckDB keeps there meanwhile is left out."""
    total = 0
    for path in folder.rglob("*"):
        if path.parent.name != "spill":
            try:
                total += path.stat().st_size
            except FileNotFoundError:  # a part was just replaced
                continue
    return total


def spool_bytes(*, rows_left: int, rows_done: int, bytes_done: int, most: int | None = None) -> int:
    """About how many bytes the rest of preparing will take, going by the shards done; no more than `most` stay here."""
    left = rows_left * bytes_done // max(rows_done, 1)
    return (left if most is None else min(left, most)) + RESERVE_BYTES
