"""Targets with hidden limits, in simulated time: what they take, refuse, and how long they need."""

import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol


class Target(Protocol):
    """Takes requests, or refuses them."""

    def takes(self, at: float, weight: float) -> bool:
        """Whether the request that arrives then is taken; its calls are that many times the mean."""

    def answer(self, at: float, seconds: float) -> float:
        """When one taken at that time is answered, where it alone would need so many seconds."""

    def done(self) -> None:
        """It is answered."""


@dataclass
class Plain:
    """Takes everything."""

    busy: int = 0

    def takes(self, at: float, weight: float) -> bool:
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

    def takes(self, at: float, weight: float) -> bool:
        """As the Protocol."""
        return self.busy < self.most and super().takes(at, weight)


@dataclass
class Bucket(Plain):
    """Takes so many a second, and `burst` more after an idle time; counts requests, or calls."""

    rate: float = 1.0
    burst: float = 1.0
    calls: bool = False
    tokens: float = field(default=-1.0)
    filled: float = 0.0

    def takes(self, at: float, weight: float) -> bool:
        """As the Protocol."""
        if self.tokens < 0:
            self.tokens = self.burst  # full at first
        weight = weight if self.calls else 1.0
        self.tokens = min(max(self.burst, weight), self.tokens + (at - self.filled) * self.rate)
        self.filled = at
        if self.tokens < weight - 1e-9:
            return False
        self.tokens -= weight
        return super().takes(at, weight)


@dataclass
class Window(Plain):
    """Takes `rate` x `seconds` in each span of so many seconds of its clock."""

    rate: float = 1.0
    seconds: float = 1.0
    span: int = -1
    taken: int = 0

    def takes(self, at: float, weight: float) -> bool:
        """As the Protocol."""
        span = int((at + 0.37) / self.seconds)
        if span != self.span:
            self.span, self.taken = span, 0
        if self.taken >= self.rate * self.seconds:
            return False
        self.taken += 1
        return super().takes(at, weight)


@dataclass
class Sliding(Plain):
    """Takes `rate` x `seconds` in any span of so many seconds."""

    rate: float = 1.0
    seconds: float = 1.0
    taken: deque[float] = field(default_factory=deque)

    def takes(self, at: float, weight: float) -> bool:
        """As the Protocol."""
        while self.taken and self.taken[0] <= at - self.seconds:
            self.taken.popleft()
        if len(self.taken) >= max(1, self.rate * self.seconds):
            return False
        self.taken.append(at)
        return super().takes(at, weight)


@dataclass
class Queue(Plain):
    """Works on one after the other, `rate` a second; refuses whom more than `most` are waiting before."""

    rate: float = 1.0
    most: int = 10
    free: float = 0.0

    def takes(self, at: float, weight: float) -> bool:
        """As the Protocol."""
        return (self.free - at) * self.rate <= self.most and super().takes(at, weight)

    def answer(self, at: float, seconds: float) -> float:
        """As the Protocol."""
        self.free = max(at, self.free) + 1 / self.rate
        return self.free + seconds


@dataclass
class Flaky(Plain):
    """Asks another one, but refuses a share by chance."""

    share: float = 0.0
    inner: Target = field(default_factory=Plain)
    seed: int = 1

    def __post_init__(self) -> None:
        """The same chances every time."""
        self._chances = random.Random(self.seed)

    def takes(self, at: float, weight: float) -> bool:
        """As the Protocol."""
        return self._chances.random() >= self.share and self.inner.takes(at, weight)

    def answer(self, at: float, seconds: float) -> float:
        """As the Protocol."""
        return self.inner.answer(at, seconds)

    def done(self) -> None:
        """As the Protocol."""
        self.inner.done()


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

    def takes(self, at: float, weight: float) -> bool:
        """As the Protocol."""
        return at >= self.until and super().takes(at, weight)


@dataclass
class Changing(Plain):
    """A target that takes something else from a time on: these attributes are then its new ones."""

    target: Plain = field(default_factory=Plain)
    then: dict[str, float] = field(default_factory=dict)
    since: float = 60.0

    def takes(self, at: float, weight: float) -> bool:
        """As the Protocol."""
        if at >= self.since:
            vars(self.target).update(self.then)
        return self.target.takes(at, weight)

    def answer(self, at: float, seconds: float) -> float:
        """As the Protocol."""
        return self.target.answer(at, seconds)

    def done(self) -> None:
        """As the Protocol."""
        self.target.done()


#: What a request takes at the target, drawn anew for each.
Needs = Callable[[random.Random], float]


def even(seconds: float) -> Needs:
    """Nearly always the same: up to 10% more."""
    return lambda chance: seconds * (1 + 0.1 * chance.random())


def lognormal(seconds: float, sigma: float = 0.5) -> Needs:
    """That mean, and now and then several times as long."""
    middle = seconds / 2.718281828459045 ** (sigma * sigma / 2)
    return lambda chance: middle * chance.lognormvariate(0, sigma)
