"""The texts of a file's records, each to be judged as one JSON object: what parts bytes into records, and nothing else.

A format of JSON objects is a way to give `FileTexts` of a file; what is made of the records is the same for all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Protocol

from backfill.frozen import frozen
from backfill.records import SourceFile
from backfill.sources.ndjson.documents import SHAPE_BYTES, Documents, begins_with_an_object, is_document
from backfill.sources.ndjson.lines import Line, Lines, singly, stretches
from backfill.sources.ndjson.types import PlainTypes, Types
from backfill.sources.origins.content import origin_of, plain_pieces

#: What a look at the beginnings of files reads at most: files, bytes of each file, and bytes of all.
HEAD_FILES, HEAD_BYTES, HEAD_BYTES_OF_ALL = 64, 4 * 2**20, 16 * 2**20


@dataclass(slots=True)
class Head:
    """A bound: the beginnings of some files; `cut` tells, once they were read, whether that left anything out."""

    files: frozenset[int]
    size: int  # bytes of each file
    cut: bool

    @classmethod
    def of(cls, files: Sequence[SourceFile]) -> Head:
        """The beginnings of all files, or of HEAD_FILES of them: the first ones, and as many from all over the rest."""
        count = min(len(files), HEAD_FILES)
        first = count // 2
        step = (len(files) - 1 - first) / max(count - 1 - first, 1)
        chosen = frozenset([*range(first), *(round(first + step * place) for place in range(count - first))])
        return cls(chosen, min(HEAD_BYTES, max(HEAD_BYTES_OF_ALL // count, 2**18)), cut=count < len(files))


@frozen
class FileTexts:
    """The texts of one file's records, in its order, to be gone through once."""

    stretches: Iterator[Line | Lines]
    in_lines: bool  # each is a line, so that a damaged one says nothing of the next

    @property
    def records(self) -> Iterator[Line]:
        """One by one."""
        return singly(self.stretches)


class Texts(Protocol):
    """Gives the texts of files."""

    @property
    def types(self) -> Types:
        """How columns get their types."""

    def of(self, file: SourceFile, watch: Callable[[int], None], head: Head | None) -> FileTexts:
        """Those of one file, or of its beginning; `watch` gets the bytes read, `head.cut` tells whether that was all.

        Raises:
            SourceError: it is corrupt, truncated or gone; while the records are read as well.
        """


@frozen
class JsonTexts:
    """JSON as its first bytes say: lines, or one document or several, in which `path` leads to the records."""

    path: tuple[str, ...] = ()
    types: Types = PlainTypes()

    def of(self, file: SourceFile, watch: Callable[[int], None], head: Head | None) -> FileTexts:
        """The file's records; see Texts."""
        return self.within(plain_pieces(origin_of(file), watch), file.name, head)

    def within(self, pieces: Iterable[bytes], name: str, head: Head | None = None) -> FileTexts:
        """The records of those bytes."""
        rest, begun = iter(pieces), b""
        for piece in rest:
            begun += piece
            if self.path or len(begun) >= SHAPE_BYTES or begins_with_an_object(begun):
                break
        whole = chain([begun], rest)
        if not self.path and not is_document(begun):
            return FileTexts(stretches(_whole_lines(whole, head) if head else whole), in_lines=True)
        return FileTexts(_documents(whole, name, self.path, head), in_lines=False)


@dataclass(slots=True)
class _Beginning:
    """The first pieces, about as many bytes as the head is to have, and as many more as the first record wants."""

    pieces: Iterable[bytes]
    head: Head
    found: bool = False  # a record
    cut: bool = False

    def __iter__(self) -> Iterator[bytes]:
        left = self.head.size
        for piece in self.pieces:
            if left <= 0 and self.found:
                self.cut = self.head.cut = True
                return
            left -= len(piece)
            yield piece


def _documents(pieces: Iterable[bytes], name: str, path: Sequence[str], head: Head | None) -> Iterator[Line | Lines]:
    """The records of documents, or of their beginning."""
    if head is None:
        yield from Documents(name, path).stretches(pieces)
        return
    beginning = _Beginning(pieces, head)
    for some in Documents(name, path).stretches(beginning, lambda: beginning.cut):
        beginning.found = True
        yield some


def _whole_lines(pieces: Iterable[bytes], head: Head) -> Iterator[bytes]:
    """The pieces up to a line's end near the size of the beginning."""
    left = head.size
    for piece in pieces:
        if len(piece) <= left:
            left -= len(piece)
            yield piece
            continue
        end = piece.find(b"\n", left) + 1
        if end:
            head.cut = True
            yield piece[:end]
            return
        left = 0
        yield piece
