"""The brackets, commas and colons that give a JSON text its shape, found by arithmetic on whole pieces of it.

Nothing is known of the text but that strings stand between quotes and that a backslash in one escapes what follows it
(RFC 8259, section 7): all bytes of other signs are no ASCII, so UTF-8 need not be decoded. What is no JSON gives marks
all the same; whether a value is one is for others to judge.

Most of a text lies deeper than is asked for, and of that nothing but quotes and brackets is looked at: a bracket counts
where an even number of quotes stands before it, and commas and colons only between brackets that are near enough.
"""

from __future__ import annotations

import re
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

_BACKSLASH, _QUOTE, _COMMA, _COLON = b'\\",:'
_CASE = 0x20  # tells `{` from `[`, and `}` from `]`, as it tells small letters from capitals
_OPENING, _CLOSING = b"{}"
_COMMAS = re.compile(r",*")


class Mark(NamedTuple):
    """One of `{}[],:` outside strings."""

    place: int
    sign: str
    level: int  # how deep it is nested: the outermost brackets have 1, as what stands directly between them


class Found(NamedTuple):
    """The marks of a piece, in their order."""

    places: list[int]
    signs: str
    levels: list[int]

    def mark(self, index: int) -> Mark:
        """One of them."""
        return Mark(self.places[index], self.signs[index], self.levels[index])

    def behind_commas(self, index: int) -> int:
        """The first one from there on that is no comma; as many as there are where none is."""
        found = _COMMAS.match(self.signs, index)
        return index if found is None else found.end()


_NONE = Found([], "", [])


class Marks:
    """Finds the marks of a text, piece by piece, those left out that are nested more than `deepest` deep."""

    def __init__(self, deepest: int) -> None:
        self._deepest = deepest
        self.in_string = False  # the pieces so far end within one
        self._escaped = False  # the first byte of the next piece
        self.depth = 0  # behind the pieces so far

    def feed(self, piece: bytes, begin: int) -> Found:
        """The marks of the next piece, whose first byte has the place `begin`; no colons at the deepest level."""
        if not piece:
            return _NONE
        text = np.frombuffer(self._without_first_escape(piece) + b"\0", np.uint8)
        quotes = _quotes(text)
        places = np.flatnonzero(((text | _CASE) == _OPENING) | ((text | _CASE) == _CLOSING))
        places = places[self._is_outside(places, quotes)]
        steps = 1 - (text[places] & 4).astype(np.int32) // 2  # 4 is set in `}` and `]`, not in `{` and `[`
        depths = np.cumsum(steps) + self.depth
        levels = depths + (steps < 0)
        edges, between = np.concatenate(([-1], places, [len(piece)])), np.append(self.depth, depths)
        others, depth = self._between(text, edges, between)
        keep = self._is_outside(others, quotes)
        near = levels <= self._deepest
        places, levels = np.append(places[near], others[keep]), np.append(levels[near], depth[keep])
        order = np.argsort(places, kind="stable")
        self.depth = int(between[-1])
        self.in_string ^= bool(len(quotes) & 1)
        places = places[order]
        return Found((places + begin).tolist(), text[places].tobytes().decode(), levels[order].tolist())

    def _is_outside(self, places: npt.NDArray[np.int64], quotes: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
        """Which places are in no string, but for quotes themselves."""
        outside: npt.NDArray[np.bool_] = (np.searchsorted(quotes, places) & 1 == 1) == self.in_string
        return outside

    def _between(
        self, text: npt.NDArray[np.uint8], edges: npt.NDArray[np.int64], depths: npt.NDArray[np.int64]
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """The commas and colons between brackets, in strings or not, with their depth, where that is wanted."""
        near = np.flatnonzero(depths <= self._deepest)
        sizes, depths = np.diff(edges)[near] - 1, depths[near]
        ends = np.cumsum(sizes)
        places = np.arange(ends[-1] if len(ends) else 0) + np.repeat(edges[near] + 1 - ends + sizes, sizes)
        signs, depths = text[places], np.repeat(depths, sizes)
        kept = np.flatnonzero((signs == _COMMA) | ((signs == _COLON) & (depths < self._deepest)))
        return places[kept], depths[kept]

    def _without_first_escape(self, piece: bytes) -> bytes:
        """The piece, its first byte another where it is escaped."""
        if self._escaped:
            piece = b"." + piece[1:]
        self._escaped = bool(len(piece) - len(piece.rstrip(b"\\")) & 1)
        return piece


def _quotes(text: npt.NDArray[np.uint8]) -> npt.NDArray[np.int64]:
    """The quotes that are not escaped."""
    is_quote, slashes = text == _QUOTE, np.flatnonzero(text == _BACKSLASH)
    is_quote[escaped_quotes(text, slashes)] = False
    return np.flatnonzero(is_quote)


def escaped_quotes(text: npt.NDArray[np.uint8], slashes: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """The quotes that an odd number of backslashes stands before, by the places of all; the last byte is to be zero."""
    quotes: npt.NDArray[np.int64] = slashes[text[slashes + 1] == _QUOTE] + 1
    escaped, behind = np.ones(len(quotes), np.bool_), 2
    active = np.flatnonzero(text[quotes - behind] == _BACKSLASH)  # before the first byte there is the last, a zero
    while len(active):
        escaped[active] ^= True
        behind += 1
        active = active[text[quotes[active] - behind] == _BACKSLASH]
    found: npt.NDArray[np.int64] = quotes[escaped]
    return found
