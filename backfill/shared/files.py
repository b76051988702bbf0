"""Files of one kind that several machines reach, by name, each with a copy on this machine that may vanish.

The key of a file is its name, a number and the SHA-256 of its bytes: a listing is the index, and tells what to expect
of each. Where a name is kept again with other bytes, its next number counts; the one before is removed after that.
"""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import RLock
from time import sleep
from typing import Final

from backfill.disk import ASIDE_SUFFIX, again_where_deleted, make_folder, not_deleted, out_of_space
from backfill.errors import LedgerError
from backfill.frozen import frozen
from backfill.shared.cache import Cache
from backfill.shared.place import SharedPlace, never

#: Seconds between looks for a file that has to be there: a folder's listing may be kept by its client for a while.
LATE: tuple[float, ...] = (0.2, 0.5, 1.0, 2.0, 4.0, 8.0, 15.0)
_KEY: Final = re.compile(r"(?P<name>.+)\.(?P<number>\d+)\.(?P<sha256>[0-9a-f]{64})")
_AGAIN: Final = "these bytes cannot be trusted; put the object back from a copy, or abandon the run"


@frozen
class SharedFile:
    """A file as it was kept."""

    key: str
    number: int  # of those with its name the highest counts
    sha256: str
    bytes: int


class SharedFiles:
    """The files below one prefix of a place, and their copies in `folder`, by the same names. Thread-safe."""

    def __init__(self, place: SharedPlace, prefix: str, folder: Path, cache: Cache) -> None:
        self.folder = folder
        self._place, self._prefix, self._cache = place, prefix, cache
        self._lock = RLock()
        self._known: dict[str, SharedFile] | None = None
        self._proven = set[str]()  # whose copies were seen to be whole
        self._fetching: dict[str, RLock] = {}

    def names(self, *, anew: bool = False) -> list[str]:
        """The names of all, sorted; asked `anew`, also those that another process has kept since."""
        return sorted(self._index(anew=anew))

    def has(self, name: str) -> bool:
        """Whether there is one of that name."""
        return name in self._index() or name in self._index(anew=True)

    def file(self, name: str) -> SharedFile:
        """What there is of a name that has to be there.

        Raises:
            LedgerError: It is not, and did not come.
        """
        if found := self._index().get(name):
            return found
        for pause in (0.0, *LATE):
            sleep(pause)
            if found := self._index(anew=True).get(name):
                return found
        raise LedgerError(f"{self._named(name)} is missing", hint=_AGAIN)

    @contextmanager
    def writing(self, *names: str) -> Iterator[None]:
        """Copies of these names are about to be written, and kept before the block ends: none leaves meanwhile."""
        self._cache.hold(self.folder)
        with self._cache.pinned(*(self.folder / name for name in names)):
            yield

    def keep(self, name: str, stopping: Callable[[], bool] = never) -> None:
        """Share the copy of that name: it is there for every machine when this returns, in place of an earlier one.

        Raises:
            StoppedError: The place is out of reach, or the folder is deleted meanwhile.
            InterruptedRunError: It was stopped while that was busy.
        """
        path = self.folder / name
        with self.writing(name), not_deleted(self.folder):
            size, sha256 = path.stat().st_size, _sha256_of(path)
            before = self._index().get(name)
            if before is None or (before.sha256, before.bytes) != (sha256, size):
                number = before.number + 1 if before else 1
                file = SharedFile(f"{self._prefix}/{name}.{number}.{sha256}", number, sha256, size)
                self._place.put(file.key, path, stopping)
                with self._lock:
                    self._index()[name] = file
                if before is not None:
                    self._place.remove([before.key])
            self._proven.add(name)
        self._cache.added(size)

    @contextmanager
    def reading(self, name: str) -> Iterator[Path]:
        """The copy of that name, whole; it stays until the block ends.

        Raises:
            LedgerError: There is none of that name, or its bytes are not those that were kept.
            StoppedError: The place is out of reach, or the disk is full.
        """
        path = self.folder / name
        with self._cache.pinned(path):
            if name not in self._proven or not path.exists():
                self._bring(name, path)
            yield path

    def bring(self, name: str) -> Path:
        """The copy of that name, whole; it stays as long as this process. Raises as `reading` does."""
        with self.reading(name) as path:
            self._cache.pin(path)
        return path

    def was_damaged(self, name: str) -> bool:
        """Whether the copy of that name is another one than was kept, or gone: it is fetched when it is read next."""
        path = self.folder / name
        with suppress(FileNotFoundError):
            if _sha256_of(path) == self.file(name).sha256:
                return False
        self._proven.discard(name)
        return True

    def remove(self, names: Collection[str]) -> None:
        """Remove these, and their copies."""
        index = self._index()
        keys = [index[name].key for name in names if name in index]
        if keys:
            self._place.remove(keys)
        for name in names:
            (self.folder / name).unlink(missing_ok=True)
            with self._lock:
                index.pop(name, None)
            self._proven.discard(name)

    def make_folder(self) -> None:
        """Make the folder of the copies, where it is not there or has vanished."""
        self._cache.hold(self.folder)

    def shown(self, file: SharedFile) -> str:
        """Where a file is, for people."""
        return f"{self._place.url}/{file.key}"

    def _bring(self, name: str, path: Path) -> None:
        """Make the copy whole: fetch it where it is not."""
        with self._lock:
            turn = self._fetching.setdefault(name, RLock())
        with turn:
            file = self.file(name)
            with suppress(FileNotFoundError):
                if _sha256_of(path) == file.sha256:
                    self._proven.add(name)
                    return
            with not_deleted(self.folder):
                again_where_deleted(lambda: self._fetch(name, path))
            self._proven.add(name)
        self._cache.added(file.bytes)

    def _fetch(self, name: str, path: Path) -> None:
        make_folder(path.parent)
        with out_of_space(path.parent):
            descriptor, aside = tempfile.mkstemp(prefix=".", suffix=ASIDE_SUFFIX, dir=path.parent)
            os.close(descriptor)
        try:
            file = self._get(name, Path(aside))
            if _sha256_of(Path(aside)) != file.sha256:
                raise LedgerError(
                    f"{self.shown(file)} was changed: its SHA-256 is not the one in its name", hint=_AGAIN
                )
            Path(aside).replace(path)
        finally:
            Path(aside).unlink(missing_ok=True)

    def _get(self, name: str, to: Path) -> SharedFile:
        """Get the file; one that is listed may still be late."""
        for pause in (0.0, *LATE):
            sleep(pause)
            file = self.file(name)
            try:
                self._place.get(file.key, to)
            except FileNotFoundError:
                if not to.exists():  # the copy is what was deleted
                    raise
                self._index(anew=True)
            else:
                return file
        raise LedgerError(f"{self._named(name)} is missing", hint=_AGAIN)

    def _index(self, *, anew: bool = False) -> dict[str, SharedFile]:
        with self._lock:
            if self._known is None or anew:
                self._known = self._listed()
            return self._known

    def _listed(self) -> dict[str, SharedFile]:
        found: dict[str, SharedFile] = {}
        for key, size in self._place.sizes(self._prefix).items():
            parts = _KEY.fullmatch(key.removeprefix(f"{self._prefix}/"))
            if parts is None:
                continue  # a stranger's
            file = SharedFile(key, int(parts["number"]), parts["sha256"], size)
            known = found.get(parts["name"])
            if known is None or (known.number, known.sha256) < (file.number, file.sha256):
                found[parts["name"]] = file
        return found

    def _named(self, name: str) -> str:
        return f"{self._place.url}/{self._prefix}/{name}"


def _sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
