"""Texts that polars made, as bytes: where each stands in memory, and the sixteen bytes that stand for an id."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt
import polars as pl
import polars_hash  # noqa: F401  registers the expression namespace `chash`

_UUID_CHARACTERS: Final = 36
_UUID_PATTERN: Final = r"^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$"
#: Where the groups of hexadecimal digits stand in a UUID's text.
_GROUPS: Final = ((0, 8), (9, 13), (14, 18), (19, 23), (24, 36))
#: Two hexadecimal digits, as they lie in memory, to the byte they say.
_BYTE: Final = np.zeros(1 << 16, np.uint8)
for _value in range(256):
    _BYTE[np.frombuffer(f"{_value:02x}".encode(), np.uint16)] = _value


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


def call_hashes(texts: pl.Series) -> npt.NDArray[np.uint64]:
    """The CALL_HASH of calls, as JSON with a comma behind each: equal where the bytes are, from version to version."""
    hashed = texts.to_frame("text").select(pl.col("text").nchash.xxh3_64())  # type: ignore[attr-defined]
    return hashed.to_series().to_numpy()


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
