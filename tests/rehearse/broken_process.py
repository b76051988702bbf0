"""The process of a rehearsal with a delivery that is broken as BROKEN says: a rehearsal has to find it out."""

from __future__ import annotations

import gzip
import itertools
import json
import os
import sys

from backfill.deliver.transport import Reply, Transport
from backfill.rehearse import process

_POST = Transport.post
_NUMBERS = itertools.count(1)


def twice(transport: Transport, body: bytes, retries: int, tail: bytes = b"") -> Reply:
    """Every request leaves twice, and the ledger knows of one."""
    _POST(transport, body, retries, tail)
    return _POST(transport, body, retries, tail)


def loses(transport: Transport, body: bytes, retries: int, tail: bytes = b"") -> Reply:
    """Each seventh request is taken for answered, and never left."""
    if next(_NUMBERS) % 7:
        return _POST(transport, body, retries, tail)
    return Reply(200, 0.0, body=b'{"success":true}')


def alters(transport: Transport, body: bytes, retries: int, tail: bytes = b"") -> Reply:
    """Another number is sent than was planned."""
    plain = gzip.decompress(body + tail).replace(b'"age":11', b'"age":99')
    return _POST(transport, gzip.compress(plain), retries)


if __name__ == "__main__":
    Transport.post = {"twice": twice, "loses": loses, "alters": alters}[os.environ["BROKEN"]]  # type: ignore[method-assign]
    sys.stdout.write(f"{process.READY}\n")
    sys.stdout.write(json.dumps(process.main(sys.argv[1])) + "\n")
