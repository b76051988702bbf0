"""A delivery's senders against a target with a hidden limit, in simulated time: no threads, no sockets, no waiting."""

import heapq
import random
from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass, field

from backfill.deliver.concurrency import Control
from backfill.deliver.departure import Departure
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
    make: Callable[[int], Control] = Control
    accepted: list[float] = field(default_factory=list)  # when
    refused: list[float] = field(default_factory=list)
    limits: list[tuple[float, int]] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Nothing is known of the target."""
        self.control = self.make(self.senders)
        self._random = random.Random(self.seed)
        # Who waits for a slot: those with a refused batch first, then the lowest number.
        self._waiting = [(0, number) for number in range(self.senders)]
        self._refusals = [0] * self.senders
        self._taken, self._count = 0, 0
        self._turn = self._open = 0.0
        self._events: list[tuple[float, int, Callable[..., None], tuple[object, ...]]] = []
        self._at(0.0, self._tick)

    def run(self, seconds: float) -> "Simulation":
        """Until that time."""
        events, begin = self._events, self._begin
        while events and events[0][0] <= seconds:
            at, _, happens, what = heapq.heappop(events)
            happens(at, *what)
            begin(at)
        return self

    def share(self, capacity: float, since: float, until: float) -> float:
        """Of that capacity in requests a second the share that came through."""
        return _between(self.accepted, since, until) / (until - since) / capacity

    def refusals(self, since: float, until: float) -> float:
        """The share of requests that was refused."""
        refused = _between(self.refused, since, until)
        return refused / max(1, refused + _between(self.accepted, since, until))

    def _at(self, at: float, happens: Callable[..., None], *what: object) -> None:
        self._count += 1
        heapq.heappush(self._events, (at, self._count, happens, what))

    def _tick(self, now: float) -> None:
        self.limits.append((now, self.control.limit(now)))
        self._at(now + 0.02, self._tick)

    def _begin(self, now: float) -> None:
        while self._waiting and self._taken < self.control.limit(now):
            _, number = heapq.heappop(self._waiting)
            self._taken += 1
            turn = max(now, self._turn)
            self._turn = turn + self.control.interval(now)
            self._at(turn + self._random.expovariate(1 / LATE), self._leave, number)

    def _leave(self, now: float, number: int) -> None:
        if now < self._open:  # senders that were late must not leave together
            self._at(self._open + self._random.expovariate(3 / LATE), self._leave, number)
            return
        self._open = now + self.control.interval(now)
        self._at(now + NETWORK * (1 + 0.2 * self._random.random()), self._arrive, number, self.control.left(now))

    def _arrive(self, now: float, number: int, departure: Departure) -> None:
        if self.target.takes(now, self.weight(self._random)):
            self._at(self.target.answer(now, self.needs(self._random)), self._answered, number, departure)
        else:
            self._at(now + NETWORK, self._refused, number, departure)

    def _answered(self, now: float, number: int, departure: Departure) -> None:
        self.target.done()
        self._at(now + NETWORK, self._accepted, number, departure)

    def _accepted(self, now: float, number: int, departure: Departure) -> None:
        self.control.ended(departure, now, accepted=True, refused=False)
        self.accepted.append(now)
        self._taken -= 1
        self._refusals[number] = 0
        self._free(now, number)

    def _refused(self, now: float, number: int, departure: Departure) -> None:
        self.control.ended(departure, now, accepted=False, refused=True)
        self.refused.append(now)
        self._taken -= 1
        seconds = min(BACKOFF * 2 ** self._refusals[number], self.longest) * (1 + 0.1 * self._random.random())
        self._refusals[number] += 1
        self._at(now + seconds, self._free, number)

    def _free(self, _now: float, number: int) -> None:
        heapq.heappush(self._waiting, (0 if self._refusals[number] == 0 else -1, number))


def _between(times: list[float], since: float, until: float) -> int:
    return bisect_right(times, until) - bisect_right(times, since)
