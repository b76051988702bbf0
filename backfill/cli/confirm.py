"""The question before a live delivery: everything that is about to happen, on one screen."""

from __future__ import annotations

import select
import sys
import threading
from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import chain
from typing import TYPE_CHECKING

from backfill.cli.session import Session
from backfill.errors import UsageError, counted

if TYPE_CHECKING:
    from backfill.advice import Advice, Fact
    from backfill.pipeline.context import Confirmation

#: How often a waiting question looks whether a signal came, in seconds.
LOOK_SECONDS = 0.1
#: Columns before what a line tells.
_LABEL = 12


def confirmation_text(asked: Confirmation) -> str:
    """What is about to be sent where, aligned."""
    from backfill.report.advice import advice_lines
    from backfill.report.summary import duration_text

    calls = f"{asked.calls:,} to send"
    if asked.now < asked.calls:
        rest = "`backfill resume` sends" if asked.jobs == 1 else "the same command without it sends"
        calls = f"{asked.now:,} of {asked.calls:,} to send now, as --canary asks; {rest} the rest"
    delivered = earlier_text(asked)
    days = asked.first_day if asked.first_day == asked.last_day else f"{asked.first_day} to {asked.last_day}"
    pairs = [
        ("jobs" if asked.jobs > 1 else "job", asked.job),
        ("target", f"{asked.target} ({asked.kind}{', region ' + asked.region if asked.region else ''})"),
        ("endpoint", asked.endpoint),
        ("write key", f"SHA-256 begins with {asked.key_digest}"),
        *([("envelope", f"{{{asked.envelope}}} in every request")] if asked.envelope else []),
        *([("plans" if asked.jobs > 1 else "plan", asked.plan)] if asked.plan else []),
        ("calls", calls),
        *([("delivered", delivered)] if delivered else []),
        *([("dated", days)] if days else []),
        ("left out", left_out_text(asked)),
        *([("in doubt", asked.doubt)] if asked.doubt else []),
        ("rate", f"{asked.rate:,.0f} calls/s" if asked.rate else "as fast as the target takes them"),
        ("duration", f"about {duration_text(asked.seconds)}" if asked.seconds is not None else "unknown"),
        ("state", asked.state),
    ]
    if asked.warning:
        pairs.append(("warning", asked.warning))
    pairs += [("" if place else "advice", line) for place, line in enumerate(advice_lines(asked.advice, _LABEL))]
    return "\n".join(["LIVE: this leaves your machine", *(f"  {name:<10}{value}" for name, value in pairs)])


def confirmations_text(asked: Sequence[Confirmation]) -> str:
    """What is about to be sent where; of several jobs what goes to the same target is told together."""
    return "\n".join(confirmation_text(together(group)) for group in by_target(asked))


def by_target(asked: Sequence[Confirmation]) -> list[list[Confirmation]]:
    """Those for the same target and out of the same state directory together, in the order in which they came."""
    groups: dict[tuple[object, ...], list[Confirmation]] = {}
    for one in asked:
        where = (one.target, one.kind, one.region, one.endpoint, one.key_digest, one.envelope, one.rate)
        groups.setdefault((*where, one.state), []).append(one)
    return list(groups.values())


def together(group: Sequence[Confirmation]) -> Confirmation:
    """One for several jobs: the sums of their calls, and what only one of them has with its name."""
    if len(group) == 1:
        return group[0]
    days = [day for one in group for day in (one.first_day, one.last_day) if day]
    summed = ("calls", "now", "rejected", "unreadable", "refused", "delivered_before", "earlier")
    sums = {name: sum(getattr(one, name) for one in group) for name in summed}
    seconds = None if group[0].seconds is None else sum(one.seconds or 0.0 for one in group)
    return replace(
        group[0],
        **sums,
        job=", ".join(one.job for one in group),
        jobs=len(group),
        plan=", ".join(one.plan for one in group if one.plan),
        advice=advice_together(one.advice for one in group),
        first_day=min(days, default=""),
        last_day=max(days, default=""),
        seconds=seconds,
        warning="; ".join(f"{one.job}: {one.warning}" for one in group if one.warning),
        doubt="; ".join(f"{one.job}: {one.doubt}" for one in group if one.doubt),
    )


def advice_together(some: Iterable[Sequence[Advice]]) -> list[Advice]:
    """The advice of several jobs, what is the same of calls of several told once."""
    found: dict[tuple[str, Fact, str, str], Advice] = {}
    for one in chain.from_iterable(some):
        key = (one.destination, one.fact, one.applies, str(one.avoid))
        calls = dict.fromkeys([*(found[key].calls if key in found else ()), *one.calls])
        found[key] = replace(one, calls=tuple(calls))
    return list(found.values())


def left_out_text(asked: Confirmation) -> str:
    """What of the plan is not sent, and why."""
    lost = [f"{counted(asked.rejected, 'call', 'calls')} rejected by the checks"]
    if asked.refused:
        lost.append(f"{counted(asked.refused, 'call', 'calls')} refused by the target before")
    if asked.unreadable:
        lost.append(f"{counted(asked.unreadable, 'row', 'rows')} unreadable")
    return ", ".join(lost)


def earlier_text(asked: Confirmation) -> str:
    """What earlier runs of the job have delivered to the target, and what of it is in this plan; empty for nothing."""
    if not asked.earlier and not asked.delivered_before:
        return ""
    among = counted(asked.delivered_before, "of this plan is", "of this plan are")
    left_out = f"{among} among them and left out, {counted(asked.calls, 'is', 'are')} new"
    if not asked.delivered_before:
        left_out = f"none of them is left out, {counted(asked.calls, 'is', 'are')} sent"
    return f"{asked.earlier:,} by earlier runs of {'these jobs' if asked.jobs > 1 else 'this job'}; {left_out}"


def refuse_without_terminal(*, yes: bool) -> None:
    """Raise UsageError where there is no terminal to ask on and no --yes."""
    if not yes and not sys.stdin.isatty():
        raise UsageError(
            "a live run without a terminal needs --yes", hint="look at `backfill dry-run JOB` first, then add --yes"
        )


def ask(session: Session, asked: Sequence[Confirmation], *, yes: bool, stop: threading.Event) -> bool:
    """Show what is about to happen and, unless `yes`, wait for the one answer for all jobs; a signal is a no.

    Returns whether to go on. Anything but `y` or `yes` is a no.
    """
    session.say(confirmations_text(asked), "warning", lines=True)
    if yes:
        return True
    calls = sum(one.now for one in asked)
    session.ask("Send? [y/N] " if len(asked) == 1 else f"Send {calls:,} calls of {len(asked)} jobs? [y/N] ")
    while not stop.is_set():
        ready, _, _ = select.select([sys.stdin], [], [], LOOK_SECONDS)
        if ready:
            return sys.stdin.readline().strip().lower() in ("y", "yes")
    return False
