"""A run together with its requeues: the calls that it has sent, and what became of those that were planned again.

Each has accounts of its own, which never change (see `pipeline.requeue`), and no call is planned by two of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from backfill.frozen import frozen
from backfill.records import RunState
from backfill.report.runs import RunView
from backfill.report.summary import counts_text


@frozen
class Requeues:
    """What became of calls of a run that were planned again."""

    sent: int  # by the run: delivered, or in doubt
    requeued: int  # of these planned again
    delivered_again: int
    rejected: int  # by the target
    in_doubt: int
    pending: int
    given_up: int  # pending in a run that was abandoned

    def faults(self) -> list[str]:
        """What does not add up; nothing, unless a ledger is damaged."""
        parts = self.delivered_again + self.rejected + self.in_doubt + self.pending + self.given_up
        found = [] if self.requeued == parts else [f"{self.requeued:,} were planned again, {parts:,} are accounted for"]
        return found + ([] if self.requeued <= self.sent else ["more were planned again than the run has sent"])


def requeued(run: RunView, requeues: Sequence[RunView]) -> Requeues:
    """The accounts of a run's requeues in one, beside its own."""
    own, others = run.counts, [one.counts for one in requeues]
    given_up = [one.counts for one in requeues if one.status.state is RunState.ABANDONED]
    return Requeues(
        sent=own.delivered + own.in_doubt,
        requeued=sum(one.planned for one in others),
        delivered_again=sum(one.delivered for one in others),
        rejected=sum(one.rejected for one in others),
        in_doubt=sum(one.in_doubt for one in others),
        pending=sum(one.pending for one in others) - sum(one.pending for one in given_up),
        given_up=sum(one.pending for one in given_up),
    )


def requeued_json(all_of_them: Requeues) -> dict[str, Any]:
    """What `status RUN --output json` has as `with_requeues`."""
    return asdict(all_of_them) | {"adds_up": not all_of_them.faults()}


def requeued_text(all_of_them: Requeues) -> str:
    """The same for people, on one line."""
    if faults := all_of_them.faults():
        return f"requeues: {faults[0]}"
    names = ("delivered_again", "rejected", "in_doubt", "pending", "given_up")
    told = counts_text([(name.replace("_", " "), getattr(all_of_them, name)) for name in names])
    return f"requeues: of {all_of_them.sent:,} sent {all_of_them.requeued:,} planned again: {told}"
