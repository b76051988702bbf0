"""A gzip request body made from a stream that was compressed long ago, without compressing anything again.

The calls of a batch stand in the spool as a raw deflate stream without a final block, ending on a byte boundary (a
sync flush). What follows them in a body, the `sentAt` of this very attempt, is a few dozen bytes, which need no
compression: they become one last, stored block (RFC 1951, section 3.2.4). Around both stand the header and trailer of
one gzip member (RFC 1952, section 2.3): any reader of gzip reads it, also one that knows a single member only.
"""

from __future__ import annotations

import struct
import zlib

# RFC 1952: magic, method deflate, no flags, no time, extra flags 4 ("fastest algorithm"), operating system unknown.
_HEADER = struct.pack("<2sBBIBB", b"\x1f\x8b", 8, 0, 0, 4, 255)
_STORED_FINAL = b"\x01"  # BFINAL 1, BTYPE 00, and the bits up to the byte boundary
_STORED_LIMIT = 0xFFFF


def gzip_body(deflated: bytes, plain_bytes: int, crc32: int, tail: bytes) -> bytes:
    """One gzip member whose content is the plain bytes of `deflated` followed by `tail`.

    Args:
        deflated: A raw deflate stream that ends with a sync or full flush and has no final block; may be empty.
        plain_bytes: How many bytes it inflates to.
        crc32: The CRC-32 of those bytes.
        tail: At most 65,535 bytes, put in as they are.

    Raises:
        ValueError: `tail` is longer than one stored block can be.
    """
    if len(tail) > _STORED_LIMIT:
        raise ValueError(f"a tail of {len(tail)} bytes does not fit one stored block of {_STORED_LIMIT}")
    stored = struct.pack("<HH", len(tail), len(tail) ^ _STORED_LIMIT)
    trailer = struct.pack("<II", zlib.crc32(tail, crc32), (plain_bytes + len(tail)) & 0xFFFFFFFF)
    return b"".join((_HEADER, deflated, _STORED_FINAL, stored, tail, trailer))
