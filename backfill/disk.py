"""Writing files so that they are there after a power cut, whole or not at all; and saying so where the disk is full.

A file is written under another name, forced to the disk, renamed, and then its folder is forced too: only after that
does anybody record that it exists. (POSIX leaves the order of data and rename open; the fsync between closes that.)
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from backfill.errors import StoppedError

#: Suffix of a file that is still being written; whatever carries it belongs to nobody after a crash.
ASIDE_SUFFIX = ".tmp"
PRIVATE_FILE = 0o600
PRIVATE_FOLDER = 0o700


def aside(path: Path) -> Path:
    """The name under which `path` is written before it is renamed."""
    return path.with_name(path.name + ASIDE_SUFFIX)


def sync_file(path: Path) -> None:
    """Force a file's bytes to the disk, whoever wrote them."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_folder(folder: Path) -> None:
    """Force a folder's entries to the disk: what was made, renamed or removed in it."""
    sync_file(folder)


def make_folder(folder: Path) -> None:
    """Make a folder and those above it where they are missing, mode 0700, durably."""
    if folder.is_dir():
        return
    make_folder(folder.parent)
    with out_of_space(folder.parent):
        folder.mkdir(mode=PRIVATE_FOLDER, exist_ok=True)
        sync_folder(folder.parent)


def write_durably(path: Path, content: bytes) -> None:
    """Put `content` at `path`, whole or not at all, mode 0600; durable once `sync_folder` of its folder returns."""
    with out_of_space(path.parent):
        descriptor = os.open(aside(path), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, PRIVATE_FILE)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        aside(path).replace(path)


@contextmanager
def out_of_space(folder: Path) -> Iterator[None]:
    """Turn a full disk (or a spent quota) into a StoppedError that names the folder; other errors pass."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise StoppedError(
            f"no space left for {folder}", hint="free some space, then resume: what was recorded is kept"
        ) from error
