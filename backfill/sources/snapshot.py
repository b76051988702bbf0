"""A snapshot's own description on disk: written last, so that a snapshot with one is whole."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

from backfill.errors import LedgerError
from backfill.records import Column, Kind, Snapshot, SnapshotPart, SourceFile, Zone

NAME = "snapshot.json"
VERSION = 1


def sync_file(path: Path) -> None:
    """Make a file's bytes durable."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def save_snapshot(snapshot: Snapshot, folder: Path) -> None:
    """Make the snapshot's files and then its description durable; paths below `folder` are kept relative to it."""
    own = [part.path for part in snapshot.parts if not snapshot.in_place]
    for path in [*own, *([snapshot.unreadable_file] if snapshot.unreadable_file else [])]:
        sync_file(path)
    sync_file(folder)
    data = asdict(snapshot) | {
        "version": VERSION,
        "parts": [asdict(part) | {"path": _written(part.path, folder)} for part in snapshot.parts],
        "unreadable_file": _written(snapshot.unreadable_file, folder) if snapshot.unreadable_file else None,
    }
    unfinished = folder / (NAME + ".part")
    with unfinished.open("w", encoding="utf-8") as file:
        json.dump(data, file, ensure_ascii=False)
        file.flush()
        os.fsync(file.fileno())
    unfinished.rename(folder / NAME)
    sync_file(folder)


def load_snapshot(folder: Path) -> Snapshot:
    """The snapshot that `stage` left in the folder.

    Raises:
        LedgerError: there is none, it is damaged, or another version wrote it.
    """
    try:
        data = json.loads((folder / NAME).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise LedgerError(f"{folder} holds no finished snapshot") from None
    except ValueError as error:
        raise LedgerError(f"{folder / NAME} is damaged: {error}") from error
    if not isinstance(data, dict) or data.pop("version", None) != VERSION:
        raise LedgerError(f"{folder / NAME} was written by another version of backfill")
    try:
        snapshot = _from_json(data, folder)
    except (KeyError, TypeError, ValueError) as error:
        raise LedgerError(f"{folder / NAME} is damaged: {error!r}") from error
    for part in snapshot.parts:
        if not part.path.exists():
            raise LedgerError(f"{part.path}, a part of the snapshot, is gone")
    return snapshot


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
