"""What is wrong with records of CSV: each one's fault, and the unreadable record to report for it."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from backfill.errors import counted
from backfill.sources.csv_dialect import Dialect
from backfill.sources.csv_scan import MAX_RECORD_BYTES, Records
from backfill.sources.csv_shape import Places
from backfill.sources.csv_walk import Fault
from backfill.sources.reader import Unreadable
from backfill.sources.rejects import ORIGINAL_CHARACTERS
from backfill.sources.utf8 import invalid_utf8

FEW, MANY, ENCODING = 20, 21, 22
_ORIGINAL_BYTES = 4 * ORIGINAL_CHARACTERS
_WORDS = {
    Fault.ESCAPE: ("BF003", "broken escape: it stands before a sign that needs none"),
    Fault.BLANK: ("BF003", "broken quotes: a blank before an opening quote"),
    Fault.BEHIND: ("BF003", "broken quotes: text behind a closing quote"),
    Fault.UNCLOSED: ("BF003", "broken quotes: one is never closed"),
    Fault.TOO_LONG: ("BF006", f"the record is too long: more than {MAX_RECORD_BYTES >> 20} MB"),
    FEW: ("BF001", "too few fields"),
    MANY: ("BF002", "too many fields"),
    ENCODING: ("BF004", "bytes that are not in the file's encoding"),
}


def faults_of(records: Records, fields: int) -> NDArray[np.uint8]:
    """Each record's fault, by the scanner, its encoding or its number of fields, in this order; 0 where it is sound."""
    found = np.where(records.fields < fields, np.uint8(FEW), np.uint8(MANY))
    found[records.fields == fields] = 0
    if not records.text.isascii():
        wrong = invalid_utf8(np.frombuffer(records.text, np.uint8))
        owners = records.nexts.searchsorted(wrong, side="right")
        inside = owners < len(records)
        owners = owners[inside]
        found[owners[records.starts[owners] <= wrong[inside]]] = ENCODING
    return np.where(records.faults > 0, records.faults, found)


def unreadable(
    records: Records, faults: NDArray[np.uint8], bad: Places, file: int, first: int, fields: int, dialect: Dialect
) -> Iterator[Unreadable]:
    """The records of those indices as unreadable ones; `first` is the number of the first record of all."""
    places = zip(
        bad.tolist(),
        faults[bad].tolist(),
        records.lines(bad).tolist(),
        records.starts[bad].tolist(),
        records.ends[bad].tolist(),
        records.fields[bad].tolist(),
        strict=True,
    )
    for index, fault, line, start, end, found in places:
        code, message = _WORDS[fault]
        if fault in (FEW, MANY):
            message += f": {found} where {fields} are expected"
        elif fault == Fault.UNCLOSED and records.taken_lines:
            message += f", and takes {counted(records.taken_lines, 'line', 'lines')} up to the end of the file"
        original = dialect.swap(records.text[start : min(end, start + _ORIGINAL_BYTES)]).decode("utf-8", "replace")
        yield Unreadable(file, first + index, code, message, original, line)
