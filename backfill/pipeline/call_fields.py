"""Fields of calls, read from their JSON: who a call is about, and what happened."""

from __future__ import annotations

import json
import re
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson
import polars as pl

USERS = ("userId", "anonymousId")
EVENTS = ("event", "name")
#: What JSON writes in one way only, whoever writes it.
_PLAIN = re.compile(r"[ -!#-\[\]-~]+")


def has_value(texts: pl.Series, value: str, names: tuple[str, ...]) -> npt.NDArray[np.bool_]:
    """Which of these calls have that value in a field of that name: first by a part of it, then by all of the JSON."""
    part = max(_PLAIN.findall(value), key=len, default="")
    fits = texts.str.contains(part, literal=True).to_numpy().copy()
    for index in np.flatnonzero(fits).tolist():  # few, as a rule
        call: dict[str, Any] = read_json(texts[index])
        fits[index] = any(call.get(name) == value for name in names)
    return fits


def read_json(text: str) -> dict[str, Any]:
    """A call as it is read by others."""
    try:
        found: dict[str, Any] = orjson.loads(text)
    except orjson.JSONDecodeError:  # numbers that it does not take
        found = json.loads(text)
    return found
