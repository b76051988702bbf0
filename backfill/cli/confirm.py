"""The question before a live delivery: everything that is about to happen, on one screen."""

from __future__ import annotations

import select
import sys
import threading
from typing import TYPE_CHECKING

from backfill.cli.session import Session
from backfill.errors import UsageError, counted

if TYPE_CHECKING:
    from backfill.pipeline.context import Confirmation

#: How often a waiting question looks whether a signal came, in seconds.
LOOK_SECONDS = 0.1


def confirmation_text(asked: Confirmation) -> str:
    """What is about to be sent where, aligned."""
    from backfill.report.summary import duration_text

    calls = f"{asked.calls:,} to send"
    if asked.now < asked.calls:
        calls = f"{asked.now:,} of {asked.calls:,} to send now, as --canary asks; `backfill resume` sends the rest"
    delivered = earlier_text(asked)
    days = asked.first_day if asked.first_day == asked.last_day else f"{asked.first_day} to {asked.last_day}"
    pairs = [
        ("job", asked.job),
        ("target", f"{asked.target} ({asked.kind}{', region ' + asked.region if asked.region else ''})"),
        ("endpoint", asked.endpoint),
        ("write key", f"SHA-256 begins with {asked.key_digest}"),
        *([("envelope", f"{{{asked.envelope}}} in every request")] if asked.envelope else []),
        ("calls", calls),
        *([("delivered", delivered)] if delivered else []),
        *([("dated", days)] if days else []),
        ("left out", left_out_text(asked)),
        *([("in doubt", asked.doubt)] if asked.doubt else []),
        ("rate", f"{asked.rate:,.0f} calls/s" if asked.rate else "as fast as the target takes them"),
        ("duration", f"about {duration_text(asked.seconds)}" if asked.seconds is not None else "unknown"),
        ("state", str(asked.state_folder)),
    ]
    if asked.warning:
        pairs.append(("warning", asked.warning))
    return "\n".join(["LIVE: this leaves your machine", *(f"  {name:<10}{value}" for name, value in pairs)])


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
    return f"{asked.earlier:,} by earlier runs of this job; {left_out}"


def refuse_without_terminal(*, yes: bool) -> None:
    """Raise UsageError where there is no terminal to ask on and no --yes."""
    if not yes and not sys.stdin.isatty():
        raise UsageError(
            "a live run without a terminal needs --yes", hint="look at `backfill dry-run JOB` first, then add --yes"
        )


def ask(session: Session, asked: Confirmation, *, yes: bool, stop: threading.Event) -> bool:
    """Show what is about to happen and, unless `yes`, wait for the answer; a signal is a no.

    Returns whether to go on. Anything but `y` or `yes` is a no.
    """
    session.say(confirmation_text(asked), "warning", lines=True)
    if yes:
        return True
    session.ask("Send? [y/N] ")
    while not stop.is_set():
        ready, _, _ = select.select([sys.stdin], [], [], LOOK_SECONDS)
        if ready:
            return sys.stdin.readline().strip().lower() in ("y", "yes")
    return False
