"""Job files edited in place by ruamel.yaml: what is not touched stays as somebody wrote it, comments included."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from typing import Any

from ruamel.yaml import YAML

from backfill.guess.yaml_text import Blank
from backfill.job.blanks import BLANK
from backfill.job.fields import OBJECTS, needed_by

#: Fields of calls and of `defaults` that are columns where they are a bare text.
_COLUMNS = ("userId", "anonymousId", "groupId", "previousId", "event", "name", "category", *OBJECTS)
#: What a recipe's query names beside the columns that it reads.
_MADE = re.compile(r"\bAS (\w+)")
_WIDE = 4096  # lines are broken where they were, and nowhere else


def _yaml() -> YAML:
    yaml = YAML()
    yaml.preserve_quotes = True
    yaml.width = _WIDE
    yaml.indent(mapping=2, sequence=4, offset=2)
    yaml.representer.add_representer(
        Blank, lambda dumper, _blank: dumper.represent_scalar("tag:yaml.org,2002:str", BLANK)
    )
    return yaml


def parsed(text: str) -> Any:  # noqa: ANN401
    """The document, to be edited and given to `dumped`."""
    return _yaml().load(text)


def dumped(document: Any) -> str:  # noqa: ANN401
    """Its text."""
    into = io.StringIO()
    _yaml().dump(document, into)
    return into.getvalue()


def pruned(text: str, names: set[str]) -> tuple[str, list[str]]:
    """A job without what reads columns that are not among the names, and what that was; calls go that need one."""
    document = parsed(text)
    names = names | set(_MADE.findall(document["source"].get("query", "")))
    gone = [f"source.columns.{name}" for name in document["source"].get("columns", {}) if name not in names]
    for path in gone:
        del document["source"]["columns"][path.removeprefix("source.columns.")]
    kept = []
    for place, call in enumerate(document["calls"]):
        lost = list(_lost(call, names))
        if {name for _, name in lost} & set(needed_by(call["type"])):
            gone.append(f"calls of {call['type']}")
            continue
        kept.append(place)
        gone += _taken_out(lost, f"{call['type']}.")
    for place in reversed(range(len(document["calls"]))):
        if place not in kept:
            del document["calls"][place]
    gone += _taken_out(list(_lost(document.get("defaults", {}), names)), "defaults.")
    return (dumped(document) if gone else text), gone


def _taken_out(lost: list[tuple[Any, str]], prefix: str) -> list[str]:
    for holder, name in lost:
        del holder[name]
    return [f"{prefix}{name}" for _, name in lost]


def _lost(fields: Any, names: set[str]) -> Iterator[tuple[Any, str]]:  # noqa: ANN401
    """The fields, and the members of whole objects, that are columns which are not there: each with what it is in."""
    for name in _COLUMNS:
        value = fields.get(name)
        if isinstance(value, str) and value not in names:
            yield fields, name
        elif isinstance(value, dict) and name in OBJECTS:
            column = value.get("column")
            whole = column.get("column") if isinstance(column, dict) else column
            if isinstance(whole, str) and whole not in names:
                yield value, "column"
            yield from (
                (value, member)
                for member, one in value.items()
                if member != "column" and isinstance(one, str) and one not in names
            )
