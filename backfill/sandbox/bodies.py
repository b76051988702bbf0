"""From the bytes on the wire to the bytes of the JSON text, within bounds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from isal import isal_zlib

#: A gzip body may have several members (RFC 1952, section 2.2); more than this is no client's doing.
MOST_GZIP_MEMBERS = 1_000
_GZIP_WINDOW = 31  # zlib's way to say: gzip, any window


@dataclass(frozen=True, slots=True)
class Refusal:
    """A request answered 400: `bad_request` (Segment's discard code for what cannot be decoded) or `too_large`."""

    reason: Literal["bad_request", "too_large"]
    message: str


def decode_body(wire: bytes, encoding: str, most: int) -> bytes | Refusal:
    """The uncompressed body of at most `most` bytes, or why it is refused.

    Never holds more than `most` bytes and one, however much a body would inflate to. That the limit counts
    uncompressed bytes is what official clients do; the documentation does not say (unconfirmed).
    """
    if encoding in {"gzip", "x-gzip"}:
        body = _inflate(wire, most)
    elif encoding in {"", "identity"}:
        body = wire
    else:
        return Refusal("bad_request", f"Content-Encoding {encoding!r} is not known here: gzip or none")
    return too_large(most) if isinstance(body, bytes) and len(body) > most else body


def too_large(most: int) -> Refusal:
    """The refusal of a body of more than `most` bytes."""
    return Refusal("too_large", f"the body has more than {most} bytes")


def _inflate(wire: bytes, most: int) -> bytes | Refusal:
    parts: list[bytes] = []
    room, rest = most + 1, wire  # one byte more than allowed is enough to know
    for _ in range(MOST_GZIP_MEMBERS):
        member = isal_zlib.decompressobj(wbits=_GZIP_WINDOW)
        try:
            part = member.decompress(rest, room)
        except isal_zlib.error as error:  # type: ignore[misc] # the stubs say an instance where it is the class
            return Refusal("bad_request", f"not gzip: {error}")
        parts.append(part)
        room -= len(part)
        if room <= 0:
            return too_large(most)
        if not member.eof:
            return Refusal("bad_request", "the gzip body is cut short")
        rest = member.unused_data
        if not rest:
            return b"".join(parts)
    return Refusal("bad_request", f"more than {MOST_GZIP_MEMBERS} gzip members")
