"""Calls for a sandbox that is asked directly."""

import ssl
from typing import Any

import httpx

KEY = ("a-key", "")
TRACK = {"type": "track", "userId": "u1", "event": "Order Completed"}


def call(message_id: str, **members: object) -> dict[str, object]:
    """A good track call of this id, with these members besides."""
    return {**TRACK, "messageId": message_id, **members}


def client_of(endpoint: str, **options: Any) -> httpx.Client:
    """A client of the sandbox there; it trusts nobody, for to read whom to trust would cost 0.1 s each time."""
    return httpx.Client(base_url=endpoint, verify=ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), **options)


def post(client: httpx.Client, calls: list[object], **envelope: object) -> httpx.Response:
    """One batch."""
    return client.post("/v1/batch", json={"batch": calls, **envelope})
