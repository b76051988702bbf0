"""From frames of encoded calls to batches: one contiguous buffer a frame, and slices of it between two offsets."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt
import polars as pl
import polars_hash  # noqa: F401  registers the expression namespace `chash`

from backfill.limits import ENVELOPE_HEAD
from backfill.pack import COMMA, Packer
from backfill.records import CALL_RECORD, ShardWriter

_RECORD: Final = np.dtype(CALL_RECORD)
_UUID_CHARACTERS: Final = 36
_UUID_PATTERN: Final = r"^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$"
#: Where the hexadecimal digits of a UUID's text stand, high and low halves of its bytes.
_DIGITS: Final = [place for place in range(_UUID_CHARACTERS) if place not in (8, 13, 18, 23)]
_HIGH, _LOW = np.array(_DIGITS[0::2]), np.array(_DIGITS[1::2])
_NIBBLE: Final = np.zeros(256, np.uint8)
for _value, _digit in enumerate(b"0123456789abcdef"):
    _NIBBLE[_digit] = _value


class Batches:
    """Packs the calls of one shard and hands each full batch to the shard's writer."""

    def __init__(self, writer: ShardWriter, packer: Packer) -> None:
        self._writer = writer
        self._packer = packer
        self._open: list[bytes] = []  # of the open batch, from earlier frames
        self._open_calls = 0
        self._records: list[npt.NDArray[np.void]] = []
        self.json_bytes = 0
        self.calls = 0

    def push(self, calls: pl.DataFrame, ids: npt.NDArray[np.uint8]) -> None:
        """Take encoded calls in order (`json` with a comma behind each) and their sixteen-byte ids."""
        if not len(calls):
            return
        array = calls["json"].rechunk().to_arrow(compat_level=pl.CompatLevel.oldest())
        offsets = np.frombuffer(array.buffers()[1], np.int64)[array.offset : array.offset + len(array) + 1]
        data = memoryview(array.buffers()[2])
        sizes = np.diff(offsets)
        self._record(calls, ids, sizes)
        start = 0
        for cut in self._packer.push(sizes):
            self._close([data[offsets[start] : offsets[cut]]], cut - start)
            start = cut
        self._open.append(bytes(data[offsets[start] : offsets[-1]]))
        self._open_calls += len(calls) - start

    def finish(self) -> bytes:
        """Close the open batch; returns the shard's CALL_RECORD records."""
        if self._open_calls:
            self._close([], 0)
        return b"".join(records.tobytes() for records in self._records)

    def _close(self, pieces: list[memoryview], calls: int) -> None:
        parts: list[bytes | memoryview] = [ENVELOPE_HEAD, *self._open, *pieces]
        plain = memoryview(b"".join(parts))[:-COMMA]
        self._writer.add(plain, self._open_calls + calls)
        self.json_bytes += plain.nbytes
        self.calls += self._open_calls + calls
        self._open, self._open_calls = [], 0

    def _record(self, calls: pl.DataFrame, ids: npt.NDArray[np.uint8], sizes: npt.NDArray[np.int64]) -> None:
        records = np.empty(len(calls), _RECORD)
        records["message_key"] = np.ascontiguousarray(ids).view("V16").ravel()
        records["row"] = calls["row"].to_numpy()
        records["bytes"] = sizes - COMMA
        records["call"] = calls["call"].to_numpy()
        self._records.append(records)


def sixteen(ids: pl.Series, *, given: bool) -> npt.NDArray[np.uint8]:
    """The sixteen bytes that stand for each id in ledgers and archives, one row an id.

    A UUID's own bytes where the id is one in lower case (all are, unless `given`), else the first 16 of its SHA-256.
    """
    if not given:
        return _uuid_bytes(ids)
    ours = ids.str.contains(_UUID_PATTERN)
    result = np.empty((len(ids), 16), np.uint8)
    where = ours.to_numpy()
    result[where] = _uuid_bytes(ids.filter(ours))
    result[~where] = digest16(ids.filter(~ours))
    return result


def digest16(texts: pl.Series) -> npt.NDArray[np.uint8]:
    """The first sixteen bytes of each text's SHA-256, one row a text."""
    frame = texts.to_frame("text").select(pl.col("text").chash.sha2_256().str.slice(0, 32))  # type: ignore[attr-defined]
    return _hexadecimal(_characters(frame["text"], 32), slice(0, None, 2), slice(1, None, 2))


def _uuid_bytes(ids: pl.Series) -> npt.NDArray[np.uint8]:
    return _hexadecimal(_characters(ids, _UUID_CHARACTERS), _HIGH, _LOW)


def _characters(texts: pl.Series, width: int) -> npt.NDArray[np.uint8]:
    """Texts of one width as a matrix of their bytes."""
    if not len(texts):
        return np.empty((0, width), np.uint8)
    array = texts.rechunk().to_arrow(compat_level=pl.CompatLevel.oldest())
    offsets = np.frombuffer(array.buffers()[1], np.int64)
    first = int(offsets[array.offset])
    return np.frombuffer(array.buffers()[2], np.uint8)[first : first + width * len(texts)].reshape(-1, width)


def _hexadecimal(
    characters: npt.NDArray[np.uint8], high: npt.NDArray[np.int64] | slice, low: npt.NDArray[np.int64] | slice
) -> npt.NDArray[np.uint8]:
    return (_NIBBLE[characters[:, high]] << np.uint8(4)) | _NIBBLE[characters[:, low]]
