"""What the ledger knows of single calls: which batch stands for one, what became of it, and every attempt at it."""

from __future__ import annotations

from typing import Self

from backfill.ledger.reader import LedgerReader
from backfill.records import Attempt, Calls

_SETTLED = "b.state IN ('delivered', 'left')"
_LEAVES = (
    f"SELECT b.id, b.shard, b.first_call, b.calls, v.standing, {_SETTLED} FROM batches b"  # noqa: S608 - a constant
    " JOIN v_batches v ON v.id = b.id WHERE b.state <> 'split'"
)


class CallReader(LedgerReader):
    """A LedgerReader for questions about single calls."""

    def __enter__(self) -> Self:
        return self

    def leaves(self) -> list[Calls]:
        """All calls that were planned, by the batches that stand for them now, in plan order."""
        return [Calls(*row) for row in self._rows(f"{_LEAVES} ORDER BY b.shard, b.first_call")]

    def settled(self) -> list[Calls]:
        """The calls that are not to be sent by any later run, in plan order.

        Those delivered, and those in doubt of which somebody has decided that they are not sent again.
        """
        return [Calls(*row) for row in self._rows(f"{_LEAVES} AND {_SETTLED} ORDER BY b.shard, b.first_call")]

    def calls_digests(self) -> dict[int, str]:
        """SHA-256 of the calls file of each shard that has calls."""
        rows = self._rows(
            "SELECT shard, calls_sha256 FROM shards WHERE shard IN (SELECT shard FROM batches) ORDER BY shard"
        )
        return {row["shard"]: row["calls_sha256"] for row in rows}

    def standing(self, shard: int, call: int) -> Calls | None:
        """The leaf that stands for a call, by its index in the shard's calls file; None where there is no such call."""
        rows = self._rows(
            f"{_LEAVES} AND b.shard = ? AND b.first_call <= ? AND b.first_call + b.calls > ?", shard, call, call
        )
        return Calls(*rows[0]) if rows else None

    def attempts(self, batch: int) -> list[Attempt]:
        """Every attempt at a batch and at those it was a part of, the first one first."""
        rows = self._rows(
            "WITH RECURSIVE line (id, parent) AS (SELECT id, parent FROM batches WHERE id = ?"
            " UNION ALL SELECT b.id, b.parent FROM batches b JOIN line ON b.id = line.parent)"
            " SELECT a.batch, a.number, a.sent_at, a.ended_at, a.outcome, a.status, a.detail"
            " FROM attempts a JOIN line ON line.id = a.batch ORDER BY a.sent_at, a.batch, a.number",
            batch,
        )
        return [Attempt(*row) for row in rows]
