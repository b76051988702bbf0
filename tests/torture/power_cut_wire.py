"""What went over the wire, put together from what was sent and received on each connection."""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tests.support.delivery_fakes import Seen
from tests.torture.power_cut_replay import Said

MESSAGE = re.compile(rb'\{"type":"[a-z]+","messageId":"([^"]+)"')

#: What a batch is known by in the ledger: CRC-32 and length of its plain bytes.
Fingerprint = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Request:
    """One request on the wire: the batch in it, and when it began to leave, was gone, and was answered."""

    batch: Fingerprint
    calls: dict[bytes, bytes]  # by message id
    began: int
    gone: int
    answered: int | None
    status: int | None


def requests(said: Sequence[Said]) -> list[Request]:
    """The requests of a whole recording, in the order in which they began."""
    found: list[Request] = []
    for connection in sorted({one.connection for one in said}):
        found.extend(_requests_of([one for one in said if one.connection == connection]))
    return sorted(found, key=lambda one: one.began)


def _requests_of(said: Sequence[Said]) -> Iterator[Request]:
    """The requests of one connection: each is all that was sent until something is received, or to its end."""
    sent: list[Said] = []
    got: list[Said] = []
    for one in [*said, None]:
        if one is None or (one.sent and got):
            if sent:
                yield _request(sent, got)
            sent, got = [], []
        if one is not None:
            (sent if one.sent else got).append(one)


def _request(sent: Sequence[Said], got: Sequence[Said]) -> Request:
    head, _, body = b"".join(one.content for one in sent).partition(b"\r\n\r\n")
    headers = dict(line.decode().lower().split(": ", 1) for line in head.split(b"\r\n")[1:])
    assert int(headers["content-length"]) == len(body), "the whole request is on the record"
    seen = Seen("", headers, body, 0)
    answer = b"".join(one.content for one in got)
    status = int(answer.split(b" ", 2)[1]) if answer else None
    answered = next((one.at for one in got if one.content), None)
    return Request(batch_of(seen), calls_in(seen), sent[0].at, sent[-1].at, answered, status)


def batch_of(seen: Seen) -> Fingerprint:
    """What the ledger knows a request's batch by."""
    return zlib.crc32(seen.calls), len(seen.calls)


def calls_in(seen: Seen) -> dict[bytes, bytes]:
    """The calls of a request, by their ids."""
    plain = seen.calls
    starts = [*MESSAGE.finditer(plain)]
    ends = [*(match.start() - 1 for match in starts[1:]), len(plain)]
    return {match[1]: plain[match.start() : end] for match, end in zip(starts, ends, strict=True)}


def together(parts: Sequence[dict[bytes, bytes]]) -> dict[bytes, bytes]:
    """The calls of several requests."""
    held: dict[bytes, bytes] = {}
    for calls in parts:
        for message_id, call in calls.items():
            assert held.setdefault(message_id, call) == call, "one id, two contents"
    return held
