"""From strace's record of a process to what it did to files and sockets, in the order in which it came about.

Recorded with `strace -f -xx -s 40000000 -e trace=CALLS`: every string in hexadecimal, whole. A call that another thread
interrupts stands on two lines; it came about when it ended, but for what others may see earlier: a close, and bytes
sent. An fsync forces what was done before it began.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

#: What is recorded: all that changes a file or a name, and what is said over sockets.
CALLS = (
    *("openat", "open", "creat", "close", "dup", "dup2", "dup3", "fcntl", "lseek", "socket", "connect"),
    *("write", "pwrite64", "writev", "pwritev", "pwritev2", "sendfile", "copy_file_range", "splice"),
    *("ftruncate", "truncate", "fallocate", "fsync", "fdatasync", "sync_file_range", "msync"),
    *("rename", "renameat", "renameat2", "link", "linkat", "symlink", "symlinkat"),
    *("unlink", "unlinkat", "mkdir", "mkdirat", "rmdir", "chdir", "sendto", "sendmsg", "recvfrom", "io_uring_enter"),
)
_WHOLE = re.compile(r"(\d+) +(\w+)\((.*)\) += (-?\d+|\?)(.*)")
_BEGUN = re.compile(r"(\d+) +(\w+)\((.*) <unfinished \.\.\.>")
_ENDED = re.compile(r"(\d+) +<\.\.\. (\w+) resumed>(.*)\) += (-?\d+|\?)(.*)")
_TEXT = re.compile(r'"((?:\\x[0-9a-f]{2})*)"(\.\.\.)?')
_EARLY = frozenset({"close", "sendto"})


@dataclass(frozen=True, slots=True)
class Call:
    """One call of the system that succeeded; `began` and `at` are the numbers of its lines."""

    name: str
    arguments: str
    result: int
    began: int
    at: int

    @property
    def texts(self) -> list[bytes]:
        """Its arguments that are strings."""
        found = []
        for text, cut in _TEXT.findall(self.arguments):
            if cut:
                raise ValueError(f"a string of {self.name} was cut: record with a larger -s")
            found.append(bytes.fromhex(text.replace("\\x", "")))
        return found

    @property
    def words(self) -> list[str]:
        """Its arguments, strings emptied."""
        return _TEXT.sub('""', self.arguments).split(", ")

    def path(self, place: int = 0) -> Path:
        """The string argument of that number as a path."""
        return Path(self.texts[place].decode("utf-8", "surrogateescape"))


def calls_of(lines: Iterable[str], start: int = 0) -> list[Call]:
    """The calls that succeeded, in the order in which they came about; `start` is the number of the first line."""
    open_calls: dict[tuple[str, str], tuple[str, int]] = {}
    found: list[Call] = []
    for number, line in enumerate(lines, start):
        if begun := _BEGUN.match(line):
            open_calls[begun[1], begun[2]] = (begun[3], number)
            continue
        if ended := _ENDED.match(line):
            first, began = open_calls.pop((ended[1], ended[2]))
            call = (ended[2], first + ended[3], ended[4], ended[5], began, number)
        elif whole := _WHOLE.match(line):
            call = (whole[2], whole[3], whole[4], whole[5], number, number)
        else:
            continue  # the end of a thread
        name, arguments, result, rest, began, at = call
        if (result != "?" and int(result) >= 0) or (name == "connect" and "EINPROGRESS" in rest):
            found.append(Call(name, arguments, int(result), began, began if name in _EARLY else at))
    for (_, name), (arguments, began) in open_calls.items():
        if name == "sendto":  # the process died in it: the bytes may have left
            found.append(Call(name, arguments, len(_TEXT.findall(arguments)[0][0]) // 4, began, began))
    return sorted(found, key=lambda one: one.at)
