"""What is told when a delivery ends: every message says what happened, every hint what to do next."""

from __future__ import annotations

import dataclasses

from backfill.deliver.model import Attempt, DeliveryEnd, EndKind, TargetAccess
from backfill.errors import ExitCode, counted
from backfill.limits import DEDUP_WINDOW_SECONDS
from backfill.records import DeliveryTotals
from backfill.verdict import Failure, StopReason

#: Batches named in a message, at most.
LISTED = 10
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
        f"check the endpoint; where the company has its own authority, SSL_CERT_FILE names its bundle; {_RESUME}",
    ),
    StopReason.PROXY: (
        "{what}",
        f"HTTPS_PROXY, HTTP_PROXY or ALL_PROXY takes both, as in http://USER:PASSWORD@HOST:PORT; {_RESUME}",
    ),
    StopReason.UNREACHED: (
        "the target has not accepted anything yet, and cannot be reached: {what}",
        f"check the endpoint, the network and the proxy; {_RESUME}",
    ),
    StopReason.ATTEMPTS_SPENT: ("all attempts at a batch are spent, the last one ended in {what}", _RESUME),
    StopReason.TIME_SPENT: ("nothing was accepted for too long, the last attempt ended in {what}", _RESUME),
    StopReason.SHAPE: (
        "the target takes none of the calls: not one of {count} was accepted, the last answer is {what}",
        "the answer tells why; once that is mended, `backfill resume --retry-rejected` tries what it refused again",
    ),
}


def finished_end(totals: DeliveryTotals) -> DeliveryEnd:
    """Every batch is delivered or rejected."""
    return DeliveryEnd(EndKind.FINISHED, totals)


def interrupted_end(totals: DeliveryTotals) -> DeliveryEnd:
    """Stopped from outside."""
    return DeliveryEnd(EndKind.INTERRUPTED, totals, ExitCode.INTERRUPTED, message="interrupted", hint=_RESUME)


def canary_end(totals: DeliveryTotals, target: TargetAccess) -> DeliveryEnd:
    """Stopped as asked after the first calls, or after those that were chosen."""
    where = f"look in {target.source}" if target.source else "look in the source"
    received = counted(totals.calls, "call was", "calls were")
    return DeliveryEnd(
        EndKind.STOPPED,
        totals,
        ExitCode.STOPPED,
        StopReason.CANARY,
        message=f"stopped after the canary, as asked: {received} received",
        hint=f"{where} whether they arrived, with their own timestamps and as they should be; {_RESUME}",
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


def window_end(totals: DeliveryTotals, batches: tuple[int, ...], window_seconds: float) -> DeliveryEnd:
    """Batches are in doubt for longer than the target remembers ids; all that may go before them is sent."""
    # Only Segment's day is documented: any other target may remember longer than its profile says.
    longer = ". Where it drops repeated ids, its profile says for how long with `dedup_window`"
    are = f"{len(batches):,} {'batch is' if len(batches) == 1 else 'batches are'} in doubt"
    listed = ", ".join(map(str, batches[:LISTED])) + (", ..." if len(batches) > LISTED else "")
    message = f"{are} for longer than the target remembers ids, or for an unknown time ({listed})"
    if not window_seconds:
        message = f"{are}, and the target is not known to drop what it has already ({listed})"
    return DeliveryEnd(
        EndKind.STOPPED,
        totals,
        ExitCode.STOPPED,
        StopReason.WINDOW,
        message=f"{message}: sent again, the calls could arrive twice",
        hint=(
            "look in the source whether their calls arrived; then `backfill resume --in-doubt resend` sends them again,"
            " and `--in-doubt skip` never sends them again" + (longer if window_seconds < DEDUP_WINDOW_SECONDS else "")
        ),
        batches=batches,
    )


def stop_end(totals: DeliveryTotals, attempt: Attempt, batches: tuple[int, ...], target: TargetAccess) -> DeliveryEnd:
    """The end after an attempt whose verdict is STOP, or after one that refused the last call of too many batches."""
    reason = attempt.verdict.reason or StopReason.SHAPE
    assert reason in _TEXTS
    message, hint = _TEXTS[reason]
    code = attempt.verdict.exit_code or ExitCode.STOPPED
    end = DeliveryEnd(EndKind.STOPPED, totals, code, reason, hint=hint, batches=batches)
    count = "a batch" if len(batches) == 1 else f"{len(batches)} batches"
    answer = attempt.answer
    assert answer is not None
    what = answer.detail if answer.status is None else f"HTTP {answer.status}"
    if reason is StopReason.PROXY and answer.status is not None:
        what = f"{Failure.PROXY_REFUSED}: {what}"
    return dataclasses.replace(
        end,
        message=f"{target.batch_url}: {message.format(what=what, count=count)}",
        answer=answer.detail if answer.status is not None else "",
    )
