"""What a receipt holds: who, what, when, the counts, and two Merkle roots, over batches and over delivered ids."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import rfc8785

from backfill import __version__
from backfill.errors import LedgerError, LockedError, UsageError
from backfill.receipt.merkle import MerkleTree
from backfill.records import CALL_RECORD, CallSpan, Counts, LedgerAttempt, RunReader, RunSpool, RunState, StoredRun

FORM: Final = "backfill-receipt-v1"
#: What a receipt says that is of the moment when it was made, not of the run.
OF_THE_MOMENT: Final = ("made_at", "made_by", "digest", "signature")
SANDBOX: Final = "SANDBOX: nothing of this run left this machine"
UNFINISHED: Final = "UNFINISHED: calls may be sent yet"
#: How many batches in doubt are listed; all are counted.
LISTED: Final = 1_000
_RECORD: Final = np.dtype(CALL_RECORD)
_ACCEPTED, _DELIVERED = "accepted", "delivered"


def receipt_of(run: StoredRun, *, now: float, by: str = "") -> dict[str, Any]:
    """The receipt of a run, with its digest, not signed. `now` in POSIX seconds, `by` whoever answers for it.

    Raises:
        UsageError: It is a dry run.
        LockedError: A process is at work on the run.
        LedgerError: Ledger or calls files are gone or damaged.
    """
    if run.is_dry:
        raise UsageError(f"{run.run_id} is a dry run: nothing was sent that a receipt could be for")
    if holders := run.holders():
        raise LockedError(
            f"a process ({holders[0]}) is at work on {run.run_id}", hint="its receipt can be had once that has ended"
        )
    with run.read() as reader:
        found = _facts(run, reader) | trees_of(run, reader)
    found |= {"made_at": time_text(now), "made_by": {"backfill": __version__, "python": platform.python_version()}}
    found["made_by"] |= {"by": by} if by else {}
    return with_digest(found)


def with_digest(receipt: dict[str, Any]) -> dict[str, Any]:
    """The receipt with the SHA-256 of its canonical JSON, its digest and signature left out."""
    return receipt | {"digest": digest_of(receipt)}


def digest_of(receipt: dict[str, Any]) -> str:
    """SHA-256 (hex) of the canonical JSON (RFC 8785) of all but the digest and the signature."""
    return sha256(
        canonical({name: part for name, part in receipt.items() if name not in OF_THE_MOMENT[2:]})
    ).hexdigest()


def canonical(value: object) -> bytes:
    """Canonical JSON by RFC 8785."""
    return rfc8785.dumps(value)  # type: ignore[arg-type]


def time_text(at: float) -> str:
    """A POSIX time as ISO 8601 in UTC, milliseconds cut."""
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _facts(run: StoredRun, reader: RunReader) -> dict[str, Any]:
    """What the ledger says of the run."""
    status, snapshot, counts = reader.status(), reader.snapshot(), reader.counts()
    record = status.record
    doubts = reader.doubts(LISTED)
    span = reader.doubt_span()
    return {
        "form": FORM,
        "notices": notices_of(str(status.state), live=record.live),
        "run": {
            "run_id": run.run_id,
            "state": str(status.state),
            "exit_code": status.exit_code,
            "live": record.live,
            "target": record.target_identity,
            "began_at": time_text(record.created_at),
            "ended_at": time_text(status.state_at) if status.over else None,
            "first_sent_at": counts.first_sent_at and time_text(counts.first_sent_at),
            "last_answer_at": counts.last_ended_at and time_text(counts.last_ended_at),
            "backfill": record.backfill_version,
            "library": record.library_version,
        },
        "job": {
            "name": record.job_name,
            "generation": record.generation,
            "fingerprint": record.job_fingerprint,
            "id_scope": record.id_scope,
        },
        "source": [
            {"name": file.name, "bytes": file.bytes, "sha256": file.sha256}
            for file in (snapshot.files if snapshot else ())
        ],
        "plan_digest": status.plan_digest,
        "counts": {name: value for name, value in asdict(counts).items() if isinstance(value, int)},
        "accounting": accounting(counts),
        "in_doubt": {
            "batches": span.batches + span.left_batches,
            "calls": span.calls + span.left_calls,
            "first": [
                {
                    "shard": one.shard,
                    "first_call": one.first_call,
                    "calls": one.calls,
                    "since": time_text(one.since) if one.since is not None else None,
                    "left": one.left,
                }
                for one in doubts
            ],
        },
    }


def notices_of(state: str, *, live: bool) -> list[str]:
    """What a reader has to know before all else of a run in that state."""
    return [*([] if live else [SANDBOX]), *([] if state == RunState.FINISHED.value else [UNFINISHED])]


def accounting(counts: Counts) -> list[dict[str, Any]]:
    """The three identities that always hold, each with its numbers."""
    return [{"identity": name, "whole": whole, "parts": parts} for name, whole, parts in counts.identities()]


def trees_of(run: StoredRun, reader: RunReader) -> dict[str, Any]:
    """The counts and roots of both trees of a receipt: over batches, and over delivered ids; raises as `leaves_of`."""
    batches, ids = MerkleTree(), MerkleTree()
    for leaf, delivered in leaves_of(run, reader):
        batches.add(canonical(leaf))
        for identity in delivered:
            ids.add(identity)
    return {
        "batches": {"count": batches.size, "root": batches.root.hex()},
        "delivered": {"count": ids.size, "root": ids.root.hex()},
    }


def leaves_of(run: StoredRun, reader: RunReader) -> Iterator[tuple[dict[str, Any], list[bytes]]]:
    """Of each batch, in plan order: its leaf, and the sixteen bytes of each id that it delivered.

    Raises:
        LedgerError: The calls file of a shard is gone, or another one.
    """
    spool, digests = run.spool(), reader.calls_digests()
    shard, records, hashes = -1, np.empty(0, _RECORD), None
    for span in reader.call_spans():
        if span.shard != shard:
            shard = span.shard
            records, hashes = _kept_of(spool, shard, digests)
        own = records[span.first_call : span.first_call + span.calls]
        if len(own) != span.calls:
            raise LedgerError(f"the calls file of shard {shard} has no batch {span.batch}")
        ids = [identity.tobytes() for identity in own["id_bytes"]]
        bytes_digest = None if hashes is None else hashes[span.first_call : span.first_call + span.calls].tobytes()
        leaf = _leaf(span, ids, own, bytes_digest, reader.attempts(span.batch))
        yield leaf, ids if span.standing == _DELIVERED else []


def _kept_of(
    spool: RunSpool, shard: int, digests: dict[int, str]
) -> tuple[npt.NDArray[np.void], npt.NDArray[np.uint64] | None]:
    """The records of a shard's calls, and their hashes where they are kept."""
    records = np.frombuffer(spool.calls_of(shard, digests.get(shard)), _RECORD)
    hashes = spool.hashes_of(shard)
    return records, hashes if hashes is not None and len(hashes) == len(records) else None


def _leaf(
    span: CallSpan, ids: list[bytes], records: npt.NDArray[np.void], hashes: bytes | None, attempts: list[LedgerAttempt]
) -> dict[str, Any]:
    """What a receipt is over, of one batch."""
    told = [one for one in attempts if one.outcome == _ACCEPTED] if span.standing == _DELIVERED else attempts
    last = told[-1] if told else None
    return {
        "shard": span.shard,
        "first_call": span.first_call,
        "calls": span.calls,
        "first_id": ids[0].hex(),
        "last_id": ids[-1].hex(),
        "bytes": int(records["bytes"].sum()),
        "bytes_digest": None if hashes is None else sha256(hashes).hexdigest(),
        "standing": span.standing,
        "status": last.status if last else None,
        "answered_at": time_text(last.ended_at) if last and last.ended_at is not None else None,
    }
