"""The plan of several jobs in one table: what is to be sent of each, in the order in which it is."""

from __future__ import annotations

from collections.abc import Sequence

from backfill.errors import counted
from backfill.records import Counts, JobPlan
from backfill.report.summary import size_text

#: Columns of a terminal that the table keeps to as long as no count has more than nine digits.
WIDTH = 80
TITLES = ("PHASE", "CALLS", "BATCHES", "BYTES", "REJECTED")
NOT_PREPARED = ("-", "-", "-", "-")


def plan_table(plans: Sequence[JobPlan]) -> str:
    """A line for each job, and one for all: calls to be sent or sent before, batches, bytes of JSON, what is left out.

    Rejected are calls that the checks or the target refused, and rows that cannot be read. What was sent before
    is told below its job.
    """
    known = [plan.counts for plan in plans if plan.counts is not None]
    rows = [(str(plan.phase), *(cells([plan.counts]) if plan.counts else NOT_PREPARED)) for plan in plans]
    total = ("", *cells(known))
    widths = [max(map(len, column)) for column in zip(TITLES, *rows, total, strict=True)]
    first = max(len("JOB"), min(max(len(plan.job) for plan in plans), WIDTH - sum(widths) - 2 * len(widths)))

    def line(name: str, row: Sequence[str]) -> list[str]:
        aligned = "".join("  " + cell.rjust(width) for cell, width in zip(row, widths, strict=True))
        return [f"{name:<{first}}{aligned}"] if len(name) <= first else [name, " " * first + aligned]

    lines = line("JOB", TITLES)
    for plan, row in zip(plans, rows, strict=True):
        lines += line(plan.job, row)
        lines += [f"  {note}"] if (note := note_of(plan)) else []
    return "\n".join([*lines, *line(counted(len(plans), "job", "jobs"), total)])


def cells(counts: Sequence[Counts]) -> tuple[str, ...]:
    """The sums over some jobs, as they are shown."""
    calls, batches = sum(one.sendable for one in counts), sum(one.batches for one in counts)
    size, rejected = sum(one.json_bytes for one in counts), sum(one.rejected + one.unreadable for one in counts)
    return (f"{calls:,}", f"{batches:,}", size_text(size), f"{rejected:,}")


def note_of(plan: JobPlan) -> str:
    """What else is to be said of a job; empty for nothing."""
    if plan.counts is None:
        return "not prepared: it is told above why"
    if plan.finished:
        return "finished before: nothing is sent again"
    sent = plan.counts.delivered
    return f"{sent:,} of its calls were sent before" if sent else ""
