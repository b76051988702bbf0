"""How a delivery went, over time: what a run's attempts tell, in equal steps from the first to the last.

The time in which no process was at work, from the last answer of one to the begin of the next, is no part of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Final

from backfill.frozen import frozen
from backfill.records import SentAttempt

#: Steps of a chart.
STEPS: Final = 48
#: Seconds without any request under way that are called a pause.
PAUSE_SECONDS: Final = 1.0


@frozen
class Pace:
    """Each list has one number a step; None where nothing ended in it."""

    began: float  # POSIX seconds
    seconds: float  # from the first attempt to the end of the last, as long as a process was at work
    calls: tuple[float, ...]  # accepted, a second
    median: tuple[float | None, ...]  # seconds that an answer took
    slowest: tuple[float | None, ...]
    under_way: tuple[float, ...]  # requests, on average
    failed: tuple[int, ...]  # attempts that were not accepted
    pauses: tuple[tuple[float, float], ...]  # (POSIX seconds, how long)
    idle: tuple[tuple[float, float], ...] = ()  # the same of times in which no process was at work

    @property
    def labels(self) -> list[str]:
        """The beginning of each step, from the first attempt."""
        step = self.seconds / STEPS
        return [_clock(place * step) for place in range(STEPS)]


def pace_of(attempts: Sequence[SentAttempt], begun: Sequence[float] = ()) -> Pace | None:
    """The pace of attempts in any order; None where none has ended. `begun`: when each process began to deliver."""
    ended = [one for one in attempts if one.ended_at is not None]
    if not ended:
        return None
    began = min(one.sent_at for one in ended)
    idle = _idle(ended, begun)

    def worked(at: float) -> float:
        """How long processes were at work by then."""
        return at - began - sum(min(long, max(0.0, at - since)) for since, long in idle)

    seconds = max(worked(max(one.ended_at or 0 for one in ended)), 0.001)
    step = seconds / STEPS
    calls, failed, under_way = [0] * STEPS, [0] * STEPS, [0.0] * STEPS
    waits: list[list[float]] = [[] for _ in range(STEPS)]
    for one in ended:
        start, end = worked(one.sent_at), worked(one.ended_at or 0)
        place = min(STEPS - 1, int(end / step))
        calls[place] += one.calls if one.outcome == "accepted" else 0
        failed[place] += one.outcome != "accepted"
        waits[place].append(max(0.0, end - start))
        for at in range(min(STEPS - 1, int(start / step)), place + 1):
            under_way[at] += max(0.0, min(end, (at + 1) * step) - max(start, at * step)) / step
    return Pace(
        *(began, seconds, tuple(count / step for count in calls)),
        median=tuple(sorted(some)[len(some) // 2] if some else None for some in waits),
        slowest=tuple(max(some, default=None) for some in waits),
        under_way=tuple(under_way),
        failed=tuple(failed),
        pauses=tuple((since, long) for since, long in _gaps(ended, worked) if long > PAUSE_SECONDS),
        idle=idle,
    )


def _idle(ended: Sequence[SentAttempt], begun: Sequence[float]) -> tuple[tuple[float, float], ...]:
    """From the last answer before each process that began later to its begin, and how long that was."""
    found = []
    for at in begun:
        before = max((one.ended_at or 0 for one in ended if one.sent_at < at), default=at)
        if before < at and (before, at - before) not in found:
            found.append((before, at - before))
    return tuple(found)


def _gaps(ended: Sequence[SentAttempt], worked: Callable[[float], float]) -> Iterator[tuple[float, float]]:
    """Between requests: since when none was under way, and how long processes were at work meanwhile."""
    busy_until = min(one.sent_at for one in ended)
    for one in sorted(ended, key=lambda each: each.sent_at):
        yield busy_until, worked(one.sent_at) - worked(busy_until)
        busy_until = max(busy_until, one.ended_at or 0)


def _clock(seconds: float) -> str:
    if seconds < 100:  # noqa: PLR2004
        return f"{seconds:.3g} s"
    minutes = seconds / 60
    return f"{minutes:.0f} min" if minutes < 100 else f"{minutes / 60:.1f} h"  # noqa: PLR2004
