"""Is a file still what it was? Told by its size, its times and its inode, without reading it."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from backfill.errors import InterruptedRunError, SourceError, StoppedError
from backfill.job.formats import live_format
from backfill.records import SourceFile
from backfill.sources.origins.archives import container
from backfill.sources.origins.buckets import stands

#: What a SourceFile is trusted by, in place of reading it again.
Stamp = tuple[str | int, ...]


def stamp_of(path: Path, status: os.stat_result, size: int | None = None) -> Stamp:
    """What a file is recognised by, of its status; a member of an archive by the archive's, and by its own `size`."""
    size = status.st_size if size is None else size
    return (str(path), size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino)


def stamp_of_file(file: SourceFile) -> Stamp:
    """The stamp of a file resolved before."""
    if file.pin:
        return (file.path, file.bytes, file.pin)
    return (file.path, file.bytes, file.mtime_ns, file.ctime_ns, file.inode)


def unchanged(file: SourceFile) -> bool:
    """The file still is what it was when resolved, as far as size, times and inode tell, or an object's pin.

    Of a live database nothing tells.
    """
    if live_format(file.path):
        return True
    if file.pin:
        return stands(file)
    holder = container(file.path)
    try:
        size = None if holder == file.path else file.bytes
        return stamp_of(Path(file.path), Path(holder).stat(), size) == stamp_of_file(file)
    except OSError:
        return False


@contextmanager
def while_unchanged(files: Sequence[SourceFile], hint: str) -> Iterator[None]:
    """The block that reads the files; that one of them changed is the error then, whatever error came of it.

    Raises:
        SourceError: a file is gone, or no longer what it was when resolved.
    """
    try:
        yield
    except (InterruptedRunError, StoppedError):
        raise
    except Exception as error:
        _refuse_changed(files, hint, error)
        raise
    _refuse_changed(files, hint)


def _refuse_changed(files: Sequence[SourceFile], hint: str, cause: Exception | None = None) -> None:
    # What is read of an object is pinned by each request for it.
    changed = next((file for file in files if not file.pin and not unchanged(file)), None)
    if changed is not None:
        what = "was changed" if os.path.lexists(container(changed.path)) else "was removed"
        raise SourceError(f"{changed.name} {what} while it was read: nothing was sent", hint=hint) from cause
