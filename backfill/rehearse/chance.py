"""What goes wrong in a rehearsal, drawn from its seed: the faults of the endpoint, and the instants of the kills."""

from __future__ import annotations

import random
from typing import Final

from backfill.frozen import frozen

#: What an endpoint does to requests unless others are said, by the grammar of backfill/sandbox/faults.py. A 429 and a
#: 503 are rare: they slow a sender down. A twentieth is stored though the answer is lost or says otherwise.
FAULTS: Final = (
    *("lost,odds=1/20", "status=500,stored,odds=1/30", "reset=after,odds=1/25", "reset=before,odds=1/25"),
    *("status=500,odds=1/20", "status=503,odds=1/40", "status=429,retry_after=1,odds=1/60", "delay=0.05,odds=1/4"),
)
#: In place of a script: an endpoint without faults.
NONE: Final = "none"


@frozen
class Kill:
    """When a process is killed: after so many seconds of its work, or of further requests, and a moment later."""

    seconds: float
    requests: int = 0


@frozen
class Chance:
    """The draws of one seed; each is the same whatever was drawn before."""

    seed: int

    def faults(self) -> tuple[str, ...]:
        """The script of the endpoint, each rule with a draw of its own."""
        return tuple(
            f"{rule},seed={self._draw(f'fault {place}').randrange(10**6)}" for place, rule in enumerate(FAULTS)
        )

    def kill(self, number: int, *, seconds: float, requests: int) -> Kill:
        """The kill of that number, from 0; `seconds` is how long preparing takes, `requests` how many are to come."""
        draw = self._draw(f"kill {number}")
        if number == 0:
            return Kill(draw.uniform(0, seconds))
        return Kill(draw.uniform(0, 0.02), draw.randint(1, max(1, requests)))

    def _draw(self, what: str) -> random.Random:
        return random.Random(f"{self.seed}/{what}")  # noqa: S311 reproducible, not secret
