"""What columns of JSON values are: by the kinds of the values, and by marks where a format has more types than JSON.

A mark is an object with one key, exactly as `MARKS` has it, that stands for one value: `{"$date":"..."}` (ISO 8601 in
UTC), `{"$decimal":"1.10"}` (a number as JSON writes it) and `{"$binary":"..."}` (base64). Formats write them into their
records' texts; nobody sees them behind this module, where a column of them has the type that they say, and in JSON they
are the plain value.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from enum import Enum
from math import inf
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.compute as pc  # type: ignore[import-untyped]

from backfill.job.models import ColumnSpec
from backfill.limits import SAFE_INTEGER
from backfill.sources.ndjson.members import BOOLEAN, JSON, OTHER, STRING, Cells, Form, Integers, columns

#: Kinds of values beside those that JSON has: bits as well.
DATE, DECIMAL, BINARY, INTEGER, LONG, FLOAT, HOLDS_BINARY = 8, 16, 32, 64, 128, 256, 512
MARKS = {DATE: b'{"$date":"', DECIMAL: b'{"$decimal":"', BINARY: b'{"$binary":"'}
_END = b'"}'


class Marked(Enum):
    """How a column is made of marked values; the value says which kinds it can hold."""

    INSTANTS = DATE
    BYTES = BINARY
    INTEGERS = INTEGER | LONG
    NUMBERS = INTEGER | FLOAT
    JSON = STRING | BOOLEAN | OTHER | DATE | DECIMAL | INTEGER | LONG | FLOAT
    SCALAR = -1
    REFUSED = -2

    @property
    def holds(self) -> int:
        """The kinds of values, as bits, that the column can have."""
        everything = Marked.JSON.value | BINARY | HOLDS_BINARY
        return {Marked.SCALAR: Marked.JSON.value, Marked.REFUSED: everything}.get(self, self.value)


AnyForm = Form | Marked


class Chosen(NamedTuple):
    """What a column is."""

    type: pa.DataType
    form: AnyForm
    refused: str = ""


class Types(Protocol):
    """How columns get their types."""

    @property
    def by_columns(self) -> bool:
        """The kinds of JSON's values are all there is to know of them, so that objects may come key by key."""

    def refined(self, cells: Cells) -> Cells:
        """The same members with all that is known of their kinds."""

    def choose(self, held: int, declared: ColumnSpec | None) -> Chosen:
        """A column by the kinds of values that it holds, and by what the job declares."""

    def columns(
        self, cells: Cells, members: Integers, column: Integers, first: int, rows: int, forms: Sequence[AnyForm]
    ) -> list[pa.Array]:
        """The columns of some members, as backfill.sources.ndjson.members.columns makes them."""


class PlainTypes:
    """Columns of JSON: strings are text, booleans boolean, anything else stays JSON."""

    by_columns = True

    def refined(self, cells: Cells) -> Cells:
        """As they are."""
        return cells

    def choose(self, held: int, declared: ColumnSpec | None) -> Chosen:
        """See Types."""
        if declared is not None and declared.type != "json":
            return Chosen(pa.string(), Form.SCALAR)
        if declared is None and not held & ~STRING:
            return Chosen(pa.string(), Form.TEXT)
        if declared is None and held == BOOLEAN:
            return Chosen(pa.bool_(), Form.BOOLEAN)
        return Chosen(JSON, Form.JSON)

    def columns(
        self, cells: Cells, members: Integers, column: Integers, first: int, rows: int, forms: Sequence[AnyForm]
    ) -> list[pa.Array]:
        """See Types."""
        return columns(cells, members, column, first, rows, [form for form in forms if isinstance(form, Form)])


class TextTypes(PlainTypes):
    """Columns that are all text, as those of CSV are, also where JSON is declared: strings hold it, the rest is it."""

    def choose(self, held: int, declared: ColumnSpec | None) -> Chosen:  # noqa: ARG002
        """See Types."""
        return Chosen(pa.string(), Form.SCALAR)


_TYPES = {
    Marked.INSTANTS: pa.timestamp("us", "UTC"),
    Marked.BYTES: pa.binary(),
    Marked.INTEGERS: pa.int64(),
    Marked.NUMBERS: pa.float64(),
}


class MarkedTypes(PlainTypes):
    """Columns of values with marks: instants, integers, doubles, binary data, where all values of a column are that."""

    by_columns = False

    def refined(self, cells: Cells) -> Cells:
        """The same members; what is no JSON scalar told apart."""
        text = cells.text.tobytes()
        kinds = cells.kind.astype(np.uint16)
        others = np.flatnonzero(kinds == OTHER)
        objects = others[cells.text[cells.start[others]] == ord("{")]
        for kind, mark in MARKS.items():
            if mark in text:
                kinds[objects[_begin_with(cells, objects, mark)]] = kind
        if MARKS[BINARY] in text:
            kinds[list(_holders(cells, text))] |= HOLDS_BINARY
        numbers = others[np.isin(cells.text[cells.start[others]], np.frombuffer(b"-0123456789", np.uint8))]
        kinds[numbers] = _kinds_of_numbers(cells, text, numbers)
        return replace(cells, kind=kinds)

    def choose(self, held: int, declared: ColumnSpec | None) -> Chosen:
        """See Types."""
        if held & (HOLDS_BINARY | BINARY) and (held != BINARY or declared is not None):
            return Chosen(pa.binary(), Marked.REFUSED, "binary data among or within other values")
        if declared is not None and declared.type != "json":
            return Chosen(pa.string(), Marked.SCALAR)
        if declared is None and held:
            for form, kind in _TYPES.items():
                if not held & ~form.holds:
                    return Chosen(kind, form)
        chosen = super().choose(held, declared)
        return chosen._replace(form=Marked.JSON) if chosen.form is Form.JSON else chosen

    def columns(
        self, cells: Cells, members: Integers, column: Integers, first: int, rows: int, forms: Sequence[AnyForm]
    ) -> list[pa.Array]:
        """See Types."""
        taken = [
            form if isinstance(form, Form) else Form.JSON if form is Marked.JSON else Form.SCALAR for form in forms
        ]
        made = columns(cells, members, column, first, rows, taken)
        for index, form in enumerate(forms):
            if isinstance(form, Marked):
                made[index] = _finished(made[index], form, cells, members[column == index], first)
        return made


def _finished(made: pa.Array, form: Marked, cells: Cells, members: Integers, first: int) -> pa.Array:
    """A column of marked values by their texts; `members` are those that have one."""
    match form:
        case Marked.JSON:
            return pa.ExtensionArray.from_storage(JSON, _unmarked(made.storage))
        case Marked.SCALAR:
            return _scalars(made, cells, members, first)
        case Marked.REFUSED:
            return pa.nulls(len(made), pa.binary())
        case _:
            return _typed(made, form)


def _typed(texts: pa.Array, form: Marked) -> pa.Array:
    """A typed column by its values' texts."""
    if form is Marked.INSTANTS:
        texts = pc.utf8_slice_codeunits(texts, len(MARKS[DATE]), -len(_END))
    if form is Marked.BYTES:
        inner = pc.utf8_slice_codeunits(texts, len(MARKS[BINARY]), -len(_END)).to_pylist()
        return pa.array([None if value is None else base64.b64decode(value) for value in inner], pa.binary())
    return texts.cast(_TYPES[form])


def _begin_with(cells: Cells, members: Integers, mark: bytes) -> npt.NDArray[np.bool_]:
    """Which of the members' values begin so."""
    wanted = np.frombuffer(mark, np.uint8)
    start = cells.start[members]
    found = start + len(mark) <= cells.end[members]
    for place, sign in enumerate(wanted):
        found[found] = cells.text[start[found] + place] == sign
    return found


def _holders(cells: Cells, text: bytes) -> Iterator[int]:
    """The members with binary data somewhere within their values."""
    for found in re.finditer(re.escape(MARKS[BINARY]), text):
        member = int(np.searchsorted(cells.start, found.start(), "right")) - 1
        if member >= 0 and cells.start[member] < found.start() < cells.end[member]:  # else in a record that is left out
            yield member


def _kinds_of_numbers(cells: Cells, text: bytes, numbers: Integers) -> npt.NDArray[np.uint16]:
    """The kind of each number: those that no typed column holds exactly stay JSON."""
    start, end = cells.start[numbers], cells.end[numbers]
    signs = np.flatnonzero(np.isin(cells.text, np.frombuffer(b".eE", np.uint8)))
    whole = np.searchsorted(signs, start) == np.searchsorted(signs, end)
    kinds = np.where(whole, INTEGER, FLOAT).astype(np.uint16)
    powers = np.flatnonzero(np.isin(cells.text, np.frombuffer(b"eE", np.uint8)))
    doubtful = np.searchsorted(powers, start) < np.searchsorted(powers, end)
    for place in np.flatnonzero(doubtful | (end - start >= len(str(SAFE_INTEGER)))):
        written = text[start[place] : end[place]].decode()
        kinds[place] = _kind_of_long(written) if whole[place] else _kind_of_fine(written)
    return kinds


def _kind_of_long(written: str) -> int:
    """The kind of an integer of many digits."""
    if len(written) > len(str(-(2**63))) or not -(2**63) <= int(written) < 2**63:
        return OTHER
    return INTEGER if abs(int(written)) <= SAFE_INTEGER else LONG


def _kind_of_fine(written: str) -> int:
    """The kind of a number with a point or an exponent: more digits than a double has stay as they are."""
    digits = re.split("[eE]", written)[0].replace(".", "").lstrip("-0")
    value = abs(float(written))
    return FLOAT if len(digits) <= _DOUBLE_DIGITS and value < inf and bool(value) == bool(digits) else OTHER


#: Digits that are enough to write any double (IEEE 754, section 5.12.2).
_DOUBLE_DIGITS = 17


def _unmarked(texts: pa.Array) -> pa.Array:
    """JSON texts with the plain values in place of marks; in valid JSON no string holds what a mark begins with."""
    dates = pc.replace_substring_regex(texts, r'\{"\$date":("[^"]*")\}', r"\1")
    return pc.replace_substring_regex(dates, r'\{"\$decimal":"([^"]*)"\}', r"\1")


def _scalars(texts: pa.Array, cells: Cells, members: Integers, first: int) -> pa.Array:
    """The texts of scalars: strings are what they stand for by now, and may spell anything; dates have no quotes."""
    kinds = np.zeros(len(texts), np.uint16)
    kinds[cells.row[members] - first] = cells.kind[members]
    plain = pc.if_else(pa.array(kinds == STRING), texts, _unmarked(texts))
    return pc.if_else(pa.array(kinds == DATE), pc.utf8_slice_codeunits(plain, 1, -1), plain)
