"""What of a run every machine reaches: its bytes, its rejects and its snapshot, in a place that the run remembers."""

from __future__ import annotations

import json
import re
import shutil
import tempfile
import uuid
from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Final

from backfill.disk import make_folder, sync_folder, write_durably
from backfill.errors import LedgerError
from backfill.frozen import frozen
from backfill.shared import SharedFiles, cache_in, is_written, open_place
from backfill.state.shared_rejects import SharedRejects

if TYPE_CHECKING:
    from backfill.spool import SharedSpool

SNAPSHOT_FOLDER: Final = "snapshot"
_PLACE_FILE: Final = "shared.json"
#: The file of a snapshot that is written last (`sources.snapshot`): without it there is none.
_SNAPSHOT_LAST: Final = "snapshot.json"
_FOLDERS_KEPT: Final = 64


@frozen
class SpoolChoice:
    """What is said of where bytes are kept: of runs that begin, and of what lies of them on this machine."""

    url: str = ""  # of a place; empty: on this machine
    cache_bytes: int | None = None  # None: the program's own bound


@frozen
class SharedRun:
    """The place of one run."""

    url: str
    prefix: str  # no other run has it, not even a later one of the same id
    snapshot: Path  # the folder on this machine for its snapshot
    cache: Path  # the folder on this machine for copies
    cache_bytes: int | None = None
    own: str = ""  # what tells the folder of its copies from those of other processes at work on it

    def tell(self, about: str) -> None:
        """Put a file there that tells people whose the others are: so it is seen that files can be put there.

        Raises:
            UsageError: They never can.
            StoppedError: The place is out of reach, or refuses.
        """
        place = open_place(self.url)
        place.make_usable()
        with tempfile.TemporaryDirectory() as folder:
            note = Path(folder) / "run.txt"
            note.write_text(f"{about}\n", encoding="utf-8")
            place.put(f"{self.prefix}/{note.name}", note)

    def spool(self, stopping: Callable[[], bool]) -> SharedSpool:
        """Its prepared bytes."""
        from backfill.spool import SharedSpool  # noqa: PLC0415 (polars, for verbs that look at bytes)

        return SharedSpool(self._files("spool"), stopping)

    def work(self) -> SharedFiles:
        """By what several processes prepare it."""
        return self._files("work")

    def apart(self, name: str) -> SharedRun:
        """The same with copies that no process has to which no such name is given; the snapshot stays where it is."""
        return replace(self, own=f".{name}")

    def on(self, folder: Path) -> SharedRun:
        """The same with all copies in that folder."""
        return replace(self, snapshot=folder / SNAPSHOT_FOLDER, cache=folder / "cache")

    def forget_copies(self) -> None:
        """Remove the copies on this machine, the snapshot aside; also those of processes that were killed at work."""
        shutil.rmtree(self._copies, ignore_errors=True)
        for left in self.cache.glob(f"{self._name}.*"):
            if not is_written(left):
                shutil.rmtree(left, ignore_errors=True)
        _files_in.cache_clear()

    def rejects(self) -> SharedRejects:
        """Its rows that are not sent."""
        return SharedRejects(self._files("spool"))

    def room(self) -> int:
        """How many more bytes may come to stay on this machine."""
        return cache_in(self.cache, self.cache_bytes).room()

    def is_empty(self) -> bool:
        """Whether nothing was prepared."""
        return not self._files("spool").names(anew=True)

    def has_snapshot(self) -> bool:
        """Whether its snapshot is kept."""
        return self._rows.has(_SNAPSHOT_LAST)

    def keep_snapshot(self, stopping: Callable[[], bool]) -> None:
        """Share the files of the snapshot, the one that makes it whole as the last."""
        files, folder = self._rows, self.snapshot
        names = [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]
        for name in sorted(names, key=lambda name: name == _SNAPSHOT_LAST):
            if not name.startswith("."):
                files.keep(name, stopping)

    def bring_snapshot(self) -> None:
        """Make the snapshot whole in its folder, where it is kept and is not whole there."""
        if self.has_snapshot():
            make_folder(self.snapshot)
            for name in sorted(self._rows.names(), key=lambda name: name == _SNAPSHOT_LAST):
                self._rows.bring(name)

    def forget_snapshot(self) -> None:
        """Remove the snapshot: that which makes it whole as the first."""
        self._rows.remove(sorted(self._rows.names(anew=True), key=lambda name: name != _SNAPSHOT_LAST))

    def remove(self) -> None:
        """Remove all that is shared of the run."""
        place = open_place(self.url)
        place.remove(list(place.sizes(self.prefix)))
        self.forget_copies()

    @property
    def _copies(self) -> Path:
        return self.cache / f"{self._name}{self.own}"

    @property
    def _name(self) -> str:
        return self.prefix.rpartition("/")[2]

    @property
    def _rows(self) -> SharedFiles:
        return _files_in(self.url, f"{self.prefix}/snapshot", self.snapshot, self.cache)

    def _files(self, kind: str) -> SharedFiles:
        limited = cache_in(self.cache, self.cache_bytes)
        return _files_in(self.url, f"{self.prefix}/{kind}", self._copies / kind, limited.folder)


@lru_cache(maxsize=_FOLDERS_KEPT)
def _files_in(url: str, prefix: str, folder: Path, cache: Path) -> SharedFiles:
    """One for all of a process: what one part of it keeps, every other knows of."""
    return SharedFiles(open_place(url), prefix, folder, cache_in(cache))


def shared_run(folder: Path, cache: Path, cache_bytes: int | None, told: str = "") -> SharedRun | None:
    """The place that the run in this folder has; None where its bytes are on this machine.

    `told` is what the file says that tells it, where that is known from elsewhere.

    Raises:
        LedgerError: The file that tells is damaged.
    """
    path = folder / _PLACE_FILE
    try:
        data = json.loads(told or path.read_bytes())
        return SharedRun(data["url"], data["prefix"], folder / SNAPSHOT_FOLDER, cache, cache_bytes)
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError) as error:
        raise LedgerError(f"{path} is damaged: it tells where the run's bytes are", hint="put it back") from error


def told_place(folder: Path) -> str:
    """What the file says that tells the place of the run in this folder; empty where its bytes are on this machine."""
    try:
        return (folder / _PLACE_FILE).read_text("utf-8")
    except FileNotFoundError:
        return ""


def write_place(folder: Path, told: str) -> None:
    """Let the run in this folder have the place that `told_place` of another one told, durably."""
    write_durably(folder / _PLACE_FILE, told.encode())
    sync_folder(folder)


def share(folder: Path, url: str, cache: Path) -> None:
    """Let the run that begins in this folder have a place of its own there, durably, once files can be put there.

    Raises:
        UsageError: They never can.
        StoppedError: The place is out of reach, or refuses.
    """
    name = re.sub(r"[^a-z0-9-]+", "-", folder.name.lower())
    run = SharedRun(url, f"runs/{name}-{uuid.uuid4().hex[:12]}", folder / SNAPSHOT_FOLDER, cache)
    run.tell(f"The bytes of a run of backfill, {folder.name}. `backfill status {folder.name}` tells of it.")
    write_place(folder, json.dumps({"url": run.url, "prefix": run.prefix}))
