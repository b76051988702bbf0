"""JSON texts laid out anew with every number digit for digit: 748.30 is not 748.3 to who reads it."""

from __future__ import annotations

import json
from collections.abc import Sequence

INDENT = 2


class NumberText(str):
    """A number as it is written."""

    __slots__ = ()


def parse(text: str) -> object:
    """The value of a JSON text, its numbers as `NumberText`.

    Raises:
        ValueError: It is not JSON.
    """
    return json.loads(text, parse_float=NumberText, parse_int=NumberText)


def compact(value: object) -> str:
    """The value as JSON on one line, scripts of the world as they are."""
    if isinstance(value, dict):
        return "{" + ",".join(f"{compact(name)}:{compact(each)}" for name, each in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(compact, value)) + "]"
    return str(value) if isinstance(value, NumberText) else json.dumps(value, ensure_ascii=False)


def pretty(value: object, margin: str = "") -> str:
    """The value as JSON on several lines, all but the first moved to the margin."""
    inner = margin + " " * INDENT
    if isinstance(value, dict) and value:
        return _enclosed("{", [f"{compact(name)}: {pretty(each, inner)}" for name, each in value.items()], "}", margin)
    if isinstance(value, list) and value:
        return _enclosed("[", [pretty(each, inner) for each in value], "]", margin)
    return compact(value)


def _enclosed(opening: str, members: Sequence[str], closing: str, margin: str) -> str:
    inner = margin + " " * INDENT
    return f"{opening}\n{inner}" + f",\n{inner}".join(members) + f"\n{margin}{closing}"
