"""The bytes of a request body: how it begins and ends, where its calls stand, how it is cut and compressed. Pure.

    {"batch":[CALL,CALL,CALL],MEMBERS,"sentAt":"2024-01-01T00:00:00.000Z"}
    HEAD      calls          ^ tail

The *plain bytes* of a batch are the head and its calls, with a comma between two calls. They are prepared once and
never change; the tail is made anew for each attempt. A batch may be cut into parts, each of which is a run of its calls
and has plain bytes of the same form. The calls of a part are found in the plain bytes of the batch that was planned.

Knowledge of this form is to stay in this module: a body of another form is written by another module like it.
"""

from __future__ import annotations

import json
import re
import struct
import zlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from itertools import groupby
from typing import Any, Final

from backfill.limits import Limits
from backfill.records import Batch, BatchPart, BatchState

HEAD: Final = b'{"batch":['
TAIL_BYTES: Final = len(b'],"sentAt":"2000-01-01T00:00:00.000Z"}')
#: What a body holds beside its calls, and beside the members that a target adds.
ENVELOPE_BYTES: Final = len(HEAD) + TAIL_BYTES
#: Bytes between two calls. While calls are packed each has a comma behind it; that of a batch's last call is cut off.
COMMA: Final = 1
#: Matches where a text repeats a body or a call, also as a text within JSON, and all that follows.
REPEATED: Final = re.compile(
    r"""\{\s*\\*"(?:batch\\*"\s*:\s*\[|type\\*"\s*:\s*\\*"[a-z]+\\*"\s*,\s*\\*"messageId).*""", re.DOTALL
)
#: `call_start`, and the message id behind it.
_MESSAGE_ID: Final = re.compile(rb'\{"type":"[a-z]+","messageId":("(?:[^"\\]|\\.)*")')
_HEAD_CRC32: Final = zlib.crc32(HEAD)

# RFC 1952: magic, method deflate, no flags, no time, extra flags 4 ("fastest algorithm"), operating system unknown.
_GZIP_HEADER: Final = struct.pack("<2sBBIBB", b"\x1f\x8b", 8, 0, 0, 4, 255)
_STORED_FINAL: Final = b"\x01"  # BFINAL 1, BTYPE 00, and the bits up to the byte boundary
_STORED_LIMIT: Final = 0xFFFF


def call_start(call_type: str) -> str:
    """How the JSON of a call of that type begins; its message id, as a JSON string, follows."""
    return f'{{"type":"{call_type}","messageId":'


def room_for_calls(limits: Limits) -> int:
    """The bytes of a body that its calls may take, with the commas between them."""
    return limits.body_bytes - ENVELOPE_BYTES - limits.envelope_bytes


def members_json(fields: Mapping[str, Any]) -> str:
    """Members that a target adds to each body, as JSON without the braces around them; empty where there are none.

    Raises:
        ValueError: a value is none of JSON: a number that is not finite, a text with half a surrogate pair.
    """
    text = json.dumps(fields, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    text.encode()
    return text[1:-1]


def members_bytes(members: str) -> int:
    """What such members take of a body, with the comma behind them."""
    return len(members.encode()) + 1 if members else 0


def tail(sent_at: float, members: str = "") -> bytes:
    """What follows the calls of a body: `],"sentAt":"..."}` with that POSIX time in UTC, milliseconds cut.

    `members` (see `members_json`) come before `sentAt`.
    """
    text = datetime.fromtimestamp(sent_at, UTC).isoformat(timespec="milliseconds")
    return f'],{members}{"," if members else ""}"sentAt":"{text.removesuffix("+00:00")}Z"}}'.encode()


def gzip_body(deflated: bytes, plain_bytes: int, crc32: int, tail: bytes) -> bytes:
    """A body as one gzip member, made from calls that were compressed long ago, without compressing anything again.

    The plain bytes of a batch stand in the spool as a raw deflate stream without a final block, ending on a byte
    boundary (a sync flush). The tail, a few dozen bytes, becomes one last, stored block (RFC 1951, section 3.2.4).
    Around both stand the header and trailer of one gzip member (RFC 1952, section 2.3): any reader of gzip reads it,
    also one that knows a single member only.

    Args:
        deflated: A raw deflate stream that ends with a sync or full flush and has no final block; may be empty.
        plain_bytes: How many bytes it inflates to.
        crc32: The CRC-32 of those bytes.
        tail: At most 65,535 bytes, put in as they are.

    Raises:
        ValueError: `tail` is longer than one stored block can be.
    """
    if len(tail) > _STORED_LIMIT:
        raise ValueError(f"a tail of {len(tail)} bytes does not fit one stored block of {_STORED_LIMIT}")
    stored = struct.pack("<HH", len(tail), len(tail) ^ _STORED_LIMIT)
    trailer = struct.pack("<II", zlib.crc32(tail, crc32), (plain_bytes + len(tail)) & 0xFFFFFFFF)
    return b"".join((_GZIP_HEADER, deflated, _STORED_FINAL, stored, tail, trailer))


def plain_bytes(calls: int, total: int) -> int:
    """The length of the plain bytes of that many calls, which have `total` bytes without the commas."""
    return len(HEAD) + total + (calls - 1) * COMMA


def first_call(batch: Batch) -> int:
    """Where the first call of a batch begins in the plain bytes of its planned batch."""
    return len(HEAD) if batch.start is None else batch.start


def last_call_end(batch: Batch) -> int:
    """Where the last call of a batch ends in the plain bytes of its planned batch."""
    return first_call(batch) + batch.bytes - len(HEAD)


def cut_part(planned: bytes, part: Batch) -> bytes:
    """The plain bytes of a part, from those of its planned batch."""
    return HEAD + planned[first_call(part) : last_call_end(part)]


def message_ids(plain: bytes, sizes: Sequence[int]) -> list[str]:
    """The message id of each call; empty where a call begins otherwise. `sizes`: of the calls, without commas.

    The calls are not parsed: a target may have refused them for what stands further on.
    """
    found = (_MESSAGE_ID.match(plain, start) for start, _ in _places(sizes))
    return [json.loads(match[1]) if match else "" for match in found]


def halves(batch: Batch, plain: bytes, sizes: Sequence[int]) -> list[BatchPart]:
    """The two halves of a batch of at least two calls, both still to be delivered.

    They are counted in calls; the first is the smaller one where the number is odd.

    Args:
        batch: the one to be cut.
        plain: its plain bytes.
        sizes: of its calls, without commas.
    """
    return cut_in_two(batch, plain, sizes, len(sizes) // 2)


def cut_in_two(batch: Batch, plain: bytes, sizes: Sequence[int], calls: int) -> list[BatchPart]:
    """The first `calls` calls of a batch that has more, and the rest of them; both still to be delivered."""
    places = list(_places(sizes))
    return [_part(batch, plain, run) for run in (places[:calls], places[calls:])]


def cut_out(batch: Batch, plain: bytes, sizes: Sequence[int], wanted: Collection[int]) -> list[tuple[bool, BatchPart]]:
    """The parts of a batch that hold the wanted calls (by index) alone, and those that hold none of them, in order."""
    groups = groupby(enumerate(_places(sizes)), key=lambda one: one[0] in wanted)
    return [(is_wanted, _part(batch, plain, [place for _, place in group])) for is_wanted, group in groups]


def refused_parts(
    batch: Batch, plain: bytes, sizes: Sequence[int], refused: Mapping[int, str], status: int
) -> list[BatchPart]:
    """The parts of a batch that was taken but for some of its calls, in order.

    Each refused call is a part of its own, rejected; the runs of calls between them are delivered.

    Args:
        batch: was taken.
        plain: its plain bytes.
        sizes: of its calls, without commas.
        refused: index of a call -> what the target said of it.
        status: of the answer.
    """
    parts: list[BatchPart] = []
    # Neighbours belong together where both were taken; a refused call is a group of its own.
    for key, group in groupby(enumerate(_places(sizes)), key=lambda one: one[0] if one[0] in refused else -1):
        run = [place for _, place in group]
        if key < 0:
            parts.append(_part(batch, plain, run, BatchState.DELIVERED))
        else:
            parts.append(_part(batch, plain, run, BatchState.REJECTED, status, refused[key]))
    return parts


def check_places(batch: Batch, parts: Sequence[BatchPart]) -> None:
    """Raise ValueError where these parts are not the calls of the batch, all of them and in their order."""
    if sum(part.calls for part in parts) != batch.calls or any(part.calls < 1 for part in parts):
        raise ValueError(f"parts of {[part.calls for part in parts]} calls are not the {batch.calls} of the batch")
    start = first_call(batch)
    for part in parts:
        if part.start != start:
            raise ValueError(f"a part begins at byte {part.start}, where the one before ends is {start}")
        start += part.bytes - len(HEAD) + COMMA
    if start != last_call_end(batch) + COMMA:
        raise ValueError(f"the parts end at byte {start - 1} of the planned batch, which is not where the batch ends")


def _part(
    batch: Batch,
    plain: bytes,
    run: Sequence[tuple[int, int]],
    state: BatchState = BatchState.PLANNED,
    status: int | None = None,
    detail: str = "",
) -> BatchPart:
    """The calls of a batch that stand at these places of its plain bytes, one behind the other, as a part."""
    start, end = run[0][0], run[-1][1]
    return BatchPart(
        calls=len(run),
        start=first_call(batch) + start - len(HEAD),
        bytes=len(HEAD) + end - start,
        crc32=zlib.crc32(memoryview(plain)[start:end], _HEAD_CRC32),
        state=state,
        status=status,
        detail=detail,
    )


def _places(sizes: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Where each call begins and ends in the plain bytes of its batch."""
    start = len(HEAD)
    for size in sizes:
        yield start, start + size
        start += size + COMMA
