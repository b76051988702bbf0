"""CSV read byte by byte, as docs/sources.md says it: slow, and nothing of backfill's own scanner in it."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

LINE_END = re.compile(rb"\r\n|\r|\n")
LETTERS = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v", "0": "\0", "Z": "\x1a", "'": "'"}


@dataclass(frozen=True)
class Written:
    """How a file is written."""

    separator: str = ","
    quote: str = '"'
    escape: str = ""
    comment: str = ""
    c_escapes: bool = False
    null_values: tuple[str, ...] = ("",)
    skip_lines: int = 0

    def settings(self) -> dict[str, object]:
        """The same as a job's `csv`."""
        return {
            "delimiter": self.separator,
            "quote": self.quote,
            "escape": self.escape or None,
            "comment": self.comment or None,
            "c_escapes": self.c_escapes,
            "null_values": self.null_values,
            "skip_lines": self.skip_lines,
        }


@dataclass
class Record:
    """One record, sound or not."""

    line: int
    raw: bytes = b""
    fields: list[bytes | None] = field(default_factory=list)
    broken: bool = False  # quotes or escapes
    unclosed: bool = False


@dataclass
class Read:
    """What a file holds: (number, fields) of rows, and (number, line, code) of what cannot be read."""

    names: list[str] = field(default_factory=list)
    rows: list[tuple[int, tuple[str | None, ...]]] = field(default_factory=list)
    bad: list[tuple[int, int, str]] = field(default_factory=list)
    header_is_bad: bool = False


class Oracle:
    """One file at hand."""

    def __init__(self, data: bytes, how: Written, limit: int = 4 * 2**20) -> None:
        self.data, self.how, self.limit = data.removeprefix(b"\xef\xbb\xbf"), how, limit
        self.place = 0
        for _ in range(how.skip_lines):
            found = LINE_END.search(self.data, self.place)
            self.place = found.end() if found else len(self.data)

    def read(self) -> Read:
        """All of it."""
        result, number = Read(), 0
        width = -1
        while self.place < len(self.data):
            record = self.record()
            if record is None or (not record.raw and width != 1):
                continue
            code = self.code(record, width)
            if width < 0:
                if code:
                    result.header_is_bad = True
                    return result
                result.names = [(name or b"").decode() for name in record.fields]
                width = len(record.fields)
                continue
            number += 1
            if code:
                result.bad.append((number, record.line, code))
            else:
                row = tuple(None if value is None else value.decode() for value in record.fields)
                result.rows.append((number, row))
        return result

    def code(self, record: Record, width: int) -> str:
        """The problem's code, the gravest first."""
        if record.unclosed:
            return "BF003"
        if len(record.raw) > self.limit:
            return "BF006"
        if record.broken:
            return "BF003"
        try:
            record.raw.decode()
        except UnicodeDecodeError:
            return "BF004"
        if width < 0 or len(record.fields) == width:
            return ""
        return "BF001" if len(record.fields) < width else "BF002"

    def at(self, sign: str) -> bool:
        """That sign is here."""
        return bool(sign) and self.data.startswith(sign.encode(), self.place)

    def line_end(self) -> int:
        """The length of the line end here, 0 where there is none."""
        found = LINE_END.match(self.data, self.place)
        return len(found.group()) if found else 0

    def ended(self) -> bool:
        """The file has no more."""
        return self.place >= len(self.data)

    def record(self) -> Record | None:
        """The record here; None for a comment."""
        begin = self.place
        record = Record(len(LINE_END.findall(self.data[:begin])) + 1)
        if self.at(self.how.comment):
            while not self.ended() and not self.line_end():
                self.place += 1
            self.place += self.line_end()
            return None
        while True:
            self.field(record)
            if self.ended() or not self.at(self.how.separator):
                break
            self.place += len(self.how.separator.encode())
        record.raw = self.data[begin : self.place]
        self.place += self.line_end()
        return record

    def field(self, record: Record) -> None:
        """The field here, up to a separator, a line end or the file's end."""
        if self.at(self.how.quote):
            self.place += len(self.how.quote.encode())
            value = self.quoted(record)
            if record.unclosed:
                return
            record.fields.append(value)
            record.broken |= bool(self.text(record)[1])
            return
        blanks = self.data[self.place :].lstrip(b" \t".replace(self.how.separator.encode(), b""))
        if self.how.quote and blanks.startswith(self.how.quote.encode()):
            record.broken = True
        value, raw = self.text(record)
        plain = [text for text in self.how.null_values if not (self.how.escape and self.how.escape in text)]
        is_null = value in [text.encode() for text in plain] or raw in [text.encode() for text in self.how.null_values]
        record.fields.append(None if is_null else value)

    def quoted(self, record: Record) -> bytes:
        """The value up to its closing quote."""
        value, quote = b"", self.how.quote.encode()
        while not self.ended():
            if self.at(self.how.escape):
                value += self.escaped(record)
            elif not self.at(self.how.quote):
                value += self.data[self.place : self.place + 1]
                self.place += 1
            elif not self.how.escape and self.data.startswith(quote * 2, self.place):
                value += quote
                self.place += 2 * len(quote)
            else:
                self.place += len(quote)
                return value
        record.unclosed = True
        return value

    def text(self, record: Record) -> tuple[bytes, bytes]:
        """The value up to a separator or a line end, and as it stands."""
        value, begin = b"", self.place
        broken = record.broken
        while not self.ended() and not self.at(self.how.separator) and not self.line_end():
            if self.at(self.how.escape):
                value += self.escaped(record)
            else:
                value += self.data[self.place : self.place + 1]
                self.place += 1
        raw = self.data[begin : self.place]
        if self.how.escape and len(raw) == 2 and raw.decode("latin-1") in self.how.null_values:
            record.broken = broken
        return value, raw

    def escaped(self, record: Record) -> bytes:
        """What the escape here and the sign behind it stand for."""
        self.place += 1
        if self.ended():
            record.broken = True
            return b""
        if self.data.startswith(b"\r\n", self.place):
            self.place += 2
            return b"\r\n"
        signs = (self.how.separator, self.how.quote, self.how.escape, "\n", "\r")
        for sign in signs:
            if self.at(sign):
                self.place += len(sign.encode())
                return sign.encode()
        sign = self.data[self.place : self.place + 1].decode("latin-1")
        self.place += 1
        if self.how.c_escapes and sign in LETTERS:
            return LETTERS[sign].encode()
        record.broken = True
        return sign.encode("latin-1")
