"""How a delivery went, over time: what a run's attempts tell, in equal steps from the first to the last."""

from __future__ import annotations

from collections.abc import Sequence
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
    seconds: float  # from the first attempt to the end of the last
    calls: tuple[float, ...]  # accepted, a second
    median: tuple[float | None, ...]  # seconds that an answer took
    slowest: tuple[float | None, ...]
    under_way: tuple[float, ...]  # requests, on average
    failed: tuple[int, ...]  # attempts that were not accepted
    pauses: tuple[tuple[float, float], ...]  # (POSIX seconds, how long)

    @property
    def labels(self) -> list[str]:
        """The beginning of each step, from the first attempt."""
        step = self.seconds / STEPS
        return [_clock(place * step) for place in range(STEPS)]


def pace_of(attempts: Sequence[SentAttempt]) -> Pace | None:
    """The pace of attempts in any order; None where none has ended."""
    ended = [one for one in attempts if one.ended_at is not None]
    if not ended:
        return None
    began = min(one.sent_at for one in ended)
    seconds = max(max(one.ended_at or 0 for one in ended) - began, 0.001)
    step = seconds / STEPS
    calls, failed, under_way = [0] * STEPS, [0] * STEPS, [0.0] * STEPS
    waits: list[list[float]] = [[] for _ in range(STEPS)]
    for one in ended:
        start, end = one.sent_at - began, (one.ended_at or 0) - began
        place = min(STEPS - 1, int(end / step))
        calls[place] += one.calls if one.outcome == "accepted" else 0
        failed[place] += one.outcome != "accepted"
        waits[place].append(max(0.0, end - start))
        for at in range(min(STEPS - 1, int(start / step)), place + 1):
            under_way[at] += max(0.0, min(end, (at + 1) * step) - max(start, at * step)) / step
    middle = [sorted(some)[len(some) // 2] if some else None for some in waits]
    slowest = [max(some, default=None) for some in waits]
    per_second = tuple(count / step for count in calls)
    return Pace(
        began, seconds, per_second, tuple(middle), tuple(slowest), tuple(under_way), tuple(failed), _pauses(ended)
    )


def _pauses(ended: Sequence[SentAttempt]) -> tuple[tuple[float, float], ...]:
    found: list[tuple[float, float]] = []
    busy_until = 0.0
    for one in sorted(ended, key=lambda each: each.sent_at):
        if busy_until and one.sent_at - busy_until > PAUSE_SECONDS:
            found.append((busy_until, one.sent_at - busy_until))
        busy_until = max(busy_until, one.ended_at or 0)
    return tuple(found)


def _clock(seconds: float) -> str:
    if seconds < 100:  # noqa: PLR2004
        return f"{seconds:.3g} s"
    minutes = seconds / 60
    return f"{minutes:.0f} min" if minutes < 100 else f"{minutes / 60:.1f} h"  # noqa: PLR2004
