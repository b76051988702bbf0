"""How the values of a profile are written: rates, durations, and the variables in them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from backfill.errors import UsageError

RATE_HINT: Final = "write calls a second, such as 1000/s, or unlimited"
REQUESTS_HINT: Final = "write requests a second, such as 50/s, or unlimited"
DURATION_HINT: Final = "write seconds, minutes, hours or days, such as 3600s, 90m, 24h or 7d, or none"
_RATE: Final = re.compile(r"(\d{1,9}(?:\.\d{1,6})?)(?:/s)?")
_DURATION: Final = re.compile(r"([0-9]{1,6})([smhd])")
_UNITS: Final = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}
_VARIABLE: Final = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")


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


def variables_in(text: str) -> list[str]:
    """Names of the variables that a text refers to as `${NAME}`, in order."""
    return _VARIABLE.findall(text)


def is_one_variable(text: str) -> bool:
    """Whether the text is a single `${NAME}` and nothing else."""
    return _VARIABLE.fullmatch(text) is not None


def has_broken_variable(text: str) -> bool:
    """Whether a `${` in it does not begin a `${NAME}`: a default, a name with odd characters, no closing brace."""
    return text.count("${") != len(variables_in(text))


def fill_in(text: str, environ: Mapping[str, str]) -> str:
    """The text with the variables' values, which are not looked into again."""
    return _VARIABLE.sub(lambda match: environ[match[1]], text)
