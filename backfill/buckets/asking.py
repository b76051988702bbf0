"""Asking a store: again and again while it is busy or out of reach, then an error that says what it answered."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from functools import cache
from typing import TypeVar

from backfill.buckets.refusals import is_passing, refusal, status_of
from backfill.job.remote import Remote

#: Seconds between attempts, where the store has answered before, if only that it is busy; and where it never has.
PATIENCE = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0, 30.0)
FIRST_PATIENCE = (0.5, 1.0)
_POLL_SECONDS = 0.1
#: Requests under way at once, at most; one that nobody waits for any more ends when its connection counts as lost.
REQUESTS = 64
_Answer = TypeVar("_Answer")
_answered = set[tuple[str, str]]()


def ask(
    at: Remote,
    name: str,
    request: Callable[[], _Answer],
    watch: Callable[[int], None],
    *,
    writing: bool = False,
) -> _Answer:
    """What a store answers; asked again while it is busy or out of reach.

    Raises:
        FileNotFoundError: there is no such object.
        SourceError: it refuses, or stays out of reach.
    """
    delays: Iterator[float] | None = None
    while True:
        try:
            answer = _polled(request, watch)
        except FileNotFoundError:
            raise
        except failures() as error:
            there = status_of(error) or (at.scheme, at.place) in _answered
            delays = delays or iter(PATIENCE if there else FIRST_PATIENCE)
            delay = next(delays, None) if is_passing(error) else None
            if delay is None:
                raise refusal(
                    error, at, name, writing=writing
                ) from None  # its own words may hold what must not be shown
            _wait(delay, watch)
        else:
            _answered.add((at.scheme, at.place))
            return answer


def _polled(request: Callable[[], _Answer], watch: Callable[[int], None]) -> _Answer:
    """What a request gives, `watch` being called as long as it takes: nothing can end one that waits for an answer."""
    asked = _requests().submit(request)
    while not wait([asked], _POLL_SECONDS).done:
        watch(0)
    return asked.result()


@cache
def _requests() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(REQUESTS, "request")


def failures() -> tuple[type[Exception], ...]:
    """What obstore raises."""
    from obstore.exceptions import BaseError

    return (BaseError, OSError, ValueError)


def _wait(seconds: float, watch: Callable[[int], None]) -> None:
    until = time.monotonic() + seconds
    while (left := until - time.monotonic()) > 0:
        watch(0)
        time.sleep(min(left, _POLL_SECONDS))
