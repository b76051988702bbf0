"""Objects of buckets, and files of web servers: each one pinned, and copied as far as it is read.

Rules (docs/decisions/objects-are-copied.md)
1) An object is what its listing said: size and pin (its ETag; without one its version, or the time of its last
   change). Every request says so too (If-Match), and what answers otherwise is an error: bytes of another version are
   never taken.
2) What is read is kept in a file, so that a second reading asks the store for nothing. A lost connection is taken up
   where it was lost.
3) A copy is whole, and has its own name, only once every byte is there and forced to the disk; then another process
   may use it.
"""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from threading import RLock
from typing import Any, BinaryIO

from backfill.buckets.asking import ask
from backfill.buckets.stores import obstore, store_of
from backfill.disk import sync_folder
from backfill.errors import SourceError, StoppedError
from backfill.job.remote import remote
from backfill.records import SourceFile

#: Bytes taken from a connection at once, at least: so many are lost with it.
CHUNK_BYTES = 1 << 16
#: Bytes fetched at once, at least, where a format seeks in an object of which only a look is wanted.
RANGE_BYTES = 1 << 17


def pin_of(meta: Any) -> str:  # noqa: ANN401 (obstore's ObjectMeta)
    """What tells one state of an object from every other; empty where the server says nothing that does."""
    tag = meta["e_tag"]
    if tag:  # Azure's listings have it without quotes
        return f"ETag {tag}" if tag.endswith('"') else f'ETag "{tag}"'
    if meta["version"]:
        return f"version {meta['version']}"
    changed = meta["last_modified"]
    return f"changed {changed.isoformat()}" if changed.timestamp() > 0 else ""


def source_file(url: str, key: str, meta: Any) -> SourceFile:  # noqa: ANN401 (obstore's ObjectMeta)
    """The file that an object is, unread.

    Raises:
        SourceError: it could change while it is read, and nobody would know.
    """
    pin = pin_of(meta)
    if not pin:
        raise SourceError(
            f"{url} cannot be pinned: its server gives no ETag and no time of last change",
            hint='read what another program fetches: `path: "-"`, `curl -sSf URL | backfill run JOB`',
        )
    return SourceFile(
        path=url, name=url, key=key, bytes=meta["size"], sha256="", mtime_ns=0, ctime_ns=0, inode=0, pin=pin
    )


_MEMBER = "member"


def member_of(archive: SourceFile, member: str, size: int) -> SourceFile:
    """A file of an archive that is an object. It is pinned as the archive is, whose URL and size its pin tells too."""
    pin = f"{_MEMBER} {len(archive.path)} {archive.bytes} {archive.pin}"
    path, name, key = (f"{one}/{member}" for one in (archive.path, archive.name, archive.key))
    return replace(archive, path=path, name=name, key=key, bytes=size, pin=pin)


def object_of(file: SourceFile) -> SourceFile:
    """The object that holds a file: itself, or the archive of a member."""
    if not file.pin.startswith(f"{_MEMBER} "):
        return file
    _, length, size, pin = file.pin.split(" ", 3)
    behind = len(file.path) - int(length)
    return replace(
        file, path=file.path[:-behind], name=file.name[:-behind], key=file.key[:-behind], bytes=int(size), pin=pin
    )


class ObjectCopy:
    """An object, and the copy of what was read of it so far; an Origin. Safe in several threads."""

    def __init__(self, file: SourceFile, folder: Path, watch: Callable[[int], None]) -> None:
        self.file, self.folder, self.watch = file, folder, watch
        named = hashlib.sha256(f"{file.path}\0{file.pin}\0{file.bytes}".encode()).hexdigest()[:32]
        self._whole, self._part = folder / named, folder / f"{named}.part"
        self._at = remote(file.path)
        self._lock = RLock()
        self._stream: Iterator[Any] | None = None
        self._target: BinaryIO | None = None
        self.size = file.bytes if self._whole.exists() else 0  # of the copy
        self.looking = False  # no more is wanted of it than some parts

    @property
    def name(self) -> str:
        """What messages call it."""
        return self.file.name

    @property
    def path(self) -> str:
        """Its URL."""
        return self.file.path

    def open(self) -> BinaryIO:
        """Its bytes from the first on, fetched as they are read."""
        return io.BufferedReader(_Reading(self), CHUNK_BYTES)

    def local_path(self) -> Path:
        """The copy, once it is whole."""
        self.reach(self.file.bytes)
        return self._whole

    def seekable(self) -> BinaryIO:
        """Its bytes to seek in: of the whole copy, or, in a look, only those that are sought."""
        if self.size < self.file.bytes and self.looking:
            return io.BufferedReader(_Ranges(self), RANGE_BYTES)
        return self.local_path().open("rb")

    def range(self, start: int, size: int) -> bytes:
        """A part of the object, of which no copy is kept; raises as `reach` does."""
        return ask(self._at, self.name, lambda: bytes(self._get((start, start + size)).bytes()), self.watch)

    def reach(self, size: int) -> None:
        """Fetch on until the copy has that many bytes, or all.

        Raises:
            SourceError: the object is gone or another one by now, or the store does not give it.
            StoppedError: the disk is full.
        """
        size = min(size, self.file.bytes)
        with self._lock:
            if self._target is None and not self._whole.exists():
                self._begin()
            while self.size < size:
                self._append(ask(self._at, self.name, self._next, self.watch))
            if self._target is not None and self.size == self.file.bytes:
                self._finish()

    def read(self, place: int, size: int) -> bytes:
        """Bytes of the copy from a place on: as many as asked for, or as few as there are so far, one at least."""
        with self._lock:
            self.reach(place + 1)
            with (self._whole if self._target is None else self._part).open("rb") as copy:
                copy.seek(place)
                return copy.read(min(size, self.size - place))

    def let_go(self) -> None:
        """Close the connection, and remove the copy where it is not whole."""
        with self._lock:
            self._stream = None
            if self._target is not None:
                self._target.close()
                self._target, self.size = None, 0
                self._part.unlink(missing_ok=True)

    def discard(self) -> None:
        """Close the connection and remove the copy."""
        with self._lock:
            self.let_go()
            self._whole.unlink(missing_ok=True)
            self.size = 0

    def _begin(self) -> None:
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._target = self._part.open("wb", buffering=0)
        self.size = 0

    def _next(self) -> bytes:
        """The next bytes, of the connection that is there or of a new one."""
        try:
            if self._stream is None:
                self._stream = self._connected()
            piece = bytes(next(self._stream, b""))
        except BaseException:
            self._stream = None
            raise
        if not piece:
            self._stream = None
            raise ConnectionError
        return piece

    def _connected(self) -> Iterator[Any]:
        """The object's bytes behind those that were fetched; all of them again where the server knows no ranges."""
        from obstore.exceptions import NotSupportedError

        try:
            found = self._get({"offset": self.size} if self.size else None)
        except NotSupportedError:
            assert self._target is not None
            self._target.truncate(0)
            self._target.seek(0)
            self.size = 0
            found = self._get(None)
        return iter(found.stream(CHUNK_BYTES))

    def _get(self, part: Any) -> Any:  # noqa: ANN401 (obstore's own)
        """The answer to a request for the object or a part of it, which is of the pinned state."""
        from obstore.exceptions import NotModifiedError, PreconditionError

        tag = self.file.pin.removeprefix("ETag ")
        strong = tag.startswith('"') or (tag != self.file.pin and not tag.startswith("W/"))
        options: dict[str, Any] = {"if_match": tag} if strong else {}
        if part is not None:
            options["range"] = part
        try:
            found = obstore().get(store_of(self._at), self._at.object_name, options=options)
        except (PreconditionError, NotModifiedError):
            raise self._changed() from None
        except FileNotFoundError:
            raise self._changed("removed") from None
        start = 0 if part is None else part["offset"] if isinstance(part, dict) else part[0]
        if (pin_of(found.meta), found.meta["size"], found.range[0]) != (self.file.pin, self.file.bytes, start):
            raise self._changed()
        return found

    def _changed(self, what: str = "changed") -> SourceError:
        hint = "run again once nothing writes to it"
        return SourceError(f"{self.name} was {what} while it was read: nothing was sent", hint=hint)

    def _append(self, piece: bytes) -> None:
        if self.size + len(piece) > self.file.bytes:
            raise self._changed()
        assert self._target is not None
        try:
            self._target.write(piece)
        except OSError as error:
            raise StoppedError(
                f"the copy of {self.name} cannot be written to {self.folder}: {error.strerror}",
                hint="free some space or give a folder on another disk with --state-dir; then go on",
            ) from error
        self.size += len(piece)

    def _finish(self) -> None:
        assert self._target is not None
        os.fsync(self._target.fileno())
        self._target.close()
        self._target, self._stream = None, None
        self._part.rename(self._whole)
        sync_folder(self.folder)


class _Reading(io.RawIOBase):
    """One reading of a copy from its first byte on."""

    def __init__(self, copy: ObjectCopy) -> None:
        self._copy, self._place = copy, 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:  # noqa: ANN401 (any buffer)
        if self._place >= self._copy.file.bytes:
            return 0
        piece = self._copy.read(self._place, len(buffer))
        buffer[: len(piece)] = piece
        self._place += len(piece)
        return len(piece)


class _Ranges(io.RawIOBase):
    """An object read where it is sought."""

    def __init__(self, copy: ObjectCopy) -> None:
        self._copy, self._place = copy, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._place = offset + (0, self._place, self._copy.file.bytes)[whence]
        return self._place

    def readinto(self, buffer: Any) -> int:  # noqa: ANN401 (any buffer)
        size = min(len(buffer), self._copy.file.bytes - self._place)
        if size <= 0:
            return 0
        buffer[:size] = self._copy.range(self._place, size)
        self._place += size
        return size
