"""The first rows of a source, staged by the same code as all of it, into a folder that is gone afterwards.

What is seen of them is what a run would do with them. Only a full read tells of the rest.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import polars as pl

from backfill import __version__
from backfill.disk import TEMPORARY_FOLDERS
from backfill.frozen import frozen
from backfill.job.models import Job
from backfill.limits import Limits
from backfill.memory import STAGING_MEMORY_BYTES
from backfill.pipeline.context import RunContext
from backfill.pipeline.stage import unreadable_samples
from backfill.prepare import preview
from backfill.prepare.frames import Frames
from backfill.prepare.masks import Masks
from backfill.prepare.rows import PreviewRow
from backfill.records import FILE_COLUMN, RECORD_COLUMN, Problem, Snapshot, SourceFile
from backfill.sources import first_rows, locate, resolve, stage
from backfill.sources.files import beginning
from backfill.sources.origins.archives import discard_copies
from backfill.sources.origins.fetched import OBJECT_COPIES
from backfill.sources.origins.standard_input import STANDARD_INPUT
from backfill.sources.sql.kept import KeptEngine

#: Where `where` lets too few rows through, at most this many times as many are read next.
MORE = 16


@frozen
class Preview:
    """The first rows of a source and what becomes of them."""

    rows: list[PreviewRow]
    read: int  # records gone through for them
    filtered: int
    unreadable: tuple[Problem, ...]  # some of those that cannot be read as rows
    files: tuple[SourceFile, ...]  # those looked at


@contextmanager
def sample_folder() -> Iterator[Path]:
    """A folder of the owner's alone, outside of any state directory; gone with all in it afterwards."""
    with TEMPORARY_FOLDERS.opened() as folder:
        yield folder


def sample(
    job: Job,
    folder: Path,
    rows: int,
    context: RunContext,
    files: Sequence[SourceFile] | None = None,
    kept: KeptEngine | None = None,
) -> Snapshot:
    """A snapshot that has at least the first `rows` rows that `where` lets through, or all there are.

    With `files`, no others are looked at. A `kept` engine, whose folder is this one, is used in place of others.

    Raises:
        SourceError: The source cannot be read.
        JobError: The job does not fit it.
        StoppedError: The disk is full.
        InterruptedRunError: A signal came.
    """
    files = files_of(job, folder, context) if files is None else files
    wanted = None if job.needs_all else rows if job.where is None else rows + rows // 4
    context.progress.begin("stage", None, "rows")
    context.staging.set()
    try:
        while True:
            snapshot = stage(
                job,
                folder / f"snapshot-{wanted}",
                files=files,
                memory_bytes=STAGING_MEMORY_BYTES,
                sample=wanted,
                progress=context.progress.advance,
                stopping=context.stop.is_set,
                kept=kept,
            )
            if wanted is None or snapshot.rows >= rows or snapshot.read < wanted:
                return snapshot
            wanted = more(wanted, snapshot.rows, rows)
    finally:
        OBJECT_COPIES.discard()
        discard_copies()
        context.staging.clear()
        context.progress.end()


def more(read: int, passed: int, rows: int) -> int:
    """How many records to read where of `read` only `passed` go through and `rows` are wanted: a fourth to spare."""
    return min(MORE * read, 5 * read * rows // (4 * max(passed, 1)) + 1)


def files_of(job: Job, folder: Path, context: RunContext) -> tuple[SourceFile, ...]:
    """The source's files, unread where they can be read twice: their hashes are not wanted."""
    if STANDARD_INPUT in job.source.path:
        return resolve(job, folder=folder, stopping=context.stop.is_set)
    return locate(job, stopping=context.stop.is_set)


def first_files(job: Job, files: Sequence[SourceFile]) -> Sequence[SourceFile]:
    """Those of a source's files that a sample is made of."""
    return files if job.needs_all else beginning(job, files)


def preview_job(
    job: Job, context: RunContext, rows: int, *, id_scope: str, limits: Limits, record: int | None = None
) -> Preview:
    """The first rows of a job's source, or those of that `record` of it, and what becomes of them.

    Raises as `sample` does.
    """
    with sample_folder() as folder:
        files = first_files(job, files_of(job, folder, context))
        if record is None:
            found = sample(job, folder, rows + 1, context, files)  # readers read on to the end of what they hold
            snapshot, first = first_rows(job, found, rows, folder / "unreadable"), 0
        else:
            snapshot = sample(job, folder, record, context, files)
            first, rows = rows_of_record(snapshot, record)
        shown = preview(
            job,
            snapshot,
            id_scope=id_scope,
            library_version=__version__,
            now=time.time(),
            first=first,
            rows=rows,
            limits=limits,
        )
        unreadable = tuple(map(Masks.of(job, snapshot).problem, unreadable_samples(snapshot)))
        return Preview(shown, snapshot.read, snapshot.filtered, unreadable, snapshot.files)


def rows_of_record(snapshot: Snapshot, record: int) -> tuple[int, int]:
    """From which row to before which the rows of a record of the first file are; of none where it makes none."""
    frames = Frames(snapshot, limit=None)
    if not frames.rows:
        return 0, 0
    columns = frames.read(0, frames.rows, (FILE_COLUMN, RECORD_COLUMN))
    found = columns.select(((pl.col(FILE_COLUMN) == 0) & (pl.col(RECORD_COLUMN) == record)).arg_true()).to_series()
    return (int(found[0]), int(found[-1]) + 1) if len(found) else (0, 0)
