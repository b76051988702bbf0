"""The two kinds of shared places for tests, each with what can befall it: late, changed, busy, out of reach."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import pytest

from backfill.buckets import asking
from backfill.shared import bucket as buckets
from backfill.shared import folder as folders
from tests.support.buckets import BUCKET, Asked, Fault, Store


class Behind(Protocol):
    """What a test does to a place behind the program's back."""

    url: str

    def names(self) -> list[str]:
        """What is there, sorted."""

    def read(self, key: str) -> bytes:
        """The bytes of one."""

    def write(self, key: str, content: bytes) -> None:
        """Put other bytes there."""

    def remove(self, key: str) -> None:
        """Remove one."""

    def refuse(self) -> Callable[[], None]:
        """Nothing can be put there until what is returned was called."""

    def stumble(self, times: int) -> None:
        """So many of the next requests fail as they do where a store is busy; a folder never is."""


class FolderPlace:
    """A folder."""

    def __init__(self, path: Path) -> None:
        self.path, self.url = path, str(path)

    def names(self) -> list[str]:
        """Files below it."""
        found = (path for path in self.path.rglob("*") if path.is_file() and path.name != folders.MARK)
        return sorted(path.relative_to(self.path).as_posix() for path in found)

    def read(self, key: str) -> bytes:
        """A file's bytes."""
        return (self.path / key).read_bytes()

    def write(self, key: str, content: bytes) -> None:
        """Write a file."""
        (self.path / key).write_bytes(content)

    def remove(self, key: str) -> None:
        """Remove a file."""
        (self.path / key).unlink()

    def refuse(self) -> Callable[[], None]:
        """The server of the file system is gone."""
        patch = pytest.MonkeyPatch()

        def fail(*_: object) -> None:
            raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))

        patch.setattr(folders, "fill_beside", fail)
        return patch.undo

    def stumble(self, times: int) -> None:
        """Nothing."""


class BucketPlace:
    """A prefix of a bucket."""

    def __init__(self, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
        self.store, self.url = store, f"s3://{BUCKET}/some/prefix"
        monkeypatch.setattr(asking, "PATIENCE", (0.01, 0.01, 0.01))
        monkeypatch.setattr(asking, "FIRST_PATIENCE", (0.01, 0.01, 0.01))
        monkeypatch.setattr(buckets, "STALL_SECONDS", 0.4)
        monkeypatch.setattr(buckets, "PART_BYTES", 8_000)  # segments are put in parts, the rest is not

    def names(self) -> list[str]:
        """Objects below the prefix."""
        return sorted(key.removeprefix("some/prefix/") for key in self.store.objects)

    def read(self, key: str) -> bytes:
        """An object's bytes."""
        return self.store.objects[f"some/prefix/{key}"]

    def write(self, key: str, content: bytes) -> None:
        """Write an object."""
        self.store.objects[f"some/prefix/{key}"] = content

    def remove(self, key: str) -> None:
        """Remove an object."""
        del self.store.objects[f"some/prefix/{key}"]

    def refuse(self) -> Callable[[], None]:
        """It answers 503 to whatever changes something."""
        self.store.script = lambda asked: Fault(503, "SlowDown") if asked.method in ("PUT", "POST") else None
        return lambda: setattr(self.store, "script", lambda _: None)

    def stumble(self, times: int) -> None:
        """It answers 503, closes the connection within a body, or is silent from there on."""
        left = [Fault(503, "SlowDown"), Fault(cut=10), Fault(stall=10)] * times

        def script(asked: Asked) -> Fault | None:
            return left.pop() if left and asked.key else None

        self.store.script = script
