"""Users and ids of kept calls in the order in which pages look them up, filled when nobody sends.

Users and ids come in no order: written with each request they would double what goes to the disk. Some thousand calls
at a time, sorted, they cost a fraction of it.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import Final

from backfill.sandbox.tables import Tables

#: Calls that are looked at in one step: a twentieth of a second.
STEP: Final = 5_000
_LOOKED_AT: Final = "looked_at"
_NEXT: Final = """
SELECT number, facet, user, timestamp, message_id, 1, json FROM calls WHERE number > ?1 AND number <= ?2
UNION ALL SELECT number, facet, user, timestamp, message_id, reason = 'duplicate', json FROM drops
WHERE number > ?1 AND number <= ?2 AND json IS NOT NULL
"""


def left(tables: Tables) -> int:
    """How many calls, kept or dropped, were not looked at yet."""
    return max(tables.last_number("calls"), tables.last_number("drops")) - tables.mark(_LOOKED_AT)


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
    users = sorted((user, at, number, facet) for number, facet, user, at, *_ in rows if user is not None)
    ids = sorted(
        (run_of[facet], message_id, number, blake2b(f"{fit}{text}".encode(errors="replace"), digest_size=12).digest())
        for number, facet, _, _, message_id, fit, text in rows
        if message_id is not None
    )
    tables.begin()
    tables.change("INSERT INTO by_user VALUES (?, ?, ?, ?)", users)
    tables.change("INSERT INTO by_id VALUES (?, ?, ?, ?)", ids)
    tables.set_mark(_LOOKED_AT, end)
    tables.commit()
    return begin + waiting - end
