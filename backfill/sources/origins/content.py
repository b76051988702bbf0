"""The bytes of one file of a source, wherever it lies: as stored, unpacked, hashed.

A compressed file is recognised by its first bytes, and its own checksums are verified on the way.
"""

from __future__ import annotations

import errno
import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import BinaryIO, Protocol

from backfill.errors import InterruptedRunError, SourceError
from backfill.frozen import frozen
from backfill.records import SourceFile
from backfill.sources.origins import compression
from backfill.sources.origins.archives import ArchiveMember, container
from backfill.sources.origins.compression import Damage, Packing, packing_of, unpacked
from backfill.sources.origins.fetched import OBJECT_COPIES
from backfill.sources.origins.objects import object_of

PIECE = compression.PIECE
#: Seconds between two looks at whether to go on, while there is nothing to read or a statement runs.
POLL_SECONDS = 0.1
#: Called with the size of each piece of a file as it is read; may raise, which ends the reading.
Watch = Callable[[int], None]
#: As many first bytes tell what a file is.
HEAD_BYTES = 512
_NO_PERMISSION = frozenset((errno.EACCES, errno.EPERM))


def unwatched(size: int) -> None:
    """Ignore the bytes that are read."""


def ignore_progress(rows: int, size: int) -> None:
    """Ignore the progress."""


def never() -> bool:
    """Not to stop."""
    return False


def until(stopping: Callable[[], bool], watch: Watch = unwatched) -> Watch:
    """A watch that hands its bytes on to another, and raises InterruptedRunError once `stopping` is true."""

    def ask(size: int) -> None:
        if stopping():
            raise InterruptedRunError(
                "stopped while the source was read", hint="run the same command again: nothing was sent yet"
            )
        watch(size)

    return ask


class Origin(Protocol):
    """Where the bytes of one file lie."""

    @property
    def name(self) -> str:
        """What messages call the file."""

    @property
    def path(self) -> str:
        """The whole path or URL, whose suffixes tell what the file should be."""

    def open(self) -> BinaryIO:
        """The stored bytes from the first on; the caller closes it. Raises OSError, as reading it does."""

    def local_path(self) -> Path:
        """A file of this machine that holds the bytes, for formats that seek in them."""

    def seekable(self) -> BinaryIO:
        """The stored bytes for a format that seeks in them, and needs no path; the caller closes it."""


@frozen
class LocalFile:
    """A file of this machine."""

    path: str
    name: str

    def open(self) -> BinaryIO:
        """The file, opened."""
        return Path(self.path).open("rb")

    def local_path(self) -> Path:
        """The file itself."""
        return Path(self.path)

    def seekable(self) -> BinaryIO:
        """The file, opened."""
        return self.open()


def origin_of(file: SourceFile) -> Origin:
    """Where a file of a source lies."""
    if not file.pin:
        return origin_at(file.path, file.name)
    holder = object_of(file)
    copy = OBJECT_COPIES.of(holder)
    if holder is file:
        return copy
    return ArchiveMember(file.path, file.name, str(copy.local_path()), file.path[len(holder.path) + 1 :])


def origin_at(path: str, name: str) -> Origin:
    """What a path of a source names: a file, or a member of an archive."""
    holder = container(path)
    return LocalFile(path, name) if holder == path else ArchiveMember(path, name, holder, path[len(holder) + 1 :])


def compression_of(origin: Origin) -> str | None:
    """gzip, zstd, bzip2, xz or None, by the file's first bytes; raises SourceError where it cannot be read."""
    packing = packing_of(first_bytes(origin))
    return packing.name if packing else None


def first_bytes(origin: Origin) -> bytes:
    """The first HEAD_BYTES of the file as it stands; raises SourceError where it cannot be read."""
    return next(_with_names(origin, _head(origin)))


def _head(origin: Origin) -> Iterator[bytes]:
    with origin.open() as file:
        yield file.read(HEAD_BYTES)


def cannot_be_read(name: str, error: OSError, path: str = "") -> SourceError:
    """The error for a file of the source that the system does not give."""
    if isinstance(error, FileNotFoundError):
        return SourceError(f"{name} does not exist", hint=f"looked for {error.filename}", name=name, path=path)
    hint = "let the user that runs this read it" if error.errno in _NO_PERMISSION else ""
    return SourceError(f"{name} cannot be read: {error.strerror or error}", hint=hint, name=name, path=path)


def digest(origin: Origin, watch: Watch = unwatched) -> str:
    """SHA-256 of the stored bytes, in hex digits; a compressed file is unpacked on the way, to verify its checksums.

    `watch` gets the stored bytes, and a compressed file's plain ones as well.

    Raises:
        SourceError: it cannot be read, or is compressed and truncated or corrupt.
    """
    packing = packing_of(first_bytes(origin))
    hashed = _Hashed()
    told = 0
    for piece in _with_names(origin, hashed.pieces(origin, packing)):
        watch(hashed.size - told + (len(piece) if packing else 0))
        told = hashed.size
    watch(hashed.size - told)
    return hashed.sha256.hexdigest()


@dataclass(slots=True, repr=False, eq=False)
class _Hashed:
    """The hash of all that is read of a file."""

    sha256: hashlib._Hash = field(default_factory=hashlib.sha256)
    size: int = 0

    def pieces(self, origin: Origin, packing: Packing | None) -> Iterator[bytes]:
        """The file's bytes, unpacked."""
        with origin.open() as file:
            read = partial(self._read, file)
            yield from unpacked(read, packing) if packing else iter(partial(read, PIECE), b"")

    def _read(self, file: BinaryIO, size: int) -> bytes:
        data = file.read(size)
        self.sha256.update(data)
        self.size += len(data)
        return data


def plain_pieces(origin: Origin, watch: Watch = unwatched) -> Iterator[bytes]:
    """The file's bytes, decompressed, a megabyte or so at a time; checksums are verified on the way.

    Raises:
        SourceError: it cannot be read, or is truncated or corrupt.
    """
    packing = packing_of(first_bytes(origin))
    for piece in _with_names(origin, _unpacked(origin, packing) if packing else _stored(origin)):
        watch(len(piece))
        yield piece


def stored_pieces(origin: Origin, watch: Watch = unwatched) -> Iterator[bytes]:
    """The file's bytes as they are stored; raises SourceError as `plain_pieces` does."""
    for piece in _with_names(origin, _stored(origin)):
        watch(len(piece))
        yield piece


def _unpacked(origin: Origin, packing: Packing) -> Iterator[bytes]:
    with origin.open() as file:
        yield from unpacked(file.read, packing)


def _stored(origin: Origin) -> Iterator[bytes]:
    """The bytes of the file as it stands."""
    with origin.open() as file:
        while piece := file.read(PIECE):
            yield piece


def _with_names(origin: Origin, pieces: Iterator[bytes]) -> Iterator[bytes]:
    """The pieces, with what is wrong with the file told by its name."""
    try:
        yield from pieces
    except OSError as error:
        raise cannot_be_read(origin.name, error, origin.path) from error
    except Damage as error:
        raise damaged(origin.name, error, origin.path) from error


def damaged(name: str, error: Damage, path: str = "") -> SourceError:
    """The error for a file that cannot be unpacked."""
    hint = "fetch or export the file again; nothing was sent"
    return SourceError(f"{name} is truncated or corrupt: {error}", hint=hint, name=name, path=path)
