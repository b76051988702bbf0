"""The files that a path of the job stands for: a file, a folder or a pattern. Nobody expands a name again after this.

Rules
1) A path, or the beginning of one, that exists is itself, whatever characters are in it. Otherwise `*`, `?` and
   `[...]` stand for characters of one name, and `**` for any number of folders; hidden names
   (`.x`) only by a pattern that begins with a dot, as in a shell.
2) A folder stands for all files below it; what is hidden or begins with `_` is left out (`_year=2024` is a partition).
3) Nothing that is meant is passed over: a folder that cannot be read, a link that leads nowhere, a folder where a file
   is meant are errors; pipes and devices are found as if they were files, for the one who opens them to refuse.
4) Below `**` or a folder, links to folders are followed, each folder once and the real ones first.
"""

from __future__ import annotations

import fnmatch
import os
import re
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from backfill.errors import SourceError
from backfill.frozen import frozen
from backfill.sources.origins.content import cannot_be_read

WILDCARD = re.compile(r"[*?\[]")
_KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)
ANY_DEPTH = "**"
#: What the log of a table is in, below its folder.
TABLE_LOGS = {"delta": "_delta_log/*.json", "iceberg": "metadata/*.metadata.json"}


@frozen
class FileFinder:
    """Finds files; `shown` is how messages call a path."""

    shown: Callable[[Path], str]

    def files(self, whole: Path) -> list[tuple[Path, str]]:
        """The files that an absolute path stands for, each with its key, the path below what is fixed in it.

        A path that is not there is its own only file: whoever opens it will say so.

        Raises:
            SourceError: see rule 3.
        """
        if os.path.isdir(whole):  # noqa: PTH112 (pathlib raises where the folder above cannot be read)
            fixed, found = whole, self._below(whole)
        elif not os.path.lexists(whole) and WILDCARD.search(str(whole)):
            fixed, parts = _fixed_part(whole)
            found = self._matches(fixed, parts) if parts else iter([whole])
        else:
            return [(whole, whole.name)]
        start = len(str(fixed).rstrip("/")) + 1
        return [(path, str(path)[start:]) for path in dict.fromkeys(found)]

    def _matches(self, folder: Path, parts: Sequence[str], *, deep: bool = False) -> Iterator[Path]:
        """What matches a pattern below a folder; `deep` where the folder was come to by `**`."""
        name, rest = parts[0], parts[1:]
        if name == ANY_DEPTH:
            for below in self._folders(folder, lambda name: name.startswith(".")):
                yield from self._matches(below, rest or ["[!.]*"], deep=True)
            return
        if not WILDCARD.search(name):
            matching = [folder / name] if self._is_there(folder / name) else []
        else:
            matches = re.compile(fnmatch.translate(name)).match
            seen = [entry.name for entry in self._entries(folder) if name[0] == "." or entry.name[0] != "."]
            matching = [folder / entry for entry in seen if matches(entry)]
        for path in matching:
            if os.path.isdir(path):  # noqa: PTH112 (see above)
                if rest:
                    yield from self._matches(path, rest)
                elif not deep and not left_out(path.name):
                    raise SourceError(
                        f"{self.shown(path)} is a folder, where the pattern means files",
                        hint=f"write {self.shown(path)}/* for the files in it, or a pattern that leaves it out",
                    )
            elif not rest or _leads_nowhere(path):
                yield path

    def _is_there(self, path: Path) -> bool:
        """Something has that name."""
        try:
            path.lstat()
        except (FileNotFoundError, NotADirectoryError):
            return False
        except OSError as error:
            raise cannot_be_read(self.shown(path), error) from error
        return True

    def _below(self, top: Path) -> Iterator[Path]:
        """All files below a folder."""
        for folder in self._folders(top, left_out):
            for entry in self._entries(folder):
                if not left_out(entry.name) and not _is_folder(entry):
                    yield folder / entry.name

    def _folders(self, top: Path, left_out: Callable[[str], bool]) -> Iterator[Path]:
        """The folder and those below it, each once."""
        real = Path(os.path.realpath(top))
        seen = set[tuple[int, int]]()
        list(self._unseen((real, *real.parents), seen))
        ahead, links = [top], list[Path]()
        while ahead or links:
            if not ahead:
                links.sort(key=os.fsencode, reverse=True)
                ahead = list(self._unseen([links.pop()], seen))
                continue
            folder = ahead.pop()
            yield folder
            entries = [entry for entry in self._entries(folder) if not left_out(entry.name)]
            inner = (folder / entry.name for entry in entries if entry.is_dir(follow_symlinks=False))
            ahead += self._unseen(inner, seen)
            links += self._linked(folder / entry.name for entry in entries if entry.is_symlink())

    def _linked(self, paths: Iterable[Path]) -> Iterator[Path]:
        """Those of the links that lead to folders."""
        for path in paths:
            if _leads_nowhere(path):
                raise leads_nowhere(self.shown(path))
            if os.path.isdir(path):  # noqa: PTH112 (see above)
                yield path

    def _unseen(self, folders: Iterable[Path], seen: set[tuple[int, int]]) -> Iterator[Path]:
        """Those of the folders that were not met before."""
        for folder in folders:
            try:
                status = folder.stat()
            except OSError as error:
                raise cannot_be_read(self.shown(folder), error) from error
            if (status.st_dev, status.st_ino) not in seen:
                seen.add((status.st_dev, status.st_ino))
                yield folder

    def _entries(self, folder: Path) -> list[os.DirEntry[str]]:
        """What is in a folder."""
        try:
            with os.scandir(folder) as entries:
                return list(entries)
        except OSError as error:
            raise cannot_be_read(self.shown(folder), error) from error


def _fixed_part(whole: Path) -> tuple[Path, tuple[str, ...]]:
    """The folders before the first wildcard, and the rest: names that exist as they are written are none."""
    fixed = Path(whole.parts[0])
    for place, part in enumerate(whole.parts[1:], 1):
        if WILDCARD.search(part) and not os.path.lexists(fixed / part):
            return fixed, whole.parts[place:]
        fixed /= part
    return fixed, ()


def left_out(name: str) -> bool:
    """A name that a folder's files do not have: hidden, or of those that other programs leave beside data."""
    return name.startswith(".") or (name.startswith("_") and "=" not in name)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    """A folder, or a link to one."""
    return os.path.isdir(entry) if entry.is_symlink() else entry.is_dir(follow_symlinks=False)  # noqa: PTH112 (see above)


def _leads_nowhere(path: Path) -> bool:
    return not os.path.exists(path)  # noqa: PTH110 (see above)


def leads_nowhere(name: str) -> SourceError:
    """The error for a link whose target is missing: its rows would be left out silently."""
    return SourceError(f"{name} is a link that leads nowhere", hint="mend or remove it, or name the files otherwise")


def printable(name: str) -> str:
    r"""The name, bytes that are not UTF-8 as \xNN."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def refuse_unusual(path: Path, name: str, mode: int) -> None:
    """Raise SourceError for what is no file, or has a name that cannot be written down."""
    if not stat.S_ISREG(mode):
        kind = next((said for test, said in _KINDS if test(mode)), "no file")
        hint = '`path: "-"` reads standard input: direct it there' if stat.S_ISFIFO(mode) else "name a file"
        raise SourceError(f"{name} is {kind}", hint=hint)
    try:
        str(path).encode()
    except UnicodeEncodeError:
        raise SourceError(f"{printable(str(path))}: the name is not UTF-8", hint="rename it") from None
