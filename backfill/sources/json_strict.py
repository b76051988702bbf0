"""What is wrong with a text that is to be one JSON object of RFC 8259: the exact look, slow, and with no bound to miss.

orjson takes most lines at once. This one looks at those that it refuses, since it refuses too much (1e400, integers
of 400 digits), says little, and builds all that a line holds, which costs a long one more memory than there is.
"""

from __future__ import annotations

import re
from json.decoder import scanstring  # type: ignore[attr-defined]  # as the standard library's own scanner has it

import orjson

from backfill.limits import JSON_DEPTH

#: Longer lines are not handed to orjson, which would build their values: up to 60 times a line's bytes.
MAX_BUILT_BYTES = 2**20

NOT_JSON = "not valid JSON"
NO_OBJECT = "no JSON object"
REPEATED = "a key stands twice in the object"
TOO_DEEP = f"nested more than {JSON_DEPTH:,} deep"
HALF_PAIR = "half of a surrogate pair in a string, which is no character"
NOT_A_NUMBER = "NaN or Infinity, which JSON does not have"
MORE = "more than one JSON value in the line"
ENCODING = "bytes that are not UTF-8"

_BLANK = re.compile(r"[ \t\r\n]*")
_SCALAR = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?|true|false|null")
_SIMPLE = rf'(?:{_SCALAR.pattern}|"[^"\\\x00-\x1f]*"|\[\]|\{{\}})[ \t\r\n]*,[ \t\r\n]*'
#: Many simple elements, or members, that others follow: what long lines are made of, and dear one by one.
_ELEMENTS = re.compile(f"(?:{_SIMPLE}){{0,1000}}")
_MEMBERS = re.compile(rf'(?:"[^"\\\x00-\x1f]*"[ \t\r\n]*:[ \t\r\n]*{_SIMPLE}){{0,1000}}')
_NOT_FINITE = re.compile(r"-?(?:NaN|Infinity)\b")
_ESCAPE = re.compile(r"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(u[dD][89a-fA-F])|.)", re.DOTALL)
_CLOSING = {"{": "}", "[": "]"}


class _FaultError(ValueError):
    """What is wrong, in words."""


def fault_of(line: bytes) -> tuple[str, str] | None:
    """The problem's code and words for a line that is no JSON object; None for one that is.

    Repeated keys and depth are not asked for here.
    """
    if len(line) <= MAX_BUILT_BYTES:
        try:
            value = orjson.loads(line)
        except orjson.JSONDecodeError:
            pass
        else:
            return None if type(value) is dict else ("BF005", NO_OBJECT)
    try:
        text = line.decode()
    except UnicodeDecodeError:
        return "BF004", ENCODING
    try:
        _scan(text)
    except _FaultError as fault:
        return "BF005", str(fault)
    if _half_pair(text):
        return "BF005", HALF_PAIR
    return None if text.lstrip(" \t\r\n").startswith("{") else ("BF005", NO_OBJECT)


def depth_of(text: str) -> int:
    """How deep a valid JSON text is nested."""
    return _scan(text)


def _half_pair(text: str) -> bool:
    return "\\u" in text and any(escape[1] for escape in _ESCAPE.finditer(text))


def _scan(text: str) -> int:
    """Go through one JSON value, with a stack of its own; returns its depth, raises _FaultError."""
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
            at = _after_scalar(text, at)
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
            raise _FaultError(NOT_JSON)
        open_.pop()
        at = _after_blank(text, at + 1)
    if at < len(text):
        raise _FaultError(MORE if text[at] in '{["' else NOT_JSON)
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
        raise _FaultError(NOT_JSON)
    try:
        return int(scanstring(text, at + 1, True)[1])
    except ValueError as error:
        raise _FaultError(NOT_JSON) from error


def _after_key(text: str, at: int) -> int:
    """Where the value of a member begins that is not simple, or the last."""
    at = _end(_MEMBERS, text, at)
    at = _after_blank(text, _after_string(text, at))
    if text[at : at + 1] != ":":
        raise _FaultError(NOT_JSON)
    return _after_blank(text, at + 1)


def _after_scalar(text: str, at: int) -> int:
    if text[at : at + 1] == '"':
        return _after_string(text, at)
    found = _SCALAR.match(text, at)
    if found is None:
        raise _FaultError(NOT_A_NUMBER if _NOT_FINITE.match(text, at) else NOT_JSON)
    return found.end()
