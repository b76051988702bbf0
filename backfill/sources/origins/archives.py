"""Archives, zip and tar: which files are in one, and the bytes of each.

The path of a member is the archive's with the member's behind it, `exports/may.zip/2024/a.csv`: no file lies below
another, so that such a path means nothing else.

Zip: the directory at its end says what is in it, each member's CRC is verified. Tar has neither: headers are gone
through one after the other up to the blocks of zeros that end it, and nothing may follow. One that is compressed as a
whole is unpacked to a copy first, once for all of its members.
"""

from __future__ import annotations

import io
import lzma
import os
import stat
import struct
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from threading import Lock
from typing import IO, TYPE_CHECKING, BinaryIO, Protocol, cast

from backfill.errors import SourceError
from backfill.frozen import frozen
from backfill.sources.origins.compression import PIECE, Damage, packing_of, unpacked
from backfill.sources.origins.copies import COPIES

if TYPE_CHECKING:
    import tarfile
    import zipfile

_ZIP, _ZIP_OF_NOTHING = b"PK\x03\x04", b"PK\x05\x06"
#: What workbooks (Office Open XML, OpenDocument) have in them and archives have not.
_WORKBOOK_PARTS = frozenset(("[Content_Types].xml", "mimetype"))
_METHODS = {1: "shrink", 6: "implode", 9: "deflate64", 93: "zstd", 95: "xz", 98: "PPMd", 99: "AES"}
_READ_METHODS = frozenset((0, 8, 12, 14))  # stored, deflate, bzip2, LZMA
_ENCRYPTED = 0x1
#: Where in its attributes a zip made by Unix has a file's mode.
_UNIX_MODE = 16
_NO_DIRECTORY = "File is not a zip file"  # zipfile's words
_BLOCK = 512
#: Of the record that ends a zip, and where in it the length of the comment stands that follows.
_END_BYTES, _END = 22, b"PK\x05\x06"
_FAULTS = (
    zlib.error, lzma.LZMAError, struct.error, EOFError, NotImplementedError, RuntimeError, ValueError, IndexError,
)  # fmt: skip
#: Archives held open at once.
_HELD = 32


@frozen
class Entry:
    """One member that is a file, or would be."""

    size: int  # plain bytes
    refused: str = ""  # why it cannot be read, where it cannot: "is encrypted"
    start: int = 0  # tar: where its bytes begin


class Archive(Protocol):
    """One archive, opened."""

    entries: dict[str, Entry]

    def open(self, name: str) -> BinaryIO:
        """The bytes of a member; reading them raises Damage where they are not what the archive says."""


class _Zip:
    def __init__(self, path: Path) -> None:
        import zipfile

        with _damage():
            self._zip = zipfile.ZipFile(path)
        _refuse_tail(path, len(self._zip.comment))
        if min((one.header_offset for one in self._zip.infolist()), default=0):
            raise Damage("something stands before the archive, perhaps another one")
        listed = [(_plain_name(one.filename), one) for one in self._zip.infolist() if not one.is_dir()]
        self._infos = dict(listed)
        self.entries = _told_apart((name, Entry(one.file_size, _zip_refusal(one))) for name, one in listed)

    def open(self, name: str) -> BinaryIO:
        with _damage():
            return cast("BinaryIO", _Member(self._zip.open(self._infos[name])))


def _refuse_tail(path: Path, comment: int) -> None:
    """Raise Damage where something follows the record that ends a zip: the file may be two, or was written over."""
    with path.open("rb") as file:
        file.seek(-(_END_BYTES + comment), os.SEEK_END)
        if file.read(len(_END)) != _END:
            raise Damage("something follows the end of the archive")


def _zip_refusal(info: zipfile.ZipInfo) -> str:
    if info.flag_bits & _ENCRYPTED:
        return "is encrypted"
    if stat.S_ISLNK(info.external_attr >> _UNIX_MODE):
        return "is a link"
    if info.compress_type not in _READ_METHODS:
        return f"is compressed by {_METHODS.get(info.compress_type, f'method {info.compress_type}')}"
    return ""


class _Member(io.RawIOBase):
    """A member of a zip as it is read; the library verifies size and CRC."""

    def __init__(self, stream: IO[bytes]) -> None:
        super().__init__()
        self._stream = stream

    def read(self, size: int = -1, /) -> bytes:
        with _damage():
            return self._stream.read(size)

    def close(self) -> None:
        self._stream.close()
        super().close()


class _Tar:
    def __init__(self, path: Path) -> None:
        self._path = path
        with path.open("rb") as file, _damage():
            self.entries = _told_apart(_tar_entries(file))

    def open(self, name: str) -> BinaryIO:
        entry = self.entries[name]
        return cast("BinaryIO", _Slice(self._path, entry.start, entry.size))


def _tar_entries(file: BinaryIO) -> Iterator[tuple[str, Entry]]:
    """All files, links and devices; raises Damage behind the last where the archive does not end there."""
    import tarfile

    with tarfile.TarFile(fileobj=file, errorlevel=2) as tar:
        while (info := tar.next()) is not None:
            tar.members.clear()  # type: ignore[attr-defined]  # else all are kept
            if not info.isdir():
                yield _plain_name(info.name), Entry(info.size, _tar_refusal(info), info.offset_data)
        end = tar.offset
    file.seek(end)
    if len(rest := file.read(_BLOCK)) < _BLOCK or any(rest):
        raise Damage("the archive ends within a member, or without the zeros that end it")
    while rest := file.read(PIECE):
        if rest.strip(b"\0"):
            raise Damage("something follows the end of the archive")


def _tar_refusal(info: tarfile.TarInfo) -> str:
    if info.issparse():
        return "is a sparse file"
    if info.islnk() or info.issym():
        return f"is a link to {info.linkname}"
    return "" if info.isreg() else "is no file"


class _Slice(io.RawIOBase):
    """A part of a file."""

    def __init__(self, path: Path, start: int, size: int) -> None:
        super().__init__()
        self._file = path.open("rb", buffering=0)
        self._file.seek(start)
        self._left = size

    def read(self, size: int = -1, /) -> bytes:
        data = self._file.read(self._left if size < 0 else min(size, self._left)) or b""
        self._left -= len(data)
        if not data and size and self._left:
            raise Damage("the archive ends within this member")
        return data

    def close(self) -> None:
        self._file.close()
        super().close()


@contextmanager
def _damage() -> Iterator[None]:
    """What the libraries raise for an archive that is none, told as Damage."""
    import tarfile  # these two here, since most sources are no archives
    import zipfile

    try:
        yield
    except (zipfile.BadZipFile, tarfile.TarError, *_FAULTS) as error:
        message = str(error) or "the archive ends early"
        raise Damage("the directory that ends a zip is missing" if message == _NO_DIRECTORY else message) from error


def _plain_name(name: str) -> str:
    """The name without the `./` that tar writes in front."""
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if ".." in parts:
        raise SourceError(f"{name} names a place outside of the archive that it is in", hint="pack the files anew")
    return "/".join(parts)


def _told_apart(entries: Iterator[tuple[str, Entry]]) -> dict[str, Entry]:
    """The entries by name; those of one name cannot be read."""
    found: dict[str, Entry] = {}
    for name, entry in entries:
        found[name] = Entry(entry.size, "is there twice") if name in found else entry
    return found


def is_zip(head: bytes) -> bool:
    """By the first bytes, which those of a workbook are too."""
    return head.startswith((_ZIP, _ZIP_OF_NOTHING))


def is_tar(head: bytes) -> bool:
    """By the first block, whose checksum holds."""
    import tarfile

    try:
        tarfile.TarInfo.frombuf(head[:_BLOCK], "utf-8", "surrogateescape")
    except tarfile.HeaderError:
        return False
    return True


def archive_at(path: Path) -> Archive | None:
    """The archive in that file, its members listed; None where it holds something else.

    Raises:
        Damage: it is cut or corrupt.
        OSError: it cannot be read.
    """
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        return None  # opening a pipe would wait
    stamp = (status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino)
    with _OPENING:  # what one thread unpacks, another waits for
        return _opened(path, stamp)


_OPENING = Lock()


@lru_cache(maxsize=_HELD)
def _opened(path: Path, stamp: tuple[int, ...]) -> Archive | None:
    with path.open("rb") as file:
        head = file.read(_BLOCK)
        packing = packing_of(head)
        if packing is not None:
            file.seek(0)
            if not is_tar(next(unpacked(file.read, packing), b"")[:_BLOCK]):
                return None
            file.seek(0)
            return _Tar(COPIES.copy((path, stamp), unpacked(file.read, packing)))
    if is_zip(head):
        archive = _Zip(path)
        return None if _WORKBOOK_PARTS & set(archive.entries) else archive
    return _Tar(path) if is_tar(head) else None


def discard_copies() -> None:
    """Remove what was unpacked to be sought in; who opens an archive again unpacks it again."""
    _opened.cache_clear()
    COPIES.discard()


def container(path: str) -> str:
    """The file that holds what a path of a source names: itself, or the archive of a member."""
    above = path
    while not os.path.lexists(above):
        above, _, last = above.rpartition("/")
        if not last or not above:
            return path
        if os.path.isfile(above):  # noqa: PTH113 (of text)
            return above
    return path


@frozen
class ArchiveMember:
    """A file within an archive, as an Origin."""

    path: str
    name: str
    archive: str
    member: str  # its name in there

    def open(self) -> BinaryIO:
        """The member's bytes, as stored within it; raises OSError and Damage, as reading does."""
        archive = archive_at(Path(self.archive))
        if archive is None or self.member not in archive.entries:
            raise FileNotFoundError(None, None, self.path)
        refused = archive.entries[self.member].refused
        if refused:
            raise SourceError(f"{self.name} {refused}", hint="unpack the archive, and name the folder")
        return archive.open(self.member)

    def local_path(self) -> Path:
        """A copy of it."""
        status = Path(self.archive).stat()
        return COPIES.copy((self.path, status.st_mtime_ns, status.st_ino), self._pieces())

    def seekable(self) -> BinaryIO:
        """The copy, opened."""
        return self.local_path().open("rb")

    def _pieces(self) -> Iterator[bytes]:
        with self.open() as file:
            read: Callable[[int], bytes] = file.read
            yield from iter(lambda: read(PIECE), b"")
