"""From the bytes on the wire to the JSON text, within bounds; and in it the exact text of each call.

What a JSON reader would alter (1.10, 41 digits) is kept as it was sent.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any, Literal

import orjson
from isal import isal_zlib

from backfill.frozen import frozen

#: A gzip body may have several members (RFC 1952, section 2.2); more than this is no client's doing.
MOST_GZIP_MEMBERS = 1_000
_GZIP_WINDOW = 31  # zlib's way to say: gzip, any window
_SPACE = re.compile(r"[ \t\n\r]*")
# Numbers stay text: only positions are wanted, and Python refuses integers of over 4,300 digits.
_DECODER = json.JSONDecoder(parse_float=str, parse_int=str, parse_constant=str)


@frozen
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


def call_texts(text: str, calls: Sequence[Any]) -> list[str]:
    """The texts of the elements of the top object's `batch`; `text` is valid JSON and `calls` those elements, read.

    Raises RecursionError where a call is nested more deeply than Python's reader goes.
    """
    found: list[str] = []
    position = _skip(text, _skip(text, 0) + 1)
    while text[position] != "}":
        key, position = _DECODER.raw_decode(text, position)
        position = _skip(text, _skip(text, position) + 1)
        if key == "batch" and text[position] == "[":  # of repeated keys the last counts, as for JSON readers in use
            found, position = _elements(text, position, calls)
        else:
            _, position = _DECODER.raw_decode(text, position)
        position = _next(text, position)
    return found


def _elements(text: str, start: int, calls: Sequence[Any]) -> tuple[list[str], int]:
    """The texts of the elements of the array that starts here, and the position after it."""
    found: list[str] = []
    position = _skip(text, start + 1)
    while text[position] != "]":
        # Most senders write compact JSON: then the call written anew is its text, and nothing need be read twice.
        compact = _compact(calls[len(found)]) if len(found) < len(calls) else ""
        if compact.startswith("{") and text.startswith(compact, position):
            end = position + len(compact)
        else:
            _, end = _DECODER.raw_decode(text, position)
        found.append(text[position:end])
        position = _next(text, end)
    return found, position + 1


def _compact(call: object) -> str:
    try:
        return orjson.dumps(call).decode()
    except orjson.JSONEncodeError:  # nested deeper than it writes, though it reads it
        return ""


def _next(text: str, end: int) -> int:
    """The start of the next member or element after one that ended here, or the closing bracket."""
    position = _skip(text, end)
    return _skip(text, position + 1) if text[position] == "," else position


def _skip(text: str, position: int) -> int:
    space = _SPACE.match(text, position)
    return space.end() if space else position
