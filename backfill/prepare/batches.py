"""From frames of encoded calls to batches: slices of the memory that polars wrote the calls into."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt
import orjson
import polars as pl
import polars_hash  # noqa: F401  registers the expression namespace `chash`

from backfill.errors import BackfillError
from backfill.pack import Packer
from backfill.records import CALL_RECORD, ShardWriter
from backfill.wire import COMMA, HEAD

_RECORD: Final = np.dtype(CALL_RECORD)
_UUID_CHARACTERS: Final = 36
_UUID_PATTERN: Final = r"^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$"
#: Where the groups of hexadecimal digits stand in a UUID's text.
_GROUPS: Final = ((0, 8), (9, 13), (14, 18), (19, 23), (24, 36))
#: Two hexadecimal digits, as they lie in memory, to the byte they say.
_BYTE: Final = np.zeros(1 << 16, np.uint8)
for _value in range(256):
    _BYTE[np.frombuffer(f"{_value:02x}".encode(), np.uint16)] = _value


class Batches:
    """Packs the calls of one shard and hands each full batch to the shard's writer.

    `parsed` has every body parsed first, for calls that hold JSON which others wrote.
    """

    def __init__(self, writer: ShardWriter, packer: Packer, *, parsed: bool = False) -> None:
        self._writer = writer
        self._packer = packer
        self._parsed = parsed
        self._open: list[bytes] = []  # of the open batch, from earlier frames
        self._open_calls = 0
        self._records: list[npt.NDArray[np.void]] = []
        self.json_bytes = 0

    def push(self, calls: pl.DataFrame, ids: npt.NDArray[np.uint8]) -> None:
        """Take encoded calls in order (`json` with a comma behind each) and their sixteen-byte ids."""
        if not len(calls):
            return
        content, edges = text_bytes(calls["json"])
        sizes = np.diff(edges)
        self._record(calls, ids, sizes)
        start = 0
        for cut in self._packer.push(sizes):
            self._close(content[edges[start] : edges[cut]], cut - start)
            start = cut
        self._open.append(content[edges[start] : edges[-1]].tobytes())
        self._open_calls += len(calls) - start

    def finish(self) -> bytes:
        """Close the open batch; returns the shard's CALL_RECORD records."""
        if self._open_calls:
            self._close(memoryview(b""), 0)
        return b"".join(records.tobytes() for records in self._records)

    def _close(self, content: memoryview, calls: int) -> None:
        plain = memoryview(b"".join((HEAD, *self._open, content)))[:-COMMA]
        if self._parsed:
            _refuse_no_json(plain)
        self._writer.add(plain, self._open_calls + calls)
        self.json_bytes += plain.nbytes
        self._open, self._open_calls = [], 0

    def _record(self, calls: pl.DataFrame, ids: npt.NDArray[np.uint8], sizes: npt.NDArray[np.int64]) -> None:
        records = np.empty(len(calls), _RECORD)
        records["id_bytes"] = np.ascontiguousarray(ids).view("V16").ravel()
        records["row"] = calls["row"].to_numpy()
        records["bytes"] = sizes - COMMA
        records["call"] = calls["call"].to_numpy()
        self._records.append(records)


def _refuse_no_json(body: memoryview) -> None:
    """Raise BackfillError where a body is no JSON; every value was checked, so this finds a mistake in the checks."""
    try:
        orjson.loads(b"".join((body, b"]}")))
    except orjson.JSONDecodeError as error:
        message = f"a body that is no JSON would have been sent ({error.msg} at byte {error.pos}); nothing was sent"
        raise BackfillError(
            message, hint="please report it: a column of JSON holds what the checks let through"
        ) from None


def id_keys(ids: pl.Series, *, given: bool) -> npt.NDArray[np.uint8]:
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
    return _hexadecimal(_characters(frame["text"], 32))


def _uuid_bytes(ids: pl.Series) -> npt.NDArray[np.uint8]:
    characters = _characters(ids, _UUID_CHARACTERS)
    return _hexadecimal(np.concatenate([characters[:, low:high] for low, high in _GROUPS], axis=1))


def _characters(texts: pl.Series, width: int) -> npt.NDArray[np.uint8]:
    """Texts of one width as a matrix of their bytes."""
    content, edges = text_bytes(texts)
    return np.frombuffer(content[edges[0] : edges[-1]], np.uint8).reshape(-1, width)


def text_bytes(texts: pl.Series) -> tuple[memoryview, npt.NDArray[np.int64]]:
    """Texts without nulls, one behind the other, and where each begins; the last edge is where the last one ends."""
    array = texts.rechunk().to_arrow(compat_level=pl.CompatLevel.oldest())
    if not len(array):
        return memoryview(b""), np.zeros(1, np.int64)
    _, offsets, content = array.buffers()  # of Arrow's large strings
    edges = np.frombuffer(offsets, np.int64)[array.offset : array.offset + len(array) + 1]
    return memoryview(content or b""), edges


def _hexadecimal(digits: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """The bytes that pairs of hexadecimal digits say."""
    return _BYTE.take(digits.view(np.uint16))
