"""Durable writing: whole or not at all, and a full disk told as such."""

import errno
import os
from pathlib import Path

import pytest

from backfill.disk import aside, fill_durably, fill_in_place, make_folder, out_of_space, write_durably
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
        with pytest.raises(StoppedError, match="Input/output"):
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


@pytest.mark.parametrize("number", [errno.EROFS, errno.EFBIG, errno.EACCES, errno.EPERM])
def test_a_disk_that_takes_nothing_stops(number: int) -> None:
    """Read-only, too large for `ulimit -f`, not permitted: the file in the folder is named."""
    with pytest.raises(StoppedError, match="/data/file: "), out_of_space(Path("/data")):
        raise OSError(number, os.strerror(number), "/data/file")


def test_errors_of_polars_are_the_systems(tmp_path: Path) -> None:
    """A library that gives the system's error as text only is understood."""

    def fill(path: Path) -> None:
        raise RuntimeError(f"{path}: No space left on device (os error 28)")

    with pytest.raises(StoppedError, match="no space left"):
        fill_durably(tmp_path / "file", fill)
    assert not (tmp_path / "file").exists()


def test_other_errors_pass() -> None:
    """What is no lack of space, and of no file of ours, is not told as one."""
    with pytest.raises(PermissionError), out_of_space(Path("/data")):
        raise PermissionError(errno.EACCES, "no")
    with pytest.raises(PermissionError), out_of_space(Path("/data")):
        raise PermissionError(errno.EACCES, "no", "/sources/file.csv")


def test_errors_of_polars_that_are_oserrors_without_a_number(tmp_path: Path) -> None:
    """Its CSV and JSON writers raise such; of a file that nobody will need, too."""

    def fill(path: Path) -> None:
        raise OSError(f"{path}: No space left on device (os error 28)")

    with pytest.raises(StoppedError, match="no space left"):
        fill_in_place(tmp_path / "file", fill)


def test_a_folder_that_is_there_is_forced_to_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process may have been killed between making it and forcing it: its parent is, before anything goes into it."""
    made = tmp_path / "made"
    made.mkdir()
    forced: list[str] = []
    force = os.fsync

    def fsync(descriptor: int) -> None:
        forced.append(str(Path(f"/proc/self/fd/{descriptor}").readlink()))
        force(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    make_folder(made / "inner")
    assert forced == [str(tmp_path), str(made)]
    forced.clear()
    make_folder(made / "inner")
    assert forced == [str(made)]
