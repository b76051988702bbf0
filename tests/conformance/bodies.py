"""Bodies of requests, made when they are sent."""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping

from tests.conformance.asked import Body, Ids

JSON = {"Content-Type": "application/json"}
GZIP = {**JSON, "Content-Encoding": "gzip"}


def track(ids: Ids, name: str, **members: object) -> dict[str, object]:
    """A good track call, with these members besides or instead."""
    return {"type": "track", "userId": "conformance", "event": "Conformance", "messageId": ids(name), **members}


def compact(value: object) -> bytes:
    """JSON in UTF-8 without spaces."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


def batch(*calls: Mapping[str, object] | str, **envelope: object) -> Body:
    """A batch of calls: a track call for each name, these members otherwise, which have a name as `messageId`."""

    def body(ids: Ids) -> bytes:
        made: list[object] = []
        for call in calls:
            if isinstance(call, str):
                made.append(track(ids, call))
            else:
                name = call.get("messageId")
                made.append({**call, "messageId": ids(name)} if isinstance(name, str) else call)
        return compact({"batch": made, **envelope})

    return body


def single(name: str = "m1", **members: object) -> Body:
    """The body of one track call."""
    return lambda ids: compact(track(ids, name, **members))


def padded(inner: Body, size: int) -> Body:
    """The body with so many blanks behind that it has just this size."""
    return lambda ids: inner(ids).ljust(size)


def packed(inner: Body, *, cut: int = 0, after: bytes = b"") -> Body:
    """The body as gzip, so many bytes cut off, others behind."""

    def body(ids: Ids) -> bytes:
        whole = gzip.compress(inner(ids), mtime=0)
        return whole[: len(whole) - cut] + after

    return body


def plain(content: bytes) -> Body:
    """These very bytes."""
    return lambda _: content


def with_key(inner: Body) -> Body:
    """The body with the write key in it."""
    return lambda ids: compact({**json.loads(inner(ids)), "writeKey": ids.key})
