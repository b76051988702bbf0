"""The archive where several machines reach it: a copy on this machine, brought up to what is shared before each use.

What is shared are the archive's files, by their SHA-256, and its states, numbered: a state says which files there are,
and nobody can make a state of a number that another machine has made. Whoever comes too late takes that one up, and
archives again on top of it. Only states after it let files go: what a state names is there.
"""

from __future__ import annotations

import hashlib
import json
import re
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

from backfill.archive.archive import MANIFEST_FILE, Archive, ArchiveReader, parse_manifest
from backfill.archive.columns import COLUMNS
from backfill.disk import make_folder, sync_folder, write_durably
from backfill.errors import LedgerError
from backfill.frozen import frozen
from backfill.records import ArchivedRun, DeliveredCalls
from backfill.shared import SharedPlace

#: The state that the copy on this machine is of.
_STATE_FILE: Final = "shared.json"
_LOCK_FILE: Final = "shared-lock"
_KEY: Final = re.compile(r"states/(\d{9})")
#: A state and its files may go while they are fetched, each time for a later one.
_TRIES: Final = 20


@frozen
class SharedState:
    """What the archive is, from some moment on."""

    number: int
    files: dict[str, str]  # of the copy's folder, the manifest among them -> SHA-256

    def as_bytes(self) -> bytes:
        """It, as it is kept."""
        return json.dumps({"number": self.number, "files": self.files}).encode()


class SharedArchive:
    """A `DeliveredArchive` in a place that several machines reach; `copy` is the archive on this one."""

    def __init__(self, place: SharedPlace, copy: Archive) -> None:
        self._place, self._copy = place, copy
        self._prefix = f"delivered/{copy.folder.name}"

    def runs(self) -> tuple[ArchivedRun, ...]:
        """The runs whose ids are in it.

        Raises:
            LedgerError: It is damaged.
            StoppedError: The place is out of reach.
        """
        newest = self._newest()
        if newest is None or MANIFEST_FILE not in newest.files:
            return ()
        return parse_manifest(self._get(f"files/{newest.files[MANIFEST_FILE]}"), self._shown).runs

    def add(self, run: ArchivedRun, delivered: Iterable[DeliveredCalls]) -> None:
        """Archive a run's delivered ids for all machines; `delivered` is gone through again where one was faster.

        Raises:
            LedgerError: The archive is damaged.
            StoppedError: The disk is full, or the place is out of reach.
            InterruptedRunError: It was stopped: nothing was archived.
        """
        with self._copy.alone(_LOCK_FILE):
            for _ in range(_TRIES):
                before = self._bring()
                covered = self._copy.manifest().covers(run)
                if covered and before is not None:
                    return
                if not covered:
                    self._copy.add(run, delivered)
                if self._publish(before):
                    return
        raise LedgerError(f"{self._shown} is changed by other machines all the time", hint="run again")

    def open(self) -> ArchiveReader | None:
        """Its ids, once they have proven whole; None where it holds none. A damaged copy is fetched again.

        Raises:
            LedgerError: It is damaged.
            StoppedError: The disk is full, or the place is out of reach.
        """
        with self._copy.alone(_LOCK_FILE):
            self._bring()
            try:
                return self._copy.open()
            except LedgerError:
                (self._copy.folder / _STATE_FILE).unlink(missing_ok=True)
            self._bring()
            return self._copy.open()

    def forget(self) -> None:
        """Empty it for all machines."""
        with self._copy.alone(_LOCK_FILE):
            for _ in range(_TRIES):
                before = self._newest()
                self._copy.forget()
                if before is None or not before.files or self._publish(before):
                    return

    @property
    def _shown(self) -> str:
        return f"{self._place.url}/{self._prefix}"

    def _newest(self) -> SharedState | None:
        """The last state there is; None where there never was one."""
        for _ in range(_TRIES):
            numbers = [int(found[1]) for key in self._place.sizes(self._prefix) if (found := _KEY.search(key))]
            if not numbers:
                return None
            try:
                data: Any = json.loads(self._get(f"states/{max(numbers):09}"))
                return SharedState(data["number"], data["files"])
            except FileNotFoundError:
                continue  # a later one has come
            except (ValueError, KeyError, TypeError) as error:
                raise LedgerError(f"{self._shown}/states/{max(numbers):09} is damaged", hint=_REBUILD) from error
        raise LedgerError(f"{self._shown} has no state that stays", hint="run again")

    def _bring(self) -> SharedState | None:
        """Make the copy what the last state says; returns that, and None where there is none yet."""
        folder = self._copy.folder
        for _ in range(_TRIES):
            state = self._newest()
            if state is None or _is_copy(folder, state):  # an archive that was here before is shared with the next run
                return state
            try:
                self._fetch(state)
            except FileNotFoundError:
                if self._newest() == state:
                    raise LedgerError(f"{self._shown} lacks files that its state names", hint=_REBUILD) from None
            else:
                return state
        raise LedgerError(f"{self._shown} is changed by other machines all the time", hint="run again")

    def _fetch(self, state: SharedState) -> None:
        """Make the copy of that state: its manifest last, as ever, so that what is cut short counts for nothing."""
        folder = self._copy.folder
        make_folder(folder)
        for name in (_STATE_FILE, MANIFEST_FILE):
            (folder / name).unlink(missing_ok=True)
        for name in sorted(state.files, key=lambda name: name == MANIFEST_FILE):
            path = folder / name
            if not path.exists() or _sha256_of(path) != state.files[name]:
                self._get_file(state.files[name], path)
        write_durably(folder / _STATE_FILE, state.as_bytes())
        sync_folder(folder)

    def _publish(self, before: SharedState | None) -> bool:
        """Let the copy be the next state; False where another machine has made one meanwhile."""
        folder, manifest = self._copy.folder, self._copy.manifest()
        names = [f"{file.name}{suffix}" for file in manifest.files for suffix, _ in COLUMNS]
        names += [MANIFEST_FILE] if (folder / MANIFEST_FILE).exists() else []
        state = SharedState(before.number + 1 if before else 1, {name: _sha256_of(folder / name) for name in names})
        there = self._place.sizes(f"{self._prefix}/files")
        for name in names:
            if (key := f"{self._prefix}/files/{state.files[name]}") not in there:
                self._place.put(key, folder / name)
        if not self._place.create(f"{self._prefix}/states/{state.number:09}", state.as_bytes()):
            (folder / _STATE_FILE).unlink(missing_ok=True)
            return False
        write_durably(folder / _STATE_FILE, state.as_bytes())
        if before is not None:
            gone = {before.files[name] for name in before.files} - {*state.files.values()}
            keys = [f"files/{sha256}" for sha256 in gone] + [f"states/{before.number:09}"]
            self._place.remove([f"{self._prefix}/{key}" for key in keys])
        return True

    def _get(self, key: str) -> bytes:
        """The bytes of a small file; raises FileNotFoundError."""
        with tempfile.TemporaryDirectory() as folder:
            self._place.get(f"{self._prefix}/{key}", Path(folder) / "file")
            return (Path(folder) / "file").read_bytes()

    def _get_file(self, sha256: str, path: Path) -> None:
        aside = path.with_name(f".{path.name}")
        try:
            self._place.get(f"{self._prefix}/files/{sha256}", aside)
            if _sha256_of(aside) != sha256:
                raise LedgerError(f"{self._shown}/files/{sha256} was changed", hint=_REBUILD)
            aside.replace(path)
        finally:
            aside.unlink(missing_ok=True)


_REBUILD: Final = "the next run that leaves out what was delivered makes it again from the ledgers"


def _is_copy(folder: Path, state: SharedState) -> bool:
    """Whether the folder was made a copy of that state, and its files are there."""
    try:
        return (folder / _STATE_FILE).read_bytes() == state.as_bytes() and all(
            (folder / name).exists() for name in state.files
        )
    except FileNotFoundError:
        return False


def _sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
