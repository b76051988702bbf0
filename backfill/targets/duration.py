"""Durations as people write them."""

from __future__ import annotations

import re
from typing import Final

from backfill.errors import UsageError

_UNITS: Final = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}
_DURATION: Final = re.compile(r"([0-9]{1,6})([smhd])")
NONE: Final = "none"
HINT: Final = "write seconds, minutes, hours or days, such as 3600s, 90m, 24h or 7d, or none"


def parse_duration(text: str) -> float:
    """Seconds of `3600s`, `90m`, `24h` or `7d`, 0 of `none`; raises UsageError."""
    if text.strip() == NONE:
        return 0.0
    match = _DURATION.fullmatch(text.strip())
    if match is None:
        raise UsageError(f"{text!r} is no duration", hint=HINT)
    return float(int(match[1]) * _UNITS[match[2]])
