"""Blanks: what a guess of the job could not decide, and nobody has yet. A job with one is no job.

The word stands without quotes in the place of a value, or within an SQL expression as the text 'CHOOSE'; what there is
to choose from is the comment behind it.
"""

from __future__ import annotations

from collections.abc import Iterator

from backfill.document import Faults
from backfill.document.nodes import Node

#: In quotes it is text as any other.
BLANK = "CHOOSE"
_IN_SQL = f"'{BLANK}'"
_MESSAGE = "is still to be chosen"


def note_blanks(faults: Faults) -> None:
    """Note every blank of the file, each with its choices; nothing else is said of its field."""
    blanks = [(path, choices(faults.positions.text, node)) for path, node in _blanks(faults.positions.root, "")]
    for path, hint in blanks:
        faults.add(path, _MESSAGE, hint)
    faults.broken.update(path for path, _ in blanks)


def choices(text: str, node: Node) -> str:
    """The comment behind a blank, and the lines of nothing but comment that go on with it."""
    if node.style in ("|", ">"):
        return ""
    first, *others = text[node.end :].split("\n")
    found = [first.partition("#")[2].strip()]
    for line in others:
        if not found[0] or not line.lstrip().startswith("#") or not line.startswith(" " * (node.column - 1)):
            break
        found.append(line.lstrip("# ").rstrip())
    return " ".join(found) or f"write a value in place of {BLANK}"


def _blanks(node: Node, path: str) -> Iterator[tuple[str, Node]]:
    for key, value in node.entries:
        yield from _blanks(value, f"{path}.{key.data}" if path else key.data)
    for place, item in enumerate(node.items):
        yield from _blanks(item, f"{path}[{place}]")
    if isinstance(node.data, str) and ((node.data == BLANK and not node.style) or _IN_SQL in node.data):
        yield path, node
