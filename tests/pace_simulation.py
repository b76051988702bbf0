"""A delivery's senders against a target with a hidden limit, in simulated time: no threads, no sockets, no waiting."""

import heapq
import itertools
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from backfill.deliver.concurrency import Control

NETWORK = 0.001  # seconds one way
BACKOFF = 0.5


class Target(Protocol):
    """Takes requests, or refuses them."""

    def takes(self, at: float) -> bool:
        """Whether the request that arrives then is taken."""

    def answer(self, at: float, seconds: float) -> float:
        """When one taken at that time is answered, where it alone would need so many seconds."""

    def done(self) -> None:
        """It is answered."""


@dataclass
class Plain:
    """Takes everything."""

    busy: int = 0

    def takes(self, at: float) -> bool:
        """As the Protocol."""
        self.busy += 1
        return True

    def answer(self, at: float, seconds: float) -> float:
        """As the Protocol."""
        return at + seconds

    def done(self) -> None:
        """As the Protocol."""
        self.busy -= 1


@dataclass
class Together(Plain):
    """Takes so many at once; may be changed on the way."""

    most: int = 1

    def takes(self, at: float) -> bool:
        """As the Protocol."""
        return self.busy < self.most and super().takes(at)


@dataclass
class Bucket(Plain):
    """Takes so many a second, and `burst` more after an idle time."""

    rate: float = 1.0
    burst: float = 1.0
    tokens: float = 0.0
    filled: float = 0.0

    def takes(self, at: float) -> bool:
        """As the Protocol."""
        self.tokens = min(self.burst, self.tokens + (at - self.filled) * self.rate)
        self.filled = at
        if self.tokens < 1:
            return False
        self.tokens -= 1
        return super().takes(at)


@dataclass
class ByTheSecond(Plain):
    """Takes so many in each second of its clock."""

    rate: int = 1
    second: int = -1
    taken: int = 0

    def takes(self, at: float) -> bool:
        """As the Protocol."""
        if int(at) != self.second:
            self.second, self.taken = int(at), 0
        self.taken += 1
        return self.taken <= self.rate and super().takes(at)


@dataclass
class Flaky(Plain):
    """Takes everything but a share, which it refuses by chance."""

    share: float = 0.0
    seed: int = 1

    def __post_init__(self) -> None:
        """The same chances every time."""
        self._chances = random.Random(self.seed)

    def takes(self, at: float) -> bool:
        """As the Protocol."""
        return self._chances.random() >= self.share and super().takes(at)


@dataclass
class OneByOne(Plain):
    """Takes everything, and works on one request at a time."""

    free: float = 0.0

    def answer(self, at: float, seconds: float) -> float:
        """As the Protocol."""
        self.free = max(at, self.free) + seconds
        return self.free


@dataclass
class Down(Plain):
    """Refuses everything until a time."""

    until: float = 0.0

    def takes(self, at: float) -> bool:
        """As the Protocol."""
        return at >= self.until and super().takes(at)


@dataclass
class Simulation:
    """So many senders, each with always another batch to send, against a target."""

    target: Target
    senders: int = 64
    delay: float = 0.05
    seed: int = 1
    accepted: list[float] = field(default_factory=list)  # when
    refused: list[float] = field(default_factory=list)
    limits: list[tuple[float, int]] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Nothing is known of the target."""
        self.control = Control(self.senders)
        self._random = random.Random(self.seed)
        self._idle, self._taken, self._turn = self.senders, 0, 0.0
        self._events: list[tuple[float, int, Callable[[float], None]]] = []
        self._numbers = itertools.count()

    def run(self, seconds: float) -> "Simulation":
        """Until that time."""
        self._tick(self._events[0][0] if self._events else 0.0)
        while self._events and self._events[0][0] <= seconds:
            at, _, happens = heapq.heappop(self._events)
            happens(at)
            self._begin(at)
        return self

    def share(self, capacity: float, since: float, until: float) -> float:
        """Of that capacity in requests a second the share that came through."""
        return sum(since < at <= until for at in self.accepted) / (until - since) / capacity

    def refusals(self, since: float, until: float) -> float:
        """The share of requests that was refused."""
        refused = sum(since < at <= until for at in self.refused)
        return refused / max(1, refused + sum(since < at <= until for at in self.accepted))

    def _at(self, at: float, happens: Callable[[float], None]) -> None:
        heapq.heappush(self._events, (at, next(self._numbers), happens))

    def _tick(self, now: float) -> None:
        self.limits.append((now, self.control.limit(now)))
        self._at(now + 0.02, self._tick)

    def _begin(self, now: float) -> None:
        while self._idle and self._taken < self.control.limit(now):
            self._idle -= 1
            self._taken += 1
            turn = max(now, self._turn)
            self._turn = turn + self.control.interval(now)
            self._at(turn, self._leave)

    def _leave(self, now: float) -> None:
        departure = self.control.left(now)

        def arrive(at: float) -> None:
            if not self.target.takes(at):
                self._at(at + NETWORK, lambda then: end(then, accepted=False))
                return
            self._at(self.target.answer(at, self.delay * (1 + 0.1 * self._random.random())), answered)

        def answered(at: float) -> None:
            self.target.done()
            self._at(at + NETWORK, lambda then: end(then, accepted=True))

        def end(at: float, *, accepted: bool) -> None:
            self.control.ended(departure, at, accepted=accepted, refused=not accepted)
            (self.accepted if accepted else self.refused).append(at)
            self._taken -= 1
            self._at(at + (0.0 if accepted else BACKOFF), self._free)

        self._at(now + NETWORK, arrive)

    def _free(self, _now: float) -> None:
        self._idle += 1
