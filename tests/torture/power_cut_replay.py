"""Applies what a process did, call after call, to the model of a disk, and notes what it said to the endpoint."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

from tests.torture.power_cut import Disk, File, Folder
from tests.torture.power_cut_trace import Call

#: Calls that change no file for certain. (0x1c3 is cachestat(2), which strace before 6.5 does not know.)
_WITHOUT_EFFECT = frozenset({"socket", "sync_file_range", "syscall_0x1c3"})


@dataclass(frozen=True, slots=True)
class Said:
    """Bytes over a connection to the endpoint."""

    at: int
    connection: int
    sent: bool
    content: bytes


@dataclass(slots=True)
class _Open:
    """An open file: what it is, and where the next write goes. Shared by descriptors that were duplicated."""

    node: File | Folder | None
    path: Path
    offset: int = 0
    append: bool = False
    connection: int | None = None


@dataclass
class Replayer:
    """Applies the calls of one process to a disk, one after the other; `said` is what went over its sockets."""

    disk: Disk
    folder: Path  # the current one
    port: int  # of the endpoint
    said: list[Said] = field(default_factory=list)
    _table: dict[int, _Open] = field(default_factory=dict)

    def apply(self, call: Call) -> None:
        """One call."""
        if (do := getattr(self, "_do_" + call.name, None)) is not None:
            do(call)
        elif call.name not in _WITHOUT_EFFECT:
            raise NotImplementedError(f"{call.name}({call.words})")

    def _descriptor(self, call: Call, place: int = 0) -> _Open | None:
        return self._table.get(int(call.words[place]))

    def _absolute(self, call: Call, place: int = 0, folder: str = "AT_FDCWD") -> Path:
        base = self.folder if folder == "AT_FDCWD" else self._table[int(folder)].path
        parts: list[str] = []
        for part in (base / call.path(place)).parts:
            if part == "..":
                parts.pop()
            else:
                parts.append(part)
        return Path(*parts)

    # --------------------------------------------------------------------------------------------------- descriptors

    def _do_openat(self, call: Call) -> None:
        self._opened(call, self._absolute(call, folder=call.words[0]), call.words[2])

    def _do_open(self, call: Call) -> None:
        self._opened(call, self._absolute(call), call.words[1])

    def _do_creat(self, call: Call) -> None:
        self._opened(call, self._absolute(call), "O_CREAT|O_TRUNC")

    def _opened(self, call: Call, path: Path, flags: str) -> None:
        node = None
        if self.disk.holds(path):
            node = self.disk.find(path)
            if node is None and "O_CREAT" in flags:
                node = self.disk.create(path, call.at)
            elif isinstance(node, File) and "O_TRUNC" in flags and self.disk.size(node):
                self.disk.resize(node, 0, call.at)
            assert node is not None, f"{path} is opened, but the model has no such file"
        self._table[call.result] = _Open(node, path, append="O_APPEND" in flags)

    def _do_close(self, call: Call) -> None:
        self._table.pop(int(call.words[0]), None)

    def _do_dup(self, call: Call) -> None:
        if (one := self._descriptor(call)) is not None:
            self._table[call.result] = one

    _do_dup2 = _do_dup3 = _do_dup

    def _do_fcntl(self, call: Call) -> None:
        if call.words[1].startswith("F_DUPFD"):
            self._do_dup(call)

    def _do_chdir(self, call: Call) -> None:
        self.folder = self._absolute(call)

    def _do_lseek(self, call: Call) -> None:
        if (one := self._descriptor(call)) is not None:
            one.offset = call.result

    # --------------------------------------------------------------------------------------------------------- bytes

    def _put(self, one: _Open | None, content: bytes, at: int) -> None:
        if one is None or not isinstance(one.node, File):
            return
        if one.append:
            one.offset = self.disk.size(one.node)
        self.disk.write(one.node, one.offset, content, at)
        one.offset += len(content)

    def _do_write(self, call: Call) -> None:
        one = self._descriptor(call)
        if one is not None and one.node is not None:
            self._put(one, call.texts[0][: call.result], call.at)

    def _do_writev(self, call: Call) -> None:
        self._put(self._descriptor(call), b"".join(call.texts)[: call.result], call.at)

    def _do_pwrite64(self, call: Call) -> None:
        one = self._descriptor(call)
        if one is not None and isinstance(one.node, File):
            self.disk.write(one.node, int(call.words[3]), call.texts[0][: call.result], call.at)

    def _do_pwritev(self, call: Call) -> None:
        one = self._descriptor(call)
        if one is not None and isinstance(one.node, File):
            offset = int(call.words[-1 if call.name == "pwritev" else -2])
            self.disk.write(one.node, offset, b"".join(call.texts)[: call.result], call.at)

    _do_pwritev2 = _do_pwritev

    def _do_sendfile(self, call: Call) -> None:
        """From a file of the model (a copy within it); whatever else is copied is none of its business."""
        self._copy(call, out=0, source=1)

    def _do_copy_file_range(self, call: Call) -> None:
        self._copy(call, out=2, source=0)

    def _copy(self, call: Call, *, out: int, source: int) -> None:
        to, of = self._descriptor(call, out), self._descriptor(call, source)
        if to is None or to.node is None:
            return
        assert of is not None
        assert isinstance(of.node, File)
        start = of.offset
        stated = re.search(r"\[(\d+)", call.arguments)  # the offset before the call, where one was given
        if stated:
            start = int(stated[1])
        else:
            of.offset += call.result
        self._put(to, self.disk.content(of.node)[start : start + call.result], call.at)

    def _do_ftruncate(self, call: Call) -> None:
        one = self._descriptor(call)
        if one is not None and isinstance(one.node, File):
            self.disk.resize(one.node, int(call.words[1]), call.at)

    def _do_truncate(self, call: Call) -> None:
        path = self._absolute(call)
        if self.disk.holds(path):
            node = self.disk.find(path)
            assert isinstance(node, File)
            self.disk.resize(node, int(call.words[1]), call.at)

    def _do_fallocate(self, call: Call) -> None:
        one = self._descriptor(call)
        if one is not None and isinstance(one.node, File):
            assert call.words[1] == "0", "only growing is known"
            size = int(call.words[2]) + int(call.words[3])
            if size > self.disk.size(one.node):
                self.disk.resize(one.node, size, call.at)

    def _do_fsync(self, call: Call) -> None:
        one = self._descriptor(call)
        if one is not None and one.path == self.disk.root:
            self.disk.force(self.disk.top, call.began)
        elif one is not None and one.node is not None:
            self.disk.force(one.node, call.began)

    _do_fdatasync = _do_fsync

    # --------------------------------------------------------------------------------------------------------- names

    def _do_rename(self, call: Call) -> None:
        self._renamed(call, self._absolute(call, 0), self._absolute(call, 1))

    def _do_renameat(self, call: Call) -> None:
        words = call.words
        self._renamed(call, self._absolute(call, 0, words[0]), self._absolute(call, 1, words[2]))

    _do_renameat2 = _do_renameat

    def _renamed(self, call: Call, path: Path, other: Path) -> None:
        assert self.disk.holds(path) == self.disk.holds(other)
        if self.disk.holds(path):
            self.disk.rename(path, other, call.at)

    def _do_link(self, call: Call) -> None:
        if self.disk.holds(self._absolute(call, 1)):
            self.disk.link(self._absolute(call, 0), self._absolute(call, 1), call.at)

    def _do_linkat(self, call: Call) -> None:
        words = call.words
        other = self._absolute(call, 1, words[2])
        if self.disk.holds(other):
            self.disk.link(self._absolute(call, 0, words[0]), other, call.at)

    def _removed(self, call: Call, path: Path) -> None:
        if self.disk.holds(path):
            self.disk.remove(path, call.at)

    def _do_unlink(self, call: Call) -> None:
        self._removed(call, self._absolute(call))

    _do_rmdir = _do_unlink

    def _do_unlinkat(self, call: Call) -> None:
        self._removed(call, self._absolute(call, folder=call.words[0]))

    def _do_mkdir(self, call: Call) -> None:
        if self.disk.holds(path := self._absolute(call)):
            self.disk.make_folder(path, call.at)

    def _do_mkdirat(self, call: Call) -> None:
        if self.disk.holds(path := self._absolute(call, folder=call.words[0])):
            self.disk.make_folder(path, call.at)

    # ------------------------------------------------------------------------------------------------------- sockets

    def _do_connect(self, call: Call) -> None:
        if f"sin_port=htons({self.port})" in call.arguments:
            self._table[int(call.words[0])] = _Open(None, Path(), connection=call.at)

    def _do_sendto(self, call: Call) -> None:
        one = self._descriptor(call)
        if one is not None and one.connection is not None:
            self.said.append(Said(call.at, one.connection, sent=True, content=call.texts[0][: call.result]))

    def _do_recvfrom(self, call: Call) -> None:
        one = self._descriptor(call)
        if one is not None and one.connection is not None:
            self.said.append(Said(call.at, one.connection, sent=False, content=call.texts[0][: call.result]))
