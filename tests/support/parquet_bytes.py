"""Parquet written byte by byte, for what no library writes: thrift's compact protocol, plain pages.

https://github.com/apache/parquet-format/blob/master/src/main/thrift/parquet.thrift
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path

I32, I64, BINARY, LIST, STRUCT = 5, 6, 8, 9, 12
INT64, REQUIRED, REPEATED = 2, 0, 2
PLAIN, RLE = 0, 3


def varint(number: int) -> bytes:
    """An unsigned number, seven bits a byte."""
    found = bytearray()
    while number > 0x7F:
        found.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*found, number])


def whole(number: int) -> bytes:
    """A signed number, zigzag."""
    return varint(number << 1)


def text(value: str) -> bytes:
    """A string."""
    return varint(len(value.encode())) + value.encode()


def listed(kind: int, items: Sequence[bytes]) -> bytes:
    """A list of fewer than fifteen items."""
    return bytes([len(items) << 4 | kind]) + b"".join(items)


def record(*fields: tuple[int, int, bytes]) -> bytes:
    """A struct of (id, type, value)."""
    found, last = b"", 0
    for number, kind, value in fields:
        found += bytes([(number - last) << 4 | kind]) + value
        last = number
    return found + b"\0"


def page(levels: Sequence[Sequence[int]], values: Sequence[int], entries: int) -> bytes:
    """A data page of levels (repetition, then definition) and 64-bit integers."""
    body = b""
    for runs in levels:
        content = b"".join(bytes([2, level]) for level in runs)
        body += struct.pack("<I", len(content)) + content
    body += struct.pack(f"<{len(values)}q", *values)
    header = record((1, I32, whole(entries)), (2, I32, whole(PLAIN)), (3, I32, whole(RLE)), (4, I32, whole(RLE)))
    return (
        record((1, I32, whole(0)), (2, I32, whole(len(body))), (3, I32, whole(len(body))), (5, STRUCT, header)) + body
    )


def legacy_lists(path: Path, rows: Sequence[Sequence[int]], *, stated: int | None = None) -> Path:
    """A file of `required int64 id; repeated group phone { required int64 number }`, without any LIST.

    With `stated` its footer says that it has so many rows.
    """
    repetition = [int(place > 0) for row in rows for place in range(max(len(row), 1))]
    definition = [int(place < len(row)) for row in rows for place in range(max(len(row), 1))]
    numbers = [number for row in rows for number in row]
    pages = [page([], range(len(rows)), len(rows)), page([repetition, definition], numbers, len(repetition))]
    places = [4, 4 + len(pages[0])]
    names, counts = [["id"], ["phone", "number"]], [len(rows), len(repetition)]
    chunks = []
    for name, count, content, place in zip(names, counts, pages, places, strict=True):
        meta = record(
            (1, I32, whole(INT64)), (2, LIST, listed(I32, [whole(PLAIN), whole(RLE)])),
            (3, LIST, listed(BINARY, [text(each) for each in name])), (4, I32, whole(0)), (5, I64, whole(count)),
            (6, I64, whole(len(content))), (7, I64, whole(len(content))), (9, I64, whole(place)),
        )  # fmt: skip
        chunks.append(record((2, I64, whole(place)), (3, STRUCT, meta)))
    size = sum(map(len, pages))
    group = record((1, LIST, listed(STRUCT, chunks)), (2, I64, whole(size)), (3, I64, whole(len(rows))))
    schema = [
        record((4, BINARY, text("schema")), (5, I32, whole(2))),
        record((1, I32, whole(INT64)), (3, I32, whole(REQUIRED)), (4, BINARY, text("id"))),
        record((3, I32, whole(REPEATED)), (4, BINARY, text("phone")), (5, I32, whole(1))),
        record((1, I32, whole(INT64)), (3, I32, whole(REQUIRED)), (4, BINARY, text("number"))),
    ]
    said = len(rows) if stated is None else stated
    footer = record(
        (1, I32, whole(1)), (2, LIST, listed(STRUCT, schema)), (3, I64, whole(said)), (4, LIST, listed(STRUCT, [group]))
    )
    path.write_bytes(b"PAR1" + b"".join(pages) + footer + struct.pack("<I", len(footer)) + b"PAR1")
    return path
