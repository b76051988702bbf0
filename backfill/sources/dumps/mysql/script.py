r"""A dump of MySQL or MariaDB, statement by statement: what its settings mean for rows, and where the rows are.

Only as much of the language is known as it takes to find the end of any statement (comments, conditional comments,
quotes, DELIMITER) and the literal rows of INSERT and REPLACE. Rows are handed out, or passed over, as bytes many at a
time; any other statement is held whole.

The settings that change what rows mean are followed, since dumps set and restore them around triggers and events:
SET NAMES and character_set_client (the bytes' encoding), time_zone (of TIMESTAMP) and NO_BACKSLASH_ESCAPES in sql_mode.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from backfill.errors import SourceError
from backfill.frozen import frozen
from backfill.sources.dumps.mysql.values import Block, WrongRowsError, find_rows

#: A statement (of an INSERT: a row) that is longer is refused; MySQL itself sends no packet of more than 1 GB.
MAX_STATEMENT_BYTES = 32 * 2**20
#: So much is looked at first for the rows of a statement, as tables may be small; each time so many times more.
_FIRST_WINDOW, _GROWTH = 2**13, 8
#: What is looked at to tell what a statement is: the names of a table's 4,096 columns fit.
_AHEAD = 2**19

_LF = b"\n"[0]
_NAME = rb'(?:`(?:[^`]|``)+`|"(?:[^"]|"")+"|[\w$\x80-\xff]+)'
_QUALIFIED = rb"(?:(" + _NAME + rb")\s*\.\s*)?(" + _NAME + rb")"
_HINT = rb"/\*M?!\d*\s*"
_BLANKS = re.compile(
    rb"(?:\s+|--(?:[ \t][^\n]*)?(?:\n|\Z)|#[^\n]*(?:\n|\Z)|/\*(?!M?!).*?\*/|/\*M!999999\\-.*?\*/)+", re.DOTALL
)
_INSERT = re.compile(
    rb"((?:INSERT|REPLACE)\s+(?:(?:LOW_PRIORITY|DELAYED|HIGH_PRIORITY|IGNORE)\s+)*(?:INTO\s+)?"
    + _QUALIFIED
    + rb"\s*(\((?:\s*"
    + _NAME
    + rb"\s*,?)+\)\s*)?VALUES?)\s*(?=\()",
    re.IGNORECASE,
)
_OTHER_INSERT = re.compile(rb"(?:INSERT|REPLACE)\s+(?:\w+\s+)*?(?:INTO\s+)?" + _QUALIFIED, re.IGNORECASE)
_CREATE = re.compile(
    rb"(?:"
    + _HINT
    + rb")?CREATE\s+(?:OR\s+REPLACE\s+)?TABLE\s+(?:"
    + _HINT
    + rb")?(?:IF\s+NOT\s+EXISTS\s*(?:\*/)?\s+)?"
    + _QUALIFIED,
    re.IGNORECASE,
)
_VIEW = re.compile(
    rb"(?:" + _HINT + rb")?CREATE\s[^;]{0,200}?\bVIEW\s+(?:IF\s+NOT\s+EXISTS\s+)?" + _QUALIFIED, re.IGNORECASE
)
_USE = re.compile(rb"USE\s+(" + _NAME + rb")", re.IGNORECASE)
_DELIMITER = re.compile(rb"DELIMITER[ \t]+(\S+)[^\n]*(?:\n|\Z)", re.IGNORECASE)
_LOCK = re.compile(rb"(UN)?LOCK\s+TABLES?\b", re.IGNORECASE)
_SET = re.compile(rb"(?:" + _HINT + rb")?SET\s", re.IGNORECASE)
_ASSIGNED = re.compile(
    rb"(?<![\w@])(?:@@)?(?:SESSION\s*\.?\s*)?(TIME_ZONE|SQL_MODE|CHARACTER_SET_CLIENT)\s*:?=\s*('[^']*'|@*\w+)",
    re.IGNORECASE,
)
_NAMES = re.compile(rb"\bNAMES\s+'?(\w+)", re.IGNORECASE)
_HEADER = re.compile(rb"^-- (?:MySQL|MariaDB) dump ", re.MULTILINE)
_HEADER_DATABASE = re.compile(rb"^-- Host: .*Database: *(\S+)", re.MULTILINE)
_TRAILER = re.compile(rb"^-- Dump completed", re.MULTILINE)


def _token(*, escapes: bool, delimiter: bytes) -> re.Pattern[bytes]:
    """What can stand in a statement and hold its delimiter; what begins and is not ended; the delimiter."""
    single, double = (
        rb"%s(?:[^%s\\]++|\\.)*+%s" % (q, q, q) if escapes else rb"%s[^%s]*+%s" % (q, q, q) for q in (b"'", b'"')
    )
    comments = rb"--[ \t][^\n]*\n|#[^\n]*\n|/\*(?!M?!).*?\*/|/\*M?!\d*"
    opened = rb"(?P<open>['\"`]|--[ \t]|#|/\*)"
    return re.compile(
        rb"|".join((single, double, rb"`[^`]*+`", comments, opened, rb"(?P<end>" + re.escape(delimiter) + rb")")),
        re.DOTALL,
    )


@dataclass(slots=True)
class Settings:
    """What the statements so far have set; a value that is restored by a variable is the one before."""

    database: str = ""
    charset: list[str] = field(default_factory=list)
    time_zone: list[str] = field(default_factory=list)
    sql_mode: list[str] = field(default_factory=list)
    delimiter: bytes = b";"

    @property
    def escapes(self) -> bool:
        """A backslash in a text escapes."""
        return not self.sql_mode or "NO_BACKSLASH_ESCAPES" not in self.sql_mode[-1]

    @property
    def is_utc(self) -> bool:
        """TIMESTAMP values are in UTC."""
        return bool(self.time_zone) and self.time_zone[-1] in ("+00:00", "UTC")

    @property
    def encoding(self) -> str:
        """MySQL's name of the encoding that texts are in."""
        return self.charset[-1] if self.charset else "utf8mb4"

    def note(self, statement: bytes) -> None:
        """Take note of a SET statement."""
        named = _NAMES.search(statement)
        if named:
            self.charset = [named[1].decode().lower()]
        for name, value in _ASSIGNED.findall(statement):
            held = {b"time_zone": self.time_zone, b"sql_mode": self.sql_mode}.get(name.lower(), self.charset)
            if not value.startswith(b"@"):
                text = value.strip(b"'").decode("utf-8", "replace")
                held.append(text.lower() if held is self.charset else text.upper())
            elif held and (held is not self.charset or len(held) > 1):
                held.pop()


@frozen
class Table:
    """A CREATE TABLE statement."""

    database: str
    name: str
    text: bytes


@frozen
class View:
    """The definition of a view."""

    database: str
    name: str


@frozen
class Insert:
    """A run of INSERTs of one table, whose rows come next: `blocks` has to be asked for all or none of them."""

    database: str
    name: str
    columns: tuple[str, ...] | None  # those that the statement names
    script: Script
    head: bytes

    def blocks(self) -> Iterator[Block]:
        """The rows, many at a time."""
        return self.script.rows(self)


@dataclass(slots=True)
class Script:
    """One dump, read once."""

    name: str
    pieces: Iterator[bytes]
    settings: Settings = field(default_factory=Settings)
    text: bytes = b""
    at: int = 0
    line: int = 1  # where `at` is
    ended: bool = False
    is_headed: bool = False  # the dump began with the comment whose counterpart ends it
    is_complete: bool = False  # and that came
    is_locked: bool = False
    _pending: Insert | None = None

    def statements(self) -> Iterator[Table | View | Insert]:
        """What tells of tables, in the order of the file; raises SourceError where the file is cut or no dump."""
        while self._begins():
            found = self._statement()
            if found is not None:
                yield found
            if self._pending is not None:
                for _ in self.rows(self._pending):
                    pass
        if self.is_locked or (self.is_headed and not self.is_complete):
            raise self.cut()

    def rows(self, insert: Insert) -> Iterator[Block]:
        """The rows of the INSERT that was found last, and of those that follow it and begin as it does."""
        self._pending = None
        lead, window = b",", _FIRST_WINDOW  # as if a row were before
        while True:
            rest = lead + self.text[self.at : self.at + window]
            is_all = len(self.text) - self.at <= window
            ended = self.ended and is_all
            try:
                block = find_rows(rest, insert.head, escapes=self.settings.escapes, ended=ended)
            except WrongRowsError as error:
                raise self._wrong(f"`{insert.name}`: {error}", self.line + rest.count(b"\n", 0, error.place)) from error
            if len(block.opens):
                block.line = self.line
                yield block
                self._move(self.at + block.end - len(lead))
                lead = b""
            if block.is_last:
                self._end_of_rows(insert)
                return
            if ended:
                raise self.cut()
            window *= _GROWTH
            if is_all:
                self._read_on(0 if len(block.opens) else 2 * len(rest))

    def _read_on(self, size: int) -> None:
        """Read on, up to that size where no row was in less; raises SourceError where it is too much."""
        if size > 2 * MAX_STATEMENT_BYTES:
            raise self._too_long()
        self._more()
        while len(self.text) - self.at < size and self._more():
            pass

    def _end_of_rows(self, insert: Insert) -> None:
        """Pass over what ends a statement with rows."""
        found = re.compile(rb"\s*;").match(self.text, self.at)
        if found is None:
            while self._more() and not self.text[self.at :].strip():
                pass
            if not self.text[self.at :].strip():
                raise self.cut()
            raise self._wrong(f"behind a row of `{insert.name}` stands neither a comma nor a semicolon", self.line)
        self._move(found.end())

    def _begins(self) -> bool:
        """Pass over blanks and comments; False at the end of the file."""
        while True:
            self._look_ahead()
            found = _BLANKS.match(self.text, self.at)
            if found is None:
                return self.at < len(self.text)
            said = found[0]
            if b"-- " in said:
                self.is_headed |= bool(_HEADER.search(said))
                self.is_complete |= bool(_TRAILER.search(said))
                database = _HEADER_DATABASE.search(said)
                if database:
                    self.settings.database = database[1].decode("utf-8", "replace")
            self._move(found.end())

    def _statement(self) -> Table | View | Insert | None:
        """The statement that begins here, if it tells of a table; it is passed over, but for the rows of an INSERT."""
        insert = _INSERT.match(self.text, self.at)
        if insert is not None and self.settings.delimiter == b";":
            names = None if insert[4] is None else tuple(map(_plain, re.findall(_NAME, insert[4])))
            self._move(insert.end())
            self._pending = Insert(self._database(insert[2]), _plain(insert[3]), names, self, insert[1])
            return self._pending
        delimiter = _DELIMITER.match(self.text, self.at)
        if delimiter is not None:
            self.settings.delimiter = delimiter[1]
            self._move(delimiter.end())
            return None
        return self._told(self._whole())

    def _told(self, statement: bytes) -> Table | View | None:
        if _SET.match(statement):
            self.settings.note(statement)
        elif found := _CREATE.match(statement):
            return Table(self._database(found[1]), _plain(found[2]), statement)
        elif found := _VIEW.match(statement):
            return View(self._database(found[1]), _plain(found[2]))
        elif found := _USE.match(statement):
            self.settings.database = _plain(found[1])
        elif found := _LOCK.match(statement):
            self.is_locked = found[1] is None
        elif found := _OTHER_INSERT.match(statement):
            return Table(self._database(found[1]), _plain(found[2]), b"")
        return None

    def _whole(self) -> bytes:
        """The statement that begins here, without its delimiter, passed over."""
        token = _token(escapes=self.settings.escapes, delimiter=self.settings.delimiter)
        while True:
            size = len(self.text) - self.at
            end = next((one for one in token.finditer(self.text, self.at) if one.lastgroup), None)
            if end is not None and end.lastgroup == "end":
                statement = self.text[self.at : end.start()]
                self._move(end.end())
                return statement
            if size > MAX_STATEMENT_BYTES:
                raise self._too_long()
            if not self._more():
                raise self.cut()
            while len(self.text) - self.at < 2 * size and self._more():
                pass

    def _database(self, name: bytes | None) -> str:
        return self.settings.database if name is None else _plain(name)

    def _move(self, place: int) -> None:
        # bytes.count is slow where it finds many
        self.line += int(np.count_nonzero(np.frombuffer(self.text, np.uint8)[self.at : place] == _LF))
        self.at = place

    def _look_ahead(self) -> None:
        while len(self.text) - self.at < _AHEAD and self._more():
            pass

    def _more(self) -> bool:
        """Read on; False at the end of the file."""
        piece = next(self.pieces, None)
        if piece is None:
            self.ended = True
            return False
        self.text, self.at = self.text[self.at :] + piece, 0
        return True

    def cut(self) -> SourceError:
        """The error for a dump that ends too early."""
        return SourceError(
            f"{self.name} is truncated: the dump ends at line {self.line} before it is complete",
            hint="dump or fetch the file again; nothing was sent",
        )

    def _too_long(self) -> SourceError:
        return SourceError(
            f"{self.name}, line {self.line}: a row or statement of more than {MAX_STATEMENT_BYTES >> 20} MB",
            hint="is it a plain dump of SQL? leave such a value out of the export",
        )

    def _wrong(self, message: str, line: int) -> SourceError:
        return SourceError(f"{self.name}, line {line}: {message}", hint="make the dump again with mysqldump")


def _plain(name: bytes) -> str:
    """A name without its quotes."""
    sign = name[:1]
    if sign in (b"`", b'"'):
        name = name[1:-1].replace(sign * 2, sign)
    return name.decode("utf-8", "replace")
