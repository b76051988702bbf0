"""Calls as they arrive, as server-sent events (https://html.spec.whatwg.org/multipage/server-sent-events.html).

Each event is one line of JSON: the rows, made by the same template as those of the page, and the counts of all.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any, Final

import orjson
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from backfill.sandbox.pages.listing import Row

#: How often it is looked whether calls came, and how often a connection is kept alive, in seconds.
LOOK_SECONDS: Final = 0.4
ALIVE_SECONDS: Final = 15.0
#: Pages that may watch at a time: each costs two looks a second.
MOST_WATCHING: Final = 20


class Watchers:
    """Those that watch. `ending` says whether the server is to stop: an open page must not keep it."""

    def __init__(self, ending: Callable[[], bool]) -> None:
        self._ending = ending
        self.watching = 0

    async def events(
        self,
        look: Callable[[int], Awaitable[tuple[list[Row], int, dict[str, Any]]]],
        render: Callable[[list[Row]], str],
        after: int,
    ) -> AsyncIterator[bytes]:
        """Events for as long as somebody watches. `look` gives new rows, the last number and the counts."""
        idle, told = 0.0, None
        yield b"retry: 1000\n\n"
        while not self._ending():
            rows, last, counts = await look(after)
            if last > after or counts != told:
                yield event(last, {"html": render(rows), "rows": len(rows), "counts": counts})
                after, told, idle = last, counts, 0.0
            elif idle >= ALIVE_SECONDS:
                yield b": nothing new\n\n"
                idle = 0.0
            await asyncio.sleep(LOOK_SECONDS)
            idle += LOOK_SECONDS

    def answer(self, events: AsyncIterator[bytes], headers: Mapping[str, str]) -> Response | None:
        """The stream of these events; None where as many watch as may. Its place is taken, and let go at its end."""
        if self.watching >= MOST_WATCHING:
            return None
        self.watching += 1
        return _Watching(self, events, headers=headers, media_type="text/event-stream")


class _Watching(StreamingResponse):
    """Gives its place back, however it ends: a stream that nobody began to read, too."""

    def __init__(self, watchers: Watchers, events: AsyncIterator[bytes], **rest: Any) -> None:  # noqa: ANN401 as that
        super().__init__(events, **rest)
        self._watchers = watchers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._watchers.watching -= 1


def event(number: int, content: object) -> bytes:
    """One event: JSON has no line ends, so it is one line of data."""
    return b"id: %d\ndata: %b\n\n" % (number, orjson.dumps(content))
