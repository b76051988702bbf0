"""Rows of a dump as they are found, many at once, and what of them is sound: shared by all ways to write them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa  # type: ignore[import-untyped]
from numpy.typing import NDArray

from backfill.memory import MAX_LINE_BYTES
from backfill.sources.dumps.fields import Fields, Flags, Places
from backfill.sources.reader import ORIGINAL_CHARACTERS, Unreadable, UnreadableSink
from backfill.sources.utf8 import invalid_utf8

#: What may be wrong with a row; of several the first counts.
FEW, MANY, ESCAPE, VALUE, ENCODING, TOO_LONG = range(1, 7)
_WORDS = {
    FEW: ("BF001", "too few fields"),
    MANY: ("BF002", "too many fields"),
    ESCAPE: ("BF003", "an escape that the program of this dump does not write"),
    VALUE: ("BF009", "a value that is no text, number or null"),
    ENCODING: ("BF004", "bytes that are not in the dump's encoding"),
    TOO_LONG: ("BF006", f"the row is too long: more than {MAX_LINE_BYTES >> 20} MB"),
}
_ORIGINAL_BYTES = 4 * ORIGINAL_CHARACTERS


@dataclass(slots=True)
class Rows:
    """Rows one behind the other in a text."""

    names: tuple[str, ...]  # of their fields
    text: bytes
    line: int  # the line, from 1, of the text's first byte
    starts: Places
    ends: Places
    faults: NDArray[np.uint8]
    fields: Fields | None  # of the rows without fault; None where there is none
    #: Makes the values of one column of what stands in the text.
    values: Callable[[int, pa.Array], pa.Array]

    def lines(self, chosen: Places) -> Places:
        """The lines, from 1, that the rows of those indices begin at."""
        ends = np.flatnonzero(np.frombuffer(self.text, np.uint8) == b"\n"[0])
        found: Places = ends.searchsorted(self.starts[chosen]) + self.line
        return found

    def note_encoding(self) -> None:
        """Mark the rows with bytes that are no UTF-8; to be called before the fields are known."""
        if self.text.isascii():
            return
        wrong = invalid_utf8(np.frombuffer(self.text, np.uint8))
        owners = self.ends.searchsorted(wrong, side="right")
        inside = owners < len(self.ends)
        owners = owners[inside]
        owners = owners[self.starts[owners] <= wrong[inside]]
        self.faults[owners] = np.where(self.faults[owners] == 0, ENCODING, self.faults[owners])

    def report(self, sink: UnreadableSink, file: int, first: int, *, with_lines: bool) -> Flags:
        """Tell the sink of the rows with faults, the first of all being record `first`; returns which are sound."""
        bad = np.flatnonzero(self.faults)
        lines = self.lines(bad) if len(bad) and with_lines else np.zeros(len(bad), np.int64)
        for index, line in zip(bad.tolist(), lines.tolist(), strict=True):
            code, message = _WORDS[int(self.faults[index])]
            start, end = int(self.starts[index]), int(self.ends[index])
            original = self.text[start : min(end, start + _ORIGINAL_BYTES)].decode("utf-8", "replace")
            sink.add(Unreadable(file, first + index, code, message, original, line))
        sound: Flags = self.faults == 0
        return sound

    def columns(self) -> Iterator[tuple[str, pa.Array]]:
        """The columns of the sound rows, as texts."""
        if self.fields is None:
            return
        for at, (name, raw) in enumerate(zip(self.names, self.fields.columns(), strict=True)):
            yield name, self.values(at, raw).cast(pa.string())
