"""Writing files so that they are there after a power cut, whole or not at all; saying so where that cannot be; locks.

A file is written under another name, forced to the disk, renamed, and then its folder is forced too: only after that
does anybody record that it exists. (POSIX leaves the order of data and rename open; the fsync between closes that.)
"""

from __future__ import annotations

import atexit
import errno
import fcntl
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

from backfill.errors import StoppedError

T = TypeVar("T")

#: Suffix of a file that is still being written; whatever carries it belongs to nobody after a crash.
ASIDE_SUFFIX = ".tmp"
PRIVATE_FILE = 0o600
PRIVATE_FOLDER = 0o700
#: Errors of a disk that has no room, and of one that takes nothing (EFBIG: `ulimit -f`).
NO_ROOM = frozenset((errno.ENOSPC, errno.EDQUOT))
NO_WRITING = frozenset((errno.EROFS, errno.EFBIG, errno.EIO))
#: The same where they are of a file that is ours to write; elsewhere they say that something may not be read.
NO_PERMISSION = frozenset((errno.EACCES, errno.EPERM))
#: How often something is made again that somebody deletes.
_AGAIN = 20


def aside(path: Path) -> Path:
    """The name under which `path` is written before it is renamed."""
    return path.with_name(path.name + ASIDE_SUFFIX)


def sync_file(path: Path) -> None:
    """Force a file's bytes to the disk, whoever wrote them."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_folder(folder: Path) -> None:
    """Force a folder's entries to the disk: what was made, renamed or removed in it."""
    sync_file(folder)


def make_folder(folder: Path) -> None:
    """Make a folder and those above it where they are missing, mode 0700, durably.

    One that is there may have been made by a process that was killed before it forced that to the disk; where nobody
    but another user can have made it, it stands by itself. What is deleted meanwhile is made again.

    Raises:
        StoppedError: There is no room, or it is deleted again and again.
    """
    with not_deleted(folder):
        again_where_deleted(lambda: _make_folder(folder))


def again_where_deleted(act: Callable[[], T]) -> T:
    """What it gives, done again some times where somebody deletes the files or folders that it makes.

    Raises:
        FileNotFoundError: As of the last time.
    """
    for _ in range(_AGAIN):
        with suppress(FileNotFoundError):
            return act()
    return act()


@contextmanager
def not_deleted(folder: Path) -> Iterator[None]:
    """Turn the error of a file that is not there into a StoppedError: somebody deletes what is in this folder."""
    try:
        yield
    except FileNotFoundError as error:
        raise StoppedError(
            f"{folder} is deleted while it is used",
            hint="have whatever deletes it leave it alone, then type the same command again: what was recorded is kept",
        ) from error


def _make_folder(folder: Path) -> None:
    if folder.is_dir():
        if os.access(folder.parent, os.R_OK | os.W_OK):
            with out_of_space(folder.parent):
                sync_folder(folder.parent)
        return
    _make_folder(folder.parent)
    with out_of_space(folder.parent):
        folder.mkdir(mode=PRIVATE_FOLDER, exist_ok=True)
        sync_folder(folder.parent)


def write_durably(path: Path, content: bytes) -> None:
    """Put `content` at `path`, whole or not at all, mode 0600; durable once `sync_folder` of its folder returns."""
    with out_of_space(path.parent):
        descriptor = os.open(aside(path), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, PRIVATE_FILE)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        aside(path).replace(path)


def fill_durably(path: Path, fill: Callable[[Path], object]) -> None:
    """Put at `path` the file that `fill` writes where it is told, as `write_durably` does."""
    with out_of_space(path.parent):
        aside(path).touch(mode=PRIVATE_FILE)
        with system_errors():
            fill(aside(path))
        sync_file(aside(path))
        aside(path).replace(path)


def fill_in_place(path: Path, fill: Callable[[Path], object]) -> None:
    """Let `fill` write the file `path`, which need not survive anything; a disk that takes it not is told as ever."""
    with out_of_space(path.parent), system_errors():
        fill(path)


def fill_beside(path: Path, fill: Callable[[Path], object]) -> None:
    """Put at `path` the file that `fill` writes where it is told, whole or not at all; no other file is touched."""
    with out_of_space(path.parent):
        descriptor, name = tempfile.mkstemp(suffix=path.suffix, prefix=f".{path.stem}.", dir=path.parent)
        os.close(descriptor)
        try:
            with system_errors():
                fill(Path(name))
            sync_file(Path(name))
            Path(name).replace(path)
        except BaseException:
            with suppress(OSError):
                Path(name).unlink()
            raise


def close_writer(writer: Any, path: Path) -> None:  # noqa: ANN401 (pyarrow's, which tells no types)
    """Close the Parquet writer of that file; raises StoppedError where the disk is full."""
    try:
        with out_of_space(path.parent):
            writer.close()
    finally:
        writer.is_open = False  # else it closes once more when it is collected, and prints what that failed of


class FileLock:
    """A lock of one process at a time, whose id stands in the file; the kernel lets go when it ends, however it ends.

    Locks are files of their own: closing any handle of a file drops the process's POSIX locks on it (fcntl(2)), and
    those are how SQLite locks its own. The file stays: removing it would let two processes lock two files.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor: int | None = None

    def take(self) -> bool:
        """Take it at once; False where another process (or another lock of this one) holds it. Raises OSError."""
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT, PRIVATE_FILE)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        except OSError as error:
            os.close(descriptor)
            if isinstance(error, BlockingIOError):
                return False
            raise
        self._descriptor = descriptor
        return True

    def holder(self) -> int | None:
        """The id of the process that took it last and did not let go by itself; None where it is not known."""
        try:
            return int(self.path.read_text(encoding="ascii"))
        except (OSError, ValueError):
            return None

    def release(self) -> None:
        """Let go; again does nothing."""
        if self._descriptor is not None:
            with suppress(OSError):  # on a disk that went read-only: the number of a process that is gone stays there
                os.ftruncate(self._descriptor, 0)
            os.close(self._descriptor)
            self._descriptor = None


class TemporaryFolders:
    """Folders of this process that are gone when it ends; what a killed one left is removed by the next to need one.

    A lock in each tells whether its process lives.
    """

    _PREFIX, _LOCK = "backfill-unpacked-", "lock"

    def __init__(self) -> None:
        self._locks: list[FileLock] = []
        self._known = False  # to atexit

    def make(self, above: Path | None) -> Path:
        """A new folder in that one, or in the system's for temporary files."""
        within = Path(tempfile.gettempdir()) if above is None else above
        for left in within.glob(f"{self._PREFIX}*/{self._LOCK}"):
            self._remove_left(FileLock(left))
        if not self._known:
            self._known = True
            atexit.register(self.remove)
        while True:
            folder = Path(tempfile.mkdtemp(prefix=self._PREFIX, dir=within))
            lock = FileLock(folder / self._LOCK)
            with suppress(FileNotFoundError):  # taken for one that was left, as it had no lock yet
                if lock.take() and lock.path.exists():
                    self._locks.append(lock)
                    return folder

    @contextmanager
    def opened(self) -> Iterator[Path]:
        """An empty folder in the system's for temporary files, for as long as this is entered."""
        folder = self.make(None)
        try:
            inside = folder / "files"
            inside.mkdir()
            yield inside
        finally:
            self.remove([folder])

    def remove(self, folders: Collection[Path] | None = None) -> None:
        """Remove these now, or all."""
        for lock in [one for one in list(self._locks) if folders is None or one.path.parent in folders]:
            self._locks.remove(lock)
            shutil.rmtree(lock.path.parent, ignore_errors=True)
            lock.release()

    def _remove_left(self, lock: FileLock) -> None:
        with suppress(OSError):  # of another user
            if lock.take():
                shutil.rmtree(lock.path.parent, ignore_errors=True)
                lock.release()


TEMPORARY_FOLDERS = TemporaryFolders()


@contextmanager
def system_errors() -> Iterator[None]:
    """Turn the errors of a library that gives the system's as text (polars: `... (os error 28)`) into OSError."""
    try:
        yield
    except Exception as error:
        number = re.search(r"\(os error (\d+)\)", str(error))
        if number is None or getattr(error, "errno", None) is not None:
            raise
        raise OSError(int(number[1]), os.strerror(int(number[1]))) from error


@contextmanager
def out_of_space(folder: Path) -> Iterator[None]:
    """Turn the errors of a disk that takes no more in this folder into a StoppedError; other errors pass."""
    try:
        yield
    except OSError as error:
        stopped = disk_stop(error, folder)
        if stopped is None:
            raise
        raise stopped from error


def disk_stop(error: OSError, folder: Path) -> StoppedError | None:
    """The error that tells a full, read-only or failing disk in this folder; None where it is something else."""
    if error.errno in NO_ROOM:
        return StoppedError(
            f"no space left for {folder}", hint="free some space, then resume: what was recorded is kept"
        )
    named = isinstance(error.filename, str | os.PathLike)
    ours = named and Path(error.filename).absolute().is_relative_to(folder.absolute())
    if (error.errno in NO_WRITING and (ours or not named)) or (error.errno in NO_PERMISSION and ours):
        return StoppedError(
            f"{error.filename if named else folder}: {error.strerror}",
            hint="make it possible to write there, then resume: what was recorded is kept",
        )
    return None
