"""One pass over a file: its SHA-256, and, where it is compressed, the checksums inside, which DuckDB does not check."""

from __future__ import annotations

import errno
import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path

from backfill.errors import InterruptedRunError, SourceError
from backfill.sources.origins import compression
from backfill.sources.origins.compression import Damage, packing_of, unpacked

PIECE = compression.PIECE
#: Seconds between two looks at whether to go on, while there is nothing to read or a statement runs.
POLL_SECONDS = 0.1
#: Told the bytes of each piece of a file as it is read; may raise, which ends the reading.
Watch = Callable[[int], None]
#: As many first bytes tell what a file is.
HEAD_BYTES = 512
_NO_PERMISSION = frozenset((errno.EACCES, errno.EPERM))


def unwatched(size: int) -> None:
    """Tell nobody."""


def ignore_progress(rows: int, size: int) -> None:
    """Report progress to nobody."""


def never() -> bool:
    """Not cancelled."""
    return False


def until(cancelled: Callable[[], bool], watch: Watch = unwatched) -> Watch:
    """A watch that hands its bytes on to another, and raises InterruptedRunError once `cancelled` is true."""

    def ask(size: int) -> None:
        if cancelled():
            raise InterruptedRunError(
                "stopped while the source was read", hint="run the same command again: nothing was sent yet"
            )
        watch(size)

    return ask


def compression_of(path: Path) -> str | None:
    """gzip, zstd, bzip2, xz or None, by the file's first bytes.

    Raises:
        SourceError: the file cannot be read.
    """
    packing = packing_of(first_bytes(path))
    return packing.name if packing else None


def first_bytes(path: Path, name: str = "") -> bytes:
    """The first HEAD_BYTES of the file as it stands; raises SourceError where it cannot be read."""
    try:
        with path.open("rb", buffering=0) as file:
            return file.read(HEAD_BYTES)
    except OSError as error:
        raise cannot_be_read(name or path.name, error) from error


def cannot_be_read(name: str, error: OSError) -> SourceError:
    """The error for a file of the source that the system does not give."""
    if isinstance(error, FileNotFoundError):
        return SourceError(f"{name} does not exist", hint=f"looked for {error.filename}")
    hint = "let the user that runs this read it" if error.errno in _NO_PERMISSION else ""
    return SourceError(f"{name} cannot be read: {error.strerror or error}", hint=hint)


def digest(path: Path, name: str, watch: Watch = unwatched) -> str:
    """SHA-256 of the file's bytes, in hex digits. `watch` is told of a compressed file's plain bytes as well.

    Raises:
        SourceError: it cannot be read, or is compressed and truncated or corrupt.
    """
    if compression_of(path) is not None:
        for _ in plain_pieces(path, name, watch):
            pass
    sha256 = hashlib.sha256()
    for piece in _told(path, name, _stored(path)):
        watch(len(piece))
        sha256.update(piece)
    return sha256.hexdigest()


def plain_pieces(path: Path, name: str = "", watch: Watch = unwatched) -> Iterator[bytes]:
    """The file's bytes, decompressed, a megabyte or so at a time; checksums are verified on the way.

    Raises:
        SourceError: it cannot be read, or is truncated or corrupt; `name` is what it is called then.
    """
    packing = packing_of(first_bytes(path, name))
    for piece in _told(path, name, unpacked(path, packing) if packing else _stored(path)):
        watch(len(piece))
        yield piece


def _stored(path: Path) -> Iterator[bytes]:
    """The bytes of the file as it stands."""
    with path.open("rb") as file:
        while piece := file.read(PIECE):
            yield piece


def _told(path: Path, name: str, pieces: Iterator[bytes]) -> Iterator[bytes]:
    """The pieces, with what is wrong with the file told by its name."""
    try:
        yield from pieces
    except OSError as error:
        raise cannot_be_read(name or path.name, error) from error
    except Damage as error:
        raise SourceError(
            f"{name or path.name} is truncated or corrupt: {error}",
            hint="fetch or export the file again; nothing was sent",
        ) from error
