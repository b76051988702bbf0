"""From the fields of rows to columns of the types that the table says, and the rows whose values are no such."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.compute as pc  # type: ignore[import-untyped]
from numpy.typing import NDArray

from backfill.errors import SourceError
from backfill.sources.dumps.mysql.types import Reading
from backfill.sources.dumps.mysql.values import BITS, HEX, PLAIN, Fields, parse
from backfill.sources.utf8 import rows_not_utf8

#: MySQL's encodings of one byte a character, as Python calls them; its latin1 is Windows' with its gaps filled.
_ENCODINGS = {
    "latin1": "cp1252", "ascii": "ascii", "latin2": "iso8859-2", "latin5": "iso8859-9", "latin7": "iso8859-13",
    "cp1250": "cp1250", "cp1251": "cp1251", "cp1256": "cp1256", "cp1257": "cp1257", "cp850": "cp850", "cp852": "cp852",
    "cp866": "cp866", "greek": "iso8859-7", "hebrew": "iso8859-8", "koi8r": "koi8-r", "koi8u": "koi8-u",
}  # fmt: skip
_MISSING = "\ufffd"
_UTF8 = ("utf8", "utf8mb3", "utf8mb4")
#: Rows with a bad value: the column and what is wrong with it.
Wrong = dict[int, tuple[int, str, str]]


def encoding_of(charset: str, name: str) -> list[str] | None:
    """The characters of an encoding's 256 bytes; None for UTF-8.

    Raises:
        SourceError: it has characters of several bytes, in which a quote may be a part of one.
    """
    if charset in _UTF8:
        return None
    if charset not in _ENCODINGS:
        raise SourceError(
            f"{name}: its texts are in {charset}", hint="dump again with `--default-character-set=utf8mb4`"
        )
    codec = _ENCODINGS[charset]
    filled = [bytes([byte]).decode(codec, "replace") for byte in range(256)]
    return [chr(byte) if codec == "cp1252" and sign == _MISSING else sign for byte, sign in enumerate(filled)]


def columns_of(fields: Fields, readings: Sequence[Reading], charset: list[str] | None) -> tuple[list[pa.Array], Wrong]:
    """The columns, and the rows whose values are not of their types; what the columns hold there is nothing."""
    wrong: Wrong = {}
    is_special = (fields.notations != PLAIN).any(axis=0)
    types = [pa.string() if special and one.parsed != pa.binary() else one.parsed
             for one, special in zip(readings, is_special.tolist(), strict=True)]  # fmt: skip
    try:
        raw = parse(fields, types)
    except pa.ArrowInvalid:
        raw = parse(fields, [pa.binary() if kind == pa.binary() else pa.string() for kind in types])
    made = []
    for place, (values, one) in enumerate(zip(raw, readings, strict=True)):
        special = fields.notations[:, place] if is_special[place] else None
        made.append(_column(values, one, special, charset, place, wrong))
    return made, wrong


def _column(
    values: pa.Array,
    one: Reading,
    notations: NDArray[np.uint8] | None,
    charset: list[str] | None,
    place: int,
    wrong: Wrong,
) -> pa.Array:
    if one.parsed == pa.binary():
        plain = _bytes(values, notations, place, wrong)
        return _bits(plain) if one.is_bit else plain
    if notations is not None:
        for row in np.flatnonzero(notations != PLAIN).tolist():
            wrong.setdefault(row, (place, "BF009", "a binary value in a column of another type"))
    if one.parsed != pa.string():
        return values if values.type == one.parsed else _cast(values, one, place, wrong)
    if charset is not None:
        values, bad = _decoded(values, charset)
    else:
        bad = rows_not_utf8(values)
    for row in bad:
        wrong.setdefault(row, (place, "BF004", "bytes that are not in the dump's encoding"))
    return pc.binary_join_element_wise(values, one.suffix, "") if one.suffix else values


def _bytes(values: pa.BinaryArray, notations: NDArray[np.uint8] | None, place: int, wrong: Wrong) -> pa.BinaryArray:
    """The bytes that hexadecimal and binary literals stand for; value by value, as nothing does it for many."""
    if notations is None:
        return values
    made = values.to_pylist()
    for row in np.flatnonzero(notations != PLAIN).tolist():
        try:
            made[row] = _literal(made[row], int(notations[row]))
        except ValueError:
            wrong.setdefault(row, (place, "BF009", "a binary literal with other signs than digits"))
    return pa.array(made, pa.binary())


def _literal(text: bytes, notation: int) -> bytes:
    digits = text.decode("ascii")
    if notation == BITS:
        return int(digits or "0", 2).to_bytes((len(digits) + 7) // 8, "big")
    digits = digits[len("0x") :] if notation == HEX else digits
    return bytes.fromhex("0" * (len(digits) % 2) + digits)


def _bits(values: pa.BinaryArray) -> pa.Array:
    """BIT as integers."""
    found = values.dictionary_encode()
    numbers = [int.from_bytes(value, "big") for value in found.dictionary.to_pylist()]
    return pa.array(numbers, pa.uint64()).take(found.indices)


def _cast(values: pa.StringArray, one: Reading, place: int, wrong: Wrong) -> pa.Array:
    """Text as numbers; what is none is noted, and null."""
    try:
        return values.cast(one.parsed)
    except pa.ArrowInvalid:
        made = []
        for row, value in enumerate(values):
            try:
                made.append(value.cast(one.parsed))
            except pa.ArrowInvalid:
                wrong.setdefault(row, (place, "BF009", f"a value that is no {one.parsed}"))
                made.append(pa.scalar(None, one.parsed))
        return pa.array(made, one.parsed)


def _decoded(values: pa.StringArray, charset: list[str]) -> tuple[pa.StringArray, Sequence[int]]:
    """Texts of one byte a character as UTF-8, and the rows with bytes that are no character."""
    assert values.offset == 0
    validity, offsets, content = values.buffers()
    edges = np.frombuffer(offsets, np.int32)[: len(values) + 1]
    stored = b"" if content is None else content.to_pybytes()[edges[0] : edges[-1]]
    if stored.isascii():
        return values, []
    data, edges = np.frombuffer(stored, np.uint8), edges - edges[0]
    sizes = np.array([len(sign.encode()) for sign in charset])[data]
    moved = np.concatenate(([0], sizes.cumsum())).astype(np.int32)[edges]
    text = stored.decode("latin-1").translate(dict(enumerate(charset))).encode()
    missing = np.array([sign == _MISSING for sign in charset])[data]
    rows = edges.searchsorted(np.flatnonzero(missing), side="right") - 1
    made = pa.StringArray.from_buffers(len(values), pa.py_buffer(moved), pa.py_buffer(text), validity)
    return made, np.unique(rows).tolist()
