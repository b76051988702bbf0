"""Services that take Segment's calls, each as its own documentation or source says it answers.

What each says on success and on error, what it limits, and how it reads the key; nothing of what it does with calls
beyond keeping them. `taken` holds the message ids of the calls that the service has kept, in order.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from tests.support.stand_ins.server import Asked, Said


@dataclass
class Service:
    """What all of them share: the key that is good, and the calls kept."""

    key: str
    enabled: bool = True
    refuses: Callable[[dict[str, Any]], bool] = lambda _call: False  # a call that it does not take
    taken: list[str] = field(default_factory=list)

    def __call__(self, asked: Asked) -> Said:
        """The answer to one request."""
        return self.answer(asked)

    def answer(self, asked: Asked) -> Said:
        """What the service says."""
        raise NotImplementedError

    def keep(self, calls: list[dict[str, Any]]) -> None:
        """Keep these calls."""
        self.taken += [call["messageId"] for call in calls]

    @staticmethod
    def calls(asked: Asked) -> list[dict[str, Any]]:
        """The calls of a request; raises ValueError where there are none to be read."""
        batch = json.loads(asked.body)["batch"]
        if not isinstance(batch, list):
            raise TypeError
        return batch


class Segment(Service):
    """Segment (HTTP API page, "Errors"): 200 to all but JSON errors and large payloads; the key is not looked at.

    A body that is too large is 400, not 413; a wrong key or a disabled source shows nowhere in the answer.
    """

    BODY, CALL = 500 * 1024, 32 * 1024

    def answer(self, asked: Asked) -> Said:
        """As above."""
        if asked.path != "/v1/batch":
            return Said(404, "404 page not found", kind="text/plain")
        try:
            calls = self.calls(asked)
        except (ValueError, TypeError, KeyError):
            return Said(400, '{"success":false,"code":"invalid_request","message":"malformed JSON"}')
        if len(asked.body) > self.BODY or any(self.refuses(call) for call in calls):
            return Said(400, '{"success":false,"code":"invalid_request","message":"payload too large"}')
        if asked.user == self.key and self.enabled:
            self.keep(calls[:2_500])
        return Said(200, '{"success":true}')


class RudderStack(Service):
    """RudderStack's gateway (rudder-server, gateway/response and gateway/handle_lifecycle): real errors, as text.

    4,000 KB of 1,024 bytes a request, and no deduplication unless the server was told to.
    """

    BODY = 4_000 * 1024

    def answer(self, asked: Asked) -> Said:  # noqa: PLR0911 - one a refusal
        """As above."""
        if asked.path != "/v1/batch":
            return self.text(404, "404 page not found")
        if asked.user is None:
            return self.text(401, "Failed to read writeKey from header")
        if asked.user != self.key:
            return self.text(401, "Invalid Write Key")
        if not self.enabled:
            return self.text(404, "Source is disabled")
        if not asked.body:
            return self.text(400, "Request body is nil")
        if len(asked.body) > self.BODY:
            return self.text(413, "Request size exceeds max limit")
        try:
            calls = self.calls(asked)
        except (ValueError, TypeError, KeyError):
            return self.text(400, "Invalid JSON")
        if not all(call.get("userId") or call.get("anonymousId") for call in calls) or any(map(self.refuses, calls)):
            return self.text(400, "Request neither has anonymousId nor userId")
        self.keep(calls)
        return self.text(200, "OK")

    @staticmethod
    def text(status: int, words: str) -> Said:
        """As Go's http.Error writes it."""
        return Said(status, words if status == 200 else f"{words}\n", kind="text/plain; charset=utf-8")


class Jitsu(Service):
    """Jitsu's ingest service (bulker, ingest/router_batch_handler.go): 200 with what was wrong with which call."""

    EVENT = 1_000_000
    UNSUPPORTED = re.compile(r"[^a-zA-Z0-9._-]")

    def answer(self, asked: Asked) -> Said:
        """As above."""
        if asked.path not in ("/v1/batch", "/api/s/s2s/batch"):
            return Said(404, "404 page not found", kind="text/plain")
        if not asked.headers.get("content-type", "").endswith("application/json"):
            return self.error(400, "invalid content type")
        try:
            calls = self.calls(asked)
        except (ValueError, TypeError, KeyError):
            return self.error(400, "error parsing message")
        if (asked.headers.get("x-write-key") or asked.user) != self.key or not self.enabled:
            return self.error(401, "stream not found")
        good = [call for call in calls if not self.refuses(call) and len(json.dumps(call)) <= self.EVENT]
        self.keep(good)
        counts = {"receivedEvents": len(calls), "okEvents": len(good)}
        if len(good) == len(calls):
            return Said(200, json.dumps({"ok": True, **counts}))
        errors = [f"Message ID: {self.as_written(call)}: event error" for call in calls if call not in good]
        return Said(200, json.dumps({"ok": False, "errors": errors, **counts}))

    def as_written(self, call: dict[str, Any]) -> str:
        """The message id as Jitsu keeps it."""
        return self.UNSUPPORTED.sub("_", call["messageId"])[:64]

    @staticmethod
    def error(status: int, words: str) -> Said:
        """Jitsu's error object."""
        return Said(status, json.dumps({"error": words}))


class Indexed(Service):
    """Datafly Signal (docs.dataflysignal.com/ingestion/batch): a bearer key, 500 calls, and errors by their index."""

    CALLS, BODY = 500, 5_000_000

    def answer(self, asked: Asked) -> Said:  # noqa: PLR0911 - one a refusal
        """As above."""
        if asked.path != "/v1/batch":
            return self.error(404, "NOT_FOUND")
        if asked.bearer != self.key:
            return self.error(401, "INVALID_PIPELINE_KEY")
        if not self.enabled:
            return self.error(403, "PIPELINE_DISABLED")
        if len(asked.body) > self.BODY:
            return self.error(413, "PAYLOAD_TOO_LARGE")
        try:
            calls = self.calls(asked)
        except (ValueError, TypeError, KeyError):
            return self.error(400, "INVALID_JSON")
        if len(calls) > self.CALLS:
            return self.error(400, "BATCH_TOO_LARGE")
        self.keep([call for call in calls if not self.refuses(call)])
        errors = [{"index": i, "message": "schema violation"} for i, call in enumerate(calls) if self.refuses(call)]
        return Said(200, json.dumps({"accepted": len(calls) - len(errors), "errors": errors}))

    @staticmethod
    def error(status: int, code: str) -> Said:
        """Its error object."""
        return Said(status, json.dumps({"error": {"code": code, "message": code.lower().replace("_", " ")}}))


class CustomerIo(Service):
    """Customer.io Pipelines (its OpenAPI file): 200 to everything, unless `X-Strict-Mode: 1` asks for the truth."""

    BODY = 500 * 1024

    def answer(self, asked: Asked) -> Said:
        """As above."""
        strict = asked.headers.get("x-strict-mode") == "1"
        try:
            calls = self.calls(asked)
        except (ValueError, TypeError, KeyError):
            return self.judged(400, "malformed JSON", strict=strict)
        if asked.user != self.key or not self.enabled:
            return self.judged(401, "unauthorized", strict=strict)
        if len(asked.body) > self.BODY or any(map(self.refuses, calls)):
            return self.judged(400, "too large", strict=strict)
        self.keep(calls)
        return Said(200, '{"success":true}')

    @staticmethod
    def judged(status: int, words: str, *, strict: bool) -> Said:
        """The error where it was asked for, else the usual success."""
        return Said(status, json.dumps({"error": words})) if strict else Said(200, '{"success":true}')
