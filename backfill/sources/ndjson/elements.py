"""Elements of a JSON array that lie one behind the other, taken together as lines of NDJSON are."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from backfill.sources.ndjson.lines import Line, Lines, line_ends

_BLANKS = b" \t\r\n"
_LF = b"\n"
#: More bytes are not held twice: in the array, and as lines.
MAX_ELEMENTS_BYTES = 4 * 2**20


@dataclass(frozen=True, slots=True)
class Elements(Lines):
    """Elements between which an LF stands, whatever does in the array; each one's line is counted when asked for.

    `number` is the line of the first edge in `array`; `edges` are the places of what stands before and behind each.
    """

    array: bytes
    edges: Sequence[int]

    def every(self) -> Iterator[Line]:
        """One by one."""
        return elements(self.array, self.edges, self.number)


def elements(array: bytes, edges: Sequence[int], number: int) -> Iterator[Line]:
    """What stands between each two edges, the first of them in the line of that number."""
    counted = edges[0] + 1
    for before, behind in pairwise(edges):
        text = array[before + 1 : behind].lstrip(_BLANKS)
        number += line_ends(array, counted, behind - len(text))
        counted = behind - len(text)
        yield Line(number, text.rstrip(_BLANKS))


def together(array: bytes, edges: Sequence[int], number: int, limit: int) -> Iterator[Line | Lines] | None:
    """The same elements, together where they hold no line end; None where one of them is none, or longer than that."""
    if edges[-1] - edges[0] > MAX_ELEMENTS_BYTES:
        return None
    texts = [array[before + 1 : behind].strip(_BLANKS) for before, behind in pairwise(edges)]
    if not all(texts) or max(map(len, texts)) > limit:
        return None
    text = _LF.join(texts)
    if array.find(_LF, edges[0] + 1, edges[-1]) >= 0 and text.count(_LF) >= len(texts):
        return elements(array, edges, number)
    return iter((Elements(number, text, limit, array, edges),))
