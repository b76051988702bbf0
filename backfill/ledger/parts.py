"""The tree below a batch: parts that stand for it, and refused ones that are tried again. As in `statements`."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from backfill.errors import LedgerError
from backfill.ledger.statements import FAULT, end_attempt, reopen_run
from backfill.records import Answer, Batch, BatchPart, BatchState, Outcome
from backfill.wire import check_places

#: What a part may be from its beginning.
STATES = frozenset({BatchState.PLANNED, BatchState.DELIVERED, BatchState.REJECTED})
#: What an attempt may have done to its batch, where no parts came of it; the state None leaves it to be tried again.
ENDS = frozenset(
    {
        (Outcome.ACCEPTED, BatchState.DELIVERED),
        (Outcome.REFUSED, BatchState.REJECTED),
        (Outcome.REFUSED, None),
        (Outcome.UNKNOWN, None),
    }
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


def cut_batch(connection: sqlite3.Connection, batch: Batch, parts: Sequence[BatchPart]) -> list[Batch]:
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
    connection: sqlite3.Connection, batch: Batch, number: int, answer: Answer, parts: Sequence[BatchPart]
) -> list[Batch]:
    """End the attempt and put the parts in the batch's place; returns those still to be delivered.

    A part may have arrived with its parent where an earlier attempt at that had no known outcome: its doubt goes on,
    also that of a refused one, which may be tried again one day.

    Raises:
        LedgerError: There is no such attempt without an end.
    """
    end_attempt(connection, batch.id, number, answer)
    return _insert_parts(connection, batch, parts)


def _insert_parts(connection: sqlite3.Connection, batch: Batch, parts: Sequence[BatchPart]) -> list[Batch]:
    doubt, offset, length = connection.execute(
        "SELECT first_unknown_at, offset, length FROM batches WHERE id = ?", (batch.id,)
    ).fetchone()
    root, first, planned = batch.root or batch.id, batch.first_call, []
    for ordinal, part in enumerate(parts):
        open_still = part.state is BatchState.PLANNED
        since = None if part.state is BatchState.DELIVERED else doubt
        (number_of_part,) = connection.execute(
            "INSERT INTO batches (parent, root, shard, ordinal, state, calls, bytes, offset, length,"
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


def retry_rejected(connection: sqlite3.Connection, *, at: float) -> int:
    """Plan again what the target refused; a finished run is delivering then. Returns how many calls these are.

    The attempts made stay, and count on.
    """
    rows = connection.execute(
        "UPDATE batches SET state = 'planned', status = NULL, detail = NULL WHERE state = 'rejected' RETURNING calls"
    ).fetchall()
    if rows:
        reopen_run(connection, at=at)
    return sum(calls for (calls,) in rows)
