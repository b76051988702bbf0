"""MongoDB's extended JSON, versions 1 and 2, relaxed and canonical, as plain JSON with the marks of `ndjson.types`.

By https://github.com/mongodb/specifications/blob/master/source/extended-json.md. The text is valid JSON, so `{"$` can
only be the beginning of an object with such a key: inside a string a quote has a backslash before it, and behind a
string no `$` can stand. So the text is rewritten in place, and all that is no type of MongoDB's stays byte for byte.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Final
from uuid import UUID

from backfill.sources.ndjson.types import BINARY, DATE, DECIMAL, MARKS


class ExtendedError(ValueError):
    """A value that has no plain form, in words."""


NOT_FINITE = "NaN or Infinity, which JSON does not have"
_STRING = rb'"(?:[^"\\]|\\.)*"'
_PAIR = rb"\s*" + _STRING + rb"\s*:\s*" + _STRING + rb"\s*"
_VALUE = rb"(?:" + _STRING + rb"|[^\s{}\[\],\"]+|\{" + _PAIR + rb"(?:," + _PAIR + rb")?\})"
_TAIL = rb'(?:,\s*"\$type"\s*:\s*("[0-9a-fA-F]{1,2}"|\d+)\s*)?\}'
#: An object whose first key is one of MongoDB's; without a value where it is not whole.
_WRAPPER = re.compile(
    rb'\{\s*"\$(oid|date|numberInt|numberLong|numberDouble|numberDecimal|binary|uuid|symbol|undefined|timestamp|'
    rb'regularExpression|regex|code|minKey|maxKey|dbPointer|decimal)"\s*:(?:\s*(' + _VALUE + rb")\s*" + _TAIL + rb")?"
)
_TEXTS = re.compile(_STRING)
_INTEGER = re.compile(r"-?(?:0|[1-9]\d*)")
_NUMBER = re.compile(r"-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?")
_OID = re.compile(r"[0-9a-fA-F]{24}")
_DATE = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(Z|[+-]\d\d:?\d\d)")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_UUID_SUBTYPE, _UUID_BYTES = 4, 16
_NOT_PLAIN: Final = {
    "timestamp": "an internal timestamp",
    "regularExpression": "a regular expression",
    "regex": "a regular expression",
    "code": "code",
    "minKey": "the least key",
    "maxKey": "the greatest key",
    "dbPointer": "a pointer",
    "decimal": "a key $decimal",
}


def plain(text: bytes) -> bytes:
    """A valid JSON text with MongoDB's types as plain values or marks; raises ExtendedError for one that has none."""
    return _WRAPPER.sub(_plain_value, text) if b'"$' in text else text


def _plain_value(found: re.Match[bytes]) -> bytes:
    name = found[1].decode()
    if name in _NOT_PLAIN:
        raise ExtendedError(f"{_NOT_PLAIN[name]} of MongoDB, which is no JSON value")
    if found[2] is None or (found[3] is not None and name != "binary"):
        raise ExtendedError(f"${name} in a form that extended JSON does not have")
    if name == "undefined":
        return b"null"
    parts = [part[1:-1].decode() for part in _TEXTS.findall(found[2])] or [found[2].decode()]
    if name == "binary":
        return _binary(parts, found[3])
    if len(parts) > 1 and (name, *parts[:-1]) != ("date", "$numberLong"):
        raise ExtendedError(f"${name} in a form that extended JSON does not have")
    if name == "date":
        return _written_date(parts[0]) if found[2].startswith(b'"') else _date_of(parts[-1])
    return _READ[name](parts[-1])


def _oid(text: str) -> bytes:
    if not _OID.fullmatch(text):
        raise ExtendedError("$oid that is no 24 hex digits")
    return f'"{text.lower()}"'.encode()


def _symbol(text: str) -> bytes:
    return f'"{text}"'.encode()


def _uuid(text: str) -> bytes:
    try:
        return f'"{UUID(text)}"'.encode()
    except ValueError as error:
        raise ExtendedError("$uuid that is none") from error


def _integer(text: str) -> bytes:
    if not _INTEGER.fullmatch(text):
        raise ExtendedError("an integer of MongoDB that is none")
    return text.encode()


def _double(text: str) -> bytes:
    if text in ("NaN", "Infinity", "-Infinity"):
        raise ExtendedError(NOT_FINITE)
    if not _NUMBER.fullmatch(text):
        raise ExtendedError("$numberDouble that is no number")
    return (text + ".0" if _INTEGER.fullmatch(text) else text).encode()


def _decimal(text: str) -> bytes:
    if text in ("NaN", "-NaN", "sNaN", "-sNaN", "Infinity", "-Infinity"):
        raise ExtendedError(NOT_FINITE)
    if not _NUMBER.fullmatch(text):
        raise ExtendedError("$numberDecimal that is no number")
    return MARKS[DECIMAL] + text.encode() + b'"}'


def _date_of(milliseconds: str) -> bytes:
    """Since 1970, as an integer."""
    if not _INTEGER.fullmatch(milliseconds):
        raise ExtendedError(_NO_DATE)
    return _marked(_moment(int(milliseconds)))


def _written_date(text: str) -> bytes:
    """ISO 8601 with a zone."""
    found = _DATE.fullmatch(text)
    if found is None or (found[2] or "")[3:].strip("0"):
        raise ExtendedError(_NO_DATE)
    whole = _checked(found[1])
    if found[3] == "Z" and found[2] is not None and len(found[2]) == len("mmm"):
        return MARKS[DATE] + text.encode() + b'"}'
    return _marked(_shifted(whole, found[3]).replace(microsecond=1_000 * int((found[2] or "")[:3].ljust(3, "0"))))


def _marked(moment: datetime) -> bytes:
    return MARKS[DATE] + moment.isoformat(timespec="milliseconds")[: -len("+00:00")].encode() + b'Z"}'


_NO_DATE = "$date that is neither ISO 8601 with a zone nor milliseconds"


def _checked(text: str) -> datetime:
    try:
        return datetime.fromisoformat(text + "+00:00")
    except ValueError as error:
        raise ExtendedError("$date that no calendar has") from error


def _shifted(local: datetime, offset: str) -> datetime:
    if offset == "Z":
        return local
    minutes = 60 * int(offset[1:3]) + int(offset[-2:])
    try:
        return local - timedelta(minutes=-minutes if offset[0] == "-" else minutes)
    except OverflowError as error:
        raise ExtendedError("a date outside of the years 1 to 9999") from error


def _moment(milliseconds: int) -> datetime:
    try:
        return _EPOCH + timedelta(milliseconds=milliseconds)
    except OverflowError as error:
        raise ExtendedError("a date outside of the years 1 to 9999") from error


_READ: Final[dict[str, Callable[[str], bytes]]] = {
    "oid": _oid,
    "symbol": _symbol,
    "uuid": _uuid,
    "numberInt": _integer,
    "numberLong": _integer,
    "numberDouble": _double,
    "numberDecimal": _decimal,
}


def _binary(parts: list[str], v1_type: bytes | None) -> bytes:
    """Version 1: `"$binary": base64, "$type": "04"`; version 2: `{"base64": ..., "subType": "04"}`."""
    if v1_type is not None and len(parts) == 1:
        parts = ["base64", parts[0], "subType", v1_type.strip(b'"').decode()]
    named = dict(zip(parts[::2], parts[1::2], strict=False))
    try:
        data = base64.b64decode(named["base64"], validate=True)
        subtype = int(named["subType"], 16)
    except (KeyError, ValueError, binascii.Error) as error:
        raise ExtendedError("$binary in a form that extended JSON does not have") from error
    if subtype == _UUID_SUBTYPE and len(data) == _UUID_BYTES:
        return _uuid(data.hex())
    return MARKS[BINARY] + base64.b64encode(data) + b'"}'
