"""The brackets, commas and colons that give a JSON text its shape, found by arithmetic on whole pieces of it.

Nothing is known of the text but that strings stand between quotes and that a backslash in one escapes what follows it
(RFC 8259, section 7): all bytes of other signs are no ASCII, so UTF-8 need not be decoded. What is no JSON gives marks
all the same; whether a value is one is for others to judge.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

_BACKSLASH, _QUOTE = b"\\", ord('"')
_MARKS, _WITHOUT_COLONS = (bytes(sign in marks for sign in range(256)) for marks in (b'"{}[],:', b'"{}[],'))
_STEP = np.zeros(256, np.int8)
_STEP[list(b"{[")], _STEP[list(b"}]")] = 1, -1
_COLON = ord(":")


class Mark(NamedTuple):
    """One of `{}[],:` outside strings."""

    place: int
    sign: str
    level: int  # how deep it is nested: the outermost brackets have 1, as what stands directly between them


class Marks:
    """Finds the marks of a text, piece by piece, those left out that are nested more than `deepest` deep."""

    def __init__(self, deepest: int) -> None:
        self._deepest = deepest
        self._in_string = np.uint8(0)
        self._escaped = False  # the first byte of the next piece
        self.depth = 0  # behind the pieces so far

    @property
    def in_string(self) -> bool:
        """The pieces so far end within a string."""
        return bool(self._in_string)

    def feed(self, piece: bytes, begin: int) -> list[Mark]:
        """The marks of the next piece, whose first byte has the place `begin`; no colons at the deepest level."""
        text = self._without_escapes(piece)
        table = _MARKS if self._deepest > 1 else _WITHOUT_COLONS
        places = np.flatnonzero(np.frombuffer(text.translate(table), np.bool_))
        if not len(places):
            return []
        signs = np.frombuffer(text, np.uint8)[places]
        quotes = signs == _QUOTE
        inside = (np.cumsum(quotes, dtype=np.uint8) + self._in_string) & 1
        self._in_string = inside[-1]
        outside = (inside == 0) & ~quotes
        places, signs = places[outside], signs[outside]
        if not len(places):
            return []
        steps = _STEP[signs]
        depth = np.cumsum(steps, dtype=np.int32) + self.depth
        self.depth = int(depth[-1])
        level = depth + (steps < 0)
        near = np.flatnonzero(level + (signs == _COLON) <= self._deepest)
        found = zip((places[near] + begin).tolist(), signs[near].tobytes().decode(), level[near].tolist(), strict=True)
        return list(map(Mark._make, found))

    def _without_escapes(self, piece: bytes) -> bytes:
        """The piece with other signs in place of escapes: runs of backslashes go in pairs from their beginning."""
        if self._escaped:
            piece = b"." + piece[1:] if piece else piece
        if _BACKSLASH not in piece:
            self._escaped = self._escaped and not piece
            return piece
        piece = piece.replace(rb"\\", b"..").replace(rb"\"", b"..")
        self._escaped = piece.endswith(_BACKSLASH)
        return piece
