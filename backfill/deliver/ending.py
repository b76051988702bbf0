"""What is told when a delivery ends: every message says what happened, every hint what to do next."""

from __future__ import annotations

import dataclasses

from backfill.deliver.model import Attempt, DeliveryEnd, EndKind, TargetAccess
from backfill.errors import ExitCode
from backfill.records import DeliveryTotals
from backfill.verdict import StopReason

_RESUME = "`backfill resume` goes on where it stopped"

#: Of each reason: what happened ({what} is the last attempt's end), and what to do.
_TEXTS = {
    StopReason.TARGET_REFUSED: (
        "the target refused us with {what}",
        "check the write key, that the source is enabled, and the region or endpoint; then `backfill resume`",
    ),
    StopReason.FINAL_ANSWER: (
        "the target answered {what}, which is neither a success nor worth a retry",
        f"check the endpoint (redirects are never followed); {_RESUME}",
    ),
    StopReason.CERTIFICATE: (
        "{what}",
        f"check the endpoint and, behind a company proxy, SSL_CERT_FILE; {_RESUME}",
    ),
    StopReason.ATTEMPTS_SPENT: ("all attempts at a batch are spent, the last one ended in {what}", _RESUME),
    StopReason.TIME_SPENT: ("nothing was accepted for too long, the last attempt ended in {what}", _RESUME),
    StopReason.WINDOW: (
        "the outcome of {count} unknown for longer than the target remembers ids: sent again, calls could arrive twice",
        "`backfill status` lists batches in doubt; look in the source whether their calls arrived",
    ),
}


def finished_end(totals: DeliveryTotals) -> DeliveryEnd:
    """Every batch is settled."""
    return DeliveryEnd(EndKind.FINISHED, totals)


def interrupted_end(totals: DeliveryTotals) -> DeliveryEnd:
    """Stopped from outside."""
    return DeliveryEnd(EndKind.INTERRUPTED, totals, ExitCode.INTERRUPTED, message="interrupted", hint=_RESUME)


def canary_end(totals: DeliveryTotals) -> DeliveryEnd:
    """Stopped as asked after the first batch."""
    return DeliveryEnd(
        EndKind.STOPPED,
        totals,
        ExitCode.STOPPED,
        StopReason.CANARY,
        message="stopped after the first batch, as --canary asks",
        hint=f"look in the source whether its calls arrived as they should; {_RESUME}",
    )


def clock_end(totals: DeliveryTotals, ahead: float) -> DeliveryEnd:
    """The local clock is too wrong to send anything: `ahead` seconds ahead, behind where negative."""
    side = "ahead of" if ahead > 0 else "behind"
    return DeliveryEnd(
        EndKind.STOPPED,
        totals,
        ExitCode.STOPPED,
        StopReason.CLOCK,
        message=f"the local clock is {abs(ahead):,.0f} s {side} the target's: all timestamps would be shifted by it",
        hint=f"set the clock of this machine; {_RESUME}",
    )


def stop_end(totals: DeliveryTotals, attempt: Attempt, batches: tuple[int, ...], target: TargetAccess) -> DeliveryEnd:
    """The end after an attempt whose verdict is STOP."""
    reason = attempt.verdict.reason
    assert reason in _TEXTS
    message, hint = _TEXTS[reason]
    end = DeliveryEnd(EndKind.STOPPED, totals, attempt.verdict.exit_code, reason, hint=hint, batches=batches)
    count = "a batch is" if len(batches) == 1 else f"{len(batches)} batches is"
    answer = attempt.answer
    if answer is None:
        listed = ", ".join(map(str, batches))
        return dataclasses.replace(end, message=f"{message.format(count=count)} (batch {listed})")
    what = answer.detail if answer.status is None else f"HTTP {answer.status}"
    return dataclasses.replace(
        end,
        message=f"{target.batch_url}: {message.format(what=what)}",
        answer=answer.detail if answer.status is not None else "",
    )
