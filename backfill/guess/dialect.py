"""How a delimited text is written, from its first bytes: encoding, delimiter, lines before the header, the header.

The field count of Python's own csv reader decides: the delimiter is the one by which most records have the same number.
"""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from backfill.errors import counted

#: Bytes looked at, and encodings that a text which is no UTF-8 may be in.
HEAD_BYTES = 256 * 1024
ENCODINGS = ("cp1252", "cp1250", "latin-1", "mac_roman", "cp437")
_DELIMITERS = (",", ";", "\t", "|")
_BOMS = {codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}
#: Kinds of cells that hardly a column is called: numbers with a point or of many digits, ids of machines, dates.
_DATA = {
    "number": r"-?\d+[.,]\d+|\d{5,}|0\d+",
    "address": r"\S+@\S+\.\S+",
    "id": r"[0-9a-f]{8}-[0-9a-f-]{27}",
    "date": r"\d{1,4}[-/.]\d{1,2}[-/.]\d{1,4}(?:[ T].*)?|\d{1,2}[ -][a-z]{3,9}[ -]\d{2,4}.*",
}
_KINDS = {kind: re.compile(pattern, re.IGNORECASE) for kind, pattern in _DATA.items()}
_NUMBER = re.compile(r"[-+]?\d+(?:[.,]\d+)?")
_BLANKS = re.compile(r" {2,}")
_COLUMNS_OF_BLANKS = re.compile(r"^ | {2,}")
#: What a header may be narrower or wider than: as many records as these are compared.
_RECORDS = 200


@dataclass(slots=True)
class Dialect:
    """The `csv` of a source, the names of its columns where a header does not give them, and why."""

    csv: dict[str, Any] = field(default_factory=dict)
    names: tuple[str, ...] = ()
    made_up: bool = False  # the names, as there is no header
    notes: dict[str, str] = field(default_factory=dict)  # by setting
    blanks: dict[str, str] = field(default_factory=dict)  # by setting, what there is to choose from


def dialect_of(head: bytes, *, cut: bool, usual: str) -> Dialect:
    """The dialect of a text that begins so; `cut`: it goes on. `usual` is the delimiter that need not be said."""
    found = Dialect()
    text = _decoded(head, found)
    read = {sign: _records(text, sign, cut=cut) for sign in dict.fromkeys((usual, *_DELIMITERS))}
    delimiter = max(read, key=lambda sign: _evenness(read[sign]))
    records = read[delimiter]
    width = _width(records)
    aligned = _is_aligned(records) or (width == 1 and any(_COLUMNS_OF_BLANKS.search(one[0]) for one in records[:1]))
    if aligned:
        delimiter, records = usual, read[usual]  # by which the sample is read, until somebody has chosen
        width = _width(records)
        found.csv["delimiter"] = usual
        found.blanks["delimiter"] = (
            "blanks divide the fields, no comma, semicolon, tab or bar: `format: fixed_width`, perhaps"
        )
    elif delimiter != usual:
        found.csv["delimiter"] = delimiter
        found.notes["delimiter"] = f"{counted(width, 'field', 'fields')} in most of the first lines"
    place = next((place for place, record in enumerate(records) if len(record) == width), 0)
    header = records[place] if records else []
    skipped = _lines_before(text, delimiter, place) if place else 0
    if skipped:
        found.csv["skip_lines"] = skipped
        found.notes["skip_lines"] = "the lines before the header"
    below = [record for record in records[place + 1 :] if len(record) == width]
    _judge_header(header, below, (skipped, _lines_before(text, delimiter, place + 1)), found, aligned=aligned)
    return found


def _is_aligned(records: list[list[str]]) -> bool:
    """Whether fields stand below one another by blanks: in most records one has two runs of blanks or more inside."""
    runs = [max(len(_BLANKS.findall(cell.strip())) for cell in record) for record in records]
    return len(runs) > 1 and sum(number > 1 for number in runs) * 2 > len(runs)


def _decoded(head: bytes, found: Dialect) -> str:
    for mark, name in _BOMS.items():
        if head.startswith(mark):
            found.csv["encoding"] = name
            found.notes["encoding"] = "by its first bytes"
            return codecs.getincrementaldecoder(name)("replace").decode(head)
    try:
        return codecs.getincrementaldecoder("utf-8-sig")().decode(head)
    except UnicodeDecodeError as error:
        if _mostly_utf8(head):
            return head.decode("utf-8", "replace")
        line = head[head.rfind(b"\n", 0, error.start) + 1 :].splitlines()[0]
        place = error.start - (head.rfind(b"\n", 0, error.start) + 1)
        piece = line[max(place - 8, 0) : place + 8]
        shown = {name: piece.decode(name, "replace").strip() for name in ENCODINGS}
        read = ", ".join(f'{name} reads "{text}"' for name, text in shown.items())
        found.csv["encoding"] = ENCODINGS[0]
        found.blanks["encoding"] = f"not UTF-8: {read}"
        return head.decode(ENCODINGS[0], "replace")


def _mostly_utf8(head: bytes) -> bool:
    """Whether most lines with anything but ASCII are UTF-8: the others are damaged, and will be problems."""
    lines = [line for line in head.split(b"\n") if not line.isascii()]
    broken = [line for line in lines if line.decode("utf-8", "ignore").encode() != line]
    return len(broken) * 2 < len(lines)


def _records(text: str, delimiter: str, *, cut: bool) -> list[list[str]]:
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    found: list[list[str]] = []
    try:
        for record in reader:
            if record:
                found.append(record)
            if len(found) > _RECORDS:
                break
    except csv.Error:
        return found
    return found[:-1] if cut and len(found) > 1 else found


def _lines_before(text: str, delimiter: str, place: int) -> int:
    """The lines before the record of that place, those that are empty counted."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    before = 0
    for record in reader:
        if record and not place:
            return before
        place -= bool(record)
        before = reader.line_num
    return before


def _width(records: list[list[str]]) -> int:
    return Counter(map(len, records)).most_common(1)[0][0] if records else 0


def _evenness(records: list[list[str]]) -> tuple[float, int]:
    width = _width(records)
    even = sum(len(record) == width for record in records) / max(len(records), 1)
    return (even if width > 1 else 0, width)


def _judge_header(
    header: list[str], below: list[list[str]], lines: tuple[int, int], found: Dialect, *, aligned: bool
) -> None:
    """Names of our own where there is no header, or one with names that are empty or there twice.

    A first line with values is a row where its values are of the kinds that the columns have, and a blank where any is
    not: names such as 1.5 are rare, but a wrong guess makes a call too many or too few. `lines` are those before it,
    and those to its end; `aligned`: of a field that holds several, each is looked at.
    """
    cells = [cell for one in header for cell in one.split()] if aligned else header
    data = [cell.strip() for cell in cells if _kind(cell)]
    if data and not _differs(header, below):
        found.csv["header"] = False
        found.made_up = True
        found.notes["header"] = f"the first line holds values, such as {data[0]}: the names are made up"
        found.names = tuple(f"column_{place}" for place in range(1, len(header) + 1))
        return
    names: list[str] = []
    for place, cell in enumerate(header, 1):
        name = cell or f"column_{place}"
        taken = {one.casefold() for one in names}
        names.append(f"{name}_{place}" if name.casefold() in taken else name)
    if names != header:
        found.csv |= {"header": False, "skip_lines": lines[1]}
        found.notes["header"] = "names in the first line are empty or there twice: these replace them"
        found.names = tuple(names)
        if data:
            found.blanks["skip_lines"] = _readings(lines[1], lines[0], data[0])
    elif data:
        found.csv["header"] = True
        found.blanks["header"] = _readings("true", "false", data[0])


def _readings(names: object, row: object, value: str) -> str:
    return f"{names} if the first line is names, {row} if it is a row: {value} is in it"


def _kind(cell: str) -> str:
    """What kind of value a cell is that is no name; empty where it may be one."""
    return next((kind for kind, pattern in _KINDS.items() if pattern.fullmatch(cell.strip())), "")


def _differs(header: list[str], below: list[list[str]]) -> bool:
    """Whether a cell of the first line is of another kind than the values below it, of which most are of one."""
    for cell, column in zip(header, zip(*below, strict=True), strict=False):
        values = [value for value in column if value.strip()]
        kinds = Counter("number" if _NUMBER.fullmatch(value.strip()) else _kind(value) for value in values)
        most, count = kinds.most_common(1)[0] if kinds else ("", 0)
        own = "number" if _NUMBER.fullmatch(cell.strip()) else _kind(cell)
        if cell.strip() and count * 2 > len(values) and own != most:
            return True
    return False
