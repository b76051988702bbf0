"""The copies of objects that a process has, and where they are kept: see objects.py."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Lock

from backfill.disk import TEMPORARY_FOLDERS
from backfill.errors import StoppedError
from backfill.records import SourceFile
from backfill.sources.origins.objects import ObjectCopy, object_of

#: Never fill the disk to the last byte.
_RESERVE_BYTES = 64_000_000


class _ObjectCopies:
    """The copies of this process, which reads one source at a time."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._copies: dict[tuple[str, str], ObjectCopy] = {}
        self._folder: Path | None = None
        self._watch: Callable[[int], None] = _unwatched
        self._looking = False

    def of(self, file: SourceFile) -> ObjectCopy:
        """The copy of a file, begun where there is none."""
        with self._lock:
            found = self._copies.get((file.path, file.pin))
            if found is None:
                assert self._folder is not None, "whoever reads a source says where copies go"
                found = ObjectCopy(file, self._folder, self._watch)
                self._copies[file.path, file.pin] = found
            found.watch, found.looking = self._watch, self._looking
            return found

    @contextmanager
    def kept_in(self, folder: Path, watch: Callable[[int], None], *, looking: bool = False) -> Iterator[None]:
        """Begin copies in this folder, and let `watch`, which may raise, end the fetching, for as long as it lasts.

        `looking`: not all is going to be read.
        """
        before = self._folder, self._watch, self._looking
        self._folder, self._watch, self._looking = folder, watch, looking
        try:
            yield
        except BaseException:
            for copy in list(self._copies.values()):
                copy.let_go()
            raise
        finally:
            self._folder, self._watch, self._looking = before

    @contextmanager
    def passing(self, watch: Callable[[int], None]) -> Iterator[None]:
        """Keep copies for as long as it lasts, for a look at a source; where a folder is said already, there.

        `watch` may raise, which ends the fetching.
        """
        if self._folder is not None:
            yield
            return
        with TEMPORARY_FOLDERS.opened() as folder:
            try:
                with self.kept_in(folder, watch, looking=True):
                    yield
            finally:
                self.discard()

    def discard(self) -> None:
        """Remove all copies."""
        with self._lock:
            for copy in self._copies.values():
                copy.discard()
            folders = {copy.folder for copy in self._copies.values()}
            self._copies.clear()
        for folder in folders:
            shutil.rmtree(folder, ignore_errors=True)  # with what an earlier process left


def _unwatched(_size: int) -> None:
    """Ignore it."""


OBJECT_COPIES = _ObjectCopies()


def refuse_too_large(files: Sequence[SourceFile], folder: Path) -> None:
    """Raise StoppedError where the disk has no room for copies of these files."""
    size = sum(file.bytes for file in files if object_of(file) is file)  # archives are there already
    near = next(above for above in (folder.absolute(), *folder.absolute().parents) if above.exists())
    free = shutil.disk_usage(near).free
    if size and free < size + _RESERVE_BYTES:
        raise StoppedError(
            f"copies of the source's objects take {size:,} bytes in {folder}, {free:,} are free",
            hint="free some space or give a folder on another disk with --state-dir; then go on",
        )
