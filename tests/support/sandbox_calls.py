"""Calls for a sandbox that is asked directly."""

import httpx

KEY = ("a-key", "")
TRACK = {"type": "track", "userId": "u1", "event": "Order Completed"}


def call(message_id: str, **members: object) -> dict[str, object]:
    """A good track call of this id, with these members besides."""
    return {**TRACK, "messageId": message_id, **members}


def post(client: httpx.Client, calls: list[object], **envelope: object) -> httpx.Response:
    """One batch."""
    return client.post("/v1/batch", json={"batch": calls, **envelope})
