"""Runs and facets: what calls are counted and found by, and how many there are of each.

A run is what a sender names in the header `Backfill-Run`; of others, their User-Agent. A facet is a combination of run,
outcome, type and event. There are at most so many of either: what senders call by ever new names is put together.
"""

from __future__ import annotations

from collections import Counter
from typing import Final

from backfill.sandbox.drops import KINDS
from backfill.sandbox.tables import Tables

MOST_RUNS: Final = 2_000
MOST_FACETS: Final = 5_000
#: The event of facets and the name of the run of what comes when there are that many.
OTHERS: Final = "(others)"
ACCEPTED: Final = "accepted"


class Facets:
    """The numbers of runs and facets, made as they are met; what is counted of them goes to the tables at `flush`."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables
        self._runs = {name: number for number, name in tables.all("SELECT number, name FROM runs")}
        found = tables.all("SELECT number, run, outcome, type, event FROM facets")
        self._facets: dict[tuple[int, str, str, str], int] = {tuple(rest): number for number, *rest in found}
        self._calls: Counter[int] = Counter()
        self._days: Counter[tuple[int, str, str]] = Counter()
        self._requests: dict[int, list[int]] = {}  # by run: the first and last moment, and how many

    def run(self, name: str, received_ms: int) -> int:
        """The number of the run, of which a request has come now."""
        if name not in self._runs and len(self._runs) >= MOST_RUNS:
            name = OTHERS
        number = self._runs.get(name)
        if number is None:
            number = self._runs[name] = len(self._runs) + 1
            row = (number, name, received_ms, received_ms)
            self._tables.change("INSERT INTO runs VALUES (?, ?, ?, ?, 0)", [row])
        first, last, requests = self._requests.get(number, (received_ms, received_ms, 0))
        self._requests[number] = [min(first, received_ms), max(last, received_ms), requests + 1]
        return number

    def count(self, run: int, outcome: str, kinds: list[str], events: list[str]) -> dict[tuple[str, str], int]:
        """Count these calls of one run and outcome; their facets by type and event."""
        numbers = {}
        for (kind, event), calls in Counter(zip(kinds, events, strict=True)).items():
            numbers[kind, event] = number = self._number(run, outcome, kind, event)
            self._calls[number] += calls
        return numbers

    def count_days(self, run: int, kinds: list[str], days: list[str]) -> None:
        """Count calls by the days of their timestamps."""
        self._days.update((run, kind, day) for kind, day in zip(kinds, days, strict=True))

    def flush(self) -> None:
        """Write down what was counted."""
        change = self._tables.change
        change("UPDATE facets SET calls = calls + ? WHERE number = ?", [(n, facet) for facet, n in self._calls.items()])
        days = [(*day, calls) for day, calls in self._days.items()]
        change("INSERT INTO days VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET calls = calls + excluded.calls", days)
        change(
            "UPDATE runs SET first_ms = min(first_ms, ?), last_ms = max(last_ms, ?), requests = requests + ?"
            " WHERE number = ?",
            [(*told, run) for run, told in self._requests.items()],
        )
        self._calls.clear()
        self._days.clear()
        self._requests.clear()

    def _number(self, run: int, outcome: str, kind: str, event: str) -> int:
        key = run, outcome, kind, event
        if key not in self._facets and len(self._facets) >= MOST_FACETS:
            key = run, outcome, kind if kind in KINDS else OTHERS, OTHERS
        number = self._facets.get(key)
        if number is None:
            number = self._facets[key] = len(self._facets) + 1
            self._tables.change("INSERT INTO facets VALUES (?, ?, ?, ?, ?, 0)", [(number, *key)])
        return number
