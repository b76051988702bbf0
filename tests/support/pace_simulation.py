"""A delivery's senders against a target with a hidden limit, in simulated time: no threads, no sockets, no waiting."""

import heapq
import random
from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import accumulate

from backfill.deliver.pace import Pace
from tests.support.pace_targets import Needs, Target, even

NETWORK = 0.0005  # seconds one way
LATE = 0.0003  # seconds by which a sender wakes up too late, on average
BACKOFF, LONGEST_BACKOFF = 0.5, 60.0


@dataclass
class Simulation:
    """So many senders, each with always another batch to send, against a target."""

    target: Target
    senders: int = 64
    needs: Needs = field(default_factory=lambda: even(0.05))
    weight: Callable[[random.Random], float] = lambda _: 1.0
    seed: int = 1
    longest: float = LONGEST_BACKOFF  # that a sender waits after refusals in a row
    accepted: list[float] = field(default_factory=list)  # when
    refused: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Nothing is known of the target."""
        self._now = 0.0
        self.pace = Pace(None, None, lambda: self._now)
        self._random = random.Random(self.seed)
        self._line = deque((0.0, number) for number in range(self.senders))  # who waits for a turn since when
        self._first_waits = False  # the first of the line
        self._refusals = [0] * self.senders
        self._events: list[tuple[float, int, Callable[..., None], tuple[object, ...]]] = []
        self._count = 0
        self._ask()

    def run(self, seconds: float) -> "Simulation":
        """Until that time."""
        while self._events and self._events[0][0] <= seconds:
            self._now, _, happens, what = heapq.heappop(self._events)
            happens(*what)
        return self

    def share(self, capacity: float, since: float, until: float) -> float:
        """Of that capacity in requests a second the share that came through."""
        return _between(self.accepted, since, until) / (until - since) / capacity

    def refusals(self, since: float, until: float) -> float:
        """The share of requests that was refused."""
        refused = _between(self.refused, since, until)
        return refused / max(1, refused + _between(self.accepted, since, until))

    def _after(self, seconds: float, happens: Callable[..., None], *what: object) -> None:
        self._count += 1
        heapq.heappush(self._events, (self._now + seconds, self._count, happens, what))

    def _ask(self) -> None:
        """Let all leave whose turn it is, and wake up the next one when its is due."""
        while self._line and not self._first_waits:
            came, number = self._line[0]
            seconds = self.pace.ask(1, came)
            if seconds > 0:
                self._first_waits = True
                self._after(seconds + self._random.expovariate(1 / LATE), self._wake)
            else:
                self._line.popleft()
                self._after(NETWORK * (1 + 0.2 * self._random.random()), self._arrive, number, self._now)

    def _wake(self) -> None:
        self._first_waits = False
        self._ask()

    def _arrive(self, number: int, left_at: float) -> None:
        if self.target.takes(self._now, self.weight(self._random)):
            seconds = self.target.answer(self._now, self.needs(self._random)) - self._now
            self._after(seconds, self._answer, number, left_at)
        else:
            self._after(NETWORK, self._refuse, number, left_at)

    def _answer(self, number: int, left_at: float) -> None:
        self.target.done()
        self._after(NETWORK, self._accept, number, left_at)

    def _accept(self, number: int, left_at: float) -> None:
        self.pace.ended(left_at, accepted=True, refused=False)
        self.accepted.append(self._now)
        self._refusals[number] = 0
        self._queue(number)

    def _refuse(self, number: int, left_at: float) -> None:
        self.pace.ended(left_at, accepted=False, refused=True)
        self.refused.append(self._now)
        seconds = min(BACKOFF * 2 ** self._refusals[number], self.longest) * (1 + 0.1 * self._random.random())
        self._refusals[number] += 1
        self._after(seconds, self._queue, number)

    def _queue(self, number: int) -> None:
        self._line.append((self._now, number))
        self._ask()


def _between(times: list[float], since: float, until: float) -> int:
    return bisect_right(times, until) - bisect_right(times, since)


def most_over(left: Sequence[tuple[float, float]], rate: float) -> float:
    """The most by which the calls of any window, its last batch aside, are more than rate x its seconds."""
    sums = list(accumulate((calls for _, calls in left), initial=0.0))
    return max(
        sums[last] - sums[first] - rate * (left[last][0] - left[first][0])
        for first in range(len(left))
        for last in range(first, len(left))
    )
