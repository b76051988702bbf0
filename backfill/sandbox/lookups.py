"""Users and ids of kept calls in the order in which pages look them up, filled when nobody sends.

They come in no order: in one index over all, each group of requests would write a page of the file for nearly every
call. So each part of the calls, by their numbers, has an order of its own, and who looks something up asks every part.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import Final

import orjson

from backfill.sandbox.tables import Tables

#: Calls that are looked at in one step, a tenth of a second, and of one part.
STEP: Final = 5_000
PART: Final = 40_000
_LOOKED_AT: Final = "looked_at"
_NEXT: Final = """
SELECT number, facet, user, timestamp, message_id, 1, json FROM calls WHERE number > ?1 AND number <= ?2
UNION ALL SELECT number, facet, user, timestamp, message_id, reason = 'duplicate', json FROM drops
WHERE number > ?1 AND number <= ?2 AND json IS NOT NULL
"""


def left(tables: Tables) -> int:
    """How many calls, kept or dropped, were not looked at yet."""
    return max(tables.last_number("calls"), tables.last_number("drops")) - tables.mark(_LOOKED_AT)


def parts(tables: Tables) -> str:
    """The numbers of all parts, as JSON."""
    return orjson.dumps(list(range(tables.mark(_LOOKED_AT) // PART + 1))).decode()


def look_at_next(tables: Tables, step: int = STEP) -> int:
    """Enter the next calls into `by_user` and `by_id`; how many are left after them.

    The digest of a call is of its JSON, and of whether it was dropped for another reason than that it was there.
    """
    waiting = left(tables)
    if not waiting:
        return 0
    begin = tables.mark(_LOOKED_AT)
    end = begin + min(step, waiting)
    rows = tables.all(_NEXT, begin, end)
    run_of = dict(tables.all("SELECT number, run FROM facets"))
    users = sorted(
        (number // PART, user, at, number, facet) for number, facet, user, at, *_ in rows if user is not None
    )
    ids = sorted(
        (number // PART, run_of[facet], message_id, number, _digest(f"{fit}{text}"))
        for number, facet, _, _, message_id, fit, text in rows
        if message_id is not None
    )
    tables.begin()
    tables.change("INSERT INTO by_user VALUES (?, ?, ?, ?, ?)", users)
    tables.change("INSERT INTO by_id VALUES (?, ?, ?, ?, ?)", ids)
    tables.set_marks(**{_LOOKED_AT: end})
    tables.commit()
    return begin + waiting - end


def _digest(text: str) -> int:
    """64 bits, with a sign, as the database takes them."""
    return int.from_bytes(blake2b(text.encode(errors="replace"), digest_size=8).digest(), "big", signed=True)
