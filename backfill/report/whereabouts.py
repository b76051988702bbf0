"""What became of one call, for people and as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from backfill.errors import counted
from backfill.records import FoundCall, LedgerAttempt
from backfill.report.summary import time_text

_WORDS = {
    "delivered": "was received by the target",
    "rejected": "was refused by the target",
    "in_doubt": "is in doubt: it was sent, and no answer told whether it arrived",
    "pending": "is prepared and not taken yet",
    "given_up": "was prepared, and given up with its run",
}


def whereabouts_text(message_id: str, found: Sequence[FoundCall], *, call: str = "") -> str:
    """A block of lines on one message id; `call` is the label or type its key is of."""
    title = f"{message_id} ({call})" if call else message_id
    if not found:
        return (
            f"{title}\n  was not planned by any run here: no row made it, or its row was rejected (`backfill rejects`)"
        )
    lines = [title]
    for one in found:
        lines.append(f"  {_WORDS[one.standing]}")
        if one.record is None or one.calls is None:
            lines.append(f"    run       {one.kept_as}, whose ledger is missing, so that the time is unknown")
            continue
        lines.append(f"    run       {one.kept_as}: job {one.record.job_name}, target {one.record.target_name}")
        batch = one.calls
        calls = counted(batch.calls, "call", "calls")
        lines.append(f"    batch     {batch.batch}: {calls} of shard {batch.shard}; this call is of: {one.call}")
        lines += [f"    attempt   {_attempt_text(attempt)}" for attempt in one.attempts]
    return "\n".join(lines)


def _attempt_text(attempt: LedgerAttempt) -> str:
    sent = f"{attempt.number} of batch {attempt.batch}, sent {time_text(attempt.sent_at)}"
    if attempt.outcome is None:
        return f"{sent}, no answer yet"
    ended = f", answered {time_text(attempt.ended_at)}" if attempt.ended_at is not None else ""
    status = f" {attempt.status}" if attempt.status is not None else ""
    return f"{sent}{ended}: {attempt.outcome}{status}{' ' + attempt.detail if attempt.detail else ''}"


def whereabouts_json(message_id: str, found: Sequence[FoundCall], *, call: str = "") -> dict[str, Any]:
    """The object of `status --message-id` and `--key` with `--output json`; times are POSIX seconds."""
    return {
        "schema_version": 1,
        "message_id": message_id,
        "call": call or None,
        "found": [
            {
                "standing": one.standing,
                "run_id": one.kept_as,
                "job": one.record.job_name if one.record else None,
                "target": one.record.target_name if one.record else None,
                "generation": one.record.generation if one.record else None,
                "call": one.call or None,
                "batch": one.calls.batch if one.calls else None,
                "shard": one.calls.shard if one.calls else None,
                "attempts": [
                    {
                        "batch": attempt.batch,
                        "number": attempt.number,
                        "sent_at": attempt.sent_at,
                        "ended_at": attempt.ended_at,
                        "outcome": attempt.outcome,
                        "status": attempt.status,
                        "detail": attempt.detail,
                    }
                    for attempt in one.attempts
                ],
            }
            for one in found
        ],
    }
