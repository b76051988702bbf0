"""Batches in doubt as people look at them: how many, since when, how long they are sent again, and each by itself."""

from __future__ import annotations

import time
from typing import Any

from backfill.errors import counted
from backfill.frozen import frozen
from backfill.limits import DEDUP_WINDOW_SECONDS
from backfill.records import Doubt, DoubtSpan, RunReader
from backfill.report.summary import iso_text, time_text

#: How many batches in doubt are listed as text, and as JSON; the view `v_in_doubt` has them all.
SHOWN = 10
SHOWN_AS_JSON = 1_000
#: In place of a time until which all are sent again by themselves.
NOT_ALL = "not all"


@frozen
class Doubts:
    """What of a run is in doubt, read at one time."""

    span: DoubtSpan
    first: tuple[Doubt, ...]  # up to SHOWN_AS_JSON, in plan order
    window: float  # seconds for which the target remembers ids
    now: float  # POSIX seconds

    @property
    def since(self) -> str:
        """Of those still to be sent: since when the first of them is in doubt; empty where there are none."""
        if not self.span.batches:
            return ""
        return "unknown" if self.span.first is None or self.span.ageless else time_text(self.span.first)

    @property
    def until(self) -> str:
        """Until when all of them are sent again without being asked; empty where there are none."""
        if not self.span.batches:
            return ""
        if self.span.first is None or self.span.ageless or self.closed(self.span.first):
            return NOT_ALL
        return time_text(self.span.first + self.window)

    def closed(self, since: float | None) -> bool:
        """Whether the target may have forgotten the ids of a batch in doubt since then; None is an unknown time."""
        return since is None or self.now - since > self.window


def read_doubts(reader: RunReader, now: float | None = None) -> Doubts:
    """Everything that is shown of a run's doubts; `now` is the system's time where it is left out.

    The window is the one that the last process to deliver had from its target.
    """
    mark = reader.clock_mark()
    return Doubts(
        reader.doubt_span(),
        tuple(reader.doubts(SHOWN_AS_JSON)),
        DEDUP_WINDOW_SECONDS if mark is None else mark.window,
        time.time() if now is None else now,
    )


def doubt_lines(doubts: Doubts) -> list[str]:
    """The doubts of a run: their sum, then some one by one."""
    span, lines = doubts.span, []
    if span.batches:
        until = doubts.until
        again = "not all of it is sent again by itself" if until == NOT_ALL else f"sent again by itself until {until}"
        lines.append(
            f"in doubt  {_calls(span.calls)} in {_batches(span.batches)}: no answer told whether"
            f" {_they(span.calls)} arrived; since {doubts.since}; {again}"
        )
    if span.left_batches:
        are = "is" if span.left_calls == 1 else "are"
        left = f"{_calls(span.left_calls)} in {_batches(span.left_batches)} {are} never sent again"
        lines.append(f"in doubt  {left}")
    return lines + _listed([doubt_line(one, doubts) for one in doubts.first], span.batches + span.left_batches)


def held_back_lines(reader: RunReader) -> list[str]:
    """One line for each of the first batches that are not sent again by themselves, and how many more there are."""
    doubts = read_doubts(reader)
    kept = [one for one in doubts.first if one.left or doubts.closed(one.since)]
    whole = len(doubts.first) < SHOWN_AS_JSON
    return _listed([doubt_line(one, doubts) for one in kept], len(kept), "" if whole else "at least ")


def doubt_line(doubt: Doubt, doubts: Doubts) -> str:
    """One batch in doubt."""
    since = "an unknown time, the clock having been set back" if doubt.since is None else time_text(doubt.since)
    if doubt.left:
        becomes = "never sent again"
    elif doubts.closed(doubt.since):
        becomes = "not sent again by itself"
    else:
        becomes = f"sent again by itself until {time_text((doubt.since or 0.0) + doubts.window)}"
    return f"  batch {doubt.batch}: {_calls(doubt.calls)} in doubt since {since}; {_attempts(doubt)}; {becomes}"


def doubt_json(doubts: Doubts, *, listed: bool) -> dict[str, Any]:
    """The same as an object; times are ISO 8601 in UTC, null where they are not known."""
    span = doubts.span
    until = None if span.first is None or span.ageless else span.first + doubts.window
    found: dict[str, Any] = {
        "batches": span.batches,
        "calls": span.calls,
        "since": _iso(span.first),
        "sent_again_until": _iso(until),
        "age_unknown": span.ageless,
        "left_batches": span.left_batches,
        "left_calls": span.left_calls,
    }
    if listed:
        found["listed"] = [
            {
                "batch": one.batch,
                "shard": one.shard,
                "first_call": one.first_call,
                "calls": one.calls,
                "attempts": one.attempts,
                "since": _iso(one.since),
                "sent_again_until": None if one.left or one.since is None else _iso(one.since + doubts.window),
                "left": one.left,
                "last_status": one.status,
                "last_detail": one.detail,
            }
            for one in doubts.first
        ]
    return found


def _iso(at: float | None) -> str | None:
    return None if at is None else iso_text(at)


def _batches(count: int) -> str:
    return counted(count, "batch", "batches")


def _calls(count: int) -> str:
    return counted(count, "call", "calls")


def _they(count: int) -> str:
    return "it" if count == 1 else "they"


def _attempts(doubt: Doubt) -> str:
    if not doubt.attempts:
        return "no attempt of its own, it is part of a batch that was refused"
    return f"{counted(doubt.attempts, 'attempt', 'attempts')}, the last {_ending(doubt)}"


def _ending(doubt: Doubt) -> str:
    if doubt.status is None:
        return f"ended in: {doubt.detail}" if doubt.detail else "has no answer yet"
    return f"was answered HTTP {doubt.status}"


def _listed(lines: list[str], count: int, least: str = "") -> list[str]:
    more = count - SHOWN
    return lines[:SHOWN] + ([f"  and {least}{more:,} more"] if more > 0 else [])
