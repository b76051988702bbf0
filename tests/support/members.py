"""Members of the job of `tests.support.reruns`, and their ids."""

from __future__ import annotations

from collections.abc import Sequence

from tests.support.reruns import Member, id_of


def people(count: int, *, bad: Sequence[int] = (), first: int = 0) -> list[Member]:
    """So many members, some of them with an age that is none."""
    return [(number, "old" if number in bad else number % 90) for number in range(first, first + count)]


def ids(numbers: range | Sequence[int]) -> list[str]:
    """Their message ids."""
    return [id_of(number) for number in numbers]
