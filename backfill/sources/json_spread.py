"""Records that go on over several lines in a file that is read by its lines: one such record tells of all."""

from __future__ import annotations

import re

import orjson

from backfill.errors import SourceError
from backfill.sources.json_lines import Line

#: A record that goes on over more bytes is not looked for: all of it is held.
MAX_SPREAD_BYTES = 4 * 2**20
_STRING = re.compile(rb'"(?:[^"\\]|\\.)*"')
_BLANKS = b" \t"


class Spread:
    """Joins an unreadable line with the next ones as long as they may be one JSON object."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._clear()

    def _clear(self) -> None:
        self.pieces: list[bytes] = []
        self.first = self.size = self.depth = 0

    def see(self, line: Line, *, readable: bool) -> None:
        """Take note of the next line.

        Raises:
            SourceError: it ends an object that began some lines before.
        """
        if self.pieces and not (line.whole and self._goes_on(line.text)):
            self._clear()
        if not self.pieces:
            if readable or not line.whole or not line.text.lstrip(_BLANKS).startswith(b"{"):
                return
            self.first = line.number
        self._add(line.text)
        if self.depth <= 0 or self.size > MAX_SPREAD_BYTES:
            if len(self.pieces) > 1 and not self.depth and _is_object(b"\n".join(self.pieces)):
                said = f"the record in line {self.first} goes on to line {line.number}"
                raise SourceError(
                    f"{self.name} is not one object a line: {said}",
                    hint="write its records one a line, for example with `jq -c .`",
                )
            self._clear()

    def _goes_on(self, text: bytes) -> bool:
        """Nothing between the lines is against their being one value."""
        before, after = self.pieces[-1].rstrip(_BLANKS)[-1:], text.lstrip(_BLANKS)[:1]
        return before in b"{[,:" or after in b"}],:"

    def _add(self, text: bytes) -> None:
        self.pieces.append(text)
        self.size += len(text)
        signs = _STRING.sub(b"", text)
        opened = signs.count(b"{") + signs.count(b"[")
        self.depth += opened - signs.count(b"}") - signs.count(b"]")


def _is_object(text: bytes) -> bool:
    try:
        return type(orjson.loads(text)) is dict
    except orjson.JSONDecodeError:
        return False
