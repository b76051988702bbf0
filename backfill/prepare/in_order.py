"""Work on numbered things in threads, its results in the order of the numbers, with few of them in memory."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")


def in_order(pool: ThreadPoolExecutor, work: Callable[[int], T], numbers: Iterable[int], *, ahead: int) -> Iterator[T]:
    """The results of `work` on each of the numbers, in their order; `ahead` are at work or wait to be taken.

    `Executor.map` would begin them all at once, and keep what is done until its turn comes.
    """
    running: deque[Future[T]] = deque()
    for number in numbers:
        if len(running) == ahead:
            yield running.popleft().result()
        running.append(pool.submit(work, number))
    while running:
        yield running.popleft().result()
