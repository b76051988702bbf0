"""A run together with the replays of its rejects: what the run did not deliver, and what of it was delivered since.

Each has accounts of its own, which never change (see `pipeline.replay`). They share their ids, and no id is delivered
twice, so that what is delivered can be added. A record that could not be read stands for as many calls as a row makes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from backfill.errors import counted
from backfill.frozen import frozen
from backfill.records import RunState
from backfill.report.runs import RunView
from backfill.report.summary import counts_text


@frozen
class Together:
    """What became of the calls that a run planned, and of those that its unreadable records stand for."""

    planned: int  # by the run
    unreadable: int  # calls that its unreadable records stand for
    delivered: int  # by the run
    delivered_by_replays: int
    duplicate: int
    already_delivered: int
    in_doubt: int  # by any of them
    pending: int  # in any of them
    still_rejected: int  # neither delivered since nor on its way

    def faults(self) -> list[str]:
        """What does not add up: nothing, unless files of the same rejects gave them other ids."""
        if self.still_rejected < 0:
            return ["the replays have sent more calls than the run rejected: the ids of some rows were changed"]
        return []


#: What the calls add up from, in the order in which it is told.
PARTS = (
    "delivered",
    "delivered_by_replays",
    "duplicate",
    "already_delivered",
    "in_doubt",
    "pending",
    "still_rejected",
)
IDENTITY = f"planned + unreadable = {' + '.join(PARTS)}"


def together(run: RunView, replays: Sequence[RunView]) -> Together:
    """The accounts of a run and its replays in one; every row that the run rejected is delivered since, or still is."""
    own, others = run.counts, [one.counts for one in replays]
    going_on = [one.counts for one in replays if one.status.state is not RunState.ABANDONED]
    delivered = sum(one.delivered for one in others)
    in_doubt = own.in_doubt + sum(one.in_doubt for one in others)
    pending = own.pending + sum(one.pending for one in going_on)
    return Together(
        planned=own.planned,
        unreadable=own.unreadable * own.calls_per_row,
        delivered=own.delivered,
        delivered_by_replays=delivered,
        duplicate=own.duplicate,
        already_delivered=own.already_delivered,
        in_doubt=in_doubt,
        pending=pending,
        still_rejected=own.rejected
        + own.unreadable * own.calls_per_row
        - delivered
        - (in_doubt - own.in_doubt)
        - (pending - own.pending),
    )


def together_json(all_of_them: Together) -> dict[str, Any]:
    """What `status RUN --output json` and `Outcome.details` have as `with_replays`."""
    return asdict(all_of_them) | {"adds_up": not all_of_them.faults()}


def together_text(all_of_them: Together) -> str:
    """The same for people, on one line."""
    if faults := all_of_them.faults():
        return f"together: {faults[0]}"
    names = [(name.replace("_", " "), getattr(all_of_them, name)) for name in PARTS[1:]]
    unreadable = ""
    if all_of_them.unreadable:
        unreadable = f" and {counted(all_of_them.unreadable, 'call', 'calls')} of unreadable records"
    told = counts_text([("delivered by the run", all_of_them.delivered), *names])
    return f"together: of {all_of_them.planned:,} planned{unreadable} {told}"
