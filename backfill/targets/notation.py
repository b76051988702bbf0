"""How the values of a profile are written: rates and durations."""

from __future__ import annotations

import re
from typing import Final

from backfill.errors import UsageError

RATE_HINT: Final = "write calls a second, such as 1000/s, or unlimited"
REQUESTS_HINT: Final = "write requests a second, such as 50/s, or unlimited"
DURATION_HINT: Final = "write seconds, minutes, hours or days, such as 3600s, 90m, 24h or 7d, or none"
_RATE: Final = re.compile(r"(\d{1,9}(?:\.\d{1,6})?)(?:/s)?")
_DURATION: Final = re.compile(r"([0-9]{1,6})([smhd])")
_UNITS: Final = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}


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
