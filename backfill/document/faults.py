"""Collecting the faults of one file, so that all are reported at once and none only because of another."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass, field

from backfill.document.positions import Positions
from backfill.errors import Fault


def suggest(name: str, known: Iterable[str]) -> str:
    """`did you mean "x"?`, or nothing where no known name is near."""
    near = nearest(name, known)
    return f'did you mean "{near}"?' if near else ""


def nearest(name: str, known: Iterable[str]) -> str:
    """The known name that is nearest, or nothing where none is near; one equal but for case is nearest of all."""
    candidates = list(known)
    folded = [candidate for candidate in candidates if candidate.casefold() == name.casefold()]
    plain = {candidate.casefold().replace("_", ""): candidate for candidate in reversed(candidates)}
    near = folded or difflib.get_close_matches(name, candidates, n=1, cutoff=0.6)
    near = near or [
        plain[match] for match in difflib.get_close_matches(name.casefold().replace("_", ""), plain, n=1, cutoff=0.7)
    ]
    return near[0] if near else ""


#: Somebody mends a few of them at a time; a hostile file could hold tens of thousands.
MOST_FAULTS = 200


@dataclass(slots=True, repr=False, eq=False)
class Faults:
    """The faults found so far; what lies in a part that was already found faulty is not reported again."""

    positions: Positions
    found: list[Fault] = field(default_factory=list)
    broken: set[str] = field(default_factory=set)  # paths of parts left out because of their shape

    def __post_init__(self) -> None:
        """Begin with what YAML itself found."""
        self.found.extend(self.positions.faults[:MOST_FAULTS])
        self.broken.update(fault.path for fault in self.positions.faults if fault.path)

    def add(self, path: str, message: str, hint: str = "", *, key: bool = False) -> None:
        """Note one fault at that field; `key` points at the field's name rather than its value."""
        if not self.full and not self.is_broken(path, self.positions.written(path)):
            self.found.append(self.positions.fault(path, message, hint, key=key))

    @property
    def full(self) -> bool:
        """Whether no more faults are taken."""
        return len(self.found) >= MOST_FAULTS

    def is_broken(self, *paths: str) -> bool:
        """Whether one of the fields is, or lies in, a part that was left out."""
        return any(path == part or path.startswith((f"{part}.", f"{part}[")) for part in self.broken for path in paths)
