"""Batches in doubt: what is read of them, and what is written where somebody decides about them. As in `statements`."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from backfill.errors import counted
from backfill.ledger.statements import note
from backfill.records import AGE_UNKNOWN, Batch, ClockMark, Decision, Doubt

_WORDS = {
    Decision.RESEND: "to be sent again, though calls may arrive twice, as --in-doubt resend asks",
    Decision.SKIP: "left so for good, as --in-doubt skip asks",
}


#: Of a batch b in doubt: its first unknown attempt, what is in flight included.
_SINCE = """coalesce(min(b.first_unknown_at, o.sent_at), b.first_unknown_at, o.sent_at)"""
_DOUBTS = f"""
SELECT b.id, b.shard, b.first_call, b.calls, b.attempts, {_SINCE} AS since, b.state = 'left' AS is_left
FROM batches b LEFT JOIN (SELECT batch, min(sent_at) AS sent_at FROM attempts WHERE outcome IS NULL GROUP BY batch) o
    ON o.batch = b.id
WHERE b.id IN (SELECT batch FROM v_in_doubt)"""  # noqa: S608 - constants
#: One page of them, in plan order, with the last attempt of each; a part may have had none of its own.
DOUBTS = f"""
SELECT d.id, d.shard, d.first_call, d.calls, d.attempts, d.since, d.is_left, a.status, coalesce(a.detail, '')
FROM ({_DOUBTS}) d LEFT JOIN attempts a ON a.batch = d.id AND a.number = d.attempts
ORDER BY d.shard, d.first_call, d.id LIMIT ?"""  # noqa: S608 - constants
SPAN = f"""
SELECT coalesce(sum(NOT is_left), 0), coalesce(sum(calls) FILTER (WHERE NOT is_left), 0),
    min(since) FILTER (WHERE NOT is_left AND since > {AGE_UNKNOWN}), max(since) FILTER (WHERE NOT is_left
    AND since > {AGE_UNKNOWN}), coalesce(sum(NOT is_left AND since <= {AGE_UNKNOWN}), 0),
    coalesce(sum(is_left), 0), coalesce(sum(calls) FILTER (WHERE is_left), 0)
FROM ({_DOUBTS})"""  # noqa: S608 - constants


def doubt_of(row: sqlite3.Row) -> Doubt:
    """A row of DOUBTS."""
    batch, shard, first_call, calls, attempts, since, left, status, detail = row
    known = since if since > AGE_UNKNOWN else None
    return Doubt(batch, shard, first_call, calls, attempts, known, bool(left), status, detail)


def settle_orphans(connection: sqlite3.Connection) -> int:
    """Give each attempt of an earlier process that has no end the outcome unknown; returns how many there were."""
    orphans = connection.execute("SELECT batch, number, sent_at FROM attempts WHERE outcome IS NULL").fetchall()
    for batch, number, sent_at in orphans:
        connection.execute(
            "UPDATE attempts SET outcome = 'unknown', detail = 'the process ended before the answer'"
            " WHERE batch = ? AND number = ?",
            (batch, number),
        )
        connection.execute(
            "UPDATE batches SET first_unknown_at = coalesce(min(first_unknown_at, ?), ?) WHERE id = ?",
            (sent_at, sent_at, batch),
        )
    return len(orphans)


def decide(connection: sqlite3.Connection, batches: Sequence[Batch], decision: Decision, at: float) -> None:
    """Record what becomes of batches in doubt. Those sent again are in doubt still, since now."""
    for batch in batches:
        connection.execute(
            "INSERT INTO decisions VALUES (?, ?, ?, ?)", (batch.id, at, decision, batch.first_unknown_at)
        )
        if decision is Decision.SKIP:
            connection.execute("UPDATE batches SET state = 'left' WHERE id = ?", (batch.id,))
        else:
            connection.execute("UPDATE batches SET first_unknown_at = ? WHERE id = ?", (at, batch.id))
    calls = sum(batch.calls for batch in batches)
    named = "1 batch ({}) in doubt is" if len(batches) == 1 else f"{len(batches):,} batches ({{}}) in doubt are"
    note(connection, at, f"{named.format(counted(calls, 'call', 'calls'))} {_WORDS[decision]}")


def lose_ages(connection: sqlite3.Connection, *, at: float, detail: str) -> None:
    """Make every doubt one whose age is not known."""
    connection.execute(
        "UPDATE batches SET first_unknown_at = ? WHERE state IN ('planned', 'sent', 'rejected')"  # may be tried again
        " AND first_unknown_at IS NOT NULL",
        (AGE_UNKNOWN,),
    )
    note(connection, at, detail)


def mark_clock(connection: sqlite3.Connection, mark: ClockMark) -> None:
    """Record the clock."""
    connection.execute("INSERT INTO clocks VALUES (?, ?, ?, ?)", (mark.at, mark.boot, mark.up, mark.window))
