"""What destinations do with the history of a plan, as lines of 80 columns and as keys of `--output json`."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from textwrap import wrap
from typing import Any, Final

from backfill.advice import Advice
from backfill.errors import counted
from backfill.escape import escaped

#: Facts that a terminal shows; JSON and the report have all.
SHOWN: Final = 8
_WIDTH: Final = 80
#: Of a block in one line, where the advice is indented most: it reads alike wherever it is told.
_BLOCK_WIDTH: Final = 66
_PLAIN_NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9_.() -]*")


def advice_lines(advice: Sequence[Advice], indent: int) -> list[str]:
    """The facts by destination, each group with the block that avoids it; below them where more is said."""
    groups: dict[tuple[str, str], list[Advice]] = {}
    for one in advice[:SHOWN]:
        groups.setdefault((one.destination, _way_out(one)), []).append(one)
    lines: list[str] = []
    for (destination, way_out), facts in groups.items():
        lines.append(escaped(destination))
        for one in facts:
            lines += _wrapped(f"{one.fact.says} ({concerned(one)})", indent)
        lines += _wrapped(way_out, indent)
    if len(advice) > SHOWN:
        others = ", ".join(dict.fromkeys(one.destination for one in advice[SHOWN:]))
        more = counted(len(advice) - SHOWN, "more fact", "more facts")
        lines += _wrapped(f"and {more} of {others}", indent, first="")
    if advice:
        lines.append(f'`backfill explain "{escaped(advice[0].destination)}"` says more, with the sources')
    return lines


def _way_out(advice: Advice) -> str:
    """How a fact is avoided: the block, or where that is longer than a line what is to be changed in it."""
    if advice.avoid is None:
        return advice.fact.instead
    block = f"avoided by `integrations: {block_text(advice.avoid)}`"
    if len(block) <= _BLOCK_WIDTH:
        return block
    if advice.destination in advice.avoid:
        return f"avoided by `{_name(advice.destination)}: false` in `integrations`"
    return f"avoided by leaving {advice.destination} out of `integrations`"


def _wrapped(text: str, indent: int, first: str = "  ") -> list[str]:
    width = _WIDTH - indent
    found = wrap(text, width, initial_indent=first, subsequent_indent="    ", break_on_hyphens=False)
    return [escaped(line) for line in found]


def concerned(advice: Advice) -> str:
    """Which calls a fact is of."""
    calls = ", ".join(advice.calls)
    return {"all": calls, "some": f"some of {calls}", "dates": f"{calls}, by their dates"}[advice.applies]


def block_text(integrations: Mapping[str, Any]) -> str:
    """A block of integrations as the job file would have it; options are not written out."""
    members = [f"{_name(name)}: {_value(value)}" for name, value in integrations.items()]
    return f"{{{', '.join(members)}}}"


def _name(name: str) -> str:
    return name if _PLAIN_NAME.fullmatch(name) else json.dumps(name, ensure_ascii=False)


def _value(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else "{...}"


def advice_json(advice: Sequence[Advice]) -> list[dict[str, Any]]:
    """The same as objects; their keys are a promise (docs/cli.md)."""
    return [
        {
            "destination": one.destination,
            "says": one.fact.says,
            "means": one.fact.means,
            "calls": list(one.calls),
            "applies": one.applies,
            "integrations": None if one.avoid is None else dict(one.avoid),
            "instead": one.fact.instead,
            "source": {"title": one.fact.source.title, "url": one.fact.source.url},
            "looked_up": one.fact.source.looked_up.isoformat(),
        }
        for one in advice
    ]
