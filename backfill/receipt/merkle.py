"""Merkle trees as RFC 9162 (section 2.1) defines them, over leaves that come one after the other.

Whatever the number of leaves, a tree holds one hash a level.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from hashlib import sha256
from typing import Final

#: What stands before a leaf and before two hashes, so that neither is taken for the other.
_LEAF: Final = b"\x00"
_NODE: Final = b"\x01"


class MerkleTree:
    """The hash of a list of leaves, added in their order."""

    def __init__(self) -> None:
        self.size = 0
        self._whole: list[bytes] = []  # hashes of complete subtrees, the largest first

    def add(self, leaf: bytes) -> None:
        """Add the next leaf."""
        found = sha256(_LEAF + leaf).digest()
        size = self.size
        while size & 1:  # as many complete subtrees of one size meet as the size has ones at its end
            found = sha256(_NODE + self._whole.pop() + found).digest()
            size >>= 1
        self._whole.append(found)
        self.size += 1

    @property
    def root(self) -> bytes:
        """The hash of all leaves so far; of no leaf the SHA-256 of nothing."""
        if not self._whole:
            return sha256().digest()
        *before, found = self._whole
        for left in reversed(before):
            found = sha256(_NODE + left + found).digest()
        return found


def path_ranges(index: int, size: int) -> list[tuple[int, int]]:
    """The ranges of leaves whose hashes are the audit path of one leaf, the nearest first (section 2.1.3.1)."""
    first, last, found = 0, size, list[tuple[int, int]]()
    while last - first > 1:
        middle = first + (1 << ((last - first - 1).bit_length() - 1))
        if index < middle:
            found.append((middle, last))
            last = middle
        else:
            found.append((first, middle))
            first = middle
    return found[::-1]


def audit_path(leaves: Iterable[bytes], index: int, size: int) -> list[bytes]:
    """The audit path of one of `size` leaves, which are read once."""
    ranges = path_ranges(index, size)
    trees = [MerkleTree() for _ in ranges]
    places = sorted(range(len(ranges)), key=ranges.__getitem__)  # ranges do not overlap
    at = 0
    for number, leaf in enumerate(leaves):
        while at < len(places) and number >= ranges[places[at]][1]:
            at += 1
        if at < len(places) and number >= ranges[places[at]][0]:
            trees[places[at]].add(leaf)
    return [tree.root for tree in trees]


def root_of_path(leaf: bytes, index: int, size: int, path: Sequence[bytes]) -> bytes | None:
    """The root that a leaf and its audit path lead to; None where such a path is none (section 2.1.3.2)."""
    ranges = path_ranges(index, size) if 0 <= index < size else []
    if not 0 <= index < size or len(path) != len(ranges):
        return None
    found = sha256(_LEAF + leaf).digest()
    for (first, _), other in zip(ranges, path, strict=True):
        pair = other + found if first < index else found + other
        found = sha256(_NODE + pair).digest()
    return found
