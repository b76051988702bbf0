"""What Segment drops in silence: the reason for each call, by Segment's own discard code where it has one.

Codes marked "Segment" stand in its list of events that failed on ingest
(https://www.twilio.com/docs/segment/connections/delivery-overview); the rest are named here, with the page that tells
the rule. All of these are answered 200 (HTTP API page, "Errors").
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Call = dict[str, Any]

#: messageId longer than this is dropped by Unify (product limits page); the HTTP API page asks for fewer than 100, and
#: nothing says what becomes of exactly 100, which is let through here.
MOST_MESSAGE_ID_CHARACTERS = 100

#: Every reason that this sandbox gives, and what it means.
REASONS = {
    # Segment's codes.
    "project_not_found": "the request had no write key, neither as Basic user nor as writeKey in the body",
    "missing_type": "a call in a batch without type",
    "invalid_type": "a type other than identify, track, page, screen, group and alias",
    "no_user_anon_id": "neither userId nor anonymousId; for alias, no userId",
    "id_not_string": "userId or anonymousId is an empty string or not a string",
    "event_not_defined": "a track call without event, or with an empty one",
    "event_not_string": "a track call whose event is not a string",
    "properties_not_object": "properties is not an object",
    "traits_not_object": "traits is not an object",
    "name_not_string": "the name of a page or screen is an empty string or not a string",
    "category_not_string": "the category of a page or screen is an empty string or not a string",
    "device_advertisingid_should_be_string": "context.device.advertisingId is not a string",
    # Ours.
    "over_batch_limit": "beyond the 2,500th call of one batch (HTTP API page)",
    "oversize_call": "a call of over 32 KB in a batch (HTTP API page)",
    "nested_too_deep": "a call nested over 250 levels deep, more than this sandbox reads (unconfirmed)",
    "call_not_object": "an element of batch that is not an object",
    "group_id_missing": "a group call whose groupId is missing, empty or not a string (group spec)",
    "previous_id_missing": "an alias call whose previousId is missing, empty or not a string (alias spec)",
    "message_id_too_long": "messageId of over 100 characters (Unify's product limits page)",
    "message_id_not_string": "messageId is not a string (unconfirmed)",
}


def drop_reason(call: object, kind: object) -> str | None:
    """Why Segment would drop this call of this type in silence, one of REASONS; None where it would take it.

    Size and the count of a batch are not judged here. A null member counts as one that is not there: the official
    Python library sends null for what it was not given.
    """
    if not isinstance(call, dict):
        return "call_not_object"
    if kind is None:
        return "missing_type"
    rule = _RULES.get(kind) if isinstance(kind, str) else None
    if rule is None:
        return "invalid_type"
    return _message_id(call) or _identity(call) or rule(call) or _device(call)


def _message_id(call: Call) -> str | None:
    message_id = call.get("messageId")
    if message_id is None:
        return None
    if not isinstance(message_id, str):
        return "message_id_not_string"
    return "message_id_too_long" if len(message_id) > MOST_MESSAGE_ID_CHARACTERS else None


def _identity(call: Call) -> str | None:
    user, anonymous = call.get("userId"), call.get("anonymousId")
    if user is None and anonymous is None:
        return "no_user_anon_id"
    for value in (user, anonymous):
        if value is not None and (value == "" or not isinstance(value, str)):
            return "id_not_string"
    return None


def _identify(call: Call) -> str | None:
    return _object_or_nothing(call, "traits")


def _track(call: Call) -> str | None:
    event = call.get("event")
    if event is None or event == "":
        return "event_not_defined"
    if not isinstance(event, str):
        return "event_not_string"
    return _object_or_nothing(call, "properties")


def _page(call: Call) -> str | None:
    for member in ("name", "category"):
        value = call.get(member)
        if value is not None and (value == "" or not isinstance(value, str)):
            return f"{member}_not_string"
    return _object_or_nothing(call, "properties")


def _group(call: Call) -> str | None:
    return _object_or_nothing(call, "traits") if _filled_text(call, "groupId") else "group_id_missing"


def _alias(call: Call) -> str | None:
    # The alias spec wants userId; that an anonymousId alone is not enough is its letter, unconfirmed.
    if call.get("userId") is None:
        return "no_user_anon_id"
    return None if _filled_text(call, "previousId") else "previous_id_missing"


def _device(call: Call) -> str | None:
    context = call.get("context")
    device = context.get("device") if isinstance(context, dict) else None
    advertising = device.get("advertisingId") if isinstance(device, dict) else None
    return None if advertising is None or isinstance(advertising, str) else "device_advertisingid_should_be_string"


def _object_or_nothing(call: Call, member: str) -> str | None:
    value = call.get(member)
    return None if value is None or isinstance(value, dict) else f"{member}_not_object"


def _filled_text(call: Call, member: str) -> bool:
    value = call.get(member)
    return isinstance(value, str) and value != ""


_RULES: dict[str, Callable[[Call], str | None]] = {
    "identify": _identify,
    "track": _track,
    "page": _page,
    "screen": _page,
    "group": _group,
    "alias": _alias,
}

#: The types of calls, as the paths below /v1 spell them.
KINDS = tuple(_RULES)
