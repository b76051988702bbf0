"""The bytes of batches: those that are kept, call by call, and the checksum of each in the ledger."""

from __future__ import annotations

import zlib
from bisect import bisect_right
from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from backfill.errors import LedgerError
from backfill.records import Batch, PlannedBatch, RunSpool, ShardPlan
from backfill.verify.findings import Finding, Findings

#: How the plain bytes of a batch begin; its calls follow, with a comma between two.
_HEAD: Final = b'{"batch":['


class BatchBodies:
    """The batches of one shard; asked for its calls in their order."""

    def __init__(
        self, spool: RunSpool, plan: ShardPlan, records: npt.NDArray[np.void], findings: Findings, *, whole: bool
    ) -> None:
        """`whole`: every call of the shard will be given to `add`, unless it is missing."""
        self._spool = spool
        self._plan = plan
        self._sizes = records["bytes"].astype(np.int64)
        self._findings = findings
        self._whole = whole
        self._keeps = spool.keeps(plan.shard)
        self._starts = [batch.first_call for batch in plan.batches]
        self._open: tuple[int, bytes | None, npt.NDArray[np.int64]] = (-1, None, np.zeros(0, np.int64))
        self._at = 0  # the batch whose calls are gathered
        self._texts: list[str] = []
        self._comparable = True

    def kept(self, places: npt.NDArray[np.int64]) -> list[bytes | None]:
        """The bytes that are kept of the calls at these places; None of what is not."""
        if not self._keeps:
            return [None] * len(places)
        return [self._kept(place) for place in places.tolist()]

    def _kept(self, place: int) -> bytes | None:
        at = bisect_right(self._starts, place) - 1
        if at < 0:
            return None
        batch = self._plan.batches[at]
        if self._open[0] != at:
            sizes = self._sizes[batch.first_call : batch.first_call + batch.calls]
            edges = len(_HEAD) + np.concatenate([[0], np.cumsum(sizes + 1)])
            self._open = (at, self._plain(batch), edges)
        _, plain, edges = self._open
        inside = place - batch.first_call
        if plain is None or inside + 1 >= len(edges):
            return None
        return plain[int(edges[inside]) : int(edges[inside + 1]) - 1]

    def _plain(self, batch: PlannedBatch) -> bytes | None:
        whole = Batch(
            *(batch.ordinal, self._plan.shard, batch.calls, batch.bytes, batch.offset, batch.length, batch.crc32),
            first_call=batch.first_call,
        )
        try:
            return self._spool.plain(whole)
        except LedgerError as error:
            self._findings.kept(
                f"segment of shard {self._plan.shard}", error.message, f"{self._plan.shard}/{batch.first_call}"
            )
            return None

    def add(self, texts: Sequence[str], places: npt.NDArray[np.int64], odd: npt.NDArray[np.bool_]) -> bool:
        """Gather calls, `odd` those that are told already or cannot be compared; compare each batch that is whole.

        Returns whether batches are compared so.
        """
        if not self._whole or not self._plan.batches:
            return False
        start = 0
        while start < len(texts):
            while self._at < len(self._plan.batches) and places[start] >= self._end:
                self._close()
            stop = start + int(np.searchsorted(places[start:], self._end)) if self._at < len(self._plan.batches) else 0
            stop = stop if stop > start else len(texts)
            self._comparable = self._comparable and not odd[start:stop].any()
            self._texts += texts[start:stop]
            start = stop
        return True

    @property
    def _end(self) -> int:
        batch = self._plan.batches[self._at]
        return batch.first_call + batch.calls

    def _close(self) -> None:
        """Compare the batch whose calls were gathered with its checksum."""
        batch = self._plan.batches[self._at]
        plain = _HEAD + ",".join(self._texts).encode()
        if (
            self._comparable
            and len(self._texts) == batch.calls
            and (len(plain), zlib.crc32(plain))
            != (
                batch.bytes,
                batch.crc32,
            )
        ):
            said = "its calls have other bytes than the ledger has a checksum of"
            self._findings.add(Finding("different", said, batch=f"{self._plan.shard}/{batch.first_call}"))
        self._texts, self._comparable = [], True
        self._at += 1

    def finish(self) -> None:
        """Compare what is left."""
        while self._at < len(self._plan.batches) and (self._texts or self._at < len(self._plan.batches) - 1):
            self._close()
