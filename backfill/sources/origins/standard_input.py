"""The standard input, copied to a file: it cannot be read twice."""

from __future__ import annotations

import io
import os
import select
import sys
from pathlib import Path
from typing import BinaryIO, cast

from backfill.sources.origins.content import PIECE, POLL_SECONDS, Watch

#: How a job file writes the standard input, and what it is called.
STANDARD_INPUT = "-"
_COPY, _UNFINISHED = "stdin", "stdin.part"


def keep_standard_input(folder: Path, watch: Watch) -> Path:
    """Copy the standard input to a file in the folder, unless one is there already; returns the file, durable.

    `watch` gets the bytes, and is called while none arrive and at the end, so that it can raise: Ctrl-C ends whatever
    writes to a pipe too, and what it wrote till then is not to pass for all.
    """
    folder.mkdir(parents=True, exist_ok=True)
    copy = folder / _COPY
    if copy.exists():
        return copy
    unfinished = folder / _UNFINISHED
    source = cast("io.BufferedIOBase", sys.stdin.buffer)
    descriptor = _descriptor(sys.stdin.buffer)
    with unfinished.open("wb") as target:
        while True:
            _await(descriptor, watch)
            piece = source.read1(PIECE)
            watch(len(piece))
            if not piece:
                break
            target.write(piece)
        target.flush()
        os.fsync(target.fileno())
    unfinished.rename(copy)
    return copy


def discard_standard_input(folder: Path) -> None:
    """Remove the copy in the folder, whole or not."""
    for name in (_COPY, _UNFINISHED):
        (folder / name).unlink(missing_ok=True)


def _descriptor(stream: BinaryIO) -> int | None:
    """The stream's file descriptor; None for one that has none, which never waits."""
    try:
        return stream.fileno()
    except io.UnsupportedOperation:
        return None


def _await(descriptor: int | None, watch: Watch) -> None:
    """Return once there is something to read, or the end of it."""
    while descriptor is not None and not select.select([descriptor], [], [], POLL_SECONDS)[0]:
        watch(0)
