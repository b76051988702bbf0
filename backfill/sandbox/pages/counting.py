"""How many calls there are: by type, event, outcome and day, of all runs or of one; the runs and their batches."""

from __future__ import annotations

from collections import Counter
from datetime import date, timedelta
from typing import Final

from backfill.frozen import frozen
from backfill.limits import SEGMENT
from backfill.sandbox.facets import ACCEPTED
from backfill.sandbox.tables import Tables

#: Events that are told by name, the most frequent; batches of one page.
EVENTS: Final = 60
BATCHES: Final = 50
#: Attempts that are told of one batch.
ATTEMPTS: Final = 20
#: A chart has at most so many columns: more days are put together by month, more months by year.
COLUMNS: Final = 62
#: Of more years than that those without calls are left out: a date may be anything.
MOST_STEPS: Final = 300
DUPLICATE: Final = "duplicate"


@frozen
class Run:
    """What a sender calls a run, or a sender that names none."""

    number: int
    name: str
    first_ms: int
    last_ms: int
    requests: int


@frozen
class Counts:
    """How many calls, each by its name, the most first."""

    outcomes: dict[str, int]
    types: dict[str, int]  # of accepted calls, as the next two
    events: dict[str, int]
    other_events: int  # how many calls have another event than those
    days: dict[str, int]  # of calls kept whole; by month or year where there are many

    @property
    def total(self) -> int:
        """All calls."""
        return sum(self.outcomes.values())

    @property
    def dropped(self) -> int:
        """Calls that are neither accepted nor duplicates."""
        return self.total - self.outcomes.get(ACCEPTED, 0) - self.outcomes.get(DUPLICATE, 0)


@frozen
class Batch:
    """A body, by the attempts to send it: moments in ms and answers. A body that was not read has no first id."""

    number: int
    first_id: str | None
    calls: int
    accepted: int
    duplicate: int
    body_bytes: int
    attempts: list[tuple[int, str]]
    more: int  # attempts besides

    @property
    def fill(self) -> float:
        """The share of what Segment lets a body have."""
        return self.body_bytes / SEGMENT.body_bytes


def runs(tables: Tables, number: int | None = None) -> list[Run]:
    """The runs, the last to send first; or the one of this number."""
    found = tables.all(
        "SELECT number, name, first_ms, last_ms, requests FROM runs WHERE ?1 IS NULL OR number = ?1"
        " ORDER BY last_ms DESC, number DESC",
        number,
    )
    return [Run(*row) for row in found]


def counts(tables: Tables, run: int | None = None) -> Counts:
    """The counts of all, or of one run."""
    outcomes: Counter[str] = Counter()
    types: Counter[str] = Counter()
    events: Counter[str] = Counter()
    found = tables.all("SELECT outcome, type, event, calls FROM facets WHERE ?1 IS NULL OR run = ?1", run)
    for outcome, kind, event, calls in found:
        outcomes[outcome] += calls
        if outcome == ACCEPTED:
            types[kind] += calls
            if event:
                events[event] += calls
    shown = dict(events.most_common(EVENTS))
    return Counts(
        dict(outcomes.most_common()),
        dict(types.most_common()),
        shown,
        sum(events.values()) - sum(shown.values()),
        _days(tables, run),
    )


def outcomes(tables: Tables) -> dict[str, int]:
    """How many calls of each outcome there are."""
    return dict(tables.all("SELECT outcome, sum(calls) FROM facets GROUP BY 1"))


def by_run(tables: Tables) -> dict[int, dict[str, int]]:
    """How many calls of each outcome each run has."""
    found: dict[int, dict[str, int]] = {}
    for run, outcome, calls in tables.all("SELECT run, outcome, sum(calls) FROM facets GROUP BY 1, 2"):
        found.setdefault(run, {})[outcome] = calls
    return found


def _days(tables: Tables, run: int | None) -> dict[str, int]:
    days = dict(
        tables.all("SELECT day, sum(calls) FROM days WHERE ?1 IS NULL OR run = ?1 GROUP BY day ORDER BY day", run)
    )
    return steps_of(days) if days else {}


def steps_of(days: dict[str, int]) -> dict[str, int]:
    """Calls by day, or by month or year where there are too many, from the first to the last without a gap."""
    first, last = date.fromisoformat(min(days)), date.fromisoformat(max(days))
    months = 12 * (last.year - first.year) + last.month - first.month + 1
    if (last - first).days < COLUMNS:
        digits, steps = 10, [f"{first + timedelta(n)}" for n in range((last - first).days + 1)]
    elif months <= COLUMNS:
        begin = 12 * first.year + first.month - 1
        digits, steps = 7, [f"{month // 12:04}-{month % 12 + 1:02}" for month in range(begin, begin + months)]
    else:
        digits, steps = 4, [f"{year:04}" for year in range(first.year, last.year + 1)]
    found = dict.fromkeys(steps, 0)
    for day, calls in days.items():
        found[day[:digits]] += calls
    return found if len(found) <= MOST_STEPS else {step: calls for step, calls in found.items() if calls}


def batches(tables: Tables, run: int, *, after: int = 0) -> list[Batch]:
    """The batches of a run whose first attempt came after the request of this number, in their order."""
    found = tables.all(
        "SELECT number, first_id, calls, accepted, duplicate, body_bytes, received_ms, answer FROM requests AS r"
        " WHERE run = ?1 AND number > ?2 AND (first_id IS NULL OR NOT EXISTS (SELECT 1 FROM requests AS e"
        " WHERE e.run = ?1 AND e.first_id = r.first_id AND e.calls = r.calls AND e.number < r.number))"
        " ORDER BY number LIMIT ?3",
        *(run, after, BATCHES),
    )
    made = []
    for number, first_id, calls, accepted, duplicate, body_bytes, received_ms, answer in found:
        told, attempts = (accepted, duplicate, body_bytes), [(received_ms, answer)]
        if first_id is not None:
            told, attempts = _attempts(tables, run, first_id, calls)
        made.append(Batch(number, first_id, calls, *told, attempts[:ATTEMPTS], max(0, len(attempts) - ATTEMPTS)))
    return made


def _attempts(
    tables: Tables, run: int, first_id: str, calls: int
) -> tuple[tuple[int, int, int], list[tuple[int, str]]]:
    found = tables.all(
        "SELECT accepted, duplicate, body_bytes, received_ms, answer FROM requests"
        " WHERE run = ? AND first_id = ? AND calls = ? ORDER BY number LIMIT 1000",
        *(run, first_id, calls),
    )
    told = max(row[0] for row in found), max(row[1] for row in found), max(row[2] for row in found)
    return told, [(received_ms, answer) for *_, received_ms, answer in found]
