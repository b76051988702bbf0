"""Kept calls as pages list them: newest first, by what they are filtered by, in pages that cost the same everywhere."""

from __future__ import annotations

from typing import Any, Final

import orjson

from backfill.frozen import frozen
from backfill.sandbox.facets import ACCEPTED
from backfill.sandbox.lookups import parts
from backfill.sandbox.tables import Tables

#: Calls of one page.
ROWS: Final = 50
#: Of calls that came since it was last looked, so many are looked at, the newest.
LOOKED_AT: Final = 2_000
DROPPED: Final = "dropped"  # as an outcome: for any reason, but not as a duplicate

_WHOLE: Final = (
    "c.number, f.run, f.outcome, f.type, f.event, message_id, user, received_ms, timestamp, original_timestamp,"
    " sent_at, request, json"
)


@frozen
class Filter:
    """What calls have to be; an empty text, and no number, is anything."""

    type: str = ""
    event: str = ""
    user: str = ""
    run: int | None = None
    outcome: str = ""

    @property
    def by_facet(self) -> bool:
        """Whether it asks for anything but a user."""
        return bool(self.type or self.event or self.outcome or self.run is not None)

    def query(self) -> dict[str, str]:
        """Its members as they stand in an address."""
        run = "" if self.run is None else str(self.run)
        members = {"type": self.type, "event": self.event, "user": self.user, "run": run, "outcome": self.outcome}
        return {name: value for name, value in members.items() if value}


@frozen
class Facet:
    """What a call is counted by."""

    run: int
    outcome: str
    type: str
    event: str


@frozen
class Row:
    """A call, kept or dropped; of a dropped one there may be no more than its reason, id and type."""

    number: int
    facet: Facet
    message_id: str | None
    user: str | None
    received_ms: int
    timestamp: str | None
    original_timestamp: str | None
    sent_at: str | None
    request: int | None
    json: str | None


def facets_of(tables: Tables, wanted: Filter) -> dict[int, Facet]:
    """The facets that fit the filter, by number."""
    found = tables.all(
        "SELECT number, run, outcome, type, event FROM facets WHERE (?1 = '' OR type = ?1) AND (?2 = '' OR event = ?2)"
        " AND (?3 IS NULL OR run = ?3) AND (?4 = '' OR outcome = ?4 OR (?4 = ?5 AND outcome NOT IN (?6, 'duplicate')))",
        *(wanted.type, wanted.event, wanted.run, wanted.outcome, DROPPED, ACCEPTED),
    )
    return {number: Facet(*members) for number, *members in found}


def newest(tables: Tables, wanted: Filter, *, before: int | None = None, limit: int = ROWS) -> list[Row]:
    """Calls in the order of their arrival, the last first, of those before a number; the filter names no user."""
    end = before or 1 << 62
    numbers: list[int] = []
    facets = facets_of(tables, wanted)
    for table in ("calls", "drops"):
        if not wanted.by_facet:
            found = tables.all(
                f"SELECT number FROM {table} WHERE number < ? ORDER BY number DESC LIMIT ?",  # noqa: S608 our own names
                *(end, limit),
            )
            numbers += [number for (number,) in found]
        else:
            # Of each facet the last: its calls are found in the index, however rare they are among the others.
            found = tables.all(
                "SELECT (SELECT json_group_array(number) FROM (SELECT number FROM "  # noqa: S608 our own names
                f"{table} WHERE facet = value AND number < ? ORDER BY number DESC LIMIT ?)) FROM json_each(?)",
                *(end, limit, orjson.dumps(list(facets)).decode()),
            )
            numbers += [number for (some,) in found for number in orjson.loads(some)]
    return rows_at(tables, sorted(numbers, reverse=True)[:limit])


def of_user(tables: Tables, wanted: Filter, *, before: tuple[str, int] | None = None, limit: int = ROWS) -> list[Row]:
    """Calls of the user that the filter names, in the order of their timestamps, the last first."""
    facets = orjson.dumps(list(facets_of(tables, wanted))).decode() if wanted.by_facet else None
    found = tables.all(
        "SELECT (SELECT json_group_array(json_array(timestamp, number)) FROM (SELECT timestamp, number FROM by_user"
        " WHERE part = p.value AND user = ?1 AND (?2 IS NULL OR (timestamp, number) < (?2, ?3))"
        " AND (?4 IS NULL OR facet IN (SELECT f.value FROM json_each(?4) AS f))"
        " ORDER BY timestamp DESC, number DESC LIMIT ?5)) FROM json_each(?6) AS p",
        *(wanted.user, *(before or (None, None)), facets, limit, parts(tables)),
    )
    last = sorted((tuple(one) for (some,) in found for one in orjson.loads(some)), reverse=True)[:limit]
    by_number = {row.number: row for row in rows_at(tables, [number for _, number in last])}
    return [by_number[number] for _, number in last]


def arrived(tables: Tables, wanted: Filter, after: int) -> tuple[list[Row], int]:
    """Calls that fit and came after a number, the last first, at most ROWS; and the number of the last that came."""
    last = last_number(tables)
    begin = max(after, last - LOOKED_AT)
    facets = facets_of(tables, wanted) if wanted.by_facet else None
    numbers = []
    for table in ("calls", "drops") if last > after else ():
        found = tables.all(f"SELECT number, facet, user FROM {table} WHERE number > ?", begin)  # noqa: S608 our own names
        numbers += [
            number
            for number, facet, user in found
            if (facets is None or facet in facets) and (not wanted.user or user == wanted.user)
        ]
    return rows_at(tables, sorted(numbers, reverse=True)[:ROWS]), last


def last_number(tables: Tables) -> int:
    """The number of the call that came last."""
    return max(tables.last_number("calls"), tables.last_number("drops"))


def rows_at(tables: Tables, numbers: list[int]) -> list[Row]:
    """The calls of these numbers, the last first; a number of none is left out."""
    found: list[tuple[Any, ...]] = []
    for table in ("calls", "drops"):
        found += tables.all(
            f"SELECT {_WHOLE} FROM {table} AS c LEFT JOIN facets AS f ON f.number = c.facet"  # noqa: S608 our own names
            " WHERE c.number IN (SELECT value FROM json_each(?))",
            orjson.dumps(numbers).decode(),
        )
    return [Row(number, Facet(*rest[:4]), *rest[4:]) for number, *rest in sorted(found, reverse=True)]
