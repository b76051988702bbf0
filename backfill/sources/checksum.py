"""One pass over a file: its SHA-256, and, where it is compressed, the checksums inside, which DuckDB does not check."""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Iterator
from pathlib import Path

import zstandard
from isal import igzip, igzip_lib

from backfill.errors import SourceError

PIECE = 1 << 20
GZIP, ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"  # what such files begin with: RFC 1952, RFC 8878
#: What decompressing a truncated or corrupt file raises.
_DAMAGE: tuple[type[Exception], ...] = (
    EOFError,
    gzip.BadGzipFile,
    igzip_lib.IsalError,  # type: ignore[assignment]  # its stub calls the class an instance
    zstandard.ZstdError,
)


def compression_of(path: Path) -> str | None:
    """gzip, zstd or None, by the file's first bytes: a name can be wrong, and the standard input has none."""
    with path.open("rb") as file:
        head = file.read(len(ZSTD))
    if head.startswith(GZIP):
        return "gzip"
    return "zstd" if head == ZSTD else None


def digest(path: Path, name: str) -> str:
    """SHA-256 of the file's bytes, in hex digits.

    Raises:
        SourceError: it is gzip or zstd, and truncated or corrupt.
    """
    if compression_of(path) is not None:
        for _ in plain_pieces(path, name):
            pass
    sha256 = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(PIECE):
            sha256.update(piece)
    return sha256.hexdigest()


def plain_pieces(path: Path, name: str = "") -> Iterator[bytes]:
    """The file's bytes, decompressed, up to a megabyte at a time; checksums are verified on the way.

    Raises:
        SourceError: it is truncated or corrupt; `name` is what it is called then.
    """
    try:
        match compression_of(path):
            case "gzip":
                yield from _gzip_pieces(path)
            case "zstd":
                yield from _zstd_pieces(path)
            case _:
                with path.open("rb") as file:
                    while piece := file.read(PIECE):
                        yield piece
    except _DAMAGE as error:
        raise SourceError(
            f"{name or path.name} is truncated or corrupt: {error}",
            hint="fetch or export the file again; nothing was sent",
        ) from error


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
