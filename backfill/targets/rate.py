"""Rates as people write them."""

from __future__ import annotations

import re
from typing import Final

from backfill.errors import UsageError

UNLIMITED: Final = "unlimited"
_RATE: Final = re.compile(r"(\d{1,9}(?:\.\d{1,6})?)(?:/s)?")
HINT: Final = "write calls a second, such as 1000/s, or unlimited"
REQUESTS_HINT: Final = "write requests a second, such as 50/s, or unlimited"


def parse_rate(text: str, hint: str = HINT) -> float | None:
    """Calls (or requests) a second of `1000/s` (or `1000`), None for `unlimited`; raises UsageError with that hint."""
    if text.strip() == UNLIMITED:
        return None
    match = _RATE.fullmatch(text.strip())
    rate = float(match[1]) if match else 0.0
    if not rate:
        raise UsageError(f"{text!r} is no rate", hint=hint)
    return rate
