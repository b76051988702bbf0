"""Of which run a requeue is: its id tells, by a digest of that run's beginning and plan and of the calls planned again.

Another run may take the place of one, as with `--only-new`, and either may have requeues: the id of the place does not
tell whose they are, nor does the time, since a run that made place can be reconciled still.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Final

from backfill.errors import LedgerError
from backfill.pipeline.runs import REQUEUE_MARK, requeues_of
from backfill.records import CALL_RECORD, RunStatus, RunStore, StoredRun

#: Hex digits of that digest in the id of a run.
DIGITS: Final = 8


def digits_of(parent: RunStatus, ids: Iterable[bytes]) -> str:
    """What tells a requeue in its id: of which run it is, and of which of its calls."""
    digest = hashlib.sha256(f"{parent.record.created_at!r} {parent.plan_digest}".encode())
    for some in ids:
        digest.update(some)
    return digest.hexdigest()[:DIGITS]


def own_requeues(store: RunStore, run: StoredRun) -> tuple[list[StoredRun], list[StoredRun]]:
    """The runs that have planned calls of this very run again; and these with those that have planned calls of these.

    One before or after it in its place has requeues of its own: whose they are is told by their ids. Those included of
    which nothing tells it, as their ledgers cannot be read or their plans are not whole: they may be of it.
    """
    with run.read() as reader:
        status = reader.status()
    name = run.run_id.partition("~")[0]
    begin = f"{name}{REQUEUE_MARK}"
    beside = requeues_of(store, name)
    first = [one for one in beside if REQUEUE_MARK not in one.run_id[len(begin) :] and _may_be_of(status, one)]
    of_these = tuple(f"{one.run_id}{REQUEUE_MARK}" for one in first)
    return first, [one for one in beside if one in first or one.run_id.startswith(of_these)]


def _may_be_of(parent: RunStatus, child: StoredRun) -> bool:
    import numpy as np  # noqa: PLC0415 (as a rule there are no requeues, and `status` starts without it)

    try:
        with child.read() as reader:
            whole, digests = reader.status().plan_digest is not None, reader.calls_digests()
        if not whole:
            return True
        spool = child.spool()
        kept = (
            np.frombuffer(spool.calls_of(shard, digests[shard]), np.dtype(CALL_RECORD)) for shard in sorted(digests)
        )
        return child.run_id.endswith(digits_of(parent, (calls["id_bytes"].tobytes() for calls in kept)))
    except LedgerError:
        return True
