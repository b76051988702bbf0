"""Rows and the calls they become, for people."""

from __future__ import annotations

from collections.abc import Sequence

from backfill.prepare.rows import PreviewRow
from backfill.report.digits import parse, pretty
from backfill.report.samples import QUERY
from backfill.rules import CODES


def preview_text(rows: Sequence[PreviewRow], *, query: bool = False) -> str:
    """Each row as it was read, under it each of its calls, or why there is none.

    `query`: the rows are those of the job's query, not of a file.
    """
    lines: list[str] = []
    for row in rows:
        place = f"row {row.record:,} of {QUERY}" if query else f"{row.file}, record {row.record:,}"
        lines.append(f"--- {place}")
        lines.append(pretty(parse(row.text)))
        for call in row.calls:
            lines.append(f"  {call.scope}: {call.state}")
            for code, column, value in call.problems:
                found = f": {column} = {value!r}" if column else ""
                lines.append(f"    {code} {CODES[code].title}{found}" if code in CODES else f"    {code}{found}")
            if call.text is not None:
                lines.append(indented(pretty(parse(call.text)), 4))
    return "\n".join(lines)


def indented(text: str, spaces: int) -> str:
    """Every line of the text moved to the right."""
    return "\n".join(" " * spaces + line for line in text.splitlines())
