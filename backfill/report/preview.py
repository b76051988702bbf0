"""Rows and the calls they become, for people."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from backfill.prepare.rows import PreviewRow
from backfill.rules import CODES


def preview_text(rows: Sequence[PreviewRow]) -> str:
    """Each row as it was read, under it each of its calls, or why there is none."""
    lines: list[str] = []
    for row in rows:
        lines.append(f"--- {row.file}, record {row.record:,}")
        lines.append(pretty(row.row))
        for call in row.calls:
            lines.append(f"  {call.scope}: {call.state}")
            for code, column, value in call.problems:
                found = f": {column} = {value!r}" if column else ""
                lines.append(f"    {code} {CODES[code].title}{found}" if code in CODES else f"    {code}{found}")
            if call.call is not None:
                lines.append(indented(pretty(call.call), 4))
    return "\n".join(lines)


def pretty(value: dict[str, Any]) -> str:
    """The object on several lines, scripts of the world as they are."""
    return json.dumps(value, indent=2, ensure_ascii=False)


def indented(text: str, spaces: int) -> str:
    """Every line of the text moved to the right."""
    return "\n".join(" " * spaces + line for line in text.splitlines())
