"""Constant fields of a request's body beside `batch` and `sentAt`, as a profile states them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from backfill.wire import members_json

#: What backfill itself writes into a body, or must not be there: case aside, as some services read it.
RESERVED: Final = {"batch", "sentat", "writekey", "messageid"}
#: Of all fields as JSON: they are sent with every request.
MOST_BYTES: Final = 8_000


def envelope_fault(fields: Mapping[str, Any]) -> tuple[str, str, str] | None:
    """What is wrong with the fields: which one (empty for all of them), what, and what to do; None where nothing is."""
    for name in fields:
        if name.casefold() in RESERVED:
            return (
                name,
                "is not for a profile to say",
                "backfill writes the batch, its ids and times; keys go in headers",
            )
    try:
        text = members_json(fields)
    except (ValueError, TypeError):
        return (
            "",
            "holds a value that JSON does not have",
            "texts, finite numbers, true, false, null, lists and objects",
        )
    if "${" in text:
        return "", "holds a ${...}: variables are not filled in here", "it is a constant, and shown before a live run"
    if len(text.encode()) > MOST_BYTES:
        return "", f"is larger than {MOST_BYTES:,} bytes", "it is sent with every request"
    return None
