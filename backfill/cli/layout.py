"""Lines for a terminal: broken between words, and only their labels in colour."""

from __future__ import annotations

import re
from unicodedata import east_asian_width

#: What a line begins with that says of what kind it is: `Error`, `BF117`, `HTTP400`, `people.yaml:6:3`.
LABEL = re.compile(r"(?:BF\d{3}|HTTP ?\d{3})(?= )|(?:[A-Z][A-Za-z]*(?: RUN)?|[^\s:]+:\d+(?::\d+)?)(?=:)")
#: Words between spaces; a command in backticks is one, so that it can be taken as it stands.
_WORD = re.compile(r"(?:`[^`]*`|\S)+")
#: The name before a value, as summaries have it: what follows is laid out beside it.
_NAMED = re.compile(r" +\S+(?: \S+)? {2,}(?=\S)")
#: How much further in the lines go on that were broken.
HANGING = 4
#: Where breaking would leave less than this beside what a line begins with, it is left to the terminal.
LEAST = 20


def wrap(text: str, width: int, *, hanging: int = HANGING) -> str:
    """Every line of the text broken between words where it is wider than that; what has no spaces stays whole.

    What was broken goes on `hanging` columns further in than the line began.
    """
    return "\n".join(_wrap(line, width, hanging) for line in text.split("\n"))


def _wrap(line: str, width: int, hanging: int) -> str:
    if display_width(line) <= width:
        return line
    named = _NAMED.match(line)
    first = named[0] if named else line[: len(line) - len(line.lstrip(" "))]
    margin = " " * (len(first) if named else len(first) + hanging)
    if width - len(margin) < LEAST:
        return line
    lines = [first]
    empty = True
    for word in _WORD.findall(line[len(first) :]):
        if not empty and display_width(lines[-1]) + 1 + display_width(word) > width:
            lines.append(margin)
            empty = True
        lines[-1] += word if empty else f" {word}"
        empty = False
    return "\n".join(lines)


def display_width(text: str) -> int:
    """How many columns of a terminal a text takes."""
    return len(text) if text.isascii() else sum(1 + (east_asian_width(each) in "WF") for each in text)


def colour_label(text: str, colour: str) -> str:
    """The text with what it begins with in that colour (an SGR sequence), and nothing else."""
    label = LABEL.match(text)
    return f"{colour}{label[0]}\x1b[0m{text[label.end() :]}" if label else text
