"""The power is cut: the model of the disk by itself, and a recorded run of the real program cut at random instants."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.projects import KEY
from tests.torture.power_cut import SECTOR_BYTES, Disk, File, Survival
from tests.torture.power_cut_main import recorded
from tests.torture.power_cut_replay import Replayer
from tests.torture.power_cut_run import strace
from tests.torture.power_cut_trace import calls_of

ROOT = Path("/disk")
OLD, NEW = b"old" * 500, b"new" * 700
#: Cuts of the recorded run; `python -m tests.torture.power_cut_main` tries as many as one likes.
CUTS = 8


def text(content: str | bytes) -> str:
    """A string as strace -xx prints it."""
    raw = content.encode() if isinstance(content, str) else content
    return '"' + "".join(f"\\x{byte:02x}" for byte in raw) + '"'


#: How a file is replaced durably, and what is left where a step of that is forgotten.
RECIPE = (
    f"7 openat(AT_FDCWD, {text('/disk/a/file.tmp')}, O_WRONLY|O_CREAT|O_TRUNC|O_CLOEXEC, 0600) = 3",
    f"7 write(3, {text(NEW)}, {len(NEW)}) = {len(NEW)}",
    "7 fsync(3) = 0",
    "7 close(3) = 0",
    f"7 rename({text('/disk/a/file.tmp')}, {text('/disk/a/file')}) = 0",
    f"7 openat(AT_FDCWD, {text('/disk/a')}, O_RDONLY|O_CLOEXEC) = 3",
    "7 fsync(3) = 0",
    "7 close(3) = 0",
)


def disk_after(lines: tuple[str, ...], count: int | None = None) -> Disk:
    """A disk with one old file, after so many lines of a trace."""
    disk = Disk(ROOT, {ROOT / "a" / "file": OLD})
    replayer = Replayer(disk, ROOT, port=80)
    for call in calls_of(lines[:count]):
        replayer.apply(call)
    return disk


def found(disk: Disk, survival: Survival, seed: int) -> bytes | None:
    """What the file holds after a cut."""
    return disk.after_cut(survival, random.Random(seed)).files.get(ROOT / "a" / "file")


class TestModel:
    """What is there when the power comes back."""

    @given(st.integers(0, len(RECIPE)), st.sampled_from(Survival), st.integers())
    def test_a_durable_write(self, count: int, survival: Survival, seed: int) -> None:
        """At any cut the old bytes or the new ones, whole; the new ones once the folder is forced."""
        content = found(disk_after(RECIPE, count), survival, seed)
        assert content in (OLD, NEW)
        if count >= len(RECIPE) - 1:
            assert content == NEW

    @pytest.mark.parametrize(
        ("left_out", "survival"),
        [(2, Survival.SCATTERED), (2, Survival.JOURNAL), (6, Survival.STRICT), (6, Survival.SCATTERED)],
    )
    def test_a_step_forgotten(self, left_out: int, survival: Survival) -> None:
        """Without either fsync some cut shows it: other bytes than old or new, or the old ones at the end."""
        disk = disk_after(RECIPE[:left_out] + RECIPE[left_out + 1 :])
        assert {found(disk, survival, seed) for seed in range(200)} - {NEW}

    def test_kept(self) -> None:
        """Where only the process died, everything is there."""
        assert found(disk_after(RECIPE, 5), Survival.KEPT, 0) == NEW

    def test_what_was_written_while_it_was_forced(self) -> None:
        """An fsync forces what was written before it began, not what came before it ended."""
        disk = disk_after(
            (
                f"7 openat(AT_FDCWD, {text('/disk/a/file')}, O_WRONLY|O_CLOEXEC) = 3",
                f"7 pwrite64(3, {text('A')}, 1, 0) = 1",
                "7 fsync(3 <unfinished ...>",
                f"8 pwrite64(3, {text('B')}, 1, 1) = 1",
                "7 <... fsync resumed>) = 0",
            )
        )
        assert found(disk, Survival.STRICT, 0) == b"A" + OLD[1:]

    def test_torn(self) -> None:
        """A write is torn at the borders of sectors, wherever it began."""
        disk = Disk(ROOT, {ROOT / "file": bytes(4 * SECTOR_BYTES)})
        file = disk.find(ROOT / "file")
        assert isinstance(file, File)
        disk.write(file, 100, b"x" * 3 * SECTOR_BYTES, at=1)
        seen = {disk.after_cut(Survival.SCATTERED, random.Random(seed)).files[ROOT / "file"] for seed in range(200)}
        assert len(seen) > 8
        for content in seen:
            sectors = [content[place : place + SECTOR_BYTES] for place in range(0, len(content), SECTOR_BYTES)]
            whole = [bytes(100) + b"x" * 412, *[b"x" * SECTOR_BYTES] * 2, b"x" * 100 + bytes(412)]
            assert all(one in (full, bytes(SECTOR_BYTES)) for one, full in zip(sectors, whole, strict=True))

    def test_folders_and_removals(self) -> None:
        """A folder and what is in it are there once each folder above is forced; so is a removal."""
        lines = (
            f"7 mkdir({text('/disk/new')}, 0700) = 0",
            f"7 openat(AT_FDCWD, {text('/disk/new')}, O_RDONLY|O_DIRECTORY) = 4",
            f"7 openat(4, {text('file')}, O_WRONLY|O_CREAT, 0600) = 5",
            f"7 write(5, {text('x')}, 1) = 1",
            "7 fsync(5) = 0",
            "7 fsync(4) = 0",
            f"7 openat(AT_FDCWD, {text('/disk')}, O_RDONLY) = 6",
            "7 fsync(6) = 0",
            f"7 unlinkat(4, {text('file')}, 0) = 0",
            f"7 rename({text('/disk/new')}, {text('/disk/a/moved')}) = 0",
            "7 fsync(6) = 0",
        )
        chance = random.Random(0)
        place = ROOT / "new" / "file"
        assert place not in disk_after(lines, 7).after_cut(Survival.STRICT, chance).files
        assert disk_after(lines, 8).after_cut(Survival.STRICT, chance).files[place] == b"x"
        assert place in disk_after(lines, 9).after_cut(Survival.STRICT, chance).files
        moved = disk_after(lines).after_cut(Survival.STRICT, chance)
        assert ROOT / "new" not in moved.folders
        assert (ROOT / "a" / "moved" / "file") in moved.files, "moved durably; its own removal was not forced"

    def test_the_journal(self) -> None:
        """Names survive in their order: never the second without the first; what is forced forces what was before."""
        names = tuple(f"7 mkdir({text(f'/disk/{name}')}, 0700) = 0" for name in "bcde")
        disk = disk_after((*names[:2], *RECIPE[:3], *names[2:]))
        seen = set()
        for seed in range(100):
            folders = disk.after_cut(Survival.JOURNAL, random.Random(seed)).folders
            seen.add("".join(folder.name for folder in folders))
        assert seen == {"abc", "abcd", "abcde"}


class TestTrace:
    """Reading what strace wrote."""

    def test_order_and_failures(self) -> None:
        """A call on two lines is whole again and counts when it ended; what failed, and ends of threads, do not."""
        lines = (
            f"7 write(3, {text('a')}, 1 <unfinished ...>",
            f"8 openat(AT_FDCWD, {text('/nowhere')}, O_RDONLY) = -1 ENOENT (No such file or directory)",
            f"8 sendto(9, {text('b')}, 1, 0, NULL, 0 <unfinished ...>",
            "8 <... sendto resumed>) = 1",
            "7 <... write resumed>) = 1",
            "8 recvfrom(9 <unfinished ...>",
            f"8 <... recvfrom resumed>, {text('c')}, 65536, 0, NULL, NULL) = 1",
            "8 +++ exited with 0 +++",
        )
        calls = calls_of(lines, start=100)
        assert [(call.name, call.began, call.at, call.texts) for call in calls] == [
            ("sendto", 102, 102, [b"b"]),
            ("write", 100, 104, [b"a"]),
            ("recvfrom", 105, 106, [b"c"]),
        ]

    def test_what_was_said(self) -> None:
        """Bytes over sockets to the endpoint's port, and to no other."""
        replayer = Replayer(Disk(ROOT), ROOT, port=8080)
        lines = (
            '7 connect(3, {sa_family=AF_INET, sin_port=htons(8080), sin_addr=inet_addr("")}, 16) = -1 EINPROGRESS (Op)',
            '7 connect(4, {sa_family=AF_INET, sin_port=htons(53), sin_addr=inet_addr("")}, 16) = 0',
            f"7 sendto(3, {text('question')}, 8, 0, NULL, 0) = 5",
            f"7 sendto(4, {text('elsewhere')}, 9, 0, NULL, 0) = 9",
            f"7 recvfrom(3, {text('answer')}, 65536, 0, NULL, NULL) = 6",
        )
        for call in calls_of(lines):
            replayer.apply(call)
        assert [(said.sent, said.content) for said in replayer.said] == [(True, b"quest"), (False, b"answer")]

    def test_a_call_it_does_not_know(self) -> None:
        """What may have changed a file in a way the model lacks is not passed over."""
        (call,) = calls_of(["7 io_uring_enter(3, 1, 0, 0, NULL, 8) = 1"])
        with pytest.raises(NotImplementedError, match="io_uring_enter"):
            Replayer(Disk(ROOT), ROOT, port=80).apply(call)


@pytest.mark.skipif(strace() is None, reason="strace is not there, or may not trace")
def test_the_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At every cut the ledger tells the truth, and `resume` or `run` finishes: each call received, the same bytes."""
    monkeypatch.setenv("SEGMENT_WRITE_KEY", KEY)
    with recorded(tmp_path) as judge:
        for cut in judge.cuts(CUTS, seed=3):
            print(cut, judge.try_cut(cut))  # noqa: T201 (shown where it fails)
