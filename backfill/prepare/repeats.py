"""Which message ids occur more than once in a job, in bounded memory, and what becomes of each occurrence.

Two passes. The first collects a 64-bit hash of every id: in memory while there are few, in 256 files on disk beyond,
and leaves the sorted hashes that occur more than once (the candidates; usually none). The second asks, in source
order, about the calls whose hash is a candidate, and answers exactly, from the full 16 bytes of id and content digest.
What comes of it is the drop table, which says of any call whether it is left out.
"""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from backfill.arrays import distinct
from backfill.memory import MEMORY_HASHES

Hashes = npt.NDArray[np.uint64]
#: Sixteen bytes a row.
Sixteen = npt.NDArray[np.uint8]
#: One number a call, which says where it comes from; what it is made of is the caller's business.
Places = npt.NDArray[np.uint64]
#: Two numbers a call: its place, and one more of the caller's.
CallOrigins = npt.NDArray[np.uint64]

BUCKETS: Final = 256


class Resolution(IntEnum):
    """What becomes of one valid call."""

    FIRST = 0  # to be sent
    DUPLICATE = 1  # same id, same bytes as the first
    CONFLICT = 2  # same id, other bytes


class Collector:
    """The first pass. `add` is thread-safe; `candidates` ends it."""

    def __init__(self, folder: Path, *, memory_hashes: int = MEMORY_HASHES) -> None:
        self._folder = folder / "repeats"
        self._most = memory_hashes
        self._held: list[Hashes] = []
        self._count = 0
        self._spilled = False
        self._lock = threading.Lock()

    def add(self, hashes: Hashes) -> None:
        """Take the hashes of some ids."""
        hashes = np.sort(hashes)  # here, where threads share the work; what is left to do is to merge
        with self._lock:
            self._held.append(hashes)
            self._count += len(hashes)
            if self._spilled or self._count >= self._most:
                self._spill()

    def candidates(self) -> Hashes:
        """The hashes that occur more than once, sorted; a memory map where there are many. Removes its files."""
        if not self._spilled:
            return _repeated(np.concatenate(self._held)) if self._held else np.empty(0, np.uint64)
        self._spill()
        result = self._folder.with_suffix(".candidates")
        with result.open("wb") as out:
            for bucket in self._buckets():
                out.write(_repeated(bucket).data)
        shutil.rmtree(self._folder)
        return np.memmap(result, np.uint64, "r") if result.stat().st_size else np.empty(0, np.uint64)

    def _spill(self) -> None:
        self._spilled = True
        self._folder.mkdir(parents=True, exist_ok=True)
        while self._held:
            self._write(self._held.pop())

    def _write(self, ordered: Hashes) -> None:
        """Append sorted hashes to the buckets, by their highest eight bits."""
        edges = np.searchsorted(ordered, np.arange(BUCKETS, dtype=np.uint64) << np.uint64(56))
        for bucket, (low, high) in enumerate(zip(edges, [*edges[1:], len(ordered)], strict=True)):
            if high > low:
                with (self._folder / f"{bucket:03d}").open("ab") as file:
                    file.write(ordered[low:high].data)  # `tofile` would not say why it could not

    def _buckets(self) -> Iterator[Hashes]:
        for path in sorted(self._folder.iterdir()):
            yield np.fromfile(path, np.uint64)


def _repeated(hashes: Hashes) -> Hashes:
    """The values that occur more than once, sorted, each once; sorts what it is given."""
    hashes.sort(kind="stable")  # which merges runs that are sorted already
    return distinct(hashes[1:][hashes[1:] == hashes[:-1]])


def among(hashes: Hashes, candidates: Hashes) -> npt.NDArray[np.bool_]:
    """Which of the hashes are candidates."""
    if not len(candidates):
        return np.zeros(len(hashes), np.bool_)
    places = np.minimum(np.searchsorted(candidates, hashes), len(candidates) - 1)
    return np.asarray(candidates[places] == hashes)


def _on_disk(path: Path, count: int) -> Sixteen:
    """Rows of sixteen zeros in a new file, memory-mapped.

    Their room is taken before: a page for which there is none when it is touched ends the process (SIGBUS).
    """
    with path.open("wb") as file:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file.fileno(), 0, 16 * count)
        else:
            for _ in range(count // BUCKETS + 1):
                file.write(bytes(16 * BUCKETS))
    return np.memmap(path, np.uint8, "r+", shape=(count, 16))


@dataclass(slots=True, repr=False, eq=False)
class DuplicateResolver:
    """The second pass: says of each valid call of a candidate hash what becomes of it, in source order."""

    candidates: Hashes
    folder: Path
    _ids: Sixteen = field(init=False)
    _digests: Sixteen = field(init=False)
    _origins: CallOrigins = field(init=False)
    _seen: npt.NDArray[np.bool_] = field(init=False)
    _others: dict[bytes, tuple[bytes, CallOrigins]] = field(
        init=False, default_factory=dict
    )  # whose hash is another id's

    def __post_init__(self) -> None:
        """Make room for one id and one digest a candidate: in memory while there are few, else on disk."""
        count = len(self.candidates)
        self._seen = np.zeros(count, np.bool_)
        if count <= MEMORY_HASHES // 32:
            self._ids, self._digests, origins = (np.zeros((count, 16), np.uint8) for _ in range(3))
        else:
            self.folder.mkdir(parents=True, exist_ok=True)
            names = ("ids", "digests", "origins")
            self._ids, self._digests, origins = (_on_disk(self.folder / name, count) for name in names)
        self._origins = origins.view(np.uint64)

    def resolve(
        self, hashes: Hashes, ids: Sixteen, digests: Sixteen, origins: CallOrigins
    ) -> tuple[npt.NDArray[np.uint8], CallOrigins]:
        """What becomes of some calls of candidate hashes, in source order; and the origin of the first of each id."""
        slots = np.searchsorted(self.candidates, hashes)
        _, firsts = np.unique(slots, return_index=True)
        new = firsts[~self._seen[slots[firsts]]]
        self._seen[slots[new]] = True
        self._ids[slots[new]], self._digests[slots[new]] = ids[new], digests[new]
        self._origins[slots[new]] = origins[new]
        resolutions = np.full(len(hashes), Resolution.CONFLICT, np.uint8)
        same_id = (self._ids[slots] == ids).all(axis=1)
        resolutions[same_id & (self._digests[slots] == digests).all(axis=1)] = Resolution.DUPLICATE
        resolutions[new] = Resolution.FIRST
        firsts_origins = self._origins[slots]
        for index in np.flatnonzero(~same_id):  # two ids with one hash: once in hundreds of millions
            resolutions[index], firsts_origins[index] = self._resolve_other(
                ids[index].tobytes(), digests[index].tobytes(), origins[index]
            )
        return resolutions, firsts_origins

    def _resolve_other(self, identity: bytes, digest: bytes, origin: CallOrigins) -> tuple[Resolution, CallOrigins]:
        own = (digest, origin)
        known = self._others.setdefault(identity, own)
        if known is own:
            return Resolution.FIRST, origin
        return (Resolution.DUPLICATE if known[0] == digest else Resolution.CONFLICT), known[1]


class DropTable:
    """The calls that are not sent because their id came before, by place. `add` until it is read.

    Each is one number, in the order of the places: twice the place, and one more where the call is a conflict.
    """

    def __init__(self, path: Path, entries: Places | None = None) -> None:
        """They are kept in the file `path`, which is there once there are any; `entries` are those it has."""
        self._path = path
        if entries is None:
            path.unlink(missing_ok=True)
        self._entries: Places = np.empty(0, np.uint64) if entries is None else entries

    @classmethod
    def kept(cls, path: Path) -> DropTable:
        """The one whose file this is."""
        return cls(path, np.memmap(path, np.uint64, "r"))

    def copy(self, path: Path) -> None:
        """Make a file of it there, which has to have some."""
        shutil.copyfile(self._path, path)

    @property
    def empty(self) -> bool:
        """Whether no call is left out."""
        return not len(self._entries)

    def add(self, places: Places, resolutions: npt.NDArray[np.uint8]) -> None:
        """Take the calls of these places, in order and behind those that were taken before, but for the first ones."""
        dropped = resolutions != Resolution.FIRST
        if dropped.any():
            conflicts = (resolutions[dropped] == Resolution.CONFLICT).astype(np.uint64)
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with self._path.open("ab") as file:
                file.write((places[dropped] * np.uint64(2) + conflicts).data)
            self._entries = np.memmap(self._path, np.uint64, "r")

    def resolve(self, places: Places) -> npt.NDArray[np.uint8]:
        """The resolutions of some calls, in order, of places that lie close to each other."""
        resolutions = np.full(len(places), Resolution.FIRST, np.uint8)
        if not len(places) or self.empty:
            return resolutions
        low, high = np.searchsorted(self._entries, [2 * int(places[0]), 2 * int(places[-1]) + 2])
        entries = np.array(self._entries[low:high])
        entries = entries[among(entries // np.uint64(2), places)]  # others of the same rows are not asked for
        known = among(places, entries // np.uint64(2))
        resolutions[known] = np.where(entries % np.uint64(2), Resolution.CONFLICT, Resolution.DUPLICATE)
        return resolutions
