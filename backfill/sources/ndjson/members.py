"""JSON objects taken apart, all at once: the place of every key and value in their text, and columns made of them.

Rules
1) The text is valid objects, one behind the other: what is wrong with JSON was found before. So quotes and brackets are
   in pairs, backslashes only in strings, and what is outside strings is known by its one byte.
2) It is gone through in blocks that hand on what they end in (a string, an escape, a depth), so memory is bounded by
   the block, and by the members of the objects themselves.
3) Values keep every byte, but for blanks between their parts, which are taken out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from enum import Enum

import numpy as np
import numpy.typing as npt
import orjson
import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.compute as pc  # type: ignore[import-untyped]

from backfill.arrays import arrow_array, distinct
from backfill.frozen import frozen
from backfill.records import INTERNAL_PREFIX

#: Bytes gone through at once.
BLOCK_BYTES = 2**18
_QUOTE, _BACKSLASH, _COLON, _COMMA, _OPENING, _CLOSING = b'"\\:,{}'
Integers = npt.NDArray[np.int64]


def _table(kind: type[np.generic], values: dict[bytes, int]) -> npt.NDArray[np.generic]:
    """A value for each byte."""
    table = np.zeros(256, kind)
    for some, value in values.items():
        table[list(some)] = value
    return table


_MARKS = _table(np.bool_, {b'":,{}[] \t\r\n': True}).tobytes()
_BLANK = _table(np.bool_, {b" \t\r\n": True})
_STEP = _table(np.int8, {b"{[": 1, b"}]": -1})
_MEMBER = _table(np.bool_, {b"{:,": True})
#: What a value is by its first byte: null, a string, a boolean, anything else.
NULL, STRING, BOOLEAN, OTHER = 0, 1, 2, 4
KINDS = _table(np.uint8, {bytes(range(256)): OTHER, b'"': STRING, b"tf": BOOLEAN, b"n": NULL})


@frozen
class Cells:
    """The members of some objects, in their order."""

    text: npt.NDArray[np.uint8]
    objects: int
    depth: int  # of the deepest object
    escapes: bool  # there are backslashes
    names: tuple[str, ...]  # every key, once
    row: Integers  # per member: its object, from 0
    name: Integers  # index into `names`
    start: Integers  # its value, from ...
    end: Integers  # ... to
    kind: npt.NDArray[np.uint8] | npt.NDArray[np.uint16]

    @property
    def is_empty(self) -> bool:
        """There is no member at all."""
        return not len(self.row)

    def first_names(self) -> tuple[str, ...]:
        """The keys of the first object that has any."""
        return tuple(self.names[name] for name in self.name[self.row == self.row[0]])

    def kinds(self) -> dict[str, int]:
        """The kinds of each key's values, as bits."""
        held = np.zeros(len(self.names), self.kind.dtype)
        for kind in np.flatnonzero(np.bincount(self.kind)).astype(self.kind.dtype):
            held[self.name[self.kind == kind]] |= kind
        return {self.names[place]: int(held[place]) for place in np.flatnonzero(np.bincount(self.name))}

    def repeated(self) -> Integers:
        """The objects that have a key twice, each once, ascending."""
        place = self.row * len(self.names) + self.name
        if (place[1:] > place[:-1]).all():  # each has its keys in the order of the first ones
            return np.empty(0, np.int64)
        place.sort()
        return distinct(place[1:][place[1:] == place[:-1]] // max(len(self.names), 1))

    def without(self, keep: npt.NDArray[np.bool_]) -> Cells:
        """The members of the objects that are kept, which are numbered anew."""
        numbers = np.cumsum(keep) - 1
        cells = self.only(keep[self.row])
        return replace(cells, objects=int(keep.sum()), row=numbers[cells.row])

    def only(self, chosen: npt.NDArray[np.bool_]) -> Cells:
        """Those members alone, of the same objects."""
        return replace(
            self,
            row=self.row[chosen],
            name=self.name[chosen],
            start=self.start[chosen],
            end=self.end[chosen],
            kind=self.kind[chosen],
        )

    def part(self, first: int, last: int) -> Cells:
        """The objects from `first` to `last`, numbered anew, with no more text than they have."""
        own = slice(*np.searchsorted(self.row, (first, last)))
        start, end = self.start[own], self.end[own]
        begin = int(start[0]) if len(start) else 0
        return replace(
            self,
            text=self.text[begin : int(end[-1]) if len(end) else 0],
            objects=last - first,
            row=self.row[own] - first,
            name=self.name[own],
            start=start - begin,
            end=end - begin,
            kind=self.kind[own],
        )

    @property
    def slashes(self) -> Integers:
        """The places of all backslashes."""
        return np.flatnonzero(self.text == _BACKSLASH) if self.escapes else np.empty(0, np.int64)


def joined(parts: Sequence[Cells]) -> Cells:
    """The members of all objects of some parts, one behind the other."""
    if len(parts) == 1:
        return parts[0]
    places = {name: place for place, name in enumerate(dict.fromkeys(name for part in parts for name in part.names))}
    codes = [np.array([places[name] for name in part.names], np.int64) for part in parts]
    rows = np.cumsum([0, *(part.objects for part in parts)]).tolist()
    begins = np.cumsum([0, *(len(part.text) for part in parts)]).tolist()
    return Cells(
        text=np.concatenate([part.text for part in parts]),
        objects=rows[-1],
        depth=max(part.depth for part in parts),
        escapes=any(part.escapes for part in parts),
        names=tuple(places),
        row=np.concatenate([part.row + row for part, row in zip(parts, rows, strict=False)]),
        name=np.concatenate([code[part.name] for part, code in zip(parts, codes, strict=True)]),
        start=np.concatenate([part.start + begin for part, begin in zip(parts, begins, strict=False)]),
        end=np.concatenate([part.end + begin for part, begin in zip(parts, begins, strict=False)]),
        kind=np.concatenate([part.kind for part in parts]),
    )


def take_apart(objects: bytes, count: int) -> Cells:
    """The members of so many valid JSON objects, one behind the other."""
    walk = _Walk(objects, BLOCK_BYTES)
    places, signs, text = walk.run()
    colons = np.flatnonzero(signs == _COLON)
    key_start, key_end = places[colons - 1] + 1, places[colons]
    start, end = places[colons] + 1, places[colons + 1] if len(colons) else colons
    codes, names = _names(text, key_start + 1, key_end - 1)
    return Cells(
        text=text,
        objects=count,
        depth=walk.deepest,
        escapes=walk.has_escapes,
        names=names,
        row=(np.cumsum(signs == _OPENING) - 1)[colons],
        name=codes,
        start=start,
        end=end,
        kind=KINDS[text[start]],  # type: ignore[arg-type]
    )


class _Walk:
    """One way through a text, block by block."""

    def __init__(self, text: bytes, block: int) -> None:
        self.text, self.block = text, block
        self.has_escapes = b"\\" in text
        self.in_string = np.uint8(0)
        self.escaped = False  # the next byte
        self.depth = self.deepest = 0

    def run(self) -> tuple[Integers, npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
        """The places and signs of the objects' own brackets, colons and commas, and the text without blanks."""
        whole = np.frombuffer(self.text, np.uint8)
        kept, places, signs, size = [], [np.empty(0, np.int64)], [np.empty(0, np.uint8)], 0
        for at in range(0, len(whole), self.block):
            block = whole[at : at + self.block]
            escaped = self._escaped(block) if self.has_escapes else None
            shorter, place, sign = self._outside(block, escaped)
            places.append(place + size)
            signs.append(sign)
            kept.append(shorter)
            size += len(shorter)
        text = whole if size == len(whole) else np.concatenate(kept)
        return np.concatenate(places), np.concatenate(signs), text

    def _escaped(self, block: npt.NDArray[np.uint8]) -> npt.NDArray[np.bool_]:
        """Which bytes of the block stand behind a backslash that escapes them (some more, of no interest)."""
        found = np.zeros(len(block) + 1, np.bool_)
        slashes = np.flatnonzero(block == _BACKSLASH)
        behind = self.escaped
        found[0] = behind
        self.escaped = False
        if len(slashes):
            first = np.flatnonzero(np.diff(slashes, prepend=-2) != 1)
            starts = slashes[first]
            lengths = np.diff(np.append(first, len(slashes)))
            odd = lengths % 2 == 1
            if behind and starts[0] == 0:
                odd[0] = not odd[0]
                found[0] = False
            found[(starts + lengths)[odd]] = True
            self.escaped = bool(found[-1])
        return found[:-1]

    def _outside(
        self, block: npt.NDArray[np.uint8], escaped: npt.NDArray[np.bool_] | None
    ) -> tuple[npt.NDArray[np.uint8], Integers, npt.NDArray[np.uint8]]:
        """The block without blanks outside strings, and in it the places and signs of the objects' own marks."""
        places = np.flatnonzero(np.frombuffer(block.tobytes().translate(_MARKS), np.bool_))
        signs = block[places]
        quotes = signs == _QUOTE
        if escaped is not None:
            quotes &= ~escaped[places]
        in_string = (np.cumsum(quotes, dtype=np.uint8) + self.in_string) & 1
        if len(in_string):
            self.in_string = in_string[-1]
        outside = (in_string == 0) & (signs != _QUOTE)
        places = places[outside]
        signs = block[places]
        blanks = _BLANK[signs]
        if blanks.any():
            keep = np.ones(len(block), np.bool_)
            keep[places[blanks]] = False
            block = block[keep]
            places = (places - np.cumsum(blanks))[~blanks]
            signs = signs[~blanks]
        depth = np.cumsum(_STEP[signs], dtype=np.int64) + self.depth
        if len(depth):
            self.depth, self.deepest = int(depth[-1]), max(self.deepest, int(depth.max()))
        own = ((depth == 1) & _MEMBER[signs]) | ((depth == 0) & (signs == _CLOSING))
        places = places[own]
        return block, places, block[places]


def _names(text: npt.NDArray[np.uint8], start: Integers, end: Integers) -> tuple[Integers, tuple[str, ...]]:
    """Per key the index of its name, and the names; keys that are written in several ways have one."""
    found = slices(text, start, end).dictionary_encode()
    written = found.dictionary.to_pylist()
    names = [unescaped(key) if "\\" in key else key for key in written]
    places = {name: place for place, name in enumerate(dict.fromkeys(names))}
    codes = np.asarray(found.indices, np.int64)
    if len(places) < len(names):
        codes = np.array([places[name] for name in names], np.int64)[codes]
    return codes, tuple(places)


NO_NAME = "a key without a name"
OWN_NAME = f"a key that begins with {INTERNAL_PREFIX}, as backfill's own columns do"
NUL_NAME = "a key with U+0000 in it"


def name_fault(name: str) -> str | None:
    """Why no column can be called that."""
    if not name:
        return NO_NAME
    if "\0" in name:
        return NUL_NAME
    return OWN_NAME if name.startswith(INTERNAL_PREFIX) else None


def unescaped(inner: str) -> str:
    """The text that the inside of a JSON string stands for."""
    return str(orjson.loads(f'"{inner}"'))


def slices(text: npt.NDArray[np.uint8], start: Integers, end: Integers, chosen: Integers | None = None) -> pa.Array:
    """Slices of the text, in any order, as an array of strings.

    `chosen` has the number of each one that is wanted, and a number below 0 for null; without it all are.
    """
    offsets = np.empty(2 * len(start) + 2, np.int32)  # an array whose every second element is of no interest
    offsets[0], offsets[1:-1:2], offsets[2:-1:2], offsets[-1] = 0, start, end, len(text)
    array = pa.StringArray.from_buffers(len(offsets) - 1, pa.py_buffer(offsets), pa.py_buffer(text))
    if chosen is None:
        return array.take(arrow_array(np.arange(1, 2 * len(start) + 1, 2)))
    valid = pa.py_buffer(np.packbits(chosen >= 0, bitorder="little"))
    return array.take(pa.Array.from_buffers(pa.int64(), len(chosen), [valid, pa.py_buffer(2 * chosen + 1)]))


JSON = pa.json_(pa.string())


class Form(Enum):
    """How a column is made of its values."""

    TEXT = STRING  # the text that the strings stand for
    BOOLEAN = BOOLEAN
    JSON = STRING | BOOLEAN | OTHER  # as they stand
    SCALAR = -1  # text: that of strings, anything else as it stands

    @property
    def holds(self) -> int:
        """The kinds of values, as bits, that the column can have."""
        return Form.JSON.value if self is Form.SCALAR else int(self.value)


def columns(
    cells: Cells, members: Integers, column: Integers, first: int, rows: int, forms: Sequence[Form]
) -> list[pa.Array]:
    """The columns that some members are the values of; null in the rows from `first` that have none.

    `column` tells for each member, which are in their order, which of `forms` it is made by. All texts are taken at
    once and then parted, as there may be thousands of columns. JSON is marked as such
    (https://arrow.apache.org/docs/format/CanonicalExtensions.html), so DuckDB does not parse it.
    """
    place = column * rows + cells.row[members] - first
    strings = cells.kind[members] == STRING
    inner = strings & np.array([form is not Form.JSON for form in forms], np.bool_)[column]
    start, end = cells.start[members] + inner, cells.end[members] - inner
    numbers = np.full(rows * len(forms), -1, np.int64)
    numbers[place] = np.arange(len(members))
    escaped = _with_backslash(cells, start, end)
    escaped = escaped[inner[escaped]]
    text, texts = cells.text, len(start)
    if len(escaped):
        text, starts, ends = with_plain(text, start[escaped], end[escaped])
        start, end = np.concatenate((start, starts)), np.concatenate((end, ends))
        numbers[place[escaped]] = np.arange(texts, len(start))
    made = slices(text, start, end, numbers)
    return [formed(made.slice(index * rows, rows), form) for index, form in enumerate(forms)]


def formed(texts: pa.Array, form: Form) -> pa.Array:
    """A column of values that stand there as texts."""
    if form is Form.BOOLEAN:
        return pc.equal(texts, "true")
    return pa.ExtensionArray.from_storage(JSON, texts) if form is Form.JSON else texts


def _with_backslash(cells: Cells, start: Integers, end: Integers) -> Integers:
    """Which slices of the text, which are in its order, hold a backslash."""
    slashes = cells.slashes
    if not len(slashes) or not len(start):
        return np.empty(0, np.int64)
    owners = np.maximum(np.searchsorted(start, slashes, side="right") - 1, 0)
    return distinct(owners[(start[owners] <= slashes) & (slashes < end[owners])])


def with_plain(
    text: npt.NDArray[np.uint8], start: Integers, end: Integers
) -> tuple[npt.NDArray[np.uint8], Integers, Integers]:
    """The text and behind it what some slices stand for, the insides of escaped strings; and the places of that."""
    written = slices(text, start - 1, end + 1).to_pylist()
    plain = [each.encode() for each in orjson.loads(f"[{','.join(written)}]")]
    ends = len(text) + np.cumsum([len(each) for each in plain])
    starts = np.concatenate(([len(text)], ends[:-1]))
    return np.concatenate((text, np.frombuffer(b"".join(plain), np.uint8))), starts, ends
