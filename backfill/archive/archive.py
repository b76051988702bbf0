"""The archive on disk: one more sorted file for each run, merged as they grow many; the manifest decides what counts.

Rule 1: files are durable before the manifest names them, and removed only after it does no more.
Rule 2: archiving a run again is harmless: what the manifest covers is not written again.
Rule 3: a file that the manifest does not name is a leftover of a crash.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from backfill.archive.columns import (
    COLUMNS,
    ColumnWriter,
    Piece,
    Sixteen,
    checksum,
    first_at_least,
    halves,
    mapped,
    merge,
    piece_of,
    write_sorted,
)
from backfill.disk import FileLock, make_folder, out_of_space, sync_folder, write_durably
from backfill.errors import InterruptedRunError, LedgerError
from backfill.frozen import frozen
from backfill.memory import MEMORY_RECORDS
from backfill.records import ArchivedRun, DeliveredCalls, DeliveredPlace

MANIFEST_FILE: Final = "manifest.json"
VERSION: Final = 1


@frozen
class ArchivedFile:
    """One set of columns."""

    name: str
    records: int
    checks: tuple[int, ...]  # CRC-32 of each column


@frozen
class Manifest:
    """The archive of one job, target and id_scope. A run's place in `runs` is its number in the columns."""

    job_name: str
    target_identity: str
    id_scope: str
    runs: tuple[ArchivedRun, ...] = ()
    files: tuple[ArchivedFile, ...] = ()

    @property
    def records(self) -> int:
        """Ids archived; one that was delivered by two runs counts twice."""
        return sum(file.records for file in self.files)

    def covers(self, run: ArchivedRun) -> bool:
        """Whether the ids of the run are here, all of them."""
        return run in self.runs

    def with_run(self, run: ArchivedRun) -> tuple[Manifest, int]:
        """The manifest with that run, in the place it has or behind the others, and its number."""
        for number, known in enumerate(self.runs):
            if (known.run_id, known.created_at) == (run.run_id, run.created_at):
                return replace(self, runs=(*self.runs[:number], run, *self.runs[number + 1 :])), number
        return replace(self, runs=(*self.runs, run)), len(self.runs)

    def next_name(self) -> str:
        """A name that no file has or had."""
        return f"{max((int(file.name) for file in self.files), default=-1) + 1:06d}"


def read_manifest(folder: Path) -> Manifest | None:
    """The archive's manifest; None where there is none.

    Raises:
        LedgerError: It is damaged, or of a version this program does not know.
    """
    path = folder / MANIFEST_FILE
    try:
        return parse_manifest(path.read_bytes(), str(path))
    except FileNotFoundError:
        return None


def parse_manifest(content: bytes, path: str) -> Manifest:
    """The manifest that stands at that path; raises as `read_manifest` does."""
    try:
        data = json.loads(content)
    except ValueError as error:
        raise LedgerError(f"{path} is damaged", hint=REBUILD) from error
    if data.get("version") != VERSION:
        raise LedgerError(
            f"{path} has version {data.get('version')}; this backfill knows version {VERSION}",
            hint="use the version of backfill that made it, or a later one",
        )
    return Manifest(
        data["job_name"],
        data["target_identity"],
        data["id_scope"],
        tuple(ArchivedRun(**run) for run in data["runs"]),
        tuple(ArchivedFile(file["name"], file["records"], tuple(file["checks"])) for file in data["files"]),
    )


REBUILD: Final = "remove the folder: the next run makes it again from the ledgers, as long as none of them is gone"


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Make this the archive's manifest, durably: its files are durable before."""
    content = json.dumps({"version": VERSION} | asdict(manifest), ensure_ascii=False, indent=1)
    write_durably(folder / MANIFEST_FILE, content.encode("utf-8", "surrogatepass"))
    sync_folder(folder)


def to_merge(sizes: Sequence[int]) -> int:
    """How many of the last files are to become one, going by their sizes from the oldest to the newest.

    Every file is more than twice as large as all behind it then: files are few, and an id is rewritten a few times at
    most (the rule of log-structured merging).
    """
    behind = sum(sizes)
    for place, size in enumerate(sizes):
        behind -= size
        if size <= 2 * behind:
            return len(sizes) - place
    return 1


#: A reader that comes between two manifests finds the files of the second.
_TRIES = 5


class ArchiveReader:
    """The archive as it was when this was opened; what is added later is not seen. Thread-safe.

    It is memory-mapped: its own memory is that of the question.
    """

    def __init__(self, manifest: Manifest, pieces: Sequence[Piece]) -> None:
        self.manifest = manifest
        self._pieces = pieces

    @classmethod
    def open(cls, folder: Path) -> ArchiveReader | None:
        """The archive in that folder; None where there is none.

        Raises:
            LedgerError: A file is missing or cut short.
        """
        for attempt in range(_TRIES):
            manifest = read_manifest(folder)
            if manifest is None:
                return None
            try:
                return cls(manifest, [mapped(folder / file.name, file.records) for file in manifest.files])
            except (OSError, ValueError) as error:
                if attempt + 1 == _TRIES or read_manifest(folder) == manifest:
                    raise LedgerError(
                        f"{folder}: {error}", hint="`backfill run JOB --only-new` makes it again"
                    ) from error
        return None

    @property
    def runs(self) -> tuple[ArchivedRun, ...]:
        """The runs whose ids these are."""
        return self.manifest.runs

    def __len__(self) -> int:
        return self.manifest.records

    def delivered(self, ids: Sixteen) -> npt.NDArray[np.bool_]:
        """Which of the ids (sixteen bytes a row) are archived."""
        found = np.zeros(len(ids), np.bool_)
        if not len(ids):
            return found
        high, low = halves(ids)
        order = np.argsort(high)
        high, low = high[order], low[order]
        for piece in self._pieces:
            found[order] |= first_at_least(piece, high, low)[1]
        return found

    def find(self, identity: bytes) -> list[DeliveredPlace]:
        """Every place to which the id (its sixteen bytes) was delivered, the latest archived first."""
        high, low = halves(np.frombuffer(identity, np.uint8).reshape(1, 16))
        places: list[DeliveredPlace] = []
        for piece in reversed(self._pieces):
            at, here = first_at_least(piece, high, low)
            place = int(at[0])
            while here[0] and place < len(piece) and piece.high[place] == high[0] and piece.low[place] == low[0]:
                run, shard, call = piece.places[place].item()
                if run < len(self.manifest.runs):  # else a damaged column: whoever asks looks elsewhere, too
                    places.append(DeliveredPlace(self.manifest.runs[run], shard, call))
                place += 1
        return list(dict.fromkeys(places))


DELIVERED_FOLDER: Final = "delivered"
_HASH_CHARACTERS: Final = 16
_LOCK_FILE: Final = "lock"
_LOOK_SECONDS: Final = 0.05


def archive_folder(state: Path, job_name: str, target_identity: str, id_scope: str) -> Path:
    """Where in a state folder the ids are that a job has delivered to a target under a scope of ids."""
    found_by = json.dumps([job_name, target_identity, id_scope], ensure_ascii=False, separators=(",", ":"))
    digest = hashlib.sha256(found_by.encode("utf-8", "surrogatepass")).hexdigest()[:_HASH_CHARACTERS]
    return state / DELIVERED_FOLDER / digest


class Archive:
    """The archive of one job, target and id_scope. Making the object touches nothing."""

    def __init__(
        self,
        state: Path,
        job_name: str,
        target_identity: str,
        id_scope: str,
        *,
        memory_records: int = MEMORY_RECORDS,
        stopping: Callable[[], bool] = lambda: False,
    ) -> None:
        self.folder = archive_folder(state, job_name, target_identity, id_scope)
        self._empty = Manifest(job_name, target_identity, id_scope)
        self._memory = memory_records
        self._stopping = stopping

    def manifest(self) -> Manifest:
        """What it holds.

        Raises:
            LedgerError: The manifest is damaged.
        """
        return read_manifest(self.folder) or self._empty

    def runs(self) -> tuple[ArchivedRun, ...]:
        """The runs whose ids are in it; raises as `manifest` does."""
        return self.manifest().runs

    def add(self, run: ArchivedRun, delivered: Iterable[DeliveredCalls]) -> None:
        """Archive a run's delivered ids; nothing, and none is asked for, where they are archived already.

        Raises:
            LedgerError: The archive is damaged.
            StoppedError: The disk is full.
            InterruptedRunError: It was stopped: nothing was archived.
        """
        with self._locked():
            manifest = self.manifest()
            self._sweep(manifest)  # of what a process left that was killed
            if not manifest.covers(run):
                self._append(manifest, run, delivered)
            self._compact()

    def open(self) -> ArchiveReader | None:
        """Its reader, once every column that tells what was delivered has proven whole; None where it holds nothing.

        Raises:
            LedgerError: A column is missing, cut short or damaged.
        """
        reader = ArchiveReader.open(self.folder)
        if reader is None or not len(reader):
            return None
        for file in reader.manifest.files:
            for (suffix, _), check in zip(COLUMNS[:2], file.checks, strict=False):
                path = (self.folder / file.name).with_suffix(suffix)
                if checksum(path) != check:
                    raise LedgerError(f"{path} is damaged", hint="`backfill run JOB --only-new` makes it again")
        return reader

    def forget(self) -> None:
        """Empty it: a sandbox run begins afresh, or the archive is to be made again from the ledgers."""
        if self.folder.is_dir():
            with self._locked():
                (self.folder / MANIFEST_FILE).unlink(missing_ok=True)
                sync_folder(self.folder)
                self._sweep(self._empty)

    def _append(self, manifest: Manifest, run: ArchivedRun, delivered: Iterable[DeliveredCalls]) -> None:
        manifest, number = manifest.with_run(run)
        writer = ColumnWriter(self.folder / manifest.next_name(), self._stopping)
        try:
            pieces = (piece_of(one.ids, run=number, shard=one.shard, calls=one.calls) for one in delivered)
            write_sorted(pieces, writer, self.folder / "work", memory_records=self._memory)
            writer.finish()
        finally:
            writer.close()
        self._publish(manifest, 0, manifest.next_name(), writer)

    def _publish(self, manifest: Manifest, replaced: int, name: str, writer: ColumnWriter) -> None:
        """Let a file that is durable count, in place of the last `replaced` ones."""
        sync_folder(self.folder)
        kept = manifest.files[: len(manifest.files) - replaced]
        file = ArchivedFile(name, writer.records, tuple(writer.checks))
        manifest = replace(manifest, files=(*kept, file))
        write_manifest(self.folder, manifest)
        self._sweep(manifest)

    def _compact(self) -> None:
        """Merge the last files where they have become many for what they hold."""
        manifest = self.manifest()
        many = to_merge([file.records for file in manifest.files])
        if many == 1:
            return
        name = manifest.next_name()
        writer = ColumnWriter(self.folder / name, self._stopping)
        try:
            sources = [mapped(self.folder / file.name, file.records) for file in manifest.files[-many:]]
            merge(sources, writer, memory_records=self._memory)
            writer.finish()
        except (OSError, ValueError) as error:
            raise LedgerError(f"{self.folder}: {error}", hint="`backfill run JOB --only-new` makes it again") from error
        finally:
            writer.close()
        self._publish(manifest, many, name, writer)

    def _sweep(self, manifest: Manifest) -> None:
        """Remove the columns that the manifest does not name."""
        named = {file.name for file in manifest.files}
        for suffix, _ in COLUMNS:
            for path in self.folder.glob(f"*{suffix}"):
                if path.stem not in named:
                    path.unlink(missing_ok=True)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """One process at a time: runs of two generations may end together."""
        with self.alone(_LOCK_FILE):
            yield

    @contextmanager
    def alone(self, name: str) -> Iterator[None]:
        """Hold the lock of that name: no other process of this machine does until the block ends.

        Raises:
            InterruptedRunError: It was stopped while another one did.
        """
        make_folder(self.folder)
        lock = FileLock(self.folder / name)
        with out_of_space(self.folder):
            while not lock.take():
                if self._stopping():
                    raise InterruptedRunError("interrupted while another process archived ids")
                time.sleep(_LOOK_SECONDS)
        try:
            yield
        finally:
            lock.release()
