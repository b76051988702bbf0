"""The two ways into a source: `stage` freezes its rows in a snapshot, `inspect` looks at its columns and the SQL."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path

from backfill.disk import make_folder
from backfill.job.models import Job
from backfill.records import Snapshot, SourceFile
from backfill.sources.files import OBJECTS, beginning, extra_files, locate, look_through, resolve
from backfill.sources.formats import one_format
from backfill.sources.origins.archives import container, discard_copies
from backfill.sources.origins.content import Watch, ignore_progress, never, until
from backfill.sources.origins.fetched import OBJECT_COPIES
from backfill.sources.origins.stamps import while_unchanged
from backfill.sources.reader import InPlace
from backfill.sources.schema import Schema
from backfill.sources.snapshot import save_snapshot
from backfill.sources.sql.kept import KeptEngine, kept_engine

#: What to do about a file that changed while it was read.
STILL = "run again once nothing writes to it"


def stage(
    job: Job,
    folder: Path,
    *,
    files: Sequence[SourceFile] | None = None,
    memory_bytes: int | None = None,
    threads: int | None = None,
    sample: int | None = None,
    progress: Callable[[int, int], None] = ignore_progress,
    stopping: Callable[[], bool] = never,
    kept: KeptEngine | None = None,
) -> Snapshot:
    """Freeze the source in `folder`, which is the snapshot's own, and return the snapshot once it is durable.

    `files` are what `resolve` gave, where that was done before. `progress` gets the rows so far and the
    bytes of all passes over the source, from this thread. An unfinished snapshot in the folder is started afresh.
    With `sample`, only about that many of the first rows are wanted: readers read no further than these need.
    A `kept` engine, whose folder this one lies in, is used in place of one of its own.

    Raises:
        SourceError: the source is missing, corrupt, truncated, or changed while it was read.
        JobError: the job's SQL or columns do not fit the source.
        InterruptedRunError: `stopping` became true.
        StoppedError: the disk or the memory given is full.
    """
    make_folder(folder)
    resolved = tuple(files) if files is not None else resolve(job, folder=folder, stopping=stopping)
    with _copies(folder, until(stopping), keep=sample is not None), while_unchanged(resolved, STILL):
        own, _ = extra_files(job, resolved)
        found = _in_place(job, own)
        if found is not None and found.is_sound(until(stopping, _passed(progress)), sample):
            snapshot = found.snapshot()
            progress(snapshot.rows, sum(file.bytes for file in resolved))
        else:
            from backfill.sources.freeze import freeze_source  # DuckDB

            snapshot = freeze_source(
                job,
                folder,
                resolved,
                memory_bytes=memory_bytes,
                threads=threads,
                sample=sample,
                progress=progress,
                stopping=stopping,
                kept=kept,
            )
    save_snapshot(snapshot, folder)
    shutil.rmtree(folder / "spill", ignore_errors=True)
    return snapshot


def _in_place(job: Job, files: Sequence[SourceFile]) -> InPlace | None:
    """The files as their own snapshot, if they can be: copies of objects, and of what lies in archives, pass."""
    kind = one_format(job, files)
    stay = not any(file.pin or container(file.path) != file.path for file in files)
    return kind.in_place(job, files) if stay and job.latest is None and job.explode is None else None


@contextmanager
def _copies(folder: Path, watch: Watch, *, keep: bool) -> Iterator[None]:
    """Keep copies of objects below the folder, and remove all copies in the end; `keep`: more will be read of them."""
    with OBJECT_COPIES.kept_in(folder / OBJECTS, watch, looking=keep):
        try:
            yield
        finally:
            if not keep:
                OBJECT_COPIES.discard()
                discard_copies()


def _passed(progress: Callable[[int, int], None]) -> Callable[[int], None]:
    """A watch that tells the progress of the bytes of a pass."""
    done = 0

    def tell(size: int) -> None:
        nonlocal done
        done += size
        progress(0, done)

    return tell


def inspect(job: Job, *, stopping: Callable[[], bool] = never, kept: KeptEngine | None = None) -> Schema:
    """Look at headers, footers or a sample, and bind the job's SQL against what is there; no row is staged.

    A `kept` engine is used in place of one of its own.

    Raises:
        SourceError: a file is missing or not what it should be; compressed ones are unpacked as far as the first
            megabytes go, so that those of a small source are judged whole.
        JobError: the declared columns do not fit the source, or its query does not bind.
        InterruptedRunError: `stopping` became true while a store was waited for.
    """
    with OBJECT_COPIES.passing(until(stopping)):
        located = locate(job, stopping=stopping)
        look_through(beginning(job, located))
        files, further = extra_files(job, located)
        looked_at = tuple(beginning(job, files))
        files, unseen = looked_at, len(files) - len(looked_at)
        found = _in_place(job, files)
        if found is not None:
            return Schema(found.columns)
        from backfill.sources.look import look  # DuckDB

        with nullcontext(kept) if kept is not None else kept_engine(job.source.timezone) as engine:
            seen = look(job, files, further, engine, stopping)
        # The keys of objects that were not looked at may be further columns.
        return replace(seen, complete=seen.complete and not (unseen and seen.records))
