"""Plain copies of what cannot be sought in where it lies: a member of an archive, a tar that is compressed.

They lie in the folder of the run that reads the source, else in the system's for temporary files, and are gone once the
source is staged, at the latest when the process ends.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from threading import Lock

from backfill.disk import TEMPORARY_FOLDERS, make_folder, out_of_space


class Copies:
    """The copies of one process."""

    def __init__(self) -> None:
        self._above: Path | None = None
        self._folder: Path | None = None
        self._folders: list[Path] = []  # all that were made
        self._lock = Lock()
        self._made = dict[object, Path]()

    def keep_in(self, folder: Path) -> None:
        """Make further copies in that folder, which may be made for it."""
        with self._lock:
            self._above, self._folder = folder, None

    def place(self) -> Path:
        """The folder for copies, made where it is not there."""
        if self._folder is None or not self._folder.is_dir():
            if self._above is not None:
                make_folder(self._above)
            self._folder = TEMPORARY_FOLDERS.make(self._above)
            self._folders.append(self._folder)
        return self._folder

    def copy(self, key: object, pieces: Iterable[bytes]) -> Path:
        """A file with those bytes, written once for each key.

        Raises:
            StoppedError: the disk is full.
        """
        with self._lock:
            path = self._made.get(key)
            if path is None or not path.exists():
                path = self.place() / f"{len(self._made)}"
                with out_of_space(path.parent):
                    _write(path, pieces)
                self._made[key] = path
            return path

    def discard(self) -> None:
        """Remove them all."""
        with self._lock:
            TEMPORARY_FOLDERS.remove(self._folders)
            self._folders.clear()
            self._above = self._folder = None
            self._made.clear()


def _write(path: Path, pieces: Iterable[bytes]) -> None:
    try:
        with path.open("xb") as file:
            for piece in pieces:
                file.write(piece)
    except BaseException:
        path.unlink(missing_ok=True)
        raise


COPIES = Copies()
