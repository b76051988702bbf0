"""Faults by script: what goes wrong with which request, the same at every run.

A script is a list of rules, each one string of items separated by commas:

    status=500,every=7          every 7th request is answered 500
    status=429,retry_after=1,first=3
    reset=before                cut before the body is read      reset=after   cut when it was read, nothing stored
    lost=1/10                   one request in ten is stored and then cut without an answer
    delay=0.2                   every answer waits 0.2 s
    status=400,holding=u000007  bodies with that text in them are refused: a poison call

Effects: `status=CODE` (200 to 599; with `retry_after=N` seconds or `retry_after=date+N`, an HTTP date N seconds ahead;
with `stored`, the calls are stored all the same), `reset=before|after`, `lost`, `delay=SECONDS` (alone or with one of
the others; what is stored is stored before the wait). Triggers, all of which must hold: `after=N` (passes the first N
requests over), `first=N` (the first N of those left), `every=N` (each Nth of those left), `odds=K/N` (K of N requests,
drawn by `seed=N`, 0 unless stated), `holding=TEXT` (the uncompressed body has that text in it; not with
`reset=before`, which does not read it). `lost=K/N` is short for `lost,odds=K/N`.

Requests are POSTs to /v1, numbered from 1 at each start of the server. The rules are asked in order: the first whose
triggers hold and that does more than delay decides, the delays of all that hold add up.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterable
from dataclasses import field, replace
from email.utils import formatdate
from typing import Literal

from backfill.errors import UsageError
from backfill.frozen import frozen

#: Where a connection is cut: before the body is read, when it was read, or when its calls were stored.
Cut = Literal["before", "after", "lost"]

MOST_DELAY_SECONDS = 3600.0
_HINT = "such as status=500,every=7 or lost=1/10; docs/sandbox.md has the grammar"


@frozen
class RetryAfter:
    """A Retry-After header to be: a number of seconds, or the HTTP date that many seconds ahead."""

    seconds: int
    as_date: bool = False

    def header(self, now: float) -> str:
        """The header's value, `now` being seconds since 1970."""
        return formatdate(now + self.seconds, usegmt=True) if self.as_date else str(self.seconds)


@frozen
class ScriptedFault:
    """What goes wrong with one request; the default is nothing."""

    delay: float = 0.0  # seconds before the answer, or before the cut
    status: int | None = None
    retry_after: RetryAfter | None = None
    stored: bool = False  # with a status: the calls are stored before it is answered
    cut: Cut | None = None

    @property
    def ends_it(self) -> bool:
        """Whether the request gets another end than the answer it would have had."""
        return self.status is not None or self.cut is not None

    @property
    def name(self) -> str:
        """What the statistics call it: `status_500`, `reset_before`, `reset_after`, `lost`, `delay`, or empty."""
        if self.status is not None:
            return f"status_{self.status}"
        if self.cut is not None:
            return self.cut if self.cut == "lost" else f"reset_{self.cut}"
        return "delay" if self.delay else ""


@frozen
class FaultRule:
    """One effect and the triggers that must all hold."""

    fault: ScriptedFault = field(default_factory=ScriptedFault)
    after: int = 0
    first: int | None = None
    every: int = 1
    odds: tuple[int, int] = (1, 1)
    seed: int = 0
    holding: bytes = b""

    def holds(self, number: int, body: bytes, *, place: int) -> bool:
        """Whether this rule, `place`-th of its script, fires for the request of this number (from 1) and text."""
        left = number - self.after
        if self.holding not in body or left < 1 or (self.first is not None and left > self.first) or left % self.every:
            return False
        hits, of = self.odds
        # Drawn by the request's number, so that the draw is the same whatever was asked before.
        return hits >= of or random.Random(f"{self.seed}/{place}/{number}").randrange(of) < hits  # noqa: S311 reproducible, not secret


@frozen
class FaultScript:
    """The rules in their order; an empty script never fires."""

    rules: tuple[FaultRule, ...] = ()

    @classmethod
    def parse(cls, rules: Iterable[str]) -> FaultScript:
        """The script of these rules. Raises UsageError naming the first item that is wrong."""
        return cls(tuple(_rule(text) for text in rules))

    @property
    def reads_bodies(self) -> bool:
        """Whether a rule depends on what a request holds."""
        return any(rule.holding for rule in self.rules)

    def decide(self, number: int, body: bytes = b"") -> ScriptedFault:
        """What goes wrong with the request of this number (from 1) and uncompressed body.

        Always the same for the same script, number and body.
        """
        end, delay = ScriptedFault(), 0.0
        for place, rule in enumerate(self.rules):
            if rule.holds(number, body, place=place):
                delay += rule.fault.delay
                if rule.fault.ends_it and not end.ends_it:
                    end = rule.fault
        return replace(end, delay=delay)


def _rule(text: str) -> FaultRule:
    rule = FaultRule()
    seen: set[str] = set()
    for item in text.split(","):
        key, _, value = item.strip().partition("=")
        if key in seen:
            raise _wrong(text, f"{key!r} stands there twice")
        if key not in _ITEMS:
            raise _wrong(text, f"{key!r} is not one of {', '.join(_ITEMS)}")
        seen.add(key)
        try:
            rule = _ITEMS[key](rule, value.strip())
        except ValueError as error:
            raise _wrong(text, f"{key}: {error}") from error
    if len(seen & {"status", "reset", "lost"}) > 1:
        raise _wrong(text, "status, reset and lost exclude each other")
    if not rule.fault.name:
        raise _wrong(text, "it has no effect: status, reset, lost or delay")
    if rule.fault.cut == "before" and rule.holding:
        raise _wrong(text, "reset=before does not read what a body is holding")
    if rule.fault.status is None and seen & {"retry_after", "stored"}:
        raise _wrong(text, "retry_after and stored go with a status")
    return rule


def _wrong(text: str, what: str) -> UsageError:
    return UsageError(f"fault {text!r}: {what}", hint=_HINT)


def _whole(value: str, least: int, most: int = 10**9) -> int:
    if not (value.isascii() and value.isdigit()) or not least <= int(value) <= most:
        raise ValueError(f"{value!r} is not a whole number from {least} to {most}")
    return int(value)


def _ratio(value: str) -> tuple[int, int]:
    hits, _, of = value.partition("/")
    out_of = _whole(of, 1)
    return _whole(hits, 0, out_of), out_of


def _status(rule: FaultRule, value: str) -> FaultRule:
    return replace(rule, fault=replace(rule.fault, status=_whole(value, 200, 599)))


def _retry_after(rule: FaultRule, value: str) -> FaultRule:
    as_date = value.startswith("date+")
    seconds = _whole(value.removeprefix("date+"), 0, 10**8)
    return replace(rule, fault=replace(rule.fault, retry_after=RetryAfter(seconds, as_date=as_date)))


def _stored(rule: FaultRule, value: str) -> FaultRule:
    _no_value(value)
    return replace(rule, fault=replace(rule.fault, stored=True))


def _holding(rule: FaultRule, value: str) -> FaultRule:
    if not value:
        raise ValueError("which text?")
    return replace(rule, holding=value.encode())


def _reset(rule: FaultRule, value: str) -> FaultRule:
    if value == "before":
        return replace(rule, fault=replace(rule.fault, cut="before"))
    if value == "after":
        return replace(rule, fault=replace(rule.fault, cut="after"))
    raise ValueError(f"{value!r} is neither before nor after")


def _lost(rule: FaultRule, value: str) -> FaultRule:
    rule = replace(rule, fault=replace(rule.fault, cut="lost"))
    return replace(rule, odds=_ratio(value)) if value else rule


def _delay(rule: FaultRule, value: str) -> FaultRule:
    seconds = float(value)
    if not (math.isfinite(seconds) and 0 < seconds <= MOST_DELAY_SECONDS):
        raise ValueError(f"{value!r} is not above 0 and at most {MOST_DELAY_SECONDS:.0f} seconds")
    return replace(rule, fault=replace(rule.fault, delay=seconds))


def _no_value(value: str) -> None:
    if value:
        raise ValueError("takes no value")


_ITEMS: dict[str, Callable[[FaultRule, str], FaultRule]] = {
    "status": _status,
    "retry_after": _retry_after,
    "stored": _stored,
    "reset": _reset,
    "lost": _lost,
    "delay": _delay,
    "after": lambda rule, value: replace(rule, after=_whole(value, 0)),
    "first": lambda rule, value: replace(rule, first=_whole(value, 1)),
    "every": lambda rule, value: replace(rule, every=_whole(value, 1)),
    "odds": lambda rule, value: replace(rule, odds=_ratio(value)),
    "holding": _holding,
    "seed": lambda rule, value: replace(rule, seed=_whole(value, 0)),
}
