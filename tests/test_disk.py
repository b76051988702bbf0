"""Durable writing: whole or not at all, and a full disk told as such."""

import errno
import os
from pathlib import Path

import pytest

from backfill.disk import aside, out_of_space, write_durably
from backfill.errors import StoppedError


def test_replaced_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the bytes cannot be forced to the disk, the name keeps what it had."""
    path = tmp_path / "file"
    write_durably(path, b"before")
    assert path.stat().st_mode & 0o777 == 0o600

    def fail(descriptor: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fail)
        with pytest.raises(OSError, match="Input/output"):
            write_durably(path, b"after")
    assert path.read_bytes() == b"before"
    write_durably(path, b"after")
    assert path.read_bytes() == b"after"
    assert not aside(path).exists()


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_and_a_spent_quota_stop(number: int) -> None:
    """Both are stops that can be resumed, and name the folder."""
    with pytest.raises(StoppedError, match="no space left for /data"), out_of_space(Path("/data")):
        raise OSError(number, os.strerror(number))


def test_other_errors_pass() -> None:
    """What is no lack of space is not told as one."""
    with pytest.raises(PermissionError), out_of_space(Path("/data")):
        raise PermissionError(errno.EACCES, "no")
