"""Two runs compared: which calls one of them has and the other has not, and which are not the same in both.

Both are walked side by side in the order of ids, so many at a time: a page of two runs of a million calls costs what
one of two small runs does. A call is the same where its JSON is, and where it was taken, or dropped, in both.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, Literal

import orjson

from backfill.frozen import frozen
from backfill.sandbox.lookups import parts
from backfill.sandbox.tables import Tables

#: Ids of each run that one page looks at, and differences that it shows, at most.
STEP: Final = 12_000
LEAST: Final = 500  # of one part of the calls
SHOWN: Final = 50
Change = Literal["added", "gone", "changed"]
CHANGES: Final[tuple[Change, ...]] = ("added", "gone", "changed")


@frozen
class Difference:
    """A call that is not the same in both, with its numbers in either."""

    change: Change
    message_id: str
    before: int | None
    after: int | None


@frozen
class Comparison:
    """What a part of the ids came to, counted up to the id `end`, or None where none is left behind it.

    `differences` are the first of those that were asked for, and `next` is the id after which the next come: the last
    of these where the part has more, else its end.
    """

    same: int
    counts: dict[Change, int]
    differences: list[Difference]
    end: str | None
    next: str | None


def compare(tables: Tables, before: int, after: int, *, start: str = "", only: Change | None = None) -> Comparison:
    """The part of the ids that comes after `start`; of its differences all, or `only` those of one kind."""
    sides, ends = zip(*(_calls(tables, run, start) for run in (before, after)), strict=True)
    # What lies beyond the end of a side that was cut is told with the next part.
    end = min((one for one in ends if one is not None), default=None)
    calls = [{an_id: rest for an_id, rest in side.items() if end is None or an_id <= end} for side in sides]
    same, counts, found = 0, dict.fromkeys(CHANGES, 0), []
    for an_id, change in _changes(*calls):
        if change is None:
            same += 1
            continue
        counts[change] += 1
        if only in (None, change):
            found.append((change, an_id))
    shown = [
        Difference(change, an_id, *(side[an_id][0] if an_id in side else None for side in calls))
        for change, an_id in found[:SHOWN]
    ]
    return Comparison(same, counts, shown, end, shown[-1].message_id if len(found) > SHOWN else end)


def _calls(tables: Tables, run: int, start: str) -> tuple[dict[str, tuple[int, int]], str | None]:
    """Number and digest of the first call of each id after `start`, and the id up to which they are all there."""
    held = "SELECT value FROM json_each(?) WHERE EXISTS (SELECT 1 FROM by_id WHERE part = value AND run = ?)"
    where = [part for (part,) in tables.all(held, parts(tables), run)]
    most = max(LEAST, STEP // max(len(where), 1))
    found = tables.all(
        "SELECT (SELECT json_group_array(json_array(message_id, number, digest)) FROM (SELECT * FROM by_id"
        " WHERE part = value AND run = ? AND message_id > ? ORDER BY message_id, number LIMIT ?))"
        " FROM json_each(?)",
        *(run, start, most, orjson.dumps(where).decode()),
    )
    calls: dict[str, tuple[int, int]] = {}
    ends = []
    for (some,) in found:
        rows = orjson.loads(some)
        for an_id, number, digest in rows:
            if an_id not in calls:  # parts come in the order of numbers
                calls[an_id] = number, digest
        if len(rows) == most:
            ends.append(rows[-1][0])
    return calls, min(ends, default=None)


def _changes(
    before: dict[str, tuple[int, int]], after: dict[str, tuple[int, int]]
) -> Iterator[tuple[str, Change | None]]:
    # The order of the database: that of UTF-8, which is that of code points.
    for an_id in sorted(before.keys() | after.keys()):
        if an_id not in before:
            yield an_id, "added"
        elif an_id not in after:
            yield an_id, "gone"
        else:
            yield an_id, None if before[an_id][1] == after[an_id][1] else "changed"
