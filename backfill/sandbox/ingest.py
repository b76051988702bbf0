"""One request as Segment would understand it: which calls are fit to be held, and why the others are not.

No I/O and no clock. What was held before, and so what is a duplicate, only the store knows.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import orjson

from backfill.frozen import frozen
from backfill.limits import Limits
from backfill.sandbox.bodies import Refusal, call_texts
from backfill.sandbox.drops import MOST_MESSAGE_ID_CHARACTERS, Call, drop_reason
from backfill.sandbox.moments import iso_moment, parse_moment, stored_moment

#: Paths below /v1 that take a batch; import is the older name of the same (a maintainer, analytics-ruby issue 142).
BATCH_PATHS = ("batch", "import")
#: Longer names of events, and of types that are none, are cut where calls are counted and filtered by them.
MOST_EVENT_CHARACTERS = 200
_NAMED = {"track": "event", "page": "name", "screen": "name"}


@frozen
class HeldCall:
    """What is kept of one call: its moments as ISO text, its user, and its JSON as it was sent."""

    timestamp: str
    original_timestamp: str | None  # as sent
    sent_at: str | None  # as sent
    json: str
    user: str | None = None  # the userId, else the anonymousId


@frozen
class Drop:
    """A call that is not held: why, and what is known of it."""

    reason: str
    message_id: str | None
    kind: str | None
    event: str = ""
    held: HeldCall | None = None  # where it is kept whole


@frozen
class ReceivedRequest:
    """One understood request. Its calls are `ids` and `drops` together; an id stands in `ids` once."""

    received_ms: int
    ids: list[str]  # of the calls fit to be held, in order
    kinds: list[str]  # of the same calls
    held: list[HeldCall]  # of the first of them, as many as were asked for
    drops: list[Drop]  # reason `duplicate` too: an id that the same request had before
    body_bytes: int
    events: list[str]  # of the same calls as `ids`: see `event_of`
    first_id: str | None = None  # of the first call, whatever became of it

    @property
    def calls(self) -> int:
        """How many calls the request had."""
        return len(self.ids) + len(self.drops)


@frozen
class _Envelope:
    """What a request says about all its calls."""

    sent_at: object
    members: dict[str, dict[str, Any]]  # context and integrations of the batch
    received_ms: int


def read_request(
    body: bytes,
    *,
    path: str,
    key_in_header: bool,
    received_ms: int,
    limits: Limits,
    keep: int,
    keep_dropped: int = 0,
    new_id: Callable[[], str] = lambda: str(uuid.uuid4()),
) -> ReceivedRequest | Refusal:
    """The request of this uncompressed body, posted to /v1/`path`; a Refusal where Segment answers 400.

    The first `keep` calls fit to be held come with their JSON, and so do the first `keep_dropped` of the others.
    `new_id` makes the id of a call without one, as the API does.
    """
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        return Refusal("bad_request", f"not JSON: {error}")
    if not isinstance(document, dict):
        return Refusal("bad_request", "the body is not a JSON object")
    batch = path in BATCH_PATHS
    calls = _batch_of(document) if batch else [document]
    sorter = _Sorter(new_id=new_id, forced_kind=None if batch else path, most_bytes=limits.call_bytes)
    key = document.get("writeKey")
    if key_in_header or (isinstance(key, str) and key):
        # Which calls of a batch of over 2,500 are lost is not documented. Here those beyond it: a sender that counts
        # its calls then sees exactly the excess missing (unconfirmed).
        sorter.sort(calls[: limits.batch_calls])
        sorter.drop_all(calls[limits.batch_calls :], "over_batch_limit", first=limits.batch_calls)
    else:
        sorter.drop_all(calls, "project_not_found")
    fit, unfit = sorter.fit[:keep], sorter.unfit[:keep_dropped]
    held: list[HeldCall] = []
    if places := fit + unfit:
        envelope = _envelope_of(document, received_ms, batch=batch)
        texts = _texts(body, calls, places, batch=batch)
        held = [_hold(calls[place], text, envelope) for place, text in zip(places, texts, strict=True)]
    drops = _with_calls(sorter.drops, held[len(fit) :], limits.call_bytes)
    first_id = _first_id(calls)
    return ReceivedRequest(
        received_ms, sorter.ids, sorter.kinds, held[: len(fit)], drops, len(body), sorter.events, first_id
    )


def _with_calls(drops: list[Drop], held: list[HeldCall], most: int) -> list[Drop]:
    """The drops, the first of them with their calls. One may be as large as a body: then it is told without."""
    kept = [one if len(one.json) <= most else None for one in held]
    return [replace(drop, held=one) for drop, one in zip(drops, kept, strict=False)] + drops[len(kept) :]


def event_of(call: object, kind: object) -> str:
    """The event of a track call, the name of a page or screen; empty for others, and where it is no text."""
    member = _NAMED.get(kind) if isinstance(kind, str) and isinstance(call, dict) else None
    name = call.get(member) if member is not None and isinstance(call, dict) else None
    return name[:MOST_EVENT_CHARACTERS] if isinstance(name, str) else ""


def _first_id(calls: list[Any]) -> str | None:
    first = calls[0].get("messageId") if calls and isinstance(calls[0], dict) else None
    return first if isinstance(first, str) and len(first) <= MOST_MESSAGE_ID_CHARACTERS else None


def _batch_of(document: dict[str, Any]) -> list[Any]:
    calls = document.get("batch")
    return calls if isinstance(calls, list) else []


def _envelope_of(document: dict[str, Any], received_ms: int, *, batch: bool) -> _Envelope:
    members = {member: _mergeable(document.get(member)) if batch else {} for member in ("context", "integrations")}
    return _Envelope(document.get("sentAt"), members, received_ms)


def _mergeable(value: object) -> dict[str, Any]:
    """An object that can be merged into calls; none for anything else, and for one nested deeper than is written."""
    try:
        return value if isinstance(value, dict) and orjson.dumps(value) else {}
    except orjson.JSONEncodeError:
        return {}


class _Sorter:
    """Parts the calls of one request into those fit to be held and the others."""

    def __init__(self, *, new_id: Callable[[], str], forced_kind: str | None, most_bytes: int) -> None:
        self.ids: list[str] = []
        self.kinds: list[str] = []
        self.events: list[str] = []
        self.fit: list[int] = []  # places of the calls in `ids`
        self.drops: list[Drop] = []
        self.unfit: list[int] = []  # places of the calls in `drops`
        self._new_id = new_id
        self._forced_kind = forced_kind
        self._most_bytes = most_bytes

    def sort(self, calls: list[Any]) -> None:
        """Each call to its place."""
        seen: set[str] = set()
        for place, call in enumerate(calls):
            kind: Any = self._forced_kind or (call.get("type") if isinstance(call, dict) else None)
            reason = drop_reason(call, kind) or self._size_reason(call)
            if reason is not None:
                self._drop(place, call, reason)
                continue
            message_id = call.get("messageId") or self._new_id()
            if message_id in seen:
                self._drop(place, call, "duplicate")
                continue
            seen.add(message_id)
            self.ids.append(message_id)
            self.kinds.append(kind)
            member = _NAMED.get(kind)
            name = call.get(member) if member else None
            self.events.append(
                name[:MOST_EVENT_CHARACTERS] if name else ""
            )  # a text: its drop would have another reason
            self.fit.append(place)

    def _size_reason(self, call: Call) -> str | None:
        # The size that counts is not documented; here that of compact JSON, which no client can send less of.
        try:
            return "oversize_call" if len(orjson.dumps(call)) > self._most_bytes else None
        except orjson.JSONEncodeError:  # it writes fewer levels than it reads
            return "nested_too_deep"

    def drop_all(self, calls: list[Any], reason: str, *, first: int = 0) -> None:
        """Every one of these calls is dropped for one reason; `first` is the place of the first of them."""
        for place, call in enumerate(calls, first):
            self._drop(place, call, reason)

    def _drop(self, place: int, call: object, reason: str) -> None:
        members: Mapping[str, object] = call if isinstance(call, dict) else {}
        message_id, kind = members.get("messageId"), self._forced_kind or members.get("type")
        self.drops.append(
            Drop(
                reason,
                message_id if isinstance(message_id, str) else None,
                kind if isinstance(kind, str) else None,
                event_of(call, kind),
            )
        )
        self.unfit.append(place)


def _texts(body: bytes, calls: list[Any], places: list[int], *, batch: bool) -> list[str]:
    """The text of the calls in these places."""
    text = body.decode()
    if not batch:
        return [text.strip()]
    try:
        texts = call_texts(text, calls)
    except RecursionError:  # a call that was dropped for it
        return [_compact(calls[place]) for place in places]
    return [texts[place] for place in places]


def _compact(value: object) -> str:
    """The value as JSON; empty where it is nested deeper than is written."""
    try:
        return orjson.dumps(value).decode()
    except orjson.JSONEncodeError:
        return ""


def _hold(call: object, text: str, envelope: _Envelope) -> HeldCall:
    """A call as it is kept: its own text, unless the envelope adds to it or it carries a write key."""
    if not isinstance(call, dict):
        return HeldCall(iso_moment(envelope.received_ms), None, None, text)
    added: Call = {}
    for member, of_batch in envelope.members.items():
        own = call.get(member)
        # Batch-level objects are merged into each call's (HTTP API page); that the call's own members win is
        # unconfirmed.
        if of_batch and (own is None or isinstance(own, dict)):
            added[member] = of_batch | (own or {})
    if added or "writeKey" in call:
        text = _compact({name: value for name, value in (call | added).items() if name != "writeKey"})
    original = call.get("timestamp") if call.get("timestamp") is not None else call.get("originalTimestamp")
    sent = call.get("sentAt") if call.get("sentAt") is not None else envelope.sent_at
    return HeldCall(
        timestamp=_timestamp(original, sent, envelope.received_ms),
        original_timestamp=original if isinstance(original, str) else None,
        sent_at=sent if isinstance(sent, str) else None,
        json=text,
        user=_user(call),
    )


def _user(call: Call) -> str | None:
    found = (call.get("userId"), call.get("anonymousId"))
    return next((one for one in found if isinstance(one, str) and one), None)


def _timestamp(original: object, sent: object, received_ms: int) -> str:
    try:
        return iso_moment(stored_moment(parse_moment(original), parse_moment(sent), received_ms))
    except OverflowError:  # the formula left the calendar: taken like an unreadable timestamp
        return iso_moment(received_ms)
