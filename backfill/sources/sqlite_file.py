"""A SQLite database as a file: whole, closed well, and with nobody in the middle of a change to it.

The file is read as one that does not change (immutable): without locks, which make files beside it where its folder can
be written. So what SQLite would see by itself is looked at here first, by https://www.sqlite.org/fileformat.html.
"""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

from backfill.errors import SourceError
from backfill.records import SourceFile

_MAGIC = b"SQLite format 3\x00"
_HEADER_BYTES = 100
#: Journals that are kept for later have their first bytes set to zero.
_JOURNAL_MAGIC_BYTES = 8
_IN_USE_HINT = "close the program that writes to it, or copy it with `sqlite3 shop.db '.backup copy.db'`"


def uri(file: SourceFile) -> str:
    """The URI that reads the database as a file that does not change."""
    return f"file:{quote(_real(file))}?mode=ro&immutable=1"


def refuse_unsettled(file: SourceFile) -> None:
    """Make sure that the file holds the whole database and nothing that may yet be undone.

    Raises:
        SourceError: it is cut short, changes to it stand in a journal beside it, or a program is writing to it.
    """
    real = Path(_real(file))
    log, journal = (real.with_name(real.name + suffix) for suffix in ("-wal", "-journal"))
    try:
        with real.open("rb") as opened:
            header, size = opened.read(_HEADER_BYTES), os.fstat(opened.fileno()).st_size
        in_log = log.exists() and log.stat().st_size > 0
        in_journal = journal.exists() and any(_beginning(journal))
    except OSError as error:
        raise SourceError(f"{file.name} cannot be read: {error.strerror}") from error
    if in_log or in_journal:
        message = f"{file.name} is in use, or was not closed well: {(log if in_log else journal).name} holds changes"
        raise SourceError(message, hint=_IN_USE_HINT)
    if header.startswith(_MAGIC) and len(header) == _HEADER_BYTES:
        _refuse_cut(file, header, size)
        if header[18:20] != b"\x02\x02":  # in that mode, writing goes to the log
            _refuse_written(file, real)


def _real(file: SourceFile) -> str:
    """The path behind any links: SQLite keeps its journals beside that."""
    return os.path.realpath(file.path)


def _beginning(journal: Path) -> bytes:
    with journal.open("rb") as opened:
        return opened.read(_JOURNAL_MAGIC_BYTES)


def _refuse_cut(file: SourceFile, header: bytes, size: int) -> None:
    """Raise SourceError where the file has less than the pages that its header counts, or a part of a page."""
    page = int.from_bytes(header[16:18], "big")
    page = 65_536 if page == 1 else page
    counted = header[24:28] == header[92:96]  # else a version of SQLite before 3.7.0 wrote it, without a count
    pages = int.from_bytes(header[28:32], "big") if counted else size // page if page else 0
    if not page or size % page or size < pages * page:
        message = f"{file.name} is cut short or damaged: {size:,} bytes are not its {pages:,} pages of {page:,} bytes"
        raise SourceError(message, hint="copy it again, or put it back from a backup")


def _refuse_written(file: SourceFile, real: Path) -> None:
    """Raise SourceError where a program holds a lock to write, which may leave no other trace than half a change."""
    try:
        with closing(sqlite3.connect(f"file:{quote(str(real))}?mode=ro", uri=True, timeout=0)) as connection:
            connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    except sqlite3.Error as error:
        if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_BUSY:
            raise SourceError(f"{file.name} is in use: a program is writing to it", hint=_IN_USE_HINT) from error
