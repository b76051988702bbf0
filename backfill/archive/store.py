"""The archive on disk: one more sorted file for each run, merged as they grow many; the manifest decides what counts.

Rule 1: files are durable before the manifest names them, and removed only after it does no more.
Rule 2: archiving a run again is harmless: what the manifest covers is not written again.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Final

from backfill.archive.columns import COLUMNS, ColumnWriter, checksum, mapped, piece_of
from backfill.archive.manifest import (
    MANIFEST_FILE,
    ArchivedFile,
    Manifest,
    read_manifest,
    to_merge,
    write_manifest,
)
from backfill.archive.merge import merge, write_sorted
from backfill.archive.reader import ArchiveReader
from backfill.disk import PRIVATE_FILE, make_folder, sync_folder
from backfill.errors import InterruptedRunError, LedgerError
from backfill.memory import MEMORY_RECORDS
from backfill.records import ArchivedRun, DeliveredCalls

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
        cancelled: Callable[[], bool] = lambda: False,
    ) -> None:
        self.folder = archive_folder(state, job_name, target_identity, id_scope)
        self._empty = Manifest(job_name, target_identity, id_scope)
        self._memory = memory_records
        self._cancelled = cancelled

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
            InterruptedRunError: It was cancelled: nothing was archived.
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
        """Empty it: what a rehearsal sent that is begun afresh, or what is to be made again from the ledgers."""
        if self.folder.is_dir():
            with self._locked():
                (self.folder / MANIFEST_FILE).unlink(missing_ok=True)
                sync_folder(self.folder)
                self._sweep(self._empty)

    def _append(self, manifest: Manifest, run: ArchivedRun, delivered: Iterable[DeliveredCalls]) -> None:
        manifest, number = manifest.with_run(run)
        writer = ColumnWriter(self.folder / manifest.next_name(), self._cancelled)
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
        writer = ColumnWriter(self.folder / name, self._cancelled)
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
        """One process at a time: runs of two generations may end together. The kernel lets go when a process ends."""
        make_folder(self.folder)
        descriptor = os.open(self.folder / _LOCK_FILE, os.O_RDWR | os.O_CREAT, PRIVATE_FILE)
        try:
            while True:
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if self._cancelled():
                        raise InterruptedRunError("interrupted while another process archived ids") from None
                    time.sleep(_LOOK_SECONDS)
            yield
        finally:
            os.close(descriptor)
