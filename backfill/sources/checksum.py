"""One pass over a file: its SHA-256, and, where it is compressed, the checksums inside, which DuckDB does not check."""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path

import zstandard
from isal import igzip, igzip_lib

from backfill.errors import InterruptedRunError, SourceError

PIECE = 1 << 20
#: Seconds between two looks at whether to go on, while there is nothing to read or a statement runs.
POLL_SECONDS = 0.1
#: Told the bytes of each piece of a file as it is read; may raise, which ends the reading.
Watch = Callable[[int], None]
GZIP, ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"  # what such files begin with: RFC 1952, RFC 8878
#: What decompressing a truncated or corrupt file raises.
_DAMAGE: tuple[type[Exception], ...] = (
    EOFError,
    gzip.BadGzipFile,
    igzip_lib.IsalError,  # type: ignore[assignment]  # its stub calls the class an instance
    zstandard.ZstdError,
)


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
    """gzip, zstd or None, by the file's first bytes: a name can be wrong, and the standard input has none."""
    with path.open("rb") as file:
        head = file.read(len(ZSTD))
    if head.startswith(GZIP):
        return "gzip"
    return "zstd" if head == ZSTD else None


def digest(path: Path, name: str, watch: Watch = unwatched) -> str:
    """SHA-256 of the file's bytes, in hex digits. `watch` is told of a compressed file's plain bytes as well.

    Raises:
        SourceError: it is gzip or zstd, and truncated or corrupt.
    """
    if compression_of(path) is not None:
        for _ in plain_pieces(path, name, watch):
            pass
    sha256 = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(PIECE):
            watch(len(piece))
            sha256.update(piece)
    return sha256.hexdigest()


def plain_pieces(path: Path, name: str = "", watch: Watch = unwatched) -> Iterator[bytes]:
    """The file's bytes, decompressed, a megabyte or so at a time; checksums are verified on the way.

    Raises:
        SourceError: it is truncated or corrupt; `name` is what it is called then.
    """
    try:
        for piece in _READERS[compression_of(path)](path):
            watch(len(piece))
            yield piece
    except _DAMAGE as error:
        raise SourceError(
            f"{name or path.name} is truncated or corrupt: {error}",
            hint="fetch or export the file again; nothing was sent",
        ) from error


def _stored_pieces(path: Path) -> Iterator[bytes]:
    """The bytes of a file that is not compressed."""
    with path.open("rb") as file:
        while piece := file.read(PIECE):
            yield piece


def _gzip_pieces(path: Path) -> Iterator[bytes]:
    """The plain bytes of a gzip file of one or several members."""
    with igzip.IGzipFile(path, mode="rb") as plain:  # type: ignore[no-untyped-call]
        while piece := plain.read(PIECE):
            yield piece


def _zstd_pieces(path: Path) -> Iterator[bytes]:
    """The plain bytes of a zstd file of one or several frames; raises EOFError where the last one is cut off."""
    with path.open("rb") as file:
        frame = zstandard.ZstdDecompressor().decompressobj()
        ended = False
        while piece := file.read(PIECE // 64):
            while piece:
                if ended:
                    frame, ended = zstandard.ZstdDecompressor().decompressobj(), False
                plain = frame.decompress(piece)
                if plain:
                    yield plain
                ended = frame.eof
                piece = frame.unused_data if ended else b""
        if not ended:
            message = "the file ends within a zstd frame"
            raise EOFError(message)


_READERS = {None: _stored_pieces, "gzip": _gzip_pieces, "zstd": _zstd_pieces}
