"""Where each field of a YAML file stands, for faults found when it is read and for those found later."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from backfill.document.nodes import Node
from backfill.errors import Fault, JobError
from backfill.frozen import frozen

_INDEX = re.compile(r"\[(\d+)\]")
_CALL = re.compile(r"calls\[\d+\]\.")
_ESCAPE = re.compile(r"\\(x[0-9A-Fa-f]{2}|u[0-9A-Fa-f]{4}|U[0-9A-Fa-f]{8}|\n[ \t]*|.)", re.DOTALL)
_SPACE = " \t\n"


def field_path(location: Sequence[str | int]) -> str:
    """A location as people write it: ("calls", 0, "type") is calls[0].type."""
    steps = (f"[{step}]" if isinstance(step, int) else f".{step}" for step in location)
    return "".join(steps).removeprefix(".")


@frozen
class Positions:
    """A file's data and the place of every field in it.

    A field path is that of the file: `calls[0].properties.shipping.city`. Where a call does not have the field it is
    looked for under `defaults`; where nothing has it, the nearest thing around it stands in.
    """

    file: str  # as the user named it
    text: str
    root: Node
    faults: tuple[Fault, ...] = ()  # what YAML itself made of it: repeated keys, torn texts, numbers that JSON has not

    @property
    def data(self) -> dict[str, Any]:
        """The file's plain data."""
        data: dict[str, Any] = self.root.data
        return data

    def written(self, path: str) -> str:
        """The path under which the field really stands: a call's own, or that of `defaults`."""
        fallback = _CALL.sub("defaults.", path, count=1)
        rest = self._find(path)[1]
        inside_call = not rest.startswith("[")
        return fallback if inside_call and len(self._find(fallback)[1]) < len(rest) else path

    def locate(self, path: str, offset: int | None = None, *, key: bool = False) -> tuple[int, int]:
        """Line and column from 1, of the field's value, of its key, or of a character of its text.

        `offset` counts characters of the text as YAML reads it. Where that cannot be followed back exactly (it can,
        but for odd folding), the text's start is given.
        """
        node, rest, name = self._find(self.written(path))
        if key and not rest and name is not None:
            return name.line, name.column
        if offset is not None:
            node = text_of(node)
            place = source_offset(self.text, node, offset)
            if place is not None:
                return line_and_column(self.text, place)
        return node.line, node.column

    def fault(self, path: str, message: str, hint: str = "", *, offset: int | None = None, key: bool = False) -> Fault:
        """A fault of this file at that field."""
        line, column = self.locate(path, offset, key=key)
        return Fault(self.file, line, column, self.written(path), message, hint)

    def refuse(self, kind: str, faults: Sequence[Fault], *, full: bool = False) -> JobError:
        """The error that carries these faults, in file order, each once; `full` says that there may be more."""
        ordered = sorted(dict.fromkeys(faults), key=lambda fault: (fault.line, fault.column))
        count = "a fault" if len(ordered) == 1 else f"{len(ordered)} faults" + (" or more" if full else "")
        return JobError(f"{self.file}: the {kind} has {count}", tuple(ordered))

    def _find(self, path: str) -> tuple[Node, str, Node | None]:
        """The deepest node on the path, what of the path was not found, and the last key taken."""
        node, rest, key = self.root, path, None
        while rest:
            index = _INDEX.match(rest)
            if index and int(index[1]) < len(node.items):
                node, rest, key = node.items[int(index[1])], rest[index.end() :], None
            elif entry := entry_for(node, rest.removeprefix(".")):
                key, node = entry
                rest = rest.removeprefix(".")[len(str(key.data)) :]
            else:
                return node, rest, key
        return node, "", key


def line_and_column(text: str, offset: int) -> tuple[int, int]:
    """Line and column, both from 1, of an offset in the text."""
    before = text[:offset]
    return before.count("\n") + 1, offset - (before.rfind("\n") + 1) + 1


def entry_for(node: Node, rest: str) -> tuple[Node, Node] | None:
    """The entry whose key the path goes on with, the longest where several do (keys may hold dots)."""
    fitting = [
        entry
        for entry in node.entries
        if rest.startswith(entry[0].data) and (len(rest) == len(entry[0].data) or rest[len(entry[0].data)] in ".[")
    ]
    return max(fitting, key=lambda entry: len(entry[0].data), default=None)


def text_of(node: Node) -> Node:
    """The scalar inside a long form: `{sql: ...}` or `{column: ...}`; the node itself where it is none."""
    return node.child("sql") or node.child("column") or node


def source_offset(text: str, node: Node, offset: int) -> int | None:
    """Where the scalar's character at `offset` stands in the file, or None where that cannot be followed exactly."""
    if not isinstance(node.data, str) or not 0 <= offset <= len(node.data):
        return None
    if node.style in ("|", ">") and re.match(r"\S*[|>][+-]?[1-9]", text[node.start : node.end]):
        return None  # its indentation is stated, not seen
    place, read = content_start(text, node), 0
    while read < offset:
        step = next_character(text, node, place, read)
        if step is None:
            return None
        place, read = step
    if node.style == '"' and text.startswith("\\\n", place):
        place = skip(text, place + 1, _SPACE)  # a line that goes on: the character is on the next one
    return place if read == offset and place <= node.end else None


def content_start(text: str, node: Node) -> int:
    """Where the scalar's text begins: behind a tag, an anchor, the quote, a block's header and indentation."""
    place = node.start
    while text[place : place + 1] in ("!", "&"):
        place = skip(text, re.compile(r"\S+").match(text, place).end(), _SPACE)  # type: ignore[union-attr]
    if node.style in ("'", '"'):
        return place + 1
    if node.style in ("|", ">"):
        return unindented(text, text.index("\n", place) + 1, indentation(text, place))
    return place


def indentation(text: str, header: int) -> int:
    """Spaces before a block's lines, from its header on: those of its first line that is not blank."""
    line = re.compile(r"[^\n]*\n(?: *\n)*( *)").match(text, header)
    return len(line[1]) if line else 0


def unindented(text: str, place: int, spaces: int) -> int:
    """The place behind the spaces that begin there, at most that many."""
    return min(skip(text, place, " "), place + spaces)


def next_character(text: str, node: Node, place: int, read: int) -> tuple[int, int] | None:
    """File place and text offset behind the next character of the scalar, or None where they part."""
    wanted = node.data[read]
    if node.style == '"' and text[place] == "\\":
        escape = _ESCAPE.match(text, place)
        if escape is None:
            return None
        return (escape.end(), read) if escape[1].startswith("\n") else (escape.end(), read + 1)
    if node.style == "'" and text.startswith("''", place):
        return place + 2, read + 1
    if node.style == "|" and wanted == "\n":
        return next_block_line(text, node, place, read)
    if wanted in _SPACE and text[place] in _SPACE:
        ends = skip(text, place, _SPACE)
        if "\n" in text[place:ends]:
            return ends, skip(node.data, read, _SPACE)
    return (place + 1, read + 1) if text[place] == wanted else None


def next_block_line(text: str, node: Node, place: int, read: int) -> tuple[int, int] | None:
    """Behind the line break of a literal block: past the indentation, which is that of its first line."""
    header = text.rfind("|", 0, content_start(text, node))
    return (unindented(text, place + 1, indentation(text, header)), read + 1) if text[place] == "\n" else None


def skip(text: str, place: int, characters: str) -> int:
    """The first place from `place` on whose character is none of these."""
    while place < len(text) and text[place] in characters:
        place += 1
    return place
