"""A folder that all machines mount, as a place for shared files."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Final

from backfill.disk import fill_beside, make_folder, out_of_space, sync_folder, write_durably
from backfill.errors import StoppedError, UsageError
from backfill.shared.place import never

#: Tells that the folder is the one that was meant: without it the file system is not mounted here.
MARK: Final = "backfill-spool"
_SAYS: Final = b"Files of runs of backfill: `backfill status RUN` names those of a run. Remove none by hand.\n"


class Folder:
    """A `SharedPlace` in a folder. A file is written beside its place, forced to the disk and renamed."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def url(self) -> str:
        """The folder's path."""
        return str(self.path)

    def make_usable(self) -> None:
        """Make the folder, and the mark in it.

        Raises:
            UsageError: It is no folder, or cannot be made.
        """
        try:
            make_folder(self.path)
            if not (self.path / MARK).exists():
                write_durably(self.path / MARK, _SAYS)
                sync_folder(self.path)
        except (OSError, StoppedError) as error:
            raise UsageError(
                f"nothing can be written to the folder of --spool, {self.path}", hint="give one that all machines mount"
            ) from error

    def put(self, key: str, file: Path, stopping: Callable[[], bool] = never) -> None:  # noqa: ARG002 (never waits)
        """Copy the file to its place, durably."""
        place = self.path / key
        with self._reached():
            make_folder(place.parent)
            fill_beside(place, partial(shutil.copyfile, file))
            sync_folder(place.parent)

    def create(self, key: str, content: bytes) -> bool:
        """Make a file elsewhere and give it that name, which no two machines can do (link(2), over NFS, too)."""
        place = self.path / key
        with self._reached():
            make_folder(place.parent)
            made = place.with_name(f".{uuid.uuid4().hex}")
            fill_beside(made, lambda path: path.write_bytes(content))
            try:
                place.hardlink_to(made)
            except FileExistsError:
                return False
            finally:
                made.unlink()
            sync_folder(place.parent)
        return True

    def get(self, key: str, file: Path) -> None:
        """Copy what is there."""
        with (
            self._reached(),
            (self.path / key).open("rb") as source,
            out_of_space(file.parent),
            file.open("wb") as target,
        ):
            shutil.copyfileobj(source, target)

    def sizes(self, prefix: str) -> dict[str, int]:
        """The files below; those that are being written have names that begin with a dot."""
        found = {}
        with self._reached():
            for path in (self.path / prefix).rglob("*"):
                if not path.name.startswith(".") and path.is_file():
                    found[path.relative_to(self.path).as_posix()] = path.stat().st_size
        return found

    def remove(self, keys: Collection[str]) -> None:
        """Remove files, and the folders that are empty then."""
        with self._reached():
            for key in keys:
                (self.path / key).unlink(missing_ok=True)
            for folder in sorted({self.path / key for key in keys}, reverse=True):
                self._remove_empty(folder.parent)

    def _remove_empty(self, folder: Path) -> None:
        while folder != self.path and folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()
            folder = folder.parent

    @contextmanager
    def _reached(self) -> Iterator[None]:
        """The folder is there; its errors are told as a stop."""
        hint = f"mount it again, then resume: {MARK} must be in it"
        if not (self.path / MARK).exists():
            raise StoppedError(f"the shared folder {self.path} is not mounted here", hint=hint)
        try:
            yield
        except FileNotFoundError:
            raise
        except OSError as error:
            raise StoppedError(
                f"the shared folder {self.path} cannot be used: {error.strerror}", hint="mend that, then resume"
            ) from error
