"""How single values are written: the value table of docs/job-file.md, one value at a time, in plain Python.

Instants are whole nanoseconds since 1970 in UTC, wall clocks the same by their own clock.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from json.encoder import encode_basestring
from typing import Any, Final

import numpy as np

Texts = list[str | None]

MILLISECOND: Final = 1_000_000
MICROSECOND: Final = 1_000
DAY: Final = 86_400_000_000_000
#: 0001-01-01 and the end of 9999-12-31, in nanoseconds since 1970: what four digits of a year can say.
FIRST: Final = -719_162 * DAY
LAST: Final = 2_932_897 * DAY - 1
FIRST_DAY: Final = -719_162
LAST_DAY: Final = 2_932_896
#: Stands for 24:00:00 in times that SQL made, which are of whole microseconds.
LAST_TIME: Final = DAY - 1

#: A JSON string of a text: non-ASCII as it is (RFC 8259, section 7).
string: Final[Callable[[str], str]] = encode_basestring


def compact(value: object) -> str:
    """JSON as it is sent: no blanks, non-ASCII as it is."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def pruned(value: object) -> object:
    """A constant without null members, at any depth; an object that is empty then stays, since the job wrote it."""
    if isinstance(value, list):
        return [pruned(inner) for inner in value]
    if isinstance(value, dict):
        return {name: pruned(inner) for name, inner in value.items() if inner is not None}
    return value


def braced(members: str) -> str:
    """The object of some members, each with a comma before it."""
    return f"{{{members[1:]}}}"


def number_text(value: float) -> str:
    """The shortest text that reads back as the same double; raises ValueError for what is not finite.

    Digits are Python's, which are the shortest; the exponent has no zero before it, and begins below 0.00001.
    """
    if not math.isfinite(value):
        raise ValueError(value)
    text = repr(value)
    digits, mark, exponent = text.partition("e-0")
    if not mark:
        return text
    if exponent != "5":
        return f"{digits}e-{exponent}"
    sign, bare = ("-", digits[1:]) if digits.startswith("-") else ("", digits)
    return f"{sign}0.0000{bare.replace('.', '')}"


def single_text(value: float) -> str:
    """The same of a value of 32 bits."""
    return number_text(float(str(np.float32(value)))) if math.isfinite(value) else number_text(value)


def decimal_text(unscaled: int, scale: int) -> str:
    """A decimal with all digits of its column's scale."""
    if not scale:
        return str(unscaled)
    digits = str(abs(unscaled)).rjust(scale + 1, "0")
    return f"{'-' if unscaled < 0 else ''}{digits[:-scale]}.{digits[-scale:]}"


def date_text(day: int) -> str:
    """YYYY-MM-DD of days since 1970."""
    return str(np.datetime64(day, "D"))


def time_text(nanoseconds: int) -> str:
    """HH:MM:SS, with six more digits only where they are not all zero."""
    seconds, below = divmod(nanoseconds // MICROSECOND, 1_000_000)
    text = f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}"
    return f"{text}.{below:06}" if below else text


def millisecond_texts(instants: Sequence[int | None]) -> Texts:
    """YYYY-MM-DDTHH:MM:SS.mmmZ of each instant, finer digits cut; None of what is none."""
    known = [0 if instant is None else instant // MILLISECOND for instant in instants]
    texts = np.datetime_as_string(np.array(known, "datetime64[ms]")).tolist()
    if None not in instants:
        return [f"{text}Z" for text in texts]
    return [None if instant is None else f"{text}Z" for instant, text in zip(instants, texts, strict=True)]


def millisecond_text(instant: int) -> str:
    """The same of one instant."""
    return f"{np.datetime64(instant // MILLISECOND, 'ms')}Z"


def key_text(instant: int) -> str:
    """The form inside keys: six digits of fraction, nine where the last three are not all zero."""
    below = instant % MICROSECOND
    return f"{np.datetime64(instant // MICROSECOND, 'us')}{f'{below:03}' if below else ''}Z"


def overflows(value: Any) -> bool:  # noqa: ANN401 (what JSON says)
    """Whether a number in what JSON text says is beyond doubles, at any depth."""
    if isinstance(value, dict | list):
        return any(map(overflows, value.values() if isinstance(value, dict) else value))
    return isinstance(value, float) and not math.isfinite(value)
