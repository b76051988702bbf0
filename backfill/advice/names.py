"""Names in integrations that Segment does not know, though it knows one that is nearly the same."""

from __future__ import annotations

from functools import cache

from backfill.advice.facts import destinations


def meant_name(name: str) -> str | None:
    """The name that is meant by one that differs from it in case, in blanks, or by another order of its words.

    None for a name that Segment has, and for one that is like none of those known here.
    """
    known = _known()
    return None if name in known.values() else known.get(_bare(name))


@cache
def _known() -> dict[str, str]:
    """Names without case and blanks, or as people write them, each with the one that is meant, the first of several."""
    known: dict[str, str] = {}
    for destination in destinations():
        known |= {_bare(name): name for name in reversed(destination.names)}
    for destination in destinations():
        known |= {_bare(name): destination.names[0] for name in destination.written if _bare(name) not in known}
    return known


def _bare(name: str) -> str:
    return "".join(name.casefold().split())
