"""What a rule is made of: requests, the answers to them, and what is to become of their calls."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from dataclasses import field

from backfill.advice.facts import Source
from backfill.frozen import frozen


@frozen
class Ids:
    """The message ids of one rule in one go: nobody else's, and none that was sent before."""

    prefix: str
    key: str

    def __call__(self, name: str) -> str:
        """The message id of the call with this name; of so many characters, where it ends in `/99`."""
        name, _, length = name.partition("/")
        return f"{self.prefix}-{name}".ljust(int(length or 0), "x")

    def basic(self) -> str:
        """The Authorization header: the key as user, no password."""
        return "Basic " + base64.b64encode(f"{self.key}:".encode()).decode()


#: The bytes of a body, made when they are sent.
Body = Callable[[Ids], bytes]


@frozen
class Ask:
    """One request, and the status that it is answered with."""

    body: Body
    status: int = 200
    path: str = "batch"  # below /v1/
    method: str = "POST"
    headers: Mapping[str, str] = field(default_factory=lambda: {"Content-Type": "application/json"})
    authorization: str | None = ""  # of the key, where it is empty; none at all, where it is None


@frozen
class Rule:
    """A rule of the API: what is asked, what is answered, what becomes of the calls, and who says so."""

    name: str
    says: str
    asks: tuple[Ask, ...]
    source: Source
    #: By the name of a call: `held`, `duplicate`, or the reason why it is dropped; several, where it was sent often.
    fates: Mapping[str, str] = field(default_factory=dict)
    unnamed: tuple[str, ...] = ()  # reasons for which calls are dropped that have no message id to find them by
    moments: Mapping[str, str] = field(default_factory=dict)  # by a call's name: formula, received, original
    members: Mapping[str, Mapping[str, object]] = field(default_factory=dict)  # what a call that is held has
    certain: bool = True  # documented; otherwise observed, or assumed where the documentation is silent

    @property
    def tells_of_calls(self) -> bool:
        """Whether it says more than what is answered."""
        return bool(self.fates or self.unnamed or self.moments or self.members)
