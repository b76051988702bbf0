"""Whether texts are JSON, exactly as RFC 8259 says, and what is wrong with one that is not.

orjson takes most texts at once; those that it refuses are looked at once more by a scanner of our own, since orjson
refuses too much (1e400, integers of 400 digits), says little, and builds all that a record holds, which costs a long
one more memory than there is.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Sequence
from typing import Any

import orjson

from backfill.sources.ndjson.scanner import FaultError, half_pair, scan

#: Longer lines are not handed to orjson, which would build their values: up to 60 times a line's bytes.
MAX_BUILT_BYTES = 2**20
#: Bytes of records that are judged together, and so built at once.
GROUP_BYTES = 2**18

NO_OBJECT = "no JSON object"
HALF_PAIR = "half of a surrogate pair in a string, which is no character"
ENCODING = "bytes that are not UTF-8"
#: Stands between texts that are judged together; none holds it, as nobody knows it.
_MARK = secrets.token_hex(16)
_BETWEEN = f',"{_MARK}",'.encode()


def fault_of(line: bytes) -> tuple[str, str] | None:
    """The problem's code and words for a line that is no JSON object; None for one that is.

    Repeated keys and depth are not asked for here.
    """
    if len(line) <= MAX_BUILT_BYTES:
        try:
            value = orjson.loads(line)
        except orjson.JSONDecodeError:
            pass
        else:
            return None if type(value) is dict else ("BF005", NO_OBJECT)
    try:
        text = line.decode()
    except UnicodeDecodeError:
        return "BF004", ENCODING
    try:
        scan(text)
    except FaultError as fault:
        return "BF005", str(fault)
    if half_pair(text):
        return "BF005", HALF_PAIR
    return None if text.lstrip(" \t\r\n").startswith("{") else ("BF005", NO_OBJECT)


def are_objects(lines: Sequence[bytes]) -> bool:
    """Whether each line is one JSON object; False where that is not found out at once for all of them."""
    return all(_are_objects(group) for group in _groups(lines))


def are_values(texts: Sequence[bytes]) -> bool:
    """Whether each text is one JSON value; False where that is not found out at once for all of them."""
    return all(_values(group) is not None for group in _groups(texts))


def _groups(texts: Sequence[bytes]) -> Iterator[Sequence[bytes]]:
    """The texts, about GROUP_BYTES of them at a time."""
    held: list[bytes] = []
    size = 0
    for text in texts:
        held.append(text)
        size += len(text)
        if size >= GROUP_BYTES:
            yield held
            held, size = [], 0
    if held:
        yield held


def _are_objects(lines: Sequence[bytes]) -> bool:
    values = _values(lines)
    return values is not None and all(type(value) is dict for value in values)


def _values(texts: Sequence[bytes]) -> list[Any] | None:
    """The value of each text; None where that is not found out at once for all of them.

    As the elements of an array, with a mark that no text holds between them: an array of values and marks in turn is
    what comes of values alone, since a text that ended within a value, or held two, would move a mark from its place.
    """
    if sum(map(len, texts)) > MAX_BUILT_BYTES:
        return None
    try:
        found = orjson.loads(b"[%b]" % _BETWEEN.join(texts))
    except orjson.JSONDecodeError:
        return None
    values, marks = found[::2], found[1::2]
    return values if len(values) == len(texts) and marks == [_MARK] * (len(texts) - 1) else None
