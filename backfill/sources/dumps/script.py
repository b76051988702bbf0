"""A script of SQL, gone through statement by statement in bounded memory.

Only as much of SQL's lexical rules is known here as it takes to tell where a statement ends: texts in quotes, names in
quotes, comments, and the bodies of functions. A statement that nobody asks for is passed over token by token, whatever
its length; one that is asked for is held whole, up to MAX_STATEMENT_BYTES.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator
from functools import lru_cache

from backfill.errors import SourceError
from backfill.frozen import frozen

#: A statement that is to be looked at, the rows of an INSERT aside, is no longer than this.
MAX_STATEMENT_BYTES = 4 * 2**20
#: Nor is a single text, name, comment or function body.
MAX_TOKEN_BYTES = 64 * 2**20


@frozen
class Lexis:
    """How a program writes SQL: alternatives of tokens that can hold a semicolon, and of what begins like one."""

    name: str
    tokens: bytes
    #: Comments, each up to its end.
    comments: bytes
    #: Every byte that a token or a comment can begin with.
    begins: bytes
    #: Bodies of functions stand between $tag$ and $tag$.
    has_bodies: bool = True

    def run(self, further: bytes = b"") -> re.Pattern[bytes]:
        """Matches as many whole tokens as there are, up to a semicolon; `further` is one more alternative."""
        return _run(self, further)


@lru_cache(maxsize=64)
def _run(lexis: Lexis, further: bytes) -> re.Pattern[bytes]:
    plain = b"[^;" + lexis.begins + b"]++"
    parts = [plain, lexis.tokens, lexis.comments, *([further] if further else [])]
    return re.compile(b"(?:" + b"|".join(parts) + b")*+", re.DOTALL)


_DASHES = rb"--[^\n]*+\n"
_SLASHES = rb"/\*(?:[^*/]++|\*(?!/)(?=.)|/(?!\*)(?=.)|/\*.*?\*/)*+\*/"
#: Each token is known by what follows it, so that none is taken for whole at the end of a piece.
_TEXT = rb"'(?:[^']++|'')*+'(?=[^'])"
_NAME = rb'"(?:[^"]++|"")*+"(?=[^"])'
_TAG = rb"[A-Za-z_\x80-\xff][0-9A-Za-z_\x80-\xff]*+"
#: A dollar that begins no body. A body has no place in the pattern: Python 3.11's `re` fails on a group in such a loop.
_DOLLARS = rb"\$(?=[^A-Za-z_\x80-\xff$])|\$(?=" + _TAG + rb"[^$0-9A-Za-z_\x80-\xff])"
_BODY = re.compile(rb"\$(?:" + _TAG + rb")?\$")
_SINGLES = rb"-(?=[^-])|/(?=[^*])|[eE](?=[^'])"
_ESCAPED = rb"[eE]'(?:[^'\\]++|\\.|'')*+'(?=[^'])"
#: PostgreSQL, chapter 4.1 "Lexical Structure", with standard_conforming_strings on.
POSTGRES = Lexis(
    "PostgreSQL", b"|".join((_ESCAPED, _TEXT, _NAME, _DOLLARS, _SINGLES)), _DASHES + b"|" + _SLASHES, rb"'\"$\-/eE"
)
#: The same with it off: a backslash escapes in every text.
POSTGRES_ESCAPES = Lexis(
    "PostgreSQL",
    b"|".join((rb"'(?:[^'\\]++|\\.|'')*+'(?=[^'])", _NAME, _DOLLARS, _SINGLES)),
    _DASHES + b"|" + _SLASHES,
    rb"'\"$\-/eE",
)
#: SQLite, "SQL Language Expressions": names in brackets and backquotes too.
SQLITE = Lexis(
    "SQLite",
    b"|".join((_TEXT, _NAME, rb"`(?:[^`]++|``)*+`(?=[^`])", rb"\[[^\]]*+\]", rb"-(?=[^-])|/(?=[^*])")),
    _DASHES + b"|" + _SLASHES,
    rb"'\"`\[\-/",
    has_bodies=False,
)
_BLANKS = re.compile(rb"[ \t\r\n\f\v]*+")


class Script:
    """The text of a script, and how far it has been gone through."""

    def __init__(self, pieces: Iterator[bytes], name: str, lexis: Lexis) -> None:
        self.name, self.lexis = name, lexis
        self.text, self.place, self.line = b"", 0, 1
        self.ended = False
        self._pieces = pieces
        self._decoder: codecs.IncrementalDecoder | None = None

    def more(self) -> bool:
        """Let go of what was passed, and read on; False where there is no more."""
        if self.ended:
            return False
        piece = next(self._pieces, None)
        self.ended = piece is None
        if self._decoder is not None:
            piece = _utf8(self._decoder.decode(piece or b"", final=self.ended))
        self.text = self.text[self.place :] + (piece or b"")
        self.place = 0
        return not self.ended or bool(piece)

    def decode(self, codec: str) -> None:
        """Take what follows for text in that encoding of Python's; a byte 0xFF stands for what is not in it."""
        self._decoder = codecs.getincrementaldecoder(codec)("backfill-mark")
        self.text = _utf8(self._decoder.decode(self.text[self.place :], final=self.ended))
        self.place = 0

    def pass_to(self, place: int, lines: int | None = None) -> bytes:
        """Go on behind that place of the text; returns what was passed. `lines` are counted, where the caller knows."""
        passed = self.text[self.place : place]
        self.line += passed.count(b"\n") if lines is None else lines
        self.place = place
        return passed

    def holds(self, size: int) -> bool:
        """Whether so many bytes are left, read if need be."""
        while len(self.text) - self.place < size:
            if not self.more():
                return False
        return True

    def next_statement(self) -> tuple[list[str], bytes]:
        """Go to where a statement begins; returns the comments before it and its first bytes, none at the end.

        A line that begins with a backslash is psql's own, and counts as a statement.
        """
        comments: list[str] = []
        pattern = re.compile(self.lexis.comments, re.DOTALL)
        while True:
            self.pass_to(_end(_BLANKS.match(self.text, self.place)))
            if not self.holds(_HEAD_BYTES) and not self.ended:
                continue
            head = self.text[self.place : self.place + _HEAD_BYTES]
            if head[:1] and head[:1] in _BLANK_BYTES:
                continue
            if head[:2] not in _COMMENTS:
                return comments, head
            found = pattern.match(self.text, self.place)
            if found is None and self.more():
                self._refuse_endless(MAX_TOKEN_BYTES)
                continue
            end = len(self.text) if found is None else found.end()
            comments.append(self.pass_to(end).decode("utf-8", "replace").strip())

    def pass_line(self) -> bytes:
        """Pass the rest of the line; returns it without its end."""
        while (end := self.text.find(b"\n", self.place)) < 0:
            if not self.more():
                return self.pass_to(len(self.text))
            self._refuse_endless(MAX_TOKEN_BYTES)
        return self.pass_to(end + 1).rstrip(b"\r\n")

    def pass_statement(self, also: bytes = b"") -> None:
        """Pass the statement, and those behind it that follow as the pattern `also` says, which begins with a `;`.

        Raises:
            SourceError: the text ends before it does.
        """
        run = self.lexis.run(also)
        while True:
            end = self._end_of(run)
            has_ended = self.text[end : end + 1] == b";"
            if has_ended and (self.ended or not also or len(self.text) - end > len(also)):
                self.pass_to(end + 1)
                return
            self.pass_to(end)
            if not self.more() and not has_ended:
                raise self.cut_off()
            self._refuse_endless(MAX_TOKEN_BYTES)

    def statement(self) -> bytes:
        """The whole statement, without its semicolon; raises SourceError where the text ends before it does."""
        run = self.lexis.run()
        while True:
            end = self._end_of(run)
            if self.text[end : end + 1] == b";":
                found = self.text[self.place : end]
                self.pass_to(end + 1)
                return found
            if not self.more():
                raise self.cut_off()
            self._refuse_endless(MAX_STATEMENT_BYTES)

    def _end_of(self, run: re.Pattern[bytes]) -> int:
        """Where the tokens from here on end: at a semicolon, or where one is not whole yet."""
        place = self.place
        while True:
            end = _end(run.match(self.text, place))
            opens = _BODY.match(self.text, end) if self.lexis.has_bodies else None
            closes = self.text.find(opens[0], opens.end()) if opens else -1
            if opens is None or closes < 0:
                return end
            place = closes + len(opens[0])

    def _refuse_endless(self, limit: int) -> None:
        if len(self.text) - self.place > limit:
            raise SourceError(
                f"{self.name}, line {self.line}: a statement, or a text in one, of more than {limit >> 20} MB",
                hint="is it a dump of the kind that `format` says, and whole?",
            )

    def cut_off(self, what: str = "in the middle of a statement") -> SourceError:
        """The error for a text that ends too early."""
        return SourceError(
            f"{self.name} is truncated: it ends {what}, from line {self.line} on",
            hint="fetch or export the file again; nothing was sent",
        )


_HEAD_BYTES = 16
_BLANK_BYTES = b" \t\r\n\f\v"
_COMMENTS = (b"--", b"/*")


def _end(found: re.Match[bytes] | None) -> int:
    assert found is not None  # a pattern that matches nothing, too
    return found.end()


def _utf8(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")
