"""The bound of what lies on this machine of shared files: those used least recently leave it.

Every folder of copies is below one folder, which may vanish at any time. Files leave that no process reads or still
has to put where they are shared: this one's are pinned, another one's lie in a folder that it has locked.
"""

from __future__ import annotations

import os
import shutil
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from threading import RLock
from typing import Final

from backfill.disk import ASIDE_SUFFIX, FileLock, again_where_deleted, make_folder, not_deleted

#: Bytes of copies that are kept on a machine where nothing else is said.
CACHE_BYTES: Final = 10_000_000_000
#: Where it is over its bound, so much of that is left: else the next file would have others leave again.
_LEFT: Final = 0.9
#: The part of what is free on the disk, or held by copies, that copies may take.
_OF_THE_DISK: Final = 0.8
_LOCK_FILE: Final = ".lock"


class Cache:
    """The copies below one folder; `limit` is in bytes. Thread-safe."""

    def __init__(self, folder: Path, limit: int) -> None:
        self.folder, self.limit = folder, limit
        self._lock = RLock()
        self._pins = Counter[Path]()
        self._used: dict[Path, float] = {}  # POSIX seconds
        self._held: dict[Path, FileLock] = {}  # of folders that this process writes into
        self._bytes: int | None = None  # at most; None: not looked at yet

    @contextmanager
    def pinned(self, *paths: Path) -> Iterator[None]:
        """These stay until the block ends; they count as used now."""
        with self._lock:
            self._pins.update(paths)
            self._used.update(dict.fromkeys(paths, time.time()))
        try:
            yield
        finally:
            with self._lock:
                self._pins.subtract(paths)

    def pin(self, path: Path) -> None:
        """It stays as long as this process is there."""
        with self._lock:
            self._pins[path] += 1

    def hold(self, folder: Path) -> None:
        """Files of this process will stand in that folder before they are shared: no other process removes any."""
        with self._lock, not_deleted(folder):
            again_where_deleted(lambda: self._hold(folder))

    def _hold(self, folder: Path) -> None:
        lock = self._held.get(folder) or FileLock(folder / _LOCK_FILE)
        if folder not in self._held or not lock.path.exists():  # the folder may have vanished
            make_folder(folder)
            lock.release()
            if lock.take():
                self._held[folder] = lock

    def room(self) -> int:
        """How many bytes may come until some have to leave."""
        with self._lock:
            if self._bytes is None:
                self._bytes = self._make_room()
            return max(self._bound(self._bytes) - self._bytes, 0)

    def added(self, size: int) -> None:
        """So many bytes have come: what was used least recently leaves where that is above the bound."""
        with self._lock:
            if self._bytes is not None:
                self._bytes += size
            if self._bytes is None or self._bytes > self._bound(self._bytes):
                self._bytes = self._make_room()

    def _bound(self, total: int) -> int:
        """What may be there, `total` being there: no more than the limit, and than the disk takes."""
        try:
            free = shutil.disk_usage(self.folder).free
        except FileNotFoundError:
            return self.limit
        return min(self.limit, int((free + total) * _OF_THE_DISK))

    def _make_room(self) -> int:
        """Remove what is too much; returns how many bytes stay."""
        found = sorted(self._files())
        total = sum(size for _, size, _ in found)
        bound = self._bound(total)
        if total <= bound:
            return total
        others = _Others(self._held)
        for _, size, path in found:
            if total <= bound * _LEFT:
                break
            being_written = path.suffix == ASIDE_SUFFIX and path.parent in self._held
            if self._pins[path] <= 0 and not being_written and others.may_go(path.parent):
                with suppress(OSError):
                    path.unlink()
                    total -= size
                    self._used.pop(path, None)
        others.release()
        return total

    def _files(self) -> Iterator[tuple[float, int, Path]]:
        """Each copy: when it was last used as far as that is known, its size, its path."""
        for above, _, names in os.walk(self.folder):
            for name in names:
                path = Path(above) / name
                if not name.startswith("."):
                    with suppress(OSError):
                        found = path.stat()
                        yield max(found.st_mtime, self._used.get(path, 0.0)), found.st_size, path


class _Others:
    """Which folders of copies no other process writes into; they stay locked until `release`."""

    def __init__(self, held: dict[Path, FileLock]) -> None:
        self._may = dict.fromkeys(held, True)
        self._locks: list[FileLock] = []

    def may_go(self, folder: Path) -> bool:
        """Whether files of that folder may be removed."""
        if folder not in self._may:
            lock = FileLock(folder / _LOCK_FILE)
            with suppress(OSError):
                self._may[folder] = lock.take()
                self._locks.append(lock)
        return self._may.get(folder, False)

    def release(self) -> None:
        """Let go of all."""
        for lock in self._locks:
            lock.release()


def is_written(above: Path) -> bool:
    """Whether a process writes into one of the folders of copies below that one."""
    others = _Others({})
    try:
        return any(not others.may_go(lock.parent) for lock in above.glob(f"*/{_LOCK_FILE}"))
    finally:
        others.release()


@cache
def _cache(folder: Path) -> Cache:
    return Cache(folder, CACHE_BYTES)


def cache_in(folder: Path, limit: int | None = None) -> Cache:
    """The one cache of this process in that folder; `limit` in bytes stands from now on where it is given."""
    found = _cache(folder)
    if limit is not None:
        found.limit = limit
    return found
