"""The items of a DynamoDB export as plain JSON with the marks of `ndjson.types`; numbers keep every digit.

It takes Python per attribute: only the way down from an item tells an attribute's type from the key of a map.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import field
from functools import lru_cache
from json.encoder import encode_basestring
from typing import Any, ClassVar

from backfill.errors import SourceError
from backfill.frozen import frozen
from backfill.records import SourceFile
from backfill.sources.dynamodb.manifest import ABOUT, Listed, ion_error
from backfill.sources.ndjson.judge import fault_of
from backfill.sources.ndjson.lines import Line
from backfill.sources.ndjson.texts import FileTexts, Head, JsonTexts
from backfill.sources.ndjson.types import MarkedTypes, Types

_NUMBER = re.compile(r"-?(?:0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?")
_ION = b"$ion_1_0"


class _UnplainError(ValueError):
    """What is wrong with an item, in words."""


@frozen
class DynamoTexts:
    """The items of an export's files; `listed` says what the manifest does of a file, by its path."""

    types: ClassVar[Types] = MarkedTypes()
    listed: Mapping[str, Listed] = field(default_factory=dict)

    def of(self, file: SourceFile, watch: Callable[[int], None], head: Head | None) -> FileTexts:
        """The items of a file in plain JSON with marks; see ndjson.texts.Texts."""
        if ABOUT.search(file.path):
            return FileTexts(iter(()), in_lines=True)
        found = JsonTexts().of(file, watch, head)
        wanted = None if head is not None else self.listed.get(file.path)
        return FileTexts(_counted(map(_plain_line, found.records), file, wanted), found.in_lines)


def _counted(lines: Iterator[Line], file: SourceFile, wanted: Listed | None) -> Iterator[Line]:
    """The lines; raises SourceError where they are not as many as the manifest says, or are no DynamoDB JSON."""
    count = 0
    for line in lines:
        count += 1
        if count == 1 and line.text.startswith(_ION):
            raise ion_error(file.name)
        yield line
    if wanted is not None and count != wanted.items:
        raise SourceError(
            f"{file.name} holds {count:,} items, and its manifest says {wanted.items:,}", hint="fetch the export again"
        )


def _plain_line(line: Line) -> Line:
    """The item in plain JSON; what is no JSON stays, for others to say so."""
    if not line.whole:
        return line
    try:
        item = _DECODER.decode(line.text.decode())
    except _UnplainError as error:
        return line._replace(fault=("BF005", str(error)))
    except (ValueError, RecursionError):
        return line._replace(fault=fault_of(line.text) or _TOO_MUCH)
    try:
        return line._replace(text=_item(item).encode())
    except RecursionError:
        return line._replace(fault=_TOO_MUCH)
    except (_UnplainError, UnicodeEncodeError) as error:
        said = str(error) if isinstance(error, _UnplainError) else "half of a surrogate pair"
        return line._replace(fault=("BF009", f"the item holds {said}"))


#: Of what no item of DynamoDB's is: it nests 32 deep, and its numbers are texts.
_TOO_MUCH = ("BF005", "nested too deep, or a number of too many digits")


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise _UnplainError("a key stands twice in an object")
    return found


_DECODER = json.JSONDecoder(object_pairs_hook=_each_once)


def _item(line: object) -> str:
    """A line's item as JSON."""
    if isinstance(line, dict) and "Item" not in line and "Keys" in line:
        raise _UnplainError("changes of an incremental export, not an item: export the table in full")
    if not isinstance(line, dict) or line.keys() != {"Item"} or not isinstance(line["Item"], dict):
        raise _UnplainError('no `{"Item": {...}}`')
    return _map(line["Item"], outermost=True)


def _map(members: dict[str, Any], *, outermost: bool = False) -> str:
    """A map's members as a JSON object. A key's `$` is escaped, so that no key is taken for a mark."""
    made = [f"{_key(key)}:{_value(one, outermost=outermost)}" for key, one in members.items()]
    return f"{{{','.join(made)}}}"


@lru_cache(4_096)
def _key(name: str) -> str:
    return encode_basestring(name).replace("$", r"\u0024")


def _value(attribute: object, *, outermost: bool = False) -> str:
    """An attribute as JSON."""
    if not isinstance(attribute, dict) or len(attribute) != 1:
        raise _UnplainError("an attribute without one type")
    ((kind, value),) = attribute.items()
    if kind == "M" and isinstance(value, dict):
        return _map(value)
    if kind == "L" and isinstance(value, list):
        return f"[{','.join(map(_value, value))}]"
    if kind in ("SS", "NS", "BS") and isinstance(value, list):
        return f"[{','.join(_scalar(kind[0], one) for one in value)}]"
    if kind == "N" and outermost and not _is_integer(value):
        return f'{{"$decimal":"{_scalar("N", value)}"}}'
    return _scalar(kind, value)


def _scalar(kind: str, value: object) -> str:
    if kind == "S" and isinstance(value, str):
        return encode_basestring(value)
    if kind == "N" and isinstance(value, str) and _NUMBER.fullmatch(value):
        return value
    if kind == "BOOL" and isinstance(value, bool):
        return "true" if value else "false"
    if kind == "NULL" and value is True:
        return "null"
    if kind == "B" and isinstance(value, str):
        try:
            return f'{{"$binary":"{base64.b64encode(base64.b64decode(value, validate=True)).decode()}"}}'
        except binascii.Error:
            pass
    raise _UnplainError(f"an attribute of type {kind[:20]} that is none")


def _is_integer(value: object) -> bool:
    found = _NUMBER.fullmatch(value) if isinstance(value, str) else None
    return found is not None and not (found[1] or found[2])
