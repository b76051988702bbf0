"""A run's calls and the rows of a destination, joined by id, a partition at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from backfill.reconcile.calls import Standing
from backfill.reconcile.partitions import (
    AS_RECEIVED,
    CALL,
    LATE,
    NO_TIME,
    PARTITIONS,
    ROW,
    Partitions,
    Records,
    id_bytes,
)
from backfill.reconcile.result import LISTED, Reconciled

#: Which ids the archive of delivered ids knows, sixteen bytes a row.
Known = Callable[[npt.NDArray[np.uint8]], npt.NDArray[np.bool_]]
Mask = npt.NDArray[np.bool_]
#: What is not there: delivered by the ledger; in doubt.
ABSENT, UNSURE = 1, 2
_NEVER_SENT: Final = {
    Standing.PENDING: "pending_there",
    Standing.REFUSED: "refused_there",
}


@dataclass(slots=True)
class First:
    """The first calls of a kind in plan order: their places, and a number of each."""

    places: npt.NDArray[np.uint64] = field(default_factory=lambda: np.empty(0, np.uint64))
    numbers: npt.NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))

    def add(self, places: npt.NDArray[np.uint64], numbers: npt.NDArray[np.int64]) -> None:
        """Take some into account."""
        all_places, all_numbers = np.append(self.places, places), np.append(self.numbers, numbers)
        order = np.argsort(all_places, kind="stable")[:LISTED]
        self.places, self.numbers = all_places[order], all_numbers[order]


class Comparison:
    """Both sides, until all of them is compared."""

    def __init__(self, folder: Path, result: Reconciled, archived: Known | None, tolerance_ms: int) -> None:
        """Partitions are in the folder; `archived` is asked of ids that no run's own files have."""
        self.calls = Partitions(folder / "calls", CALL)
        self.rows = Partitions(folder / "rows", ROW)
        self.result = result
        self.first = {kind: First() for kind in ("doubled", "shifted", "unknown", "late", "in_doubt_missing")}
        self._archived = archived
        self._tolerance = tolerance_ms
        self._folder = folder
        self._absent: npt.NDArray[np.uint8] | None = None  # of each call of the plan: ABSENT, UNSURE, or neither

    def compare(self, planned: int, runs: list[str], check_stop: Callable[[], None]) -> None:
        """Compare a partition at a time; `planned` calls has the plan, `runs` are those beside the run.

        Raises:
            StoppedError: The disk is full.
            InterruptedRunError: A signal came.
        """
        with (self._folder / "absent").open("wb") as file:
            file.truncate(max(1, planned))
        self._absent = np.memmap(self._folder / "absent", np.uint8, "r+", shape=(max(1, planned),))
        for number in range(PARTITIONS):
            check_stop()
            self._compare_partition(number, runs)
            self.calls.remove(number)
            self.rows.remove(number)

    def missing(self) -> Iterator[npt.NDArray[np.uint64]]:
        """The places of missing calls in plan order, some at a time."""
        assert self._absent is not None
        for begin in range(0, len(self._absent), 1_000_000):
            found = np.flatnonzero(self._absent[begin : begin + 1_000_000] == ABSENT)
            if len(found):
                yield (found + begin).astype(np.uint64)

    def absent(self, begin: int, end: int) -> npt.NDArray[np.int64]:
        """Which calls of a part of the plan are not there, those in doubt included; counted from its beginning."""
        assert self._absent is not None
        return np.flatnonzero(self._absent[begin:end])

    def _compare_partition(self, number: int, runs: list[str]) -> None:
        calls = _by_id(self.calls.whole(number))
        seen = np.zeros(len(calls), np.int64)
        shift = np.zeros(len(calls), np.int64)  # 0: none beyond the tolerance
        late, as_received = np.zeros((2, len(calls)), np.bool_)
        compared = np.zeros(len(calls), np.bool_)
        for rows in self.rows.pieces(number):
            at, found = _places(calls, rows)
            self._take_unknown(rows[~found])
            at, known = at[found], rows[found]
            seen += np.bincount(at, minlength=len(calls))
            late[at[known["flags"] & LATE > 0]] = True
            both = (calls["time"][at] != NO_TIME) & (known["time"] != NO_TIME)
            compared[at[both]] = True
            difference = np.where(both, known["time"] - calls["time"][at], 0)
            other = np.abs(difference) > self._tolerance
            shift[at[other]] = difference[other]
            as_received[at[other]] = known["flags"][other] & AS_RECEIVED > 0
        self._count(calls, seen, compared)
        self._count_dates(calls, shift, late, as_received)
        for standing, name in enumerate(runs, Standing.OTHER_RUN):
            self.result.other_runs[name] += int(((calls["standing"] == standing) & (seen > 0)).sum())

    def _count(self, calls: Records, seen: npt.NDArray[np.int64], compared: Mask) -> None:
        """Count what is there, once, more than once or not."""
        counts, standing = self.result.counts, calls["standing"]
        delivered, doubt = standing == Standing.DELIVERED, standing == Standing.IN_DOUBT
        missing, doubled = delivered & (seen == 0), (delivered | doubt) & (seen > 1)
        counts["delivered"] += int(delivered.sum())
        counts["there"] += int((delivered & (seen > 0)).sum())
        counts["missing"] += int(missing.sum())
        counts["doubled"] += int(doubled.sum())
        counts["surplus_rows"] += int((seen[doubled] - 1).sum())
        counts["dates_compared"] += int((compared & (delivered | doubt)).sum())
        counts["in_doubt_there"] += int((doubt & (seen > 0)).sum())
        counts["in_doubt_missing"] += int((doubt & (seen == 0)).sum())
        for each, kind in _NEVER_SENT.items():
            counts[kind] += int(((standing == each) & (seen > 0)).sum())
        assert self._absent is not None
        self._absent[calls["place"][missing].astype(np.int64)] = ABSENT
        self._absent[calls["place"][doubt & (seen == 0)].astype(np.int64)] = UNSURE
        self._note("doubled", calls, doubled, seen)
        self._note("in_doubt_missing", calls, doubt & (seen == 0), seen)
        for kind, mask in (("delivered", delivered), ("missing", missing), ("doubled", doubled)):
            self.result.count_by_day(kind, calls["event"][mask], calls["time"][mask], NO_TIME)

    def _count_dates(self, calls: Records, shift: npt.NDArray[np.int64], late: Mask, as_received: Mask) -> None:
        """Count what is dated differently, or came late."""
        counts, sent = self.result.counts, calls["standing"] <= Standing.IN_DOUBT
        shifted = sent & (shift != 0)
        counts["shifted"] += int(shifted.sum())
        counts["dated_as_received"] += int((shifted & as_received).sum())
        counts["late"] += int((sent & late).sum())
        self.result.count_shifts(shift[shifted])
        self.result.count_by_day("shifted", calls["event"][shifted], calls["time"][shifted], NO_TIME)
        self._note("shifted", calls, shifted, shift)
        self._note("late", calls, sent & late, shift)

    def _note(self, kind: str, calls: Records, mask: Mask, numbers: npt.NDArray[np.int64]) -> None:
        self.first[kind].add(calls["place"][mask], numbers[mask])

    def _take_unknown(self, rows: Records) -> None:
        """Rows of ids that no call has: by the archive of an earlier run, or of nobody that is known."""
        if self._archived is not None and len(rows):
            known = self._archived(id_bytes(rows))
            self.result.counts["archived_rows"] += int(known.sum())
            rows = rows[~known]
        self.result.counts["unknown_rows"] += len(rows)
        different, counts = np.unique(rows["event"], return_counts=True)
        self.result.unknown_events.update(dict(zip(different.tolist(), counts.tolist(), strict=True)))
        self.first["unknown"].add(rows["row"], np.zeros(len(rows), np.int64))


def _by_id(calls: Records) -> Records:
    """Sorted by id, each id once: that of the run before those of others."""
    calls = calls[np.lexsort((calls["standing"], calls["low"], calls["high"]))]
    new = np.ones(len(calls), np.bool_)
    new[1:] = (calls["high"][1:] != calls["high"][:-1]) | (calls["low"][1:] != calls["low"][:-1])
    return calls[new]


def _places(calls: Records, rows: Records) -> tuple[npt.NDArray[np.int64], Mask]:
    """Where the calls of the rows' ids are, and which rows have one."""
    high, low = np.ascontiguousarray(calls["high"]), np.ascontiguousarray(calls["low"])
    at = np.searchsorted(high, rows["high"])
    if not len(calls):
        return at, np.zeros(len(rows), np.bool_)
    while True:  # as a rule once: halves of ids are alike in ids that were made so
        inside = np.minimum(at, len(calls) - 1)
        alike = (at < len(calls)) & (high[inside] == rows["high"])
        behind = alike & (low[inside] < rows["low"])
        if not behind.any():
            return inside, alike & (low[inside] == rows["low"])
        at = at + behind
