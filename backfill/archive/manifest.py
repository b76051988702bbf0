"""What an archive holds: its runs and its files. A file that the manifest does not name is a leftover of a crash."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Final

from backfill.disk import sync_folder, write_durably
from backfill.errors import LedgerError
from backfill.records import ArchivedRun

MANIFEST_FILE: Final = "manifest.json"
VERSION: Final = 1


@dataclass(frozen=True, slots=True)
class ArchivedFile:
    """One set of columns."""

    name: str
    records: int
    checks: tuple[int, ...]  # CRC-32 of each column


@dataclass(frozen=True, slots=True)
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
        data = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
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
