"""YAML events to a tree that knows where everything stands, and to plain data.

Rules of this file:
1) Scalars are read by YAML 1.2's core schema (https://yaml.org/spec/1.2.2/#103-core-schema), so `no` and `on` are text.
2) Nothing is ever constructed: a tag other than the core schema's own is a fault.
3) The tree is bounded in depth and in nodes, each alias counted as often as it is used, so that no file can blow up.
4) What JSON could not say (NaN, a key that is not text, half a surrogate pair) is a fault.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, NoReturn

from ruamel.yaml import events

from backfill.errors import Fault
from backfill.frozen import frozen

#: Far beyond any job; reading that many nodes takes under two seconds.
MOST_NODES = 20_000
DEEPEST = 40

Entry = tuple["Node", "Node"]


@frozen
class Node:
    """One scalar, sequence or mapping. `start` and `end` are offsets in the text, `line` and `column` count from 1."""

    data: Any  # plain data; for a mapping or sequence made of its children's
    start: int
    end: int
    line: int
    column: int
    style: str = ""  # of a scalar: "" plain, ' " | >
    entries: tuple[Entry, ...] = ()  # of a mapping
    items: tuple[Node, ...] = ()  # of a sequence
    size: int = 1  # nodes in it, aliases counted where they are used

    def child(self, key: str) -> Node | None:
        """The value of that key, or None."""
        return next((value for name, value in self.entries if name.data == key), None)

    def key(self, key: str) -> Node | None:
        """The key itself, or None."""
        return next((name for name, _ in self.entries if name.data == key), None)


class DocumentFaultError(Exception):
    """The tree cannot be built at all; caught in `reader`."""

    def __init__(self, line: int, column: int, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.line, self.column, self.message, self.hint = line, column, message, hint


@dataclass(slots=True, repr=False, eq=False)
class TreeBuilder:
    """Builds one document's tree from parse events; what it can go on after is in `faults`."""

    stream: Iterator[events.Event]
    text: str
    file: str  # its name
    faults: list[Fault] = field(default_factory=list)
    anchors: dict[str, Node | None] = field(default_factory=dict)  # None while the node is still being read
    nodes: int = 0

    def build(self) -> Node:
        """The root of the only document; raises DocumentFaultError."""
        next(self.stream)  # the stream's start
        first = next(self.stream)
        if not isinstance(first, events.DocumentStartEvent):
            raise DocumentFaultError(0, 0, "the file is empty")
        if first.version not in (None, (1, 2)):
            raise DocumentFaultError(1, 1, f"this is YAML {'.'.join(map(str, first.version))}; 1.2 is wanted")
        root = self.node(next(self.stream), "", 1)
        next(self.stream)  # the document's end
        after = next(self.stream)
        if not isinstance(after, events.StreamEndEvent):
            where = after.start_mark
            raise DocumentFaultError(
                where.line + 1,
                where.column + 1,
                "a second document begins here",
                "remove the `---`: one file holds one document",
            )
        return root

    def node(self, event: events.Event, path: str, depth: int) -> Node:
        """The node that begins with `event`."""
        self.count(event, 1)
        if depth > DEEPEST:
            self.stop(event, f"nested deeper than {DEEPEST} levels")
        if isinstance(event, events.AliasEvent):
            return self.alias(event)
        anchor = getattr(event, "anchor", None)
        if anchor:
            self.anchors[anchor] = None
        self.refuse_tag(event)
        if isinstance(event, events.ScalarEvent):
            node = self.scalar(event, path)
        elif isinstance(event, events.SequenceStartEvent):
            node = self.sequence(event, path, depth)
        elif isinstance(event, events.MappingStartEvent):
            node = self.mapping(event, path, depth)
        else:
            raise TypeError(event)
        if anchor:
            self.anchors[anchor] = node
        return node

    def count(self, event: events.Event, nodes: int) -> None:
        """Count nodes towards the bound."""
        self.nodes += nodes
        if self.nodes > MOST_NODES:
            self.stop(event, f"more than {MOST_NODES:,} values in one file, aliases counted where they are used")

    def stop(self, event: events.Event, message: str, hint: str = "") -> NoReturn:
        """Give up here."""
        raise DocumentFaultError(event.start_mark.line + 1, event.start_mark.column + 1, message, hint)

    def refuse_tag(self, event: events.Event) -> None:
        """Only `!!str` is taken; it changes nothing but how a plain scalar is read."""
        tag = str(getattr(event, "tag", None) or "")
        if tag and not (tag == "tag:yaml.org,2002:str" and isinstance(event, events.ScalarEvent)):
            shown = tag.replace("tag:yaml.org,2002:", "!!")
            self.stop(event, f"the tag {shown[:80]} is not taken", "quote text that begins with `!`")

    def alias(self, event: events.AliasEvent) -> Node:
        """The node an alias stands for, counted once more."""
        shown = f"*{event.anchor.rstrip(':')}"  # in `*: {}` the colon counts as the anchor's
        if event.anchor not in self.anchors:
            self.stop(
                event, f"{shown} refers to an anchor that is not there", f'quote text that begins with `*`: "{shown}"'
            )
        node = self.anchors[event.anchor]
        if node is None:
            self.stop(event, f"{shown} stands inside what it refers to")
        self.count(event, node.size)
        return node

    def scalar(self, event: events.ScalarEvent, path: str) -> Node:
        """A scalar with its value by the core schema."""
        mark, style = event.start_mark, event.style or ""
        plain = not style and event.implicit[0]
        text = joined(event.value)
        place = (mark.index, event.end_mark.index, mark.line + 1, mark.column + 1, style)
        node = Node(event.value if text is None else text, *place)
        if text is None:
            self.note(node, path, "half of a surrogate pair is not text", "write the character itself")
            return node
        if not plain:
            return node
        value, message, hint = core_scalar(event.value)
        if message:
            self.note(node, path, message, hint)
        return Node(value, *place)

    def sequence(self, event: events.SequenceStartEvent, path: str, depth: int) -> Node:
        """A sequence with its items."""
        items: list[Node] = []
        while not isinstance(inner := next(self.stream), events.SequenceEndEvent):
            items.append(self.node(inner, f"{path}[{len(items)}]", depth + 1))
        mark = event.start_mark
        if event.flow_style:
            self.notice_torn_text(items, path)
        return Node(
            [item.data for item in items],
            mark.index,
            inner.end_mark.index,
            mark.line + 1,
            mark.column + 1,
            items=tuple(items),
            size=1 + sum(item.size for item in items),
        )

    def mapping(self, event: events.MappingStartEvent, path: str, depth: int) -> Node:
        """A mapping; a key that is repeated, no text or `<<` is a fault and left out of the data."""
        entries: list[Entry] = []
        data: dict[str, Any] = {}
        while not isinstance(inner := next(self.stream), events.MappingEndEvent):
            key = self.node(inner, path, depth + 1)
            name = key.data if isinstance(key.data, str) else self.text[key.start : key.end]
            inside = f"{path}.{name}" if path else name
            value = self.node(next(self.stream), inside, depth + 1)
            if self.key_is_good(key, data, value, path, flow=bool(event.flow_style)):
                entries.append((key, value))
                data[name] = value.data
        mark = event.start_mark
        return Node(
            data,
            mark.index,
            inner.end_mark.index,
            mark.line + 1,
            mark.column + 1,
            entries=tuple(entries),
            size=1 + sum(key.size + value.size for key, value in entries),
        )

    def key_is_good(self, key: Node, seen: dict[str, Any], value: Node, path: str, *, flow: bool) -> bool:
        """Whether the entry can be taken; if not, why is among the faults."""
        written = self.text[key.start : key.end][:60]
        if not isinstance(key.data, str):
            self.note(key, path, f"the key {written} is not text", f'quote it: "{written}"')
        elif flow and value.data is None and ":" not in self.text[key.end : max(value.start, key.end) + 1]:
            hint = "in { } a comma ends a value: put the whole text in quotes"
            self.note(key, path, f"`{written}` is a key without a value", hint)
        elif key.data in seen:
            self.note(key, f"{path}.{key.data}" if path else key.data, "is given twice", "keep one of the two")
        elif key.data == "<<":
            self.note(key, path, "YAML 1.2 has no merge key `<<`", "what several calls share belongs under `defaults`")
        else:
            return True
        return False

    def notice_torn_text(self, items: list[Node], path: str) -> None:
        """`[f(a, b)]` is two texts in YAML; that is never meant."""
        for place, (left, right) in enumerate(pairwise(items)):
            if surplus(left) > 0 and surplus(right) < 0:
                torn = f"{left.data}, {right.data}"[:60]
                self.note(left, f"{path}[{place}]", f"the comma tears `{torn}` in two", "put the whole text in quotes")

    def note(self, node: Node, path: str, message: str, hint: str) -> None:
        """Note a fault that leaves the rest readable."""
        self.faults.append(Fault(self.file, node.line, node.column, path, message, hint))


def joined(text: str) -> str | None:
    """The text with surrogate pairs, as JSON escapes them, made one character; None where half of one is left."""
    try:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le")
    except UnicodeDecodeError:
        return None


def surplus(node: Node) -> int:
    """Opening parentheses less closing ones of a plain text, 0 for anything else."""
    plain = isinstance(node.data, str) and not node.style
    return node.data.count("(") - node.data.count(")") if plain else 0


_INTEGER = re.compile(r"[-+]?[0-9]+")
_LEADING_ZERO = re.compile(r"[-+]?0[0-9]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_NOT_FINITE = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_WORDS = {"": None, "~": None} | dict.fromkeys(("null", "Null", "NULL"))
_WORDS |= dict.fromkeys(("true", "True", "TRUE"), True) | dict.fromkeys(("false", "False", "FALSE"), False)
_BASED = re.compile(r"0(?=o[0-7]+$|x[0-9a-fA-F]+$)([ox])(.+)")
#: Python reads longer integers in quadratic time, and no JSON reader keeps them.
_LONGEST_NUMBER = 1_000


def core_scalar(text: str) -> tuple[Any, str, str]:
    """A plain scalar's value by the core schema, and the message and hint where it is a trap or no JSON."""
    if text in _WORDS:
        return _WORDS[text], "", ""
    if _NOT_FINITE.fullmatch(text):
        return None, f"JSON has no number {text}", "quote it if the text is meant"
    if _LEADING_ZERO.fullmatch(text):
        return text, f"{text} would lose its leading zeros", f'quote it: "{text}"'
    number = core_number(text)
    if number in (float("inf"), float("-inf")):
        return None, f"{text[:60]} is too large a number", "quote it if the text is meant"
    return (text if number is None else number), "", ""


def core_number(text: str) -> int | float | None:
    """The number a plain scalar is, or None."""
    if len(text) > _LONGEST_NUMBER:
        return None
    based = _BASED.fullmatch(text)
    if based:
        return int(based[2], 8 if based[1] == "o" else 16)
    if _INTEGER.fullmatch(text):
        return int(text)
    return float(text) if _FLOAT.fullmatch(text) else None
