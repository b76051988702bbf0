"""Values as a person would write them in a job file: without quotes where YAML takes them so."""

from __future__ import annotations

import json
import re
from typing import Any

from backfill.escape import escaped
from backfill.job.blanks import BLANK

_PLAIN = re.compile(r"[A-Za-z_./][\w./*-]*(?: [\w./()-]+)*")
_WORDS = frozenset(("true", "false", "null", "yes", "no", "on", "off", "y", "n", BLANK.lower()))
_MARGIN = 34  # where comments begin, if what is before leaves room


def written(value: Any) -> str:  # noqa: ANN401
    """The value in flow style, on one line."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{written(name)}: {written(one)}" for name, one in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(written, value)) + "]"
    if isinstance(value, str):
        plain = _PLAIN.fullmatch(value) and value.lower() not in _WORDS
        return value if plain or isinstance(value, Blank) else escaped(json.dumps(value, ensure_ascii=False))
    return json.dumps(value)


class Blank(str):
    """The word of a blank, which stands without quotes."""

    __slots__ = ()


OPEN = Blank(BLANK)


def with_comment(line: str, comment: str) -> str:
    """The line with a comment behind it, in a column with the others where it fits."""
    return f"{line:<{_MARGIN}}  # {escaped(comment)}" if comment else line


def member(name: str) -> str:
    """A column's name as that of a member of an object: a dot in it is no object's."""
    text = name.replace("\\", "\\\\").replace(".", "\\.")
    return f"\\{text}" if text in ("*", "column") else text
