"""What is in the state folder.

    .backfill/
      .gitignore                 `*`: nothing in here is for a repository
      runs/<run_id>/             one run: ledger.sqlite3, spool/, snapshot/
      locks/<run_id>.lock        held by the process at work on that run
      earlier/<run_id>~<n>/      runs in whose place a later one of the same id came: ledger, calls and rejects
      delivered/                 the ids that were delivered (`archive`)
      cache/                     what lies here of runs whose bytes are shared; it may vanish
      dry-runs/                  a state folder of their own for dry runs, so that nothing takes them for runs
      discarded/                 runs on their way out

A run's id is computed from what it is found by (job name, target identity, generation), so finding it needs no index
that could disagree with the folders.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
import shutil
import unicodedata
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from backfill.disk import (
    NO_PERMISSION,
    NO_ROOM,
    PRIVATE_FOLDER,
    FileLock,
    disk_stop,
    make_folder,
    out_of_space,
    sync_folder,
    write_durably,
)
from backfill.errors import BackfillError, LedgerError, LockedError, StoppedError, UsageError
from backfill.records import DeliveredArchive, RunRecord, StoredRun
from backfill.shared import open_place
from backfill.state.place import (
    DRY_RUNS_FOLDER,
    FOLDER_NAME,
    LOCKS_FOLDER,
    MADE_BY_LOOKING,
    RUNS_FOLDER,
    lock_file,
    refuse_network,
)
from backfill.state.run import RunFolder
from backfill.state.shared_run import SpoolChoice

if TYPE_CHECKING:
    from backfill.archive import ArchiveReader

LOG = logging.getLogger(__name__)
#: Stands between the id of an earlier run and its number; no run id has it.
EARLIER_MARK = "~"
_SLUG_CHARACTERS = 40
_HASH_CHARACTERS = 8


class StateFolder:
    """A `RunStore` in a folder on this machine. Making the object touches nothing; `make_usable` makes the folder."""

    def __init__(self, path: Path, choice: SpoolChoice = SpoolChoice()) -> None:  # noqa: B008 (frozen)
        """`choice` says where the bytes of runs that begin are kept, and what stays of shared ones on this machine."""
        self.path = path
        self._choice = choice

    @property
    def bytes_at(self) -> str:
        """The place where runs that begin share their bytes; empty where they keep them here."""
        return self._choice.url

    @property
    def name(self) -> str:
        """The folder."""
        return str(self.path)

    def make_usable(self) -> bool:
        """Make the folder with what belongs in it, and remove what discarded runs have left; returns whether it is new.

        Raises:
            UsageError: It is on a network file system, holds something else already, or cannot be made there.
            StoppedError: The disk is full or read-only; or the folder holds runs, and may not be written any more.
        """
        refuse_network(self.path)
        names = {path.name for path in self.path.iterdir()} if self.path.is_dir() else set()  # at one moment
        if names - MADE_BY_LOOKING and self._runs.name not in names:
            # A project or home folder given by mistake must not become private and ignored by git.
            raise UsageError(
                f"{self.path} holds other things and is no state folder",
                hint="give a folder of its own with --state-dir, such as " + str(self.path / FOLDER_NAME),
            )
        with self._told(used=bool(names)):
            for folder in (self.path, self._runs, self._locks, self._discarded):
                make_folder(folder)
            self.path.chmod(PRIVATE_FOLDER)  # whatever an earlier hand has made of it
            ignore = self.path / ".gitignore"
            if not ignore.exists():
                with suppress(FileNotFoundError):  # another process, at the same, has just renamed what both wrote
                    write_durably(ignore, b"*\n")
        for leftover in self._discarded.iterdir():
            self._throw_away(leftover)
        return self._runs.name not in names

    @contextmanager
    def _told(self, *, used: bool) -> Iterator[None]:
        """A disk that takes nothing stops, as does a folder with runs that may not be written; else it is misplaced."""
        try:
            yield
        except (OSError, StoppedError) as error:
            cause = error if isinstance(error, OSError) else error.__cause__
            assert isinstance(cause, OSError)
            stopped = error if isinstance(error, StoppedError) else disk_stop(cause, self.path)
            if stopped is not None and (used or cause.errno not in NO_PERMISSION):
                if not used and cause.errno not in NO_ROOM:
                    stopped.hint = "make it possible to write there, or give another one with --state-dir"
                raise stopped from cause
            raise UsageError(
                f"the state folder {self.path} cannot be made: {cause.strerror}",
                hint="give another one with --state-dir",
            ) from cause

    def look(self) -> str:
        """Nothing: there is no server."""
        return ""

    def run(self, run_id: str) -> RunFolder:
        """The folder of that run, there or not."""
        return self._run(self._runs / run_id)

    def find(self, job_name: str, target_kind: str, target_identity: str, generation: int) -> RunFolder:
        """The folder of the run of that job to that target, there or not."""
        return self.run(run_id(job_name, target_kind, target_identity, generation))

    def runs(self, *, lost: bool = False) -> list[StoredRun]:
        """Every run that has begun, the latest first by when its ledger was last written.

        With `lost` also those whose ledger is gone, behind all others; without it such a one is a LedgerError.
        """
        if not self._runs.is_dir():
            return []
        found = map(self._run, self._runs.iterdir())
        begun: list[StoredRun] = [run for run in found if (lost and run.lost) or run.begun()]
        return sorted(begun, key=lambda run: (-_written_ns(run), run.run_id))

    @contextmanager
    def lock(self, run_id: str, *, together: bool = False) -> Iterator[None]:  # noqa: ARG002 (a file has one writer)
        """Hold the lock of that run.

        Raises:
            LockedError: Another process (or another lock of this one) holds it.
            StoppedError: The disk is full or takes nothing.
        """
        lock = FileLock(self._locks / lock_file(run_id))
        with out_of_space(self._locks):
            taken = lock.take()
        if not taken:
            who = "" if (holder := lock.holder()) is None else f" (pid {holder})"
            raise LockedError(
                f"another process{who} is at work on the run {run_id}",
                hint="wait until it is done, or interrupt it; `backfill status` shows how far it is",
            )
        try:
            yield
        finally:
            lock.release()

    def discard(self, run: StoredRun) -> None:
        """Throw a run away, all of it or nothing: after this returns the run has never been. Hold its lock.

        Only for runs of which nothing was delivered, for sandbox and dry runs: delivered ids are lost with the ledger.
        """
        if run.path.exists():
            gone = self._discarded / f"{run.run_id}.{uuid.uuid4().hex}"
            run.path.rename(gone)
            sync_folder(self._runs)
            self._throw_away(gone)

    def _run(self, path: Path) -> RunFolder:
        return RunFolder(path, self._choice)

    def _throw_away(self, gone: Path) -> None:
        """Remove a discarded run, and what is shared of it first; what is left, `make_usable` removes another time."""
        try:
            self._run(gone).remove_shared()
        except BackfillError as error:  # out of reach for now, or its library is not installed here
            LOG.warning("what is shared of a discarded run is removed another time: %s", error.message)
        else:
            shutil.rmtree(gone, ignore_errors=True)

    @property
    def dry_runs(self) -> StateFolder:
        """The state folder of dry runs, which is inside this one."""
        return StateFolder(self.path / DRY_RUNS_FOLDER)

    def earlier(self, run_id: str | None = None) -> list[StoredRun]:
        """The runs in whose place a later one came (of that id, where given), the oldest first."""
        if not self._earlier.is_dir():
            return []
        found: list[StoredRun] = [self._run(path) for path in self._earlier.iterdir() if EARLIER_MARK in path.name]
        found = [run for run in found if run_id is None or run.path.name.rpartition(EARLIER_MARK)[0] == run_id]
        return sorted(found, key=lambda run: (run.run_id.rpartition(EARLIER_MARK)[0], _number(run)))

    def put_away(self, run: StoredRun) -> RunFolder:
        """Make room for a later run of the same id; returns where this one is from now on, for good. Hold its lock."""
        make_folder(self._earlier)
        number = max((_number(one) for one in self.earlier(run.run_id)), default=0) + 1
        place = self._run(self._earlier / f"{run.run_id}{EARLIER_MARK}{number}")
        run.path.rename(place.path)
        sync_folder(self._earlier)
        sync_folder(self._runs)
        return place

    def kept(self, run_id: str) -> RunFolder:
        """The run of that id, also one in whose place another came."""
        return self._run((self._earlier if EARLIER_MARK in run_id else self._runs) / run_id)

    def retire(self, run: StoredRun) -> str:
        """Put a run that is elsewhere by now out of use; returns its folder."""
        moved = self.path / "moved"
        make_folder(moved)
        place = moved / f"{run.run_id}.{uuid.uuid4().hex[:8]}"
        folder = run.path.parent
        run.path.rename(place)
        sync_folder(moved)
        sync_folder(folder)
        return str(place)

    def archive(self, record: RunRecord, *, stopping: Callable[[], bool] = lambda: False) -> DeliveredArchive:
        """The archive to which the delivered ids of such a run belong; shared where runs that begin are."""
        from backfill.archive import Archive, SharedArchive  # noqa: PLC0415 (numpy, for runs that leave something out)

        here = Archive(self.path, record.job_name, record.target_identity, record.id_scope, stopping=stopping)
        if not self._choice.url:
            return here
        place = open_place(self._choice.url)
        place.make_usable()
        return SharedArchive(place, here)

    def archives(self) -> Iterator[ArchiveReader]:
        """Every archive that can be read; of one that cannot, the runs' own files are read instead."""
        from backfill.archive import DELIVERED_FOLDER, ArchiveReader  # noqa: PLC0415 (as above)

        folder = self.path / DELIVERED_FOLDER
        for path in sorted(folder.iterdir()) if folder.is_dir() else ():
            try:
                reader = ArchiveReader.open(path)
            except LedgerError:
                continue
            if reader is not None:
                yield reader

    @property
    def _earlier(self) -> Path:
        return self.path / "earlier"

    @property
    def _runs(self) -> Path:
        return self.path / RUNS_FOLDER

    @property
    def _locks(self) -> Path:
        return self.path / LOCKS_FOLDER

    @property
    def _discarded(self) -> Path:
        return self.path / "discarded"


def _written_ns(run: StoredRun) -> int:
    """When its ledger was last written; 0 where there is none any more."""
    try:
        return Path(run.ledger).stat().st_mtime_ns
    except FileNotFoundError:
        return 0


def _number(earlier: StoredRun) -> int:
    """Which of the earlier runs of its id it is, from 1."""
    number = earlier.run_id.rpartition(EARLIER_MARK)[2]
    return int(number) if number.isdigit() else 0


def run_id(job_name: str, target_kind: str, target_identity: str, generation: int) -> str:
    """The id of the run of a job to a target: readable, and as unique as what it is found by."""
    found_by = json.dumps([job_name, target_identity, generation], ensure_ascii=False, separators=(",", ":"))
    digest = hashlib.sha256(found_by.encode("utf-8", "surrogatepass")).hexdigest()[:_HASH_CHARACTERS]
    return f"{_slug(job_name)}-{target_kind}-g{generation}-{digest}"


def may_be_of(run_id: str, job_name: str) -> bool:
    """Whether a run of that id may be one of that job, or of rejects of it, for all that its id tells."""
    named = rf"{re.escape(_slug(job_name))}-[a-z]+-g\d+-[0-9a-f]{{{_HASH_CHARACTERS}}}"
    return re.match(rf"{named}(?![0-9a-z])", run_id) is not None


def _slug(job_name: str) -> str:
    plain = unicodedata.normalize("NFKD", job_name).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9]+", "-", plain).strip("-")[:_SLUG_CHARACTERS].strip("-") or "job"
