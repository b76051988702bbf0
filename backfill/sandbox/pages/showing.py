"""How the pages show things: the templates, and what moments, numbers, JSON and charts look like in them."""

from __future__ import annotations

import re
from functools import cache
from math import inf
from operator import itemgetter
from typing import Any, Final
from urllib.parse import urlencode

from jinja2 import Environment, PackageLoader, StrictUndefined

from backfill import __version__
from backfill.escape import escaped
from backfill.sandbox.drops import REASONS
from backfill.sandbox.facets import ACCEPTED
from backfill.sandbox.moments import iso_moment
from backfill.sandbox.pages.counting import Run
from backfill.sandbox.pages.listing import Row

#: What is shown of a call's JSON on its page, in characters; all of it is one link further.
MOST_JSON: Final = 12_000
#: Characters of names that are shown in lists.
SHORT: Final = 60
_TOKENS: Final = re.compile(r'"(?:[^"\\]|\\.)*"|[{}\[\],:]|[^\s{}\[\],:"]+')
_INDENT: Final = "  "


@cache
def environment() -> Environment:
    """The template engine; it escapes every value."""
    made = Environment(
        loader=PackageLoader("backfill.sandbox.pages"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters.update(
        count="{:,}".format,
        moment=moment_text,
        instant=iso_moment,
        span=span_text,
        short=short,
        outcome=outcome_text,
        percent="{:.0%}".format,
    )
    made.globals.update(address=address, chart=chart, version=__version__)
    return made


def page(name: str, **values: Any) -> str:  # noqa: ANN401 (whatever the template shows)
    """The page of this template."""
    return environment().get_template(name).render(**values)


def address(path: str, **query: object) -> str:
    """A path with a query; members that are None or empty are left out."""
    left = {name: value for name, value in query.items() if value not in (None, "")}
    return f"{path}?{urlencode(left)}" if left else path


def moment_text(milliseconds: int) -> str:
    """`YYYY-MM-DD HH:MM:SS`, UTC."""
    return iso_moment(milliseconds)[:19].replace("T", " ")


def span_text(run: Run) -> str:
    """From when to when a run has sent."""
    first, last = moment_text(run.first_ms), moment_text(run.last_ms)
    if first == last:
        return first
    return f"{first} to {last[11:] if first[:10] == last[:10] else last}"


def short(text: str | None, most: int = SHORT) -> str:
    """The beginning of a text from data, with what cannot be seen written out."""
    shown = escaped((text or "")[: most + 1])
    return shown if len(shown) <= most else f"{shown[: most - 1]}…"


def outcome_text(outcome: str) -> str:
    """What became of a call, in words."""
    if outcome == ACCEPTED:
        return "accepted"
    return "duplicate" if outcome == "duplicate" else f"dropped: {outcome}"


def meaning(outcome: str) -> str:
    """What an outcome means, in a sentence."""
    if outcome == ACCEPTED:
        return "Segment would hold it."
    if outcome == "duplicate":
        return "Its message id was accepted less than 24 hours before: Segment would answer 200 and forget it."
    return f"Segment would answer 200 and forget it: {REASONS.get(outcome, outcome)}."


def indented(text: str, most: float = inf) -> str:
    """JSON over several lines, its values and keys exactly as they stand; text that is cut may be given too.

    It ends after the line with which it has more than `most` characters: indented, what is nested deeply may have a
    thousand times as many as its JSON.
    """
    lines: list[str] = []
    line, depth, size = "", 0, 0
    for part in map(itemgetter(0), _TOKENS.finditer(text)):
        if part in "}]":
            depth -= 1
            if not line.strip() and lines and lines[-1].rstrip().endswith(("{", "[")):
                line = lines.pop() + part  # nothing was in it
                size -= len(line)
                continue
            lines.append(line)
            line = _INDENT * depth + part
        elif part in "{[":
            lines.append(line + part)
            depth += 1
            line = _INDENT * depth
        elif part == ",":
            lines.append(line + part)
            line = _INDENT * depth
        else:
            line += ": " if part == ":" else part
            continue
        size += len(lines[-1]) + 1
        if size > most:
            break
    lines.append(line)
    return "\n".join(each for each in lines if each.strip())


def shown_json(row: Row) -> tuple[str, bool]:
    """The JSON of a call as its page has it, and whether it is cut."""
    text = indented(row.json or "", MOST_JSON + 1)
    return escaped(text[:MOST_JSON], lines=True), len(text) > MOST_JSON


def chart(values: dict[str, int], width: int = 640, height: int = 140) -> list[dict[str, Any]]:
    """The columns of a chart of counts: their places in a picture of this size, and what they say."""
    most = max(values.values(), default=0) or 1
    step = width / max(1, len(values))
    return [
        {
            "name": name,
            "value": value,
            "x": f"{place * step + step * 0.1:.1f}",
            "width": f"{max(1.0, step * 0.8):.1f}",
            "y": f"{height - height * value / most:.1f}",
            "height": f"{height * value / most:.1f}",
        }
        for place, (name, value) in enumerate(values.items())
    ]
