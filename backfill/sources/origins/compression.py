"""Compressed files, unpacked piece by piece, of any number of members, checksums verified.

gzip, zstd, bzip2, xz, LZ4 frames and snappy's framing. Behind the last member zeros are padding, where the format
allows that (gzip as tapes leave it, xz). Anything else is an error, since the rest of a file that was damaged in its
middle looks the same.
"""

from __future__ import annotations

import bz2
import lzma
from collections.abc import Callable, Iterator
from functools import partial
from typing import Protocol, cast

import zstandard
from isal import igzip_lib

from backfill.frozen import frozen
from backfill.sources.origins.framed import LZ4_MAGIC, SNAPPY_MAGIC, SnappyChunks, lz4_pieces

#: Plain bytes handed at once, about.
PIECE = 1 << 20
#: A larger window or dictionary is refused: so much memory unpacking would hold.
WINDOW_BYTES = 2**27
_GZIP, _BZIP2, _XZ = b"\x1f\x8b\x08", b"BZh", b"\xfd7zXZ\x00"  # RFC 1952; bzip2's and xz's own descriptions
_ZSTD = b"\x28\xb5\x2f\xfd"  # RFC 8878, as what follows: a frame to be skipped, which pzstd begins with
_SKIPPED = frozenset(bytes((low,)) + b"\x2a\x4d\x18" for low in range(0x50, 0x60))
_TOO_LARGE = ("too much memory", "Memory usage limit")
#: Gives the next bytes of a file, as many as asked for but at its end.
Read = Callable[[int], bytes]


class Member(Protocol):
    """One member (gzip), stream (bzip2, xz), frame (zstd) or run of chunks (snappy), unpacked in bounded steps."""

    @property
    def eof(self) -> bool:
        """The member has ended."""

    @property
    def needs_input(self) -> bool:
        """No more comes of what it has been given."""

    @property
    def unused_data(self) -> bytes:
        """What was given and lies behind its end."""

    def decompress(self, data: bytes, max_length: int) -> bytes:
        """Plain bytes, `max_length` at most, about."""


@frozen
class Packing:
    """One way to compress a file: what it begins with, and what makes plain bytes of it."""

    name: str
    begins: bytes
    unpack: Callable[[Read], Iterator[bytes]]


class _Frame:
    """A zstd frame as a Member. A step unpacks all that it is given: 2 KB may become 64 MB, and hardly ever do."""

    needs_input = True

    def __init__(self) -> None:
        self._frame = zstandard.ZstdDecompressor(max_window_size=WINDOW_BYTES).decompressobj()

    @property
    def eof(self) -> bool:
        return bool(self._frame.eof)

    @property
    def unused_data(self) -> bytes:
        return self._frame.unused_data

    def decompress(self, data: bytes, max_length: int) -> bytes:
        del max_length
        return self._frame.decompress(data)


def _gzip() -> Member:
    return cast("Member", igzip_lib.IgzipDecompressor(flag=igzip_lib.DECOMP_GZIP))


def _xz() -> Member:
    return lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=2 * WINDOW_BYTES)


class Damage(Exception):  # noqa: N818 (told as a SourceError where the file's name is known)
    """A compressed file is damaged, or cannot be unpacked here; the message says how."""


def unpacked(read: Read, packing: Packing) -> Iterator[bytes]:
    """The plain bytes of a compressed file.

    Raises:
        Damage: the file is truncated, corrupt, followed by something else, or wants too much memory.
        OSError: it cannot be read.
        UsageError: the library for that packing is not installed.
    """
    return packing.unpack(read)


def _lz4(read: Read) -> Iterator[bytes]:
    try:
        yield from lz4_pieces(read)
    except ValueError as error:
        raise Damage(str(error)) from error


def _members(member_of: Callable[[], Member], name: str, padding: bytes, step: int, read: Read) -> Iterator[bytes]:
    """The plain bytes of one member after the other; `step` bytes are read at once."""
    member, members = member_of(), 0
    begun, held, size = False, list[bytes](), 0
    data = read(step)
    while data:
        data = data if begun else data.lstrip(padding)
        begun = begun or bool(data)
        for plain in _pieces(_steps(member, data, members)) if data else ():
            held.append(plain)
            size += len(plain)
            if size >= PIECE:
                yield b"".join(held)
                held, size = [], 0
        if member.eof:
            data, begun = member.unused_data, False
            member, members = member_of(), members + 1
        else:
            data = b""
        data = data or read(step)
    if held:
        yield b"".join(held)
    if begun:
        raise Damage(f"the file ends within its {name} data{_behind(members)}")


def _pieces(steps: Iterator[bytes]) -> Iterator[bytes]:
    """What the steps give, no more than PIECE bytes at once: a step of zstd may give 64 MB."""
    for plain in steps:
        for start in range(0, len(plain), PIECE):
            yield plain[start : start + PIECE] if len(plain) > PIECE else plain


def _steps(member: Member, data: bytes, members: int) -> Iterator[bytes]:
    """What a member makes of more data."""
    try:
        yield member.decompress(data, PIECE)
        while not (member.eof or member.needs_input):
            yield member.decompress(b"", PIECE)
    except (igzip_lib.IsalError, zstandard.ZstdError, lzma.LZMAError, OSError, EOFError, ValueError) as error:  # type: ignore[misc]  # its stub calls the class an instance
        if any(words in str(error) for words in _TOO_LARGE):
            raise Damage(f"unpacking takes more than {WINDOW_BYTES >> 20} MiB of memory, as written") from error
        raise Damage(f"{error}{_behind(members)}") from error


def _behind(members: int) -> str:
    """What to add to an error behind `members` whole members."""
    return ", or something else follows what is whole in it" if members else ""


def _by_members(
    name: str, begins: bytes, member: Callable[[], Member], *, padding: bytes = b"", step: int = 1 << 16
) -> Packing:
    return Packing(name, begins, partial(_members, member, name, padding, step))


GZIP = _by_members("gzip", _GZIP, _gzip, padding=b"\0")
ZSTD = _by_members("zstd", _ZSTD, _Frame, step=1 << 11)  # few bytes, where a step's result cannot be bounded
BZIP2 = _by_members("bzip2", _BZIP2 + b"91AY&SY", bz2.BZ2Decompressor)
XZ = _by_members("xz", _XZ, _xz, padding=b"\0")
SNAPPY = _by_members("snappy", SNAPPY_MAGIC, SnappyChunks)
LZ4 = Packing("lz4", LZ4_MAGIC, _lz4)
_PACKINGS = {packing.name: packing for packing in (GZIP, ZSTD, BZIP2, XZ, SNAPPY, LZ4)}


def packing_of(head: bytes) -> Packing | None:
    """How a file is compressed, by its first bytes: a name can be wrong, and the standard input has none."""
    if head[:4] in _SKIPPED:
        return ZSTD
    if head.startswith(_BZIP2) and head[4:10] in (b"1AY&SY", b"\x17rE8P\x90"):
        return BZIP2
    return next((packing for packing in _PACKINGS.values() if head.startswith(packing.begins)), None)


def is_cut(head: bytes, name: str) -> bool:
    """The whole file is no more than the beginning of the first bytes of that packing."""
    begins = _PACKINGS[name].begins
    return len(head) < len(begins) and begins.startswith(head)
