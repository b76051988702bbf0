"""What a YAML parser complains of, in the words of somebody who wrote SQL and formats into YAML."""

from __future__ import annotations

import re

from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.reader import ReaderError

_RESERVED = re.compile(r"found character '(.)' that cannot start any token")
_QUOTED_START = re.compile(r"""[:\-\[{,]\s+(?:"[^"]*"|'[^']*')\s*[^\s,\]}#:]""")
_BARE_STAR = re.compile(r"(^|[\s{,\[])\*(?=[\s:,}\]]|$)")
_HINTS = (
    ("mapping values", "text with a colon and a space after it wants quotes; else look at the indentation"),
    ("quoted scalar", "a quote is opened here or above and not closed"),
    ("flow", "a { or [ is not closed, or text inside it wants quotes"),
)
_NEAR = "look at the indentation and the quotes of this line and the one above"


def explain(error: YAMLError, text: str) -> tuple[int, int, str, str]:
    """Line and column from 1 (0 where unknown), a message and a hint for a file that is not YAML."""
    if isinstance(error, ReaderError):
        line, column = line_and_column(text, error.position)
        code = error.character if isinstance(error.character, int) else ord(error.character[:1])
        return line, column, f"the character U+{code:04X} cannot stand in a YAML file", "remove it"
    if not isinstance(error, MarkedYAMLError):
        return 0, 0, "is not YAML", ""
    mark = error.problem_mark or error.context_mark
    line, column = (mark.line + 1, mark.column + 1) if mark else (0, 0)
    lines = text.split("\n")
    written = lines[line - 1] if 0 < line <= len(lines) else ""
    message = " ".join(part for part in (error.context, error.problem) if part).replace("\n", " ")
    return line, column, f"is not YAML: {message}"[:200], hint_for(message, written, column)


def hint_for(message: str, written: str, column: int) -> str:
    """What to do about a complaint of the parser's, from its words and the line it is about."""
    reserved = _RESERVED.search(message)
    if "\\t" in message or "\t" in written[: max(column, 1)]:
        return "indent with spaces: YAML takes no tabs there"
    if reserved:
        return f"quote text that begins with `{reserved[1]}`"
    if "alias" in message or _BARE_STAR.search(written):
        return 'quote the star: "*"'
    if _QUOTED_START.search(written):
        return "text that begins with a quote ends with it: put the whole of it in the other kind of quotes"
    return next((hint for words, hint in _HINTS if words in message), _NEAR)


def line_and_column(text: str, offset: int) -> tuple[int, int]:
    """Line and column, both from 1, of an offset in the text."""
    before = text[:offset]
    return before.count("\n") + 1, offset - (before.rfind("\n") + 1) + 1
