"""A target: everything a run has to know of where its calls go."""

from __future__ import annotations

from dataclasses import field, replace
from enum import StrEnum
from typing import Final

from backfill.errors import UsageError
from backfill.frozen import frozen
from backfill.limits import DEDUP_WINDOW_SECONDS, RUDDERSTACK, SEGMENT, SEGMENT_CALLS_PER_SECOND, Limits
from backfill.targets.endpoint import EndpointError, parse_endpoint
from backfill.targets.secret import Secret

SANDBOX_SCOPE: Final = "sandbox"
#: Hex digits of the key's SHA-256 in the default id_scope, and those shown to people.
SCOPE_DIGITS: Final = 12
SHOWN_DIGITS: Final = 8


class TargetKind(StrEnum):
    """Whose API it is."""

    SEGMENT = "segment"
    RUDDERSTACK = "rudderstack"
    COMPATIBLE = "compatible"
    SANDBOX = "sandbox"


class AuthScheme(StrEnum):
    """How a request carries the write key."""

    BASIC = "basic"  # RFC 7617: the key as user, no password
    BEARER = "bearer"  # RFC 6750
    PLAIN = "plain"  # the key alone is the header's value


class AnswerFormat(StrEnum):
    """What a success says in its body."""

    STATUS = "status"  # nothing that counts
    SUCCESS = "success"  # Segment: {"success": true}
    OK = "ok"  # RudderStack: the text OK
    JITSU = "jitsu"  # {"ok", "errors": ["Message ID: ...: words"], "receivedEvents", "okEvents"}
    INDEXED = "indexed"  # {"errors": [{"index": 3, "message": "words"}]}

    @property
    def by_call(self) -> bool:
        """Whether it names the calls that were refused within a batch that was taken."""
        return self in (AnswerFormat.JITSU, AnswerFormat.INDEXED)


@frozen
class KindDefaults:
    """What holds where a profile does not say otherwise."""

    rate: float | None  # calls a second
    gzip: bool
    limits: Limits
    dedup_window: float  # seconds
    answers: AnswerFormat


#: Segment remembers ids for a day. RudderStack's server drops repeated ids only where that was turned on (off by
#: default, then for an hour), and of a service that we do not know nothing is known: no window is taken for granted,
#: since a wrong guess would deliver calls twice. The pace is the same careful one everywhere.
DEFAULTS: Final = {
    TargetKind.SEGMENT: KindDefaults(
        SEGMENT_CALLS_PER_SECOND,
        gzip=True,
        limits=SEGMENT,
        dedup_window=DEDUP_WINDOW_SECONDS,
        answers=AnswerFormat.SUCCESS,
    ),
    TargetKind.RUDDERSTACK: KindDefaults(
        SEGMENT_CALLS_PER_SECOND, gzip=True, limits=RUDDERSTACK, dedup_window=0, answers=AnswerFormat.OK
    ),
    # Bodies that anything can read.
    TargetKind.COMPATIBLE: KindDefaults(
        SEGMENT_CALLS_PER_SECOND, gzip=False, limits=SEGMENT, dedup_window=0, answers=AnswerFormat.STATUS
    ),
    TargetKind.SANDBOX: KindDefaults(
        None, gzip=True, limits=SEGMENT, dedup_window=DEDUP_WINDOW_SECONDS, answers=AnswerFormat.SUCCESS
    ),
}


@frozen
class Target:
    """Where calls go. Runs are found by `identity`, whatever the profile is called."""

    name: str
    kind: TargetKind
    endpoint: str  # normalised, without /v1; empty for the sandbox inside the process until `at` gives it one
    batch_url: str
    region: str  # us or eu at Segment's own endpoints, else empty
    write_key: Secret | None  # None only where no key was wanted (see load_target)
    id_scope: str
    limits: Limits
    rate: float | None  # calls a second; None: as fast as the target takes them
    gzip: bool
    insecure: bool = False  # plain http beyond loopback was asked for
    envelope: str = ""  # further members of every body's object, as JSON without the braces
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)  # further ones of every request
    auth: AuthScheme = AuthScheme.BASIC
    auth_header: str = "Authorization"
    dedup_window: float = DEDUP_WINDOW_SECONDS  # seconds for which it drops message ids that it has seen
    answers: AnswerFormat = AnswerFormat.STATUS
    requests: float | None = None  # requests a second, besides `rate`; None: as many as that allows
    key_origin: str = ""  # where the write key came from, for people: a variable or a file

    @property
    def live(self) -> bool:
        """Whether calls leave this machine for good: any kind but the sandbox."""
        return self.kind is not TargetKind.SANDBOX

    @property
    def identity(self) -> str:
        """Kind and endpoint; the sandbox inside the process is the same at every port it gets."""
        return f"{self.kind} {self.endpoint}".strip() if self.live or self.endpoint else str(self.kind)

    @property
    def key_digest(self) -> str:
        """First digits of the key's SHA-256, to tell keys apart without showing them; empty without a key."""
        return self.write_key.sha256[:SHOWN_DIGITS] if self.write_key and self.live else ""

    @property
    def ids_are_live(self) -> bool:
        """Whether message ids made with `id_scope` are those of a live run."""
        return self.live and (self.write_key is not None or self.id_scope != SANDBOX_SCOPE)

    def at(self, url: str) -> Target:
        """The sandbox inside the process once it listens at `url`: same identity, calls go there.

        Raises:
            UsageError: the target is no sandbox, or the URL is not on loopback.
        """
        try:
            endpoint = parse_endpoint(url)
        except EndpointError as error:
            raise UsageError(f"the sandbox's endpoint {error.message}", hint=error.hint) from None
        if self.live or not endpoint.loopback:
            raise UsageError("only a sandbox on loopback can be put elsewhere")
        return replace(self, batch_url=endpoint.batch_url)


def default_scope(kind: TargetKind, key: Secret | None) -> str:
    """The id_scope where a profile states none: ids of a rehearsal must not be those of another source."""
    if kind is TargetKind.SANDBOX or key is None:
        return SANDBOX_SCOPE
    return key.sha256[:SCOPE_DIGITS]
