"""A snapshot's own description on disk: written last, so that a snapshot with one is whole.

It holds the SHA-256 of the snapshot's files and of itself. A flipped bit in Parquet is often another value and no
error, and a process that goes on with preparing days later would send it.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from backfill.disk import sync_file, sync_folder, write_durably
from backfill.errors import LedgerError
from backfill.records import Column, Kind, Snapshot, SnapshotPart, SourceFile, Zone

NAME = "snapshot.json"
VERSION = 1
_BEGIN_AFRESH = "nothing was sent yet: `backfill run JOB --abandon` begins the run afresh"


def save_snapshot(snapshot: Snapshot, folder: Path) -> None:
    """Make the snapshot's files and then its description durable; paths below `folder` are kept relative to it."""
    own = [part.path for part in snapshot.parts if not snapshot.in_place]
    own += [snapshot.unreadable_file] if snapshot.unreadable_file else []
    for path in own:
        sync_file(path)
    sync_folder(folder)
    data = asdict(snapshot) | {
        "version": VERSION,
        "parts": [asdict(part) | {"path": _written(part.path, folder)} for part in snapshot.parts],
        "unreadable_file": _written(snapshot.unreadable_file, folder) if snapshot.unreadable_file else None,
        "digests": {_written(path, folder): _digest(path) for path in own},
    }
    data["digest"] = _digest_of(data)
    write_durably(folder / NAME, json.dumps(data, ensure_ascii=False).encode())
    sync_folder(folder)


def load_snapshot(folder: Path) -> Snapshot:
    """The snapshot that `stage` left in the folder.

    Raises:
        LedgerError: there is none, it is damaged, or another version wrote it.
    """
    try:
        data = json.loads((folder / NAME).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise LedgerError(f"{folder} holds no finished snapshot", hint=_BEGIN_AFRESH) from None
    except ValueError as error:
        raise LedgerError(f"{folder / NAME} is damaged: {error}", hint=_BEGIN_AFRESH) from error
    if not isinstance(data, dict) or data.get("version") != VERSION:
        raise LedgerError(f"{folder / NAME} was written by another version of backfill", hint=_BEGIN_AFRESH)
    if data.pop("digest", None) != _digest_of(data):
        raise LedgerError(f"{folder / NAME} is damaged: its digest is another one", hint=_BEGIN_AFRESH)
    del data["version"]
    _verify(data.pop("digests"), folder)
    snapshot = _from_json(data, folder)
    for part in snapshot.parts:
        if not part.path.exists():
            raise LedgerError(f"{part.path}, a part of the snapshot, is gone")
    return snapshot


def _verify(digests: dict[str, str], folder: Path) -> None:
    """Raise LedgerError where a file of the snapshot is gone or damaged."""
    for name, digest in digests.items():
        try:
            found = _digest(folder / name)
        except FileNotFoundError:
            raise LedgerError(f"{folder / name}, a part of the snapshot, is gone", hint=_BEGIN_AFRESH) from None
        if found != digest:
            raise LedgerError(f"{folder / name}, a part of the snapshot, is damaged", hint=_BEGIN_AFRESH)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _digest_of(data: dict[str, Any]) -> str:
    """SHA-256 of a description, its own digest left out."""
    return hashlib.sha256(json.dumps(data, sort_keys=True).encode("ascii")).hexdigest()


def _written(path: Path, folder: Path) -> str:
    return str(path.relative_to(folder)) if path.is_relative_to(folder) else str(path)


def _from_json(data: dict[str, Any], folder: Path) -> Snapshot:
    """The inverse of what `save_snapshot` writes."""
    columns = [
        column | {"kind": Kind(column["kind"]), "zone": Zone(column["zone"]), "reads": tuple(column["reads"])}
        for column in data["columns"]
    ]
    parts = [part | {"path": folder / part["path"]} for part in data["parts"]]
    unreadable = data["unreadable_file"]
    return Snapshot(
        **data
        | {
            "columns": tuple(Column(**column) for column in columns),
            "parts": tuple(SnapshotPart(**part) for part in parts),
            "files": tuple(SourceFile(**file) for file in data["files"]),
            "unreadable_file": folder / unreadable if unreadable else None,
        }
    )
