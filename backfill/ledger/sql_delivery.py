"""What is written of a run while it is delivered: attempts, the tree below a batch, and doubts. As in `sql_plan`."""

from __future__ import annotations

from collections.abc import Sequence

from backfill.errors import LedgerError, counted
from backfill.ledger.connection import Connection
from backfill.ledger.schema import first_of
from backfill.ledger.sql_plan import FAULT, note, reopen_run
from backfill.records import (
    AGE_UNKNOWN,
    Answer,
    Batch,
    BatchPart,
    BatchState,
    ClockMark,
    Decision,
    Outcome,
)
from backfill.wire import check_places

_WORDS = {
    Decision.RESEND: "to be sent again, though calls may arrive twice, as --in-doubt resend asks",
    Decision.SKIP: "never sent again, as --in-doubt skip asks",
}
#: The earlier one of what a batch has and of a value, given twice.
_EARLIER = first_of("first_unknown_at", "?")
#: What a part may be from its beginning.
STATES = frozenset({BatchState.PLANNED, BatchState.DELIVERED, BatchState.REJECTED})
#: What an attempt may have done to its batch, where no parts came of it; the state None leaves it to be tried again.
ENDS = frozenset(
    {
        (Outcome.ACCEPTED, BatchState.DELIVERED),
        (Outcome.NOT_TAKEN, BatchState.REJECTED),
        (Outcome.NOT_TAKEN, None),
        (Outcome.UNKNOWN, None),
    }
)


def insert_attempt(connection: Connection, batch: int, at: float) -> int:
    """Record that an attempt leaves; returns its number, from 1.

    Raises:
        LedgerError: The batch is delivered, rejected or split: it must not be sent again.
    """
    row = connection.execute(
        "UPDATE batches SET state = 'sent', attempts = attempts + 1"
        " WHERE id = ? AND state IN ('planned', 'sent') RETURNING attempts",
        (batch,),
    ).fetchone()
    if row is None:
        raise LedgerError(f"batch {batch} is not to be sent (any more)", hint=FAULT)
    number: int = row[0]
    connection.execute("INSERT INTO attempts (batch, number, sent_at) VALUES (?, ?, ?)", (batch, number, at))
    return number


def end_attempt(connection: Connection, batch: int, number: int, answer: Answer) -> None:
    """Record how an attempt ended, and the state its batch takes.

    Raises:
        LedgerError: There is no such attempt without an end.
    """
    row = connection.execute(
        "UPDATE attempts SET ended_at = ?, outcome = ?, status = ?, detail = ?, seconds = ?, wire_bytes = ?"
        " WHERE batch = ? AND number = ? AND outcome IS NULL RETURNING sent_at",
        (
            answer.at,
            answer.outcome,
            answer.status,
            answer.detail,
            answer.seconds,
            answer.wire_bytes,
            batch,
            number,
        ),
    ).fetchone()
    if row is None:
        raise LedgerError(f"attempt {number} of batch {batch} is unknown or has ended", hint=FAULT)
    # The target may hold the calls since any moment after the request left: the window counts from the first of them.
    doubt = row[0] if answer.outcome is Outcome.UNKNOWN else None
    if answer.state is not None or doubt is not None:
        connection.execute(
            f"UPDATE batches SET state = coalesce(?, state), first_unknown_at = {_EARLIER} WHERE id = ?",  # noqa: S608
            (answer.state, doubt, doubt, batch),
        )
    if answer.state is BatchState.REJECTED:
        connection.execute(
            "UPDATE batches SET status = ?, detail = ? WHERE id = ?", (answer.status, answer.detail, batch)
        )


def check_end(answer: Answer) -> None:
    """Raise ValueError where such an outcome cannot give a batch such a state."""
    if (answer.outcome, answer.state) not in ENDS:
        raise ValueError(f"an attempt that was {answer.outcome} does not make its batch {answer.state}")


def check_parts(batch: Batch, answer: Answer, parts: Sequence[BatchPart]) -> None:
    """Raise ValueError where these parts are not the calls of the batch, all of them and in their order."""
    if answer.state is not BatchState.SPLIT or answer.outcome is Outcome.UNKNOWN:
        raise ValueError(f"an attempt that was {answer.outcome} and makes its batch {answer.state} leaves no parts")
    if wrong := {part.state for part in parts} - STATES:
        raise ValueError(f"no part begins as {', '.join(sorted(wrong))}")
    check_places(batch, parts)


def check_cut(batch: Batch, parts: Sequence[BatchPart]) -> None:
    """Raise ValueError where these are not parts still to be delivered that hold the calls of the batch."""
    if wrong := {part.state for part in parts} - {BatchState.PLANNED}:
        raise ValueError(f"no part of a batch that was not sent begins as {', '.join(sorted(wrong))}")
    check_places(batch, parts)


def cut_batch(connection: Connection, batch: Batch, parts: Sequence[BatchPart]) -> list[Batch]:
    """Put the parts in the place of a batch of which nothing was ever sent; returns them as batches.

    Raises:
        LedgerError: Something of it was sent.
    """
    row = connection.execute(
        "UPDATE batches SET state = 'split' WHERE id = ? AND state = 'planned' AND attempts = 0"
        " AND first_unknown_at IS NULL RETURNING id",
        (batch.id,),
    ).fetchone()
    if row is None:
        raise LedgerError(f"batch {batch.id} was sent: it is not cut any more", hint=FAULT)
    return _insert_parts(connection, batch, parts)


def split_batch(
    connection: Connection, batch: Batch, number: int, answer: Answer, parts: Sequence[BatchPart]
) -> list[Batch]:
    """End the attempt and put the parts in the batch's place; returns those still to be delivered.

    A part may have arrived with its parent where an earlier attempt at that had no known outcome: its doubt goes on,
    also that of a refused one, which may be tried again one day.

    Raises:
        LedgerError: There is no such attempt without an end.
    """
    end_attempt(connection, batch.id, number, answer)
    return _insert_parts(connection, batch, parts)


def _insert_parts(connection: Connection, batch: Batch, parts: Sequence[BatchPart]) -> list[Batch]:
    doubt, offset, length = connection.execute(
        'SELECT first_unknown_at, "offset", length FROM batches WHERE id = ?', (batch.id,)
    ).fetchone()
    root, first, planned = batch.root or batch.id, batch.first_call, []
    for ordinal, part in enumerate(parts):
        open_still = part.state is BatchState.PLANNED
        since = None if part.state is BatchState.DELIVERED else doubt
        (number_of_part,) = connection.execute(
            'INSERT INTO batches (parent, root, shard, ordinal, state, calls, bytes, "offset", length,'
            " crc32, first_call, start, first_unknown_at, status, detail)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) RETURNING id",
            (
                *(batch.id, root, batch.shard, ordinal, part.state, part.calls, part.bytes, offset, length),
                *(part.crc32, first, part.start, since),
                *((part.status, part.detail) if part.state is BatchState.REJECTED else (None, None)),
            ),
        ).fetchone()
        if open_still:
            planned.append(
                Batch(
                    id=number_of_part,
                    shard=batch.shard,
                    calls=part.calls,
                    bytes=part.bytes,
                    offset=offset,
                    length=length,
                    crc32=part.crc32,
                    first_unknown_at=since,
                    first_call=first,
                    root=root,
                    start=part.start,
                )
            )
        first += part.calls
    return planned


def retry_rejected(connection: Connection, *, at: float) -> int:
    """Plan again what the target refused; a finished run is delivering then. Returns how many calls these are.

    The attempts made stay, and count on.
    """
    rows = connection.execute(
        "UPDATE batches SET state = 'planned', status = NULL, detail = NULL WHERE state = 'rejected' RETURNING calls"
    ).fetchall()
    if rows:
        reopen_run(connection, at=at)
    return sum(calls for (calls,) in rows)


def end_orphans(connection: Connection, which: str = "true", values: Sequence[object] = ()) -> int:
    """Give each attempt of an earlier process that has no end the outcome unknown; returns how many there were.

    `which` is SQL for those that are meant, where not all are: the others belong to processes that are at work.
    """
    orphans = connection.execute(
        f"SELECT batch, number, sent_at FROM attempts WHERE outcome IS NULL AND {which}",  # noqa: S608 - constants
        values,
    ).fetchall()
    for batch, number, sent_at in orphans:
        connection.execute(
            "UPDATE attempts SET outcome = 'unknown', detail = 'the process ended before the answer'"
            " WHERE batch = ? AND number = ?",
            (batch, number),
        )
        connection.execute(
            f"UPDATE batches SET first_unknown_at = {_EARLIER} WHERE id = ?",  # noqa: S608 - a constant
            (sent_at, sent_at, batch),
        )
    return len(orphans)


def decide(connection: Connection, batches: Sequence[Batch], decision: Decision, at: float) -> None:
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


def lose_ages(connection: Connection, *, at: float, detail: str) -> None:
    """Make every doubt one whose age is not known."""
    connection.execute(
        "UPDATE batches SET first_unknown_at = ? WHERE state IN ('planned', 'sent', 'rejected')"  # may be tried again
        " AND first_unknown_at IS NOT NULL",
        (AGE_UNKNOWN,),
    )
    note(connection, at, detail)


def mark_clock(connection: Connection, mark: ClockMark) -> None:
    """Record the clock."""
    connection.execute("INSERT INTO clocks VALUES (?, ?, ?, ?)", (mark.at, mark.boot, mark.up, mark.window))
