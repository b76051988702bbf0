"""JSON text that others wrote: what strict readers refuse in it, and what its scalars say."""

from __future__ import annotations

import json
import re
from typing import Final

from backfill.limits import JSON_DEPTH
from backfill.verify.values import overflows

#: What may be wrong at all: a long number, an exponent of three digits, NaN, infinities, a closing comma.
_SUSPECT: Final = re.compile(r"(?i)nan|inf|,\s*[\]}]|[0-9][e]\+?[0-9]{3}|[0-9]{309}")
_STRING: Final = re.compile(r'"(?:[^"\\]|\\.)*"', re.DOTALL)
_COMMA: Final = re.compile(r",\s*[\]}]")
_NOT_FINITE: Final = re.compile("(?i)nan|inf")


def faults_of_json(text: str) -> set[str]:
    """The codes of what is wrong in JSON text that DuckDB takes."""
    found: set[str] = set()
    if len(text) > 2 * JSON_DEPTH and too_deep(text, JSON_DEPTH):
        found.add("BF117")
    if _SUSPECT.search(text) is None:
        return found
    bare = _STRING.sub('""', text)
    if _COMMA.search(bare):
        found.add("BF117")
    if _NOT_FINITE.search(bare) or ("BF117" not in found and overflows(json.loads(text, parse_int=float))):
        found.add("BF111")
    return found


def too_deep(text: str, depth: int) -> bool:
    """Whether JSON text is nested deeper than that."""
    if text.count("[") + text.count("{") <= depth:
        return False
    level = 0
    for bracket in re.findall(r"[\[\]{}]", _STRING.sub("", text)):
        level += 1 if bracket in "[{" else -1
        if level > depth:
            return True
    return False


def scalar_text(text: str) -> str | None:
    """What a JSON scalar says as plain text: a string without quotes and escapes, anything else as it is written."""
    if text == "null":
        return None
    return str(json.loads(text)) if text.startswith('"') else text
