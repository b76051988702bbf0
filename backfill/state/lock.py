"""One process at a time is at work on a run.

Locks are files of their own: closing any handle of a file drops the process's POSIX locks on it (fcntl(2)), and those
are how SQLite locks its own.
"""

from __future__ import annotations

import fcntl
import os
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from backfill.disk import PRIVATE_FILE, out_of_space
from backfill.errors import LockedError


class RunLock(AbstractContextManager["RunLock"]):
    """Says that this process is at work on a run; the kernel lets go when the process ends, however it ends."""

    def __init__(self, path: Path, run_id: str) -> None:
        self._path = path
        self._run_id = run_id
        self._descriptor: int | None = None

    def __enter__(self) -> Self:
        self.take()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()

    def take(self) -> None:
        """Take it at once.

        Raises:
            LockedError: Another process (or another lock of this one) holds it.
            StoppedError: The disk is full or takes nothing.
        """
        with out_of_space(self._path.parent):
            self._take()

    def _take(self) -> None:
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, PRIVATE_FILE)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(descriptor, 20, 0).decode("ascii", "replace").strip()
            os.close(descriptor)
            who = f" (pid {holder})" if holder.isdigit() else ""
            raise LockedError(
                f"another process{who} is at work on the run {self._run_id}",
                hint="wait until it is done, or interrupt it; `backfill status` shows how far it is",
            ) from None
        try:
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        except OSError:
            os.close(descriptor)
            raise
        self._descriptor = descriptor

    def release(self) -> None:
        """Let go; again does nothing. The file stays: removing it would let two processes lock two files."""
        if self._descriptor is not None:
            with suppress(OSError):  # on a disk that went read-only: the number of a process that is gone stays there
                os.ftruncate(self._descriptor, 0)
            os.close(self._descriptor)
            self._descriptor = None
