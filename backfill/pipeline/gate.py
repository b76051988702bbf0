"""--max-rejects: how many rows may be lost before nothing is sent at all."""

from __future__ import annotations

import re
from dataclasses import dataclass

from backfill.errors import GateError, UsageError
from backfill.records import Counts

_FORM = re.compile(r"(\d+(?:\.\d+)?)(%?)")
PERCENT = 100


@dataclass(frozen=True, slots=True)
class Gate:
    """At most `count` rejects, or at most `percent` of all there is; exactly one of the two is set."""

    count: int | None = None
    percent: float | None = None

    @classmethod
    def parse(cls, text: str) -> Gate:
        """A number such as `100`, or a share such as `0.5%`.

        Raises:
            UsageError: It is neither.
        """
        match = _FORM.fullmatch(text.strip())
        number, share = match.groups() if match else ("", "")
        if share and float(number) <= PERCENT:
            return cls(percent=float(number))
        if number.isdigit() and not share:
            return cls(count=int(number))
        raise UsageError(f"--max-rejects {text}: neither a number nor a share", hint="say 100, or 0.5% (at most 100%)")

    def error(self, counts: Counts, run_id: str, *, dry: bool = False) -> GateError | None:
        """The error of a plan with more rejects than allowed, None of one that passes.

        A dry run's (`dry`) tells what a run would do.

        Rejects are calls rejected and rows unreadable; a share is that of calls planned and rows unreadable.
        """
        lost, whole = counts.rejected + counts.unreadable, counts.planned + counts.unreadable
        if self.count is not None:
            passed, allowed = lost <= self.count, f"{self.count:,}"
        else:
            passed, allowed = lost * PERCENT <= (self.percent or 0) * whole, f"{self.percent:g}%"
        if passed:
            return None
        outcome = "a run would send nothing" if dry else "nothing was sent"
        onward = "" if dry else "; with a higher --max-rejects this plan is sent as it is"
        return GateError(
            f"{lost:,} of {whole:,} are rejected or unreadable, --max-rejects allows {allowed}: {outcome}",
            hint=f"`backfill rejects {run_id}` lists them{onward}",
        )
