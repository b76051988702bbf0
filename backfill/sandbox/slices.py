"""The exact text of each call in a body: what a JSON reader would alter (1.10, 41 digits) is kept as it was sent."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

import orjson

_SPACE = re.compile(r"[ \t\n\r]*")
# Numbers stay text: only positions are wanted, and Python refuses integers of over 4,300 digits.
_DECODER = json.JSONDecoder(parse_float=str, parse_int=str, parse_constant=str)


def call_slices(text: str, calls: Sequence[Any]) -> list[str]:
    """The texts of the elements of the top object's `batch`; `text` is valid JSON and `calls` those elements, read.

    Raises RecursionError where a call is nested more deeply than Python's reader goes.
    """
    found: list[str] = []
    position = _skip(text, _skip(text, 0) + 1)
    while text[position] != "}":
        key, position = _DECODER.raw_decode(text, position)
        position = _skip(text, _skip(text, position) + 1)
        if key == "batch" and text[position] == "[":  # of repeated keys the last counts, as for JSON readers in use
            found, position = _elements(text, position, calls)
        else:
            _, position = _DECODER.raw_decode(text, position)
        position = _next(text, position)
    return found


def _elements(text: str, start: int, calls: Sequence[Any]) -> tuple[list[str], int]:
    """The texts of the elements of the array that starts here, and the position after it."""
    found: list[str] = []
    position = _skip(text, start + 1)
    while text[position] != "]":
        # Most senders write compact JSON: then the call written anew is its text, and nothing need be read twice.
        compact = _compact(calls[len(found)]) if len(found) < len(calls) else ""
        if compact.startswith("{") and text.startswith(compact, position):
            end = position + len(compact)
        else:
            _, end = _DECODER.raw_decode(text, position)
        found.append(text[position:end])
        position = _next(text, end)
    return found, position + 1


def _compact(call: object) -> str:
    try:
        return orjson.dumps(call).decode()
    except orjson.JSONEncodeError:  # nested deeper than it writes, though it reads it
        return ""


def _next(text: str, end: int) -> int:
    """The start of the next member or element after one that ended here, or the closing bracket."""
    position = _skip(text, end)
    return _skip(text, position + 1) if text[position] == "," else position


def _skip(text: str, position: int) -> int:
    space = _SPACE.match(text, position)
    return space.end() if space else position
