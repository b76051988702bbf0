"""What is kept of a target's words: one short line, without the write key, headers' values or the calls it repeats."""

from __future__ import annotations

import re

from backfill.deliver.model import TargetAccess
from backfill.deliver.transport import Reply, basic_authorization, key_header
from backfill.verdict import Failure
from backfill.wire import REPEATED

#: Of an answer's body this many characters are kept.
DETAIL_CHARACTERS = 200
#: A header's value that is shorter is no secret.
SHORTEST_SECRET = 8


def secrets_of(target: TargetAccess) -> tuple[str, ...]:
    """What must not be kept of an answer that repeats the request: the key, however written, and the headers' values.

    A header of a profile may hold a secret of its own; a value of a few characters is none, and would tear words.
    """
    basic = basic_authorization(target.write_key).removeprefix("Basic ")
    values = [value for value in target.headers.values() if len(value) >= SHORTEST_SECRET]
    return tuple(sorted({target.write_key, basic, key_header(target), *values} - {""}, key=len, reverse=True))


def detail_of(reply: Reply, secrets: tuple[str, ...]) -> str:
    """What an answer said, on one line, shortened, without key or payload; or how the attempt failed."""
    if isinstance(reply.end, Failure):
        return f"{reply.end.value}: {cleaned(reply.why, secrets)}" if reply.why else reply.end.value
    text = reply.body[: 8 * DETAIL_CHARACTERS].decode("utf-8", errors="replace")
    return cleaned(text, secrets, end=" [cut]" if reply.cut else "")


def cleaned(text: str, secrets: tuple[str, ...], end: str = "") -> str:
    """A target's words on one line of at most DETAIL_CHARACTERS, without secrets and without calls it repeats."""
    text = text[: 8 * DETAIL_CHARACTERS]
    for secret in secrets:
        text = text.replace(secret, "[write key]")
    text = REPEATED.sub("[calls]", text)
    text = " ".join(re.sub(r"[^\S ]|[\x00-\x1f\x7f-\x9f]", " ", text).split()) + end
    return text if len(text) <= DETAIL_CHARACTERS else text[: DETAIL_CHARACTERS - 1] + "…"
