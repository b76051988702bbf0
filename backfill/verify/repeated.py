"""Ids that are planned more than once, and calls that are made and planned nowhere: found without holding all ids."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import IO, Final

import numpy as np
import numpy.typing as npt

from backfill.errors import LedgerError
from backfill.records import CALL_RECORD, DeliveredIds, RunSpool, ShardPlan
from backfill.verify.duplicates import key_of
from backfill.verify.findings import Finding, Findings

_RECORD: Final = np.dtype(CALL_RECORD)
#: Ids that are looked at together.
IDS: Final = 4_000_000
#: Of an absent call: its id, and `key_of` its row.
_BYTES: Final = 24
#: As many calls without a place in the plan can be told where they come from.
_TOLD: Final = 100_000

Ids = npt.NDArray[np.uint64]


class Absent:
    """The calls that are made and not planned: their ids, on disk, and of the first ones where they come from."""

    def __init__(self, findings: Findings) -> None:
        self._findings = findings
        self._file: IO[bytes] = tempfile.TemporaryFile(prefix="backfill-")  # noqa: SIM115 (see `close`)
        self._told: dict[bytes, list[Finding]] = {}
        self.count = 0

    def close(self) -> None:
        """Let go of them."""
        self._file.close()

    def add(self, finding: Finding, identity: bytes) -> None:
        """Note one."""
        self._file.write(identity + key_of(finding.file, finding.record, finding.call))
        self.count += 1
        if self.count <= _TOLD:
            self._told.setdefault(identity, []).append(finding)

    def keys(self) -> Iterator[npt.NDArray[np.uint64]]:
        """What tells the rows of all of them, some at a time, from the first on."""
        self._file.seek(0)
        while chunk := self._file.read(_BYTES * IDS):
            yield np.frombuffer(chunk, np.uint64).reshape(-1, 3)[:, 2].copy()

    def resolve(
        self,
        spool: RunSpool,
        shards: Mapping[int, ShardPlan],
        delivered: DeliveredIds | None,
        excused: Callable[[Finding], str],
        check_stop: Callable[[], None],
    ) -> int:
        """Find those that are missing: neither sent under the same id by another row, nor delivered by another run.

        `excused` says why one may be left out that cannot be judged, else what is wrong. Returns how many were.
        """
        excuses = 0
        self._file.seek(0)
        while chunk := self._file.read(_BYTES * IDS):
            identities = np.frombuffer(chunk, np.uint8).reshape(-1, _BYTES)[:, :16].copy()
            ids = identities.view(">u8").astype(np.uint64)
            known = np.zeros(len(ids), np.bool_)
            order = np.argsort(ids[:, 0], kind="stable")
            for planned in planned_ids(spool, shards):
                check_stop()
                known |= _among(ids, order, planned)
            if delivered is not None:
                known |= delivered.delivered(identities)
            for place in np.flatnonzero(~known).tolist():
                excuses += self._tell(identities[place].tobytes(), excused)
        return excuses

    def _tell(self, identity: bytes, excused: Callable[[Finding], str]) -> int:
        finding = next(iter(self._told.get(identity, [])), None)
        if finding is None:
            self._findings.add(Finding("missing", f"the call of id {identity.hex()}"))
            return 0
        said = excused(finding)
        if not said:
            return 1
        fields = {name: getattr(finding, name) for name in Finding.__dataclass_fields__}
        self._findings.add(Finding(**{**fields, "detail": said}))
        return 0


def planned_ids(spool: RunSpool, shards: Mapping[int, ShardPlan]) -> Iterator[Ids]:
    """The ids of each shard's planned calls, as two numbers each."""
    for shard, plan in shards.items():
        if not plan.batches:
            continue
        try:
            records = np.frombuffer(spool.calls_of(shard), _RECORD)
        except (LedgerError, ValueError):
            continue  # told elsewhere
        yield np.frombuffer(records["id_bytes"].tobytes(), ">u8").astype(np.uint64).reshape(-1, 2)


def _among(ids: Ids, order: npt.NDArray[np.intp], others: Ids) -> npt.NDArray[np.bool_]:
    """Which of the ids, which `order` sorts by their first halves, are among others."""
    found = np.zeros(len(ids), np.bool_)
    first = ids[order, 0]
    low, high = np.searchsorted(first, others[:, 0], "left"), np.searchsorted(first, others[:, 0], "right")
    for other in np.flatnonzero(high > low).tolist():
        places = order[low[other] : high[other]]
        found[places] |= ids[places, 1] == others[other, 1]
    return found


def find_repeated(
    spool: RunSpool, shards: Mapping[int, ShardPlan], findings: Findings, check_stop: Callable[[], None]
) -> None:
    """Find ids that are planned twice, in as many passes as bound the memory; halves of ids rarely meet."""
    total = sum(batch.calls for plan in shards.values() for batch in plan.batches)
    passes = max(1, -(-total // IDS))
    suspects: set[int] = set()
    for number in range(passes):
        parts = [np.zeros(0, np.uint64)]
        for ids in planned_ids(spool, shards):
            check_stop()
            halves = ids[:, 0]
            parts.append(halves[halves % np.uint64(passes) == number] if passes > 1 else halves.copy())
        own = np.concatenate(parts)
        own.sort()
        suspects.update(own[1:][own[1:] == own[:-1]].tolist())
    if not suspects:
        return
    counts: Counter[bytes] = Counter()
    wanted = np.array(sorted(suspects), np.uint64)
    for ids in planned_ids(spool, shards):
        check_stop()
        counts.update(each.astype(">u8").tobytes() for each in ids[np.isin(ids[:, 0], wanted)])
    for identity, count in counts.items():
        if count > 1:
            findings.add(Finding("surplus", f"its id is planned {count:,} times", message_id=identity.hex()))
