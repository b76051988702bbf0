"""What a disk holds after the power is cut: a model of files and folders, fed with what a program asked of its system.

The model is stricter than most disks, on purpose. POSIX promises of a write, a creation, a rename or a removal only
that others see it; that it outlives a cut is promised by fsync(2) alone: of the file for its bytes and size, of the
folder for the names in it (open(2) and fsync(2), "does not necessarily ensure that the entry in the directory has also
reached disk"). So everything since the last fsync of its own file or folder may be there after a cut, or not, each by
itself, and a write also in part. Of this, `Survival` chooses what becomes:

- STRICT: nothing is left that was not forced.
- KEPT: all is left; only the process died.
- SCATTERED: each change by the toss of a coin, writes torn at the borders of sectors, later ones without earlier ones.
- JOURNAL: as ext4 in its usual mode: names change in the order in which they were changed, and any fsync forces all
  earlier ones; bytes that were not forced are scattered.

A rename is one change, as every file system in use has it: both names or none. Pure: no file of this machine is touched
but by `Image.write_to`.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

SECTOR_BYTES = 512


class Survival(StrEnum):
    """What becomes of that which was not forced to the disk."""

    STRICT = "strict"
    KEPT = "kept"
    SCATTERED = "scattered"
    JOURNAL = "journal"


@dataclass(eq=False, slots=True)
class File:
    """A file's bytes: those forced, and what was changed since."""

    forced: bytearray = field(default_factory=bytearray)
    changes: list[Change] = field(default_factory=list)


@dataclass(eq=False, slots=True)
class Folder:
    """A folder's names: those forced, and those that others see."""

    forced: dict[str, Node] = field(default_factory=dict)
    seen: dict[str, Node] = field(default_factory=dict)


Node = File | Folder


@dataclass(frozen=True, slots=True)
class Change:
    """Bytes written at an offset; or, where there are none, the size that the file was given."""

    at: int
    offset: int
    content: bytes | None

    def apply(self, to: bytearray) -> None:
        """Change these bytes so."""
        end = self.offset + len(self.content or b"")
        if len(to) < end:
            to.extend(bytes(end - len(to)))
        if self.content is None:
            del to[self.offset :]
        else:
            to[self.offset : end] = self.content


@dataclass(frozen=True, slots=True)
class Naming:
    """Names that changed in one step: what stands behind each of them now, None where nothing does."""

    at: int
    parts: tuple[tuple[Folder, str, Node | None], ...]

    def apply(self) -> None:
        """Make it so in what is forced."""
        for folder, name, node in self.parts:
            _set(folder.forced, name, node)


class Disk:
    """Files and folders below one root, as a program changes them. Times are any numbers that grow."""

    def __init__(self, root: Path, files: Mapping[Path, bytes] | None = None) -> None:
        """`files` are there, and forced, from the beginning."""
        self.root = root
        self.top = Folder()
        self._namings: list[Naming] = []
        self._files: list[File] = []
        self._forced_at = -1
        for path, content in (files or {}).items():
            folder = self.top
            for name in path.relative_to(root).parts[:-1]:
                below = folder.seen.get(name) or Folder()
                folder.seen[name] = folder.forced[name] = below
                assert isinstance(below, Folder)
                folder = below
            folder.seen[path.name] = folder.forced[path.name] = self._file(content)

    def holds(self, path: Path) -> bool:
        """Whether a path is the model's business."""
        return path != self.root and path.is_relative_to(self.root)

    def find(self, path: Path) -> Node | None:
        """What others see at a path; None where there is nothing."""
        node: Node | None = self.top
        for name in path.relative_to(self.root).parts:
            node = node.seen.get(name) if isinstance(node, Folder) else None
        return node

    def create(self, path: Path, at: int) -> File:
        """An empty file at a path that was free."""
        file = self._file(b"")
        self._name(at, (path, file))
        return file

    def make_folder(self, path: Path, at: int) -> None:
        """A folder at a path that was free."""
        self._name(at, (path, Folder()))

    def link(self, path: Path, other: Path, at: int) -> None:
        """A second name for what is at `path`."""
        self._name(at, (other, self.find(path)))

    def rename(self, path: Path, other: Path, at: int) -> None:
        """Another name for what is at `path`, whatever had that name before."""
        self._name(at, (other, self.find(path)), (path, None))

    def remove(self, path: Path, at: int) -> None:
        """No name any more for what is at `path`."""
        self._name(at, (path, None))

    def write(self, file: File, offset: int, content: bytes, at: int) -> None:
        """Bytes at an offset."""
        file.changes.append(Change(at, offset, content))

    def resize(self, file: File, size: int, at: int) -> None:
        """Another size; zeros where it grows."""
        file.changes.append(Change(at, size, None))

    def size(self, file: File) -> int:
        """A file's size as others see it."""
        return len(_bytes(file, file.changes))

    def content(self, file: File) -> bytes:
        """A file's bytes as others see them."""
        return bytes(_bytes(file, file.changes))

    def force(self, node: Node, since: int) -> None:
        """An fsync that was asked for at the time `since` has returned."""
        self._forced_at = max(self._forced_at, since)
        if isinstance(node, File):
            node.forced = _bytes(node, [change for change in node.changes if change.at < since])
            node.changes = [change for change in node.changes if change.at >= since]
            return
        for naming in [one for one in self._namings if one.at < since and any(part[0] is node for part in one.parts)]:
            self._settle(naming)

    def after_cut(self, survival: Survival, chance: random.Random) -> Image:
        """What is there when the power comes back. This disk is not changed."""
        names = dict(_forced_names(self.top))
        for naming in self._survivors(survival, chance):
            for folder, name, node in naming.parts:
                _set(names.setdefault(folder, dict(folder.forced)), name, node)
        contents: dict[File, bytes] = {}
        folders: list[Path] = []
        files: dict[Path, File] = {}
        _walk(self.top, self.root, names, folders, files)
        for file in files.values():
            if file not in contents:
                contents[file] = left_of(file, survival, chance)
        return Image(self.root, tuple(folders), {path: contents[file] for path, file in files.items()})

    def _survivors(self, survival: Survival, chance: random.Random) -> list[Naming]:
        if survival is Survival.KEPT:
            return self._namings
        if survival is Survival.STRICT:
            return []
        if survival is Survival.JOURNAL:
            forced = sum(naming.at < self._forced_at for naming in self._namings)
            return self._namings[: chance.randint(forced, len(self._namings))]
        return [naming for naming in self._namings if chance.random() < 0.5]

    def _settle(self, naming: Naming) -> None:
        """Force a change of names. What came before it and concerns the same names is past."""
        naming.apply()
        place = self._namings.index(naming)
        past = {(folder, name) for folder, name, _ in naming.parts}
        earlier = [
            Naming(one.at, tuple(part for part in one.parts if (part[0], part[1]) not in past))
            for one in self._namings[:place]
        ]
        self._namings = [one for one in earlier if one.parts] + self._namings[place + 1 :]

    def _name(self, at: int, *names: tuple[Path, Node | None]) -> None:
        parts = []
        for path, node in names:
            folder = self.find(path.parent)
            assert isinstance(folder, Folder), path
            _set(folder.seen, path.name, node)
            parts.append((folder, path.name, node))
        self._namings.append(Naming(at, tuple(parts)))

    def _file(self, content: bytes) -> File:
        file = File(bytearray(content))
        self._files.append(file)
        return file


@dataclass(frozen=True, slots=True)
class Image:
    """Files and folders after a cut."""

    root: Path
    folders: tuple[Path, ...]  # each after the one it is in
    files: Mapping[Path, bytes]

    def write_to(self, root: Path) -> None:
        """Make them in the folder `root`, which is there and empty."""
        for folder in self.folders:
            (root / folder.relative_to(self.root)).mkdir(mode=0o700)
        for path, content in self.files.items():
            place = root / path.relative_to(self.root)
            place.write_bytes(content)
            place.chmod(0o600)


def left_of(file: File, survival: Survival, chance: random.Random) -> bytes:
    """A file's bytes after a cut."""
    if survival is Survival.STRICT:
        return bytes(file.forced)
    if survival is Survival.KEPT:
        return bytes(_bytes(file, file.changes))
    left = bytearray(file.forced)
    for change in file.changes:
        for part in torn(change, chance):
            part.apply(left)
    return bytes(left)


def torn(change: Change, chance: random.Random) -> Iterable[Change]:
    """What is left of one write: nothing, all, its beginning, some of its sectors, or zeros in place of its bytes."""
    how = chance.choice(("none", "all", "beginning", "sectors", "zeros"))
    content = change.content
    if how == "none" or (content is None and how != "all"):
        return
    if how == "all" or content is None:
        yield change
    elif how == "zeros":  # the size was written, the bytes were not
        yield Change(change.at, change.offset, bytes(len(content)))
    else:
        borders = range(-(change.offset % SECTOR_BYTES), len(content), SECTOR_BYTES)
        kept = len(borders) and chance.randrange(len(borders))
        for number, border in enumerate(borders):
            if number < kept if how == "beginning" else chance.random() < 0.5:
                start = max(border, 0)
                yield Change(change.at, change.offset + start, content[start : border + SECTOR_BYTES])


def _bytes(file: File, changes: Iterable[Change]) -> bytearray:
    content = bytearray(file.forced)
    for change in changes:
        change.apply(content)
    return content


def _set(names: dict[str, Node], name: str, node: Node | None) -> None:
    if node is None:
        names.pop(name, None)
    else:
        names[name] = node


def _forced_names(folder: Folder) -> Iterable[tuple[Folder, dict[str, Node]]]:
    yield folder, dict(folder.forced)
    for node in folder.forced.values():
        if isinstance(node, Folder):
            yield from _forced_names(node)


def _walk(
    folder: Folder,
    place: Path,
    names: Mapping[Folder, Mapping[str, Node]],
    folders: list[Path],
    files: dict[Path, File],
) -> None:
    for name, node in names.get(folder, folder.forced).items():
        if isinstance(node, File):
            files[place / name] = node
        else:
            folders.append(place / name)
            _walk(node, place / name, names, folders, files)
