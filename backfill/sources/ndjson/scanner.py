"""A scanner of one JSON text: whether RFC 8259 takes it, what is wrong with it, and how deep it is nested.

With a stack of its own, and nothing built of what it reads: a long record would cost more memory than there is.
"""

from __future__ import annotations

import re
from json.decoder import scanstring  # type: ignore[attr-defined]  # as the standard library's own scanner has it

NOT_JSON = "not valid JSON"
NOT_A_NUMBER = "NaN or Infinity, which JSON does not have"
MORE = "more than one JSON value in the line"

_BLANK = re.compile(r"[ \t\r\n]*")
#: A value without parts that is no string.
SCALAR = r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?|true|false|null"
_SCALAR = re.compile(SCALAR)
_SIMPLE = rf'(?:{SCALAR}|"[^"\\\x00-\x1f]*"|\[\]|\{{\}})[ \t\r\n]*,[ \t\r\n]*'
#: Many simple elements, or members, that others follow: what long lines are made of, and dear one by one.
_ELEMENTS = re.compile(f"(?:{_SIMPLE}){{0,1000}}")
_MEMBERS = re.compile(rf'(?:"[^"\\\x00-\x1f]*"[ \t\r\n]*:[ \t\r\n]*{_SIMPLE}){{0,1000}}')
_WORD = re.compile(r"[\w.+-]+")
_LOOSE_STRING = re.compile(r'"(?:[^"\\]|\\.)*"', re.DOTALL)
_NOT_FINITE = re.compile(r"-?(?:NaN|Infinity)\b")
_ESCAPE = re.compile(r"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(u[dD][89a-fA-F])|.)", re.DOTALL)
_CLOSING = {"{": "}", "[": "]"}


class FaultError(ValueError):
    """What is wrong, in words."""


def depth_of(text: str) -> int:
    """How deep a valid JSON text is nested."""
    return scan(text)


def is_one_value(text: bytes) -> bool:
    """A text that is no JSON is damaged within one value all the same: its strings and brackets are in order.

    Where a quote is missing or one too many, strings and what is between them change places, and words stand next to
    quotes: then nobody knows how many values the text holds.
    """
    try:
        scan(text.decode(errors="replace"), loosely=True)
    except FaultError:
        return False
    return True


def half_pair(text: str) -> bool:
    """Whether a string of the text escapes half of a surrogate pair, which is no character."""
    return "\\u" in text and any(escape[1] for escape in _ESCAPE.finditer(text))


def scan(text: str, *, loosely: bool = False) -> int:
    """Go through one JSON value, with a stack of its own; returns its depth, raises FaultError.

    `loosely` any word is a value, and strings hold any sign.
    """
    open_: list[str] = []
    at, deepest = _after_blank(text, 0), 0
    while True:
        if open_ and open_[-1] == "]":
            at = _end(_ELEMENTS, text, at)
        sign = text[at : at + 1]
        if sign in _CLOSING:
            open_.append(_CLOSING[sign])
            deepest = max(deepest, len(open_))
            at = _after_blank(text, at + 1)
            if text[at : at + 1] != open_[-1]:
                at = _after_key(text, at) if sign == "{" else at
                continue
        else:
            at = _after_word(text, at) if loosely else _after_scalar(text, at)
        at, ended = _after_value(text, at, open_)
        if ended:
            return deepest


def _after_value(text: str, at: int, open_: list[str]) -> tuple[int, bool]:
    """Where the next value begins, behind a value or at a closing bracket; and whether that is all."""
    at = _after_blank(text, at)
    while open_:
        sign = text[at : at + 1]
        if sign == ",":
            at = _after_blank(text, at + 1)
            return (_after_key(text, at) if open_[-1] == "}" else at), False
        if sign != open_[-1]:
            raise FaultError(NOT_JSON)
        open_.pop()
        at = _after_blank(text, at + 1)
    if at < len(text):
        raise FaultError(MORE if text[at] in '{["' else NOT_JSON)
    return at, True


def _after_blank(text: str, at: int) -> int:
    return _end(_BLANK, text, at)


def _end(pattern: re.Pattern[str], text: str, at: int) -> int:
    """Where the match of a pattern ends, which may be of nothing."""
    found = pattern.match(text, at)
    return at if found is None else found.end()


def _after_string(text: str, at: int) -> int:
    """Behind the string that begins there."""
    if text[at : at + 1] != '"':
        raise FaultError(NOT_JSON)
    try:
        return int(scanstring(text, at + 1, True)[1])
    except ValueError as error:
        raise FaultError(NOT_JSON) from error


def _after_key(text: str, at: int) -> int:
    """Where the value of a member begins that is not simple, or the last."""
    at = _end(_MEMBERS, text, at)
    at = _after_blank(text, _after_string(text, at))
    if text[at : at + 1] != ":":
        raise FaultError(NOT_JSON)
    return _after_blank(text, at + 1)


def _after_word(text: str, at: int) -> int:
    found = (_LOOSE_STRING if text[at : at + 1] == '"' else _WORD).match(text, at)
    if found is None:
        raise FaultError(NOT_JSON)
    return found.end()


def _after_scalar(text: str, at: int) -> int:
    if text[at : at + 1] == '"':
        return _after_string(text, at)
    found = _SCALAR.match(text, at)
    if found is None:
        raise FaultError(NOT_A_NUMBER if _NOT_FINITE.match(text, at) else NOT_JSON)
    return found.end()
