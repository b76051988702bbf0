"""What the records of an NDJSON file are, in slow plain Python, by the standard library's json."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

_LINE_END = re.compile(rb"\r\n|\r|\n")


class Number(str):
    """A number as it is written."""

    __slots__ = ()


class Pairs(tuple[tuple[str, Any], ...]):
    """An object's members in order, repeated keys and all."""

    __slots__ = ()


@dataclass(frozen=True)
class Record:
    """One record: its members by name, or the code of what is wrong with it."""

    number: int
    line: int
    members: dict[str, Any] | None
    code: str = ""


def records(data: bytes) -> list[Record]:
    """The records of a file with those bytes."""
    found = []
    for line, text in enumerate(_LINE_END.split(data.removeprefix(b"\xef\xbb\xbf")), 1):
        if text.strip(b" \t"):
            found.append(_record(len(found) + 1, line, text))
    return found


def parsed(text: str) -> Any:
    """The value of a JSON text; raises ValueError."""

    def refuse(word: str) -> Any:
        raise ValueError(word)

    return json.loads(text, parse_int=Number, parse_float=Number, parse_constant=refuse, object_pairs_hook=Pairs)


def _record(number: int, line: int, text: bytes) -> Record:
    try:
        value = parsed(text.decode())
    except UnicodeDecodeError:
        return Record(number, line, None, "BF004")
    except ValueError:
        return Record(number, line, None, "BF005")
    if not isinstance(value, Pairs) or not _is_text(value) or not _has_good_keys([key for key, _ in value]):
        return Record(number, line, None, "BF005")
    return Record(number, line, dict(value))


def _has_good_keys(keys: list[str]) -> bool:
    bad = any(not key or "\0" in key or key.startswith("__bf_") for key in keys)
    return not bad and len(set(keys)) == len(keys)


def _is_text(value: Any) -> bool:
    """No string in it holds half of a surrogate pair."""
    if isinstance(value, str):
        return not any("\ud800" <= sign <= "\udfff" for sign in value)
    if isinstance(value, Pairs):
        return all(_is_text(key) and _is_text(inner) for key, inner in value)
    return not isinstance(value, list) or all(map(_is_text, value))


def column(found: list[Record], name: str) -> tuple[str, list[Any]]:
    """The kind of a column, and its values in the readable records: of JSON parsed, else as they are."""
    values = [record.members.get(name) for record in found if record.members is not None]
    there = [value for value in values if value is not None]
    if all(isinstance(value, str) and not isinstance(value, Number) for value in there):
        return "VARCHAR", values
    return ("BOOLEAN" if all(isinstance(value, bool) for value in there) else "JSON"), values
