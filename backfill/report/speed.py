"""How fast a run delivers, by two looks at its ledger: whoever reads it can tell, also from another machine."""

from __future__ import annotations

from collections import defaultdict, deque
from typing import Final

from backfill.frozen import frozen
from backfill.records import Counts

#: Seconds over which the speed is measured: a burst, and a wait that the target asked for, count as they are.
SPAN_SECONDS: Final = 30.0


@frozen
class Speed:
    """How fast a run is."""

    calls_per_second: float
    seconds_left: float | None  # until all is sent at that speed; None where nothing moves


class Speeds:
    """The speeds of some runs, look by look."""

    def __init__(self) -> None:
        self._looks: dict[str, deque[tuple[float, int]]] = defaultdict(deque)

    def seen(self, run_id: str, counts: Counts, now: float) -> Speed | None:
        """The speed of a run that is seen now (monotonic seconds); None at the first look."""
        looks = self._looks[run_id]
        done = counts.delivered + counts.refused
        looks.append((now, done))
        while len(looks) > 2 and now - looks[1][0] >= SPAN_SECONDS:  # noqa: PLR2004 (two looks make a speed)
            looks.popleft()
        began, before = looks[0]
        if now <= began:
            return None
        speed = max(done - before, 0) / (now - began)
        left = counts.pending + counts.in_doubt - counts.left_in_doubt
        return Speed(speed, left / speed if speed else None)
