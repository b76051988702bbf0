"""Reading the file or folder that a job names as its tracking plan."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import orjson

from backfill.document import suggest
from backfill.tracking.forms import Complaint, Rule, rules_of, schema_file
from backfill.tracking.model import TrackingPlan
from backfill.tracking.schemas import fault_of, judging_part

_CSV = "save the rules as JSON: Segment's Public API, `GET /tracking-plans/{id}/rules`"

_ONE_KEY = "keep one of them"


def read_tracking_plan(stated: str, folder: Path, complain: Complaint) -> TrackingPlan:
    """The tracking plan at the stated path, which is relative to the folder.

    What is wrong is complained of, each with the file and JSON pointer where it stands, and left out.

    Raises:
        UsageError: The library that judges by it is not installed.
    """
    place = folder / Path(stated).expanduser()
    rules: dict[str, dict[str, dict[str, Any]]] = {}
    for name, rule in _found(place, stated, complain):
        fault = fault_of(rule.schema)
        versions = rules.setdefault(rule.type, {}).setdefault(rule.name, {})
        if fault is not None:
            pointer, message, hint = fault
            complain(
                f"{name}#{rule.pointer}", f"{_named(rule)}its schema is not sound at {pointer or '/'}: {message}", hint
            )
        elif str(rule.version) in versions:
            complain(f"{name}#{rule.pointer}", _named(rule) + "there is a rule of that version already", "keep one")
        else:
            versions[str(rule.version)] = judging_part(rule.schema)
    return TrackingPlan(rules)


def _named(rule: Rule) -> str:
    return f"{rule.type} {rule.name!r}: " if rule.name else f"{rule.type}: "


def _found(place: Path, stated: str, complain: Complaint) -> Iterator[tuple[str, Rule]]:
    """Every rule with the name of its file."""
    if not stated.strip():
        complain("it", "is empty", "a file or folder is wanted, relative to the job file")
    elif place.is_dir():
        files = sorted(place.glob("*.json"))
        if not files:
            complain(stated, "has no file *.json", "one JSON Schema an event is wanted: `Order Completed.json`")
        for file in files:
            name = f"{stated.rstrip('/')}/{file.name}"
            document = _document(file, name, complain)
            if document is not None:
                yield from ((name, rule) for rule in schema_file(document, file.stem, partial(_at, complain, name)))
    elif place.suffix.lower() in (".csv", ".tsv", ".xlsx"):
        complain(
            stated,
            "is a table (Segment exports such a CSV), which does not hold the schemas that calls are judged by",
            _CSV,
        )
    else:
        document = _document(place, stated, complain)
        if document is not None:
            yield from ((stated, rule) for rule in rules_of(document, partial(_at, complain, stated)))


def _at(complain: Complaint, name: str, pointer: str, message: str, hint: str) -> None:
    complain(f"{name}#{pointer}", message, hint)


def _document(file: Path, name: str, complain: Complaint) -> Any:  # noqa: ANN401 (any JSON)
    """The file's JSON; None, and a complaint, where it has none. Keys that an object repeats are complained of."""
    try:
        content = file.read_bytes().removeprefix(b"\xef\xbb\xbf")
        found = orjson.loads(content)
        written = json.loads(content, object_pairs_hook=_Pairs, parse_int=float)
    except FileNotFoundError:
        near = [each.name for each in file.parent.glob("*")] if file.parent.is_dir() else []
        complain(name, "does not exist", suggest(file.name, near) or "it is sought from the job file's folder")
    except OSError as error:
        complain(name, f"cannot be read: {error.strerror}", "")
    except orjson.JSONDecodeError as error:
        complain(name, f"is no JSON: {error.msg} (line {error.lineno}, column {error.colno})", _CSV)
    except RecursionError:
        complain(name, "is nested too deeply", "a schema that judges calls needs a few levels")
    else:
        for pointer, key in _repeated_keys(written):
            told = json.dumps(key, ensure_ascii=False)
            complain(f"{name}#{pointer}", f"the key {told} is given more than once", _ONE_KEY)
        return [] if found is None else found  # `null` is refused like any other JSON that is no object
    return None


class _Pairs(list[tuple[str, Any]]):
    """An object as it is written, repeated keys included."""


def _repeated_keys(written: Any) -> Iterator[tuple[str, str]]:  # noqa: ANN401 (any JSON)
    """The JSON pointer of each key that its object repeats, and the key.

    What such an object means RFC 8259 leaves open (section 4): most readers, orjson too, take the last in silence.
    """
    left = [("", written)]
    while left:
        pointer, value = left.pop()
        if isinstance(value, _Pairs):
            members = [(f"{pointer}/{key.replace('~', '~0').replace('/', '~1')}", inner) for key, inner in value]
            names = {at: key for (at, _), (key, _) in zip(members, value, strict=True)}
            yield from ((at, names[at]) for at, count in Counter(at for at, _ in members).items() if count > 1)
        else:
            items = value if isinstance(value, list) else []
            members = [(f"{pointer}/{place}", inner) for place, inner in enumerate(items)]
        left += reversed(members)
