"""`targets.yaml` as people write it: its fields, and the rates and durations in them."""

from __future__ import annotations

import re
from typing import Any, Final, Literal

from pydantic import Field

from backfill.document import FileForm
from backfill.errors import UsageError

KindName = Literal["segment", "rudderstack", "compatible", "sandbox"]
RATE_HINT: Final = "write calls a second, such as 1000/s, or unlimited"
REQUESTS_HINT: Final = "write requests a second, such as 50/s, or unlimited"
DURATION_HINT: Final = "write seconds, minutes, hours or days, such as 3600s, 90m, 24h or 7d, or none"
_RATE: Final = re.compile(r"(\d{1,9}(?:\.\d{1,6})?)(?:/s)?")
_DURATION: Final = re.compile(r"([0-9]{1,6})([smhd])")
_UNITS: Final = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}


class LimitsForm(FileForm):
    """What one request may hold; what is left out is as the kind has it."""

    body_bytes: int | None = Field(None, ge=1_000, description="Uncompressed bytes of a request's body.")
    call_bytes: int | None = Field(None, ge=200, description="Uncompressed bytes of one call.")
    batch_calls: int | None = Field(None, ge=1, description="Calls of one request.")


class ProfileForm(FileForm):
    """One target."""

    kind: KindName = Field(description="Whose API it is.")
    endpoint: str | None = Field(None, description="Host or URL; Segment's own by `region` where left out.")
    region: Literal["us", "eu"] | None = Field(None, description="Segment's region.")
    # Any: a value that is no text must not be shown by a message about types, for it may be a key.
    write_key: Any = Field(None, description="The variable that holds the write key, as ${NAME}.")
    write_key_file: str | None = Field(None, description="A file of mode 0600 that holds the write key.")
    id_scope: str | None = Field(None, description="Part of every message id; the key's digest where left out.")
    rate: Any = Field(None, description="Calls a second, such as 1000/s, or unlimited.")
    requests: Any = Field(None, description="Requests a second, such as 50/s, or unlimited; besides `rate`.")
    gzip: bool | None = Field(None, description="Compress bodies.")
    limits: LimitsForm = Field(LimitsForm(), description="What one request may hold.")
    insecure: bool = Field(False, description="Allow plain http beyond loopback.")
    headers: dict[str, str] = Field({}, description="Further headers of every request.")
    envelope: dict[str, Any] = Field({}, description="Further constant fields of every request's body.")
    auth: Literal["basic", "bearer", "plain"] = Field("basic", description="How a request carries the write key.")
    auth_header: str = Field("Authorization", description="The header that carries it.")
    dedup_window: Any = Field(None, description="How long the target drops message ids it has seen, such as 24h.")
    answers: Literal["status", "jitsu", "indexed"] | None = Field(
        None, description="Whether a success names single calls that were refused, and how."
    )


class AskForm(FileForm):
    """Something that can be asked what it holds, by `reconcile --ask`."""

    kind: Literal["segment", "posthog", "sandbox"] = Field(description="Whose API is asked.")
    endpoint: str | None = Field(None, description="Host or URL of that API; Segment's and PostHog's in the US.")
    # Any: as of write keys.
    token: Any = Field(None, description="The variable that holds the API's token, as ${NAME}.")
    source_id: str | None = Field(None, description="Of kind segment: the id of the source, in its URL.")
    project: str | None = Field(None, description="Of kind posthog: the id of the project, a number.")
    message_id: str | None = Field(None, description="Of kind posthog: what holds the message id, such as uuid.")


class TargetsForm(FileForm):
    """All targets of a project."""

    version: Literal[1] = Field(description="Of this format.")
    targets: dict[str, ProfileForm] = Field(description="By name.")
    ask: dict[str, AskForm] = Field({}, description="What can be asked what it holds, by name.")
    state: str | None = Field(None, description="Where runs are kept: a folder, or postgresql://HOST/DATABASE.")


def parse_rate(text: str, hint: str = RATE_HINT) -> float | None:
    """Calls (or requests) a second of `1000/s` (or `1000`), None for `unlimited`; raises UsageError with that hint."""
    if text.strip() == "unlimited":
        return None
    match = _RATE.fullmatch(text.strip())
    rate = float(match[1]) if match else 0.0
    if not rate:
        raise UsageError(f"{text!r} is not a valid rate", hint=hint)
    return rate


def parse_duration(text: str) -> float:
    """Seconds of `3600s`, `90m`, `24h` or `7d`, 0 of `none`; raises UsageError."""
    if text.strip() == "none":
        return 0.0
    match = _DURATION.fullmatch(text.strip())
    if match is None:
        raise UsageError(f"{text!r} is not a valid duration", hint=DURATION_HINT)
    return float(int(match[1]) * _UNITS[match[2]])
