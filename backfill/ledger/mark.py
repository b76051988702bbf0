"""The number of the newest commit, in a file of its own: by it commits that were lost are missed.

To go on from a ledger that lost commits would send again what was delivered, at any age.
"""

from __future__ import annotations

import os
import time
import zlib
from contextlib import suppress
from pathlib import Path

from backfill.disk import PRIVATE_FILE
from backfill.errors import LedgerError, counted
from backfill.frozen import frozen
from backfill.ledger.connection import Connection

_DIGITS = 20
#: A reader may read while the writer writes (a few times in 100,000): how often it looks, and how far apart.
_LOOKS, _PAUSE = 5, 0.01  # seconds


@frozen
class Loss:
    """How a ledger can lose commits, in words."""

    name: str  # the ledger
    reason: str
    mend: str


def mark_path(ledger: Path) -> Path:
    """Where the mark of a ledger is."""
    return ledger.with_name(ledger.name + "-mark")


def check_newest(connection: Connection, path: Path, lost: Loss, commits_of: str = "SELECT commits FROM mark") -> None:
    """Raise LedgerError where the newest commits are lost; `lost` says how that can be.

    `commits_of` is SQL for how many there are.

    May be asked beside the writer: the mark, read first, is never ahead of what the connection, made before, reads
    after it.
    """
    mark = mark_path(path)
    try:
        content, marked = _read(mark)
    except FileNotFoundError:
        return
    if not content.strip(b"\0"):  # written without a flush: a power cut may have left no more
        return
    if marked is None:
        raise LedgerError(
            f"{mark} is damaged: whether {path.name} has lost its newest commits cannot be told",
            hint=f"put it back; or remove {mark.name}, and what lost commits recorded, if there are any, is sent again"
            " under the same ids, which the target drops for about 24 hours",
        )
    (commits,) = connection.execute(commits_of).fetchone()
    if commits < marked:
        raise lost_commits(path, lost, marked - commits)


def lost_commits(path: Path, lost: Loss, commits: int) -> LedgerError:
    """The error that so many commits are lost; `lost` as of `check_newest`."""
    return LedgerError(
        f"{lost.name} has lost its newest {counted(commits, 'commit', 'commits')}: {lost.reason}",
        hint=f"{lost.mend}; or remove {mark_path(path).name}, and what those commits recorded is sent again"
        " under the same ids, which the target drops for about 24 hours",
    )


def _read(mark: Path) -> tuple[bytes, int | None]:
    """The content of the file, and the number in it; None where that is not one, looked at again."""
    for look in range(_LOOKS):
        time.sleep(_PAUSE if look else 0.0)
        content = mark.read_bytes()
        marked = int(content[:_DIGITS]) if content[:_DIGITS].isdigit() else -1
        if content == _line(marked) or not content.strip(b"\0"):
            return content, marked
    return content, None


def _line(commits: int) -> bytes:
    """The content of the file: the number, and the checksum that tells a damaged mark from lost commits."""
    number = f"{commits:0{_DIGITS}}"
    return f"{number} {zlib.crc32(number.encode('ascii')):08x}\n".encode("ascii")


class Mark:
    """The number of the newest commit, in a file beside the ledger. Used by the thread that commits.

    It is written after the commit is durable, and never forced to the disk: so it is never ahead of an unhurt ledger.
    """

    def __init__(self, ledger: Path) -> None:
        self._descriptor: int | None = None
        with suppress(OSError):  # see `put`
            self._descriptor = os.open(mark_path(ledger), os.O_WRONLY | os.O_CREAT, PRIVATE_FILE)

    def put(self, commits: int) -> None:
        """Write how many commits are durable; where that fails an older number stays, which notices fewer losses."""
        if self._descriptor is not None:
            with suppress(OSError):
                os.pwrite(self._descriptor, _line(commits), 0)

    def close(self) -> None:
        """Close the file; again does nothing."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
