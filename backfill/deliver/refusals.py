"""A batch that was taken, but for some of its calls: the parts that stand for it from then on. Pure."""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby

from backfill.limits import ENVELOPE_HEAD
from backfill.records import Batch, BatchPart, BatchState

#: How every call begins: its type, then its message id.
_MESSAGE_ID = re.compile(rb'\{"type":"[a-z]+","messageId":("(?:[^"\\]|\\.)*")')


def message_ids(plain: bytes, sizes: Sequence[int]) -> list[str]:
    """The message id of each call in a batch's plain bytes; empty where a call begins otherwise."""
    found = (_MESSAGE_ID.match(plain, start) for start, _ in _places(sizes))
    return [json.loads(match[1]) if match else "" for match in found]


def refused_parts(
    batch: Batch, plain: bytes, sizes: Sequence[int], refused: Mapping[int, str], status: int
) -> list[BatchPart]:
    """The batch as parts, in order: each refused call alone, rejected with its words, and the runs between them.

    Args:
        batch: was taken.
        plain: its bytes.
        sizes: of its calls, in order, without commas.
        refused: index of the call -> what the target said of it.
        status: of the answer.
    """
    parts: list[BatchPart] = []
    begins = len(ENVELOPE_HEAD) if batch.start is None else batch.start
    # Neighbours belong together where both were taken; a refused call is a group of its own.
    for key, group in groupby(enumerate(_places(sizes)), key=lambda one: one[0] if one[0] in refused else -1):
        places = [place for _, place in group]
        start, end = places[0][0], places[-1][1]
        part = BatchPart(
            calls=len(places),
            start=begins + start - len(ENVELOPE_HEAD),
            bytes=len(ENVELOPE_HEAD) + end - start,
            crc32=zlib.crc32(plain[start:end], zlib.crc32(ENVELOPE_HEAD)),
            state=BatchState.DELIVERED if key < 0 else BatchState.REJECTED,
            status=None if key < 0 else status,
            detail="" if key < 0 else refused[key],
        )
        parts.append(part)
    return parts


def _places(sizes: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Where each call begins and ends in the plain bytes."""
    start = len(ENVELOPE_HEAD)
    for size in sizes:
        yield start, start + size
        start += size + 1  # and the comma
