"""What the body of a success says: nothing that counts, that it is odd, or which of its calls were refused. Pure.

    form      answer                                                          what is odd
    --------  --------------------------------------------------------------  -------------------------------
    success   Segment's {"success": true}                                     any other body
    ok        RudderStack's text OK, or JSON                                  any other body
    status    nothing is known of it                                          a web page, no body, cut JSON
    jitsu     {"ok": false, "errors": ["Message ID: a1b2: words"],            JSON that cannot be read, errors
               "receivedEvents": 3, "okEvents": 2}                            that fit no call, other counts
    indexed   {"errors": [{"index": 3, "message": "words"}]}                  the same

Jitsu's form is that of its ingest service (github.com/jitsucom/bulker, ingest/router_batch_handler.go), which shortens
message ids to 64 characters and replaces what it does not like in them. An odd success stays a success: the status says
that the batch was received, and sending it again could deliver its calls twice. So it is said, never guessed at.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import field
from typing import Any

from backfill.frozen import frozen
from backfill.targets import AnswerFormat

#: The web page of a portal, a login or a wrong endpoint, where an API was expected.
_PAGE = re.compile(rb"\s*<")
_JITSU = re.compile(r"Message ID: (\S+): (.*)", re.DOTALL)
_JITSU_UNSUPPORTED = re.compile(r"[^a-zA-Z0-9._-]")
_JITSU_LENGTH = 64
_NO_CONTENT = 204


@frozen
class Success:
    """What a success says besides its status."""

    refused: Mapping[int, str] = field(default_factory=dict)  # index of the call in the batch -> the target's words
    odd: str = ""  # what is strange about it, for people; empty where nothing is


def read_success(
    form: AnswerFormat, status: int, body: bytes, *, cut: bool, calls: int, ids: Callable[[], Sequence[str]]
) -> Success:
    """What the body of a 2xx says.

    Args:
        form: how this target answers.
        status: from 200 to 299.
        body: as far as it was read.
        cut: it broke off or was longer.
        calls: in the batch.
        ids: gives the message ids of the batch's calls in order; asked only where errors name them.
    """
    if _PAGE.match(body):
        return Success(odd="is a web page: is the endpoint right?")
    said, odd = _parsed(body, cut=cut)
    if form.by_call:
        return _by_call(form, said, odd, calls, ids)
    if status == _NO_CONTENT or (odd and not cut and _is_good_text(form, body)):
        return Success()
    if form is AnswerFormat.SUCCESS and not odd and not (isinstance(said, dict) and said.get("success") is True):
        odd = "is JSON without the success that Segment's has"
    return Success(odd=odd)


def _is_good_text(form: AnswerFormat, body: bytes) -> bool:
    """Whether a body that is no JSON is as it should be: OK of RudderStack, any text of an unknown service."""
    text = body.strip()
    return (
        text == b"OK" if form is AnswerFormat.OK else form is AnswerFormat.STATUS and text[:1] not in (b"", b"{", b"[")
    )


def _parsed(body: bytes, *, cut: bool) -> tuple[Any, str]:
    """The JSON of a body, and what is odd where it is none."""
    if not body.strip():
        return None, "is empty"
    if cut:
        return None, "is cut off"
    try:
        return json.loads(body), ""
    except (ValueError, RecursionError):
        return None, "is not JSON"


def _by_call(form: AnswerFormat, said: Any, odd: str, calls: int, ids: Callable[[], Sequence[str]]) -> Success:  # noqa: ANN401
    """The calls that an answer names as refused."""
    if odd or not isinstance(said, dict):
        return Success(odd=f"{odd or 'is no JSON object'}: which calls were refused cannot be read")
    errors = said.get("errors") or []
    if not isinstance(errors, list):
        return Success(odd="has errors that are no list: which calls were refused cannot be read")
    named = _of_jitsu(errors, ids) if form is AnswerFormat.JITSU and errors else _of_indexed(errors)
    refused = {index: words for index, words in named if 0 <= index < calls}
    lost = len(errors) - sum(0 <= index < calls for index, _ in named)
    if lost:
        return Success(refused, f"has {lost} errors that name no call of the batch: they are not told apart")
    return Success(refused, _miscounted(said, len(refused), calls))


def _miscounted(said: Mapping[str, Any], refused: int, calls: int) -> str:
    """What is odd about an answer's own counts, where it has any."""
    good, repeated = (
        n if isinstance(n := said.get(name), int) else None for name in ("okEvents", "deduplicatedEvents")
    )
    if said.get("ok") is False and not refused and not repeated:
        return "says that it is not ok, and names no call"
    if good is not None and good not in (calls - refused, calls - refused - (repeated or 0)):
        return f"counts {good} good calls of {calls} and names {refused} refused"
    return ""


def _of_jitsu(errors: Sequence[Any], ids: Callable[[], Sequence[str]]) -> list[tuple[int, str]]:
    """Jitsu's errors: texts that begin with the message id, as Jitsu writes it."""
    places: dict[str, int] = {}
    for index, message_id in enumerate(ids()):
        places.setdefault(_JITSU_UNSUPPORTED.sub("_", message_id)[:_JITSU_LENGTH], index)
    found = [match for error in errors if isinstance(error, str) and (match := _JITSU.fullmatch(error))]
    return [(places[match[1]], match[2]) for match in found if match[1] in places]


def _of_indexed(errors: Sequence[Any]) -> list[tuple[int, str]]:
    """Errors that give the place of their call in the batch, from 0."""
    found: list[tuple[int, str]] = []
    for error in errors:
        index = error.get("index") if isinstance(error, dict) else None
        if isinstance(index, int) and not isinstance(index, bool):
            words = error.get("message") or error.get("error") or error.get("code") or ""
            found.append((index, words if isinstance(words, str) else json.dumps(words)))
    return found
