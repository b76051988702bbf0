"""Samples of values as people may see them: short, and with what tells who somebody is masked."""

from __future__ import annotations

import re
from typing import Final

#: Stands for a value of a column that is to be masked.
MASKED: Final = "(masked)"
#: Characters of a sample.
SAMPLE_CHARACTERS: Final = 32
_EMAIL: Final = re.compile(r"([^\s@<>\"',;:]{1,64})@([^\s@<>\"',;:]{1,255})")
_DIGITS: Final = re.compile(r"\+?\d(?:[\s().-]{0,2}\d){6,}")
_DECIMAL: Final = re.compile(r"[(-]*(?:0|[1-9]\d*)\.\d+\)*")
_INSTANT: Final = re.compile(r"\d{4}-\d{2}-\d{2}(?:[T ][\d:.]+(?:Z|[+-][\d:]+)?)?")
_ID: Final = re.compile(r"\b(?=[\w-]*\d)(?=[\w-]*[A-Za-z])[\w-]{12,}\b")


def shortened(text: str) -> str:
    """A sample of a text that may be shown: masked, and cut to SAMPLE_CHARACTERS.

    Of an email the first character and the top-level domain stay (`j...@...org`), of a row of seven digits or more the
    first two and the last two (`49...12`), of a word of twelve characters or more with letters and digits the first
    four (`a1b2...`). Dates, instants and numbers with a decimal point (coordinates) stay as they are.
    """
    near = text[: 8 * SAMPLE_CHARACTERS]
    if _INSTANT.fullmatch(near):
        return near
    near = _EMAIL.sub(_email, near)
    near = _ID.sub(lambda found: f"{found[0][:4]}...", near)
    near = _DIGITS.sub(_digits, near)
    near = " ".join(near.split())
    cut = len(near) > SAMPLE_CHARACTERS or len(text) > 8 * SAMPLE_CHARACTERS
    return f"{near[: SAMPLE_CHARACTERS - 3]}..." if cut else near


def _email(found: re.Match[str]) -> str:
    return f"{found[1][0]}...@...{found[2].rpartition('.')[2] if '.' in found[2] else ''}"


def _digits(found: re.Match[str]) -> str:
    if all(map(_DECIMAL.fullmatch, found[0].split())):
        return found[0]
    digits = re.sub(r"\D", "", found[0])
    return f"{digits[:2]}...{digits[-2:]}"
