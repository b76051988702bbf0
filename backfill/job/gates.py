"""Gates: what a plan has to keep to, or nothing of it is sent. Stated in a job, or on the command line.

They decide whether calls are sent, never which: they are no part of a job's fingerprint.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import fields, replace
from datetime import date
from fractions import Fraction

from backfill.document import suggest
from backfill.errors import UsageError
from backfill.frozen import frozen

PERCENT = 100
_SHARE = re.compile(r"(\d+(?:\.\d+)?)(%?)")
_DAY = re.compile(r"\d{4}-\d{2}-\d{2}")
_SIZE = re.compile(r"(\d+(?:\.\d+)?) ?(|KB|MB|GB|TB)")
#: As the summaries have them: a KB is 1,000 bytes.
_UNITS = {"": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}


@frozen
class Share:
    """At most `count` of some things, or at most `percent` of all there are; exactly one of the two is set."""

    count: int | None = None
    percent: float | None = None

    def allows(self, some: int, whole: int) -> bool:
        """Whether so many of all there are pass: by the digits as written, so that 323 of 500 are 64.6% exactly."""
        if self.count is not None:
            return some <= self.count
        return some * PERCENT <= Fraction(repr(self.percent or 0)) * whole

    def __str__(self) -> str:
        """As it is written."""
        return f"{self.count:,}" if self.count is not None else f"{self.percent:g}%"


@frozen
class Gates:
    """What a plan has to keep to; None is no gate."""

    max_rejects: Share | None = None  # calls rejected and rows unreadable, of calls planned and rows unreadable
    earliest: date | None = None  # days in UTC of the timestamps of the calls to be sent
    latest: date | None = None
    min_calls: int | None = None  # to be sent
    max_calls: int | None = None
    max_bytes: int | None = None  # of JSON
    max_events: int | None = None  # names of events, pages and screens
    max_users: int | None = None  # as Segment bills them: userIds, and anonymousIds that came with no userId

    @classmethod
    def of(cls, stated: Mapping[str, object]) -> Gates:
        """The gates of a job file, or of a command line.

        Raises:
            UsageError: There is no such gate, or it is none of its values.
        """
        return cls(**{name: parse_gate(name, value) for name, value in stated.items()})  # type: ignore[arg-type]

    def with_those_of(self, other: Gates) -> Gates:
        """These gates with those that `other` states in their place."""
        stated = {field.name: getattr(other, field.name) for field in fields(Gates)}
        return replace(self, **{name: value for name, value in stated.items() if value is not None})


GATE_NAMES = tuple(field.name for field in fields(Gates))


def parse_gate(name: str, value: object) -> Share | date | int:
    """What a gate allows, of the text or number that says it.

    Raises:
        UsageError: There is no such gate, or it is none of its values.
    """
    text = str(value).strip()
    if name not in GATE_NAMES:
        hint = suggest(name, GATE_NAMES) or f"there are {', '.join(GATE_NAMES)}"
        raise UsageError(f"there is no gate {name}", hint=hint)
    if name == "max_rejects":
        return parse_share(text)
    if name in ("earliest", "latest"):
        return parse_day(text)
    if name == "max_bytes":
        return parse_size(text)
    if not text.isdecimal():
        raise UsageError(f"{text!r} is no number", hint="say 100")
    return int(text)


def parse_share(text: str) -> Share:
    """A number such as `100`, or a share such as `0.5%`; raises UsageError."""
    match = _SHARE.fullmatch(text)
    number, share = match.groups() if match else ("", "")
    if share and float(number) <= PERCENT:
        return Share(percent=float(number))
    if number.isdigit() and not share:
        return Share(count=int(number))
    raise UsageError(f"{text!r} is neither a number nor a share", hint="say 100, or 0.5% (at most 100%)")


def parse_day(text: str) -> date:
    """A day such as `2019-01-31`; raises UsageError."""
    try:
        if _DAY.fullmatch(text):
            return date.fromisoformat(text)
    except ValueError:
        pass  # there is no such day
    raise UsageError(f"{text!r} is no day", hint="say 2019-01-31")


def parse_size(text: str) -> int:
    """Bytes of `500000` or `2.5 GB`; raises UsageError."""
    match = _SIZE.fullmatch(text)
    if match is None:
        raise UsageError(f"{text!r} is no size", hint="say 500000, or 2.5 GB (a KB is 1,000 bytes)")
    return int(float(match[1]) * _UNITS[match[2]]) if match[2] else int(float(match[1]))
