"""JSON for people, every number digit for digit, as 748.30 is not 748.3 to a reader; and `preview`, which shows it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from backfill.masking import MASKED
from backfill.report.samples import QUERY, problem_line

if TYPE_CHECKING:
    from backfill.prepare.rows import PreviewRow

INDENT = 2


class NumberText(str):
    """A number as it is written."""

    __slots__ = ()


def parse(text: str) -> object:
    """The value of a JSON text, its numbers as `NumberText`.

    Raises:
        ValueError: It is not JSON.
    """
    return json.loads(text, parse_float=NumberText, parse_int=NumberText)


def compact(value: object) -> str:
    """The value as JSON on one line, scripts of the world as they are."""
    if isinstance(value, dict):
        return "{" + ",".join(f"{compact(name)}:{compact(each)}" for name, each in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(compact, value)) + "]"
    return str(value) if isinstance(value, NumberText) else json.dumps(value, ensure_ascii=False)


def pretty(value: object, margin: str = "") -> str:
    """The value as JSON on several lines, all but the first moved to the margin."""
    inner = margin + " " * INDENT
    if isinstance(value, dict) and value:
        return _enclosed("{", [f"{compact(name)}: {pretty(each, inner)}" for name, each in value.items()], "}", margin)
    if isinstance(value, list) and value:
        return _enclosed("[", [pretty(each, inner) for each in value], "]", margin)
    return compact(value)


def _enclosed(opening: str, members: Sequence[str], closing: str, margin: str) -> str:
    inner = margin + " " * INDENT
    return f"{opening}\n{inner}" + f",\n{inner}".join(members) + f"\n{margin}{closing}"


def preview_text(rows: Sequence[PreviewRow], *, query: bool = False) -> str:
    """Each row as it was read, under it each of its calls, or why there is none.

    `query`: the rows are those of the job's query, not of a file.
    """
    lines: list[str] = []
    for row in rows:
        place = f"row {row.record:,} of {QUERY}" if query else f"{row.file}, record {row.record:,}"
        lines.append(f"--- {place}")
        lines.append(pretty(hidden(parse(row.text), [(name,) for name in row.hidden])))
        for call in row.calls:
            lines.append(f"  {call.scope}: {call.state}")
            for problem in call.problems:
                lines.append(f"    {problem.code} {problem_line(problem)}")
                lines += [f"        Hint: {problem.hint}"] if problem.hint else []
            if call.text is not None:
                lines.append(indented(pretty(hidden(parse(call.text), call.hidden)), 4))
    return "\n".join(lines)


def hidden(value: object, paths: Iterable[Sequence[str]]) -> object:
    """The value with MASKED in place of what is there at these paths."""
    for path in paths:
        within = value
        for name in path[:-1]:
            within = within.get(name) if isinstance(within, dict) else None
        if isinstance(within, dict) and within.get(path[-1]) is not None:
            within[path[-1]] = MASKED
    return value


def indented(text: str, spaces: int) -> str:
    """Every line of the text moved to the right."""
    return "\n".join(" " * spaces + line for line in text.splitlines())
