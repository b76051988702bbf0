"""A target with a limit that it does not tell, in a process of its own: `python -m bench.standin`.

Answers 200 after a delay, or 429 at once where it is asked for more than it takes: more requests at a time than
`--together`, or more a second than `--rate` (a bucket that holds those of `--saved` seconds, at least one).
`GET /counts` tells what came so far. Prints its URL, and ends with its standard input.
"""

import argparse
import asyncio
import json
import sys
import urllib.request
from collections.abc import Awaitable
from contextlib import AbstractContextManager
from subprocess import PIPE, Popen
from typing import Self

SAVED = 0.1
BODIES = {200: b'{"success":true}', 429: b'{"message":"too many requests"}'}


class StandIn:
    """The target."""

    def __init__(self, delay: float, together: int, rate: float, saved: float) -> None:
        """`together` and `rate`: 0 for as many as come. `saved`: seconds for which requests that do not come add up."""
        self.delay = delay
        self.together = together
        self.rate = rate
        self.most = self.tokens = max(1.0, rate * saved)
        self.filled = 0.0
        self.busy = self.accepted = self.refused = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, to its end."""
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                await self.answer(head, reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async def answer(self, head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One request."""
        if head.startswith(b"GET"):
            write(writer, 200, json.dumps([self.accepted, self.refused]).encode())
            return
        length = head.lower().split(b"content-length:", 1)[1].split(b"\r\n", 1)[0]
        await reader.readexactly(int(length))
        if not self.takes():
            self.refused += 1
            write(writer, 429, BODIES[429])
            return
        self.busy += 1
        await asyncio.sleep(self.delay)
        self.busy -= 1
        self.accepted += 1
        write(writer, 200, BODIES[200])

    def takes(self) -> bool:
        """Whether one more is taken now."""
        if self.together and self.busy >= self.together:
            return False
        if self.rate:
            now = asyncio.get_running_loop().time()
            self.tokens = min(self.most, self.tokens + (now - self.filled) * self.rate)
            self.filled = now
            if self.tokens < 1:
                return False
            self.tokens -= 1
        return True


def write(writer: asyncio.StreamWriter, status: int, body: bytes) -> None:
    """An answer."""
    writer.write(b"HTTP/1.1 %d X\r\nContent-Length: %d\r\n\r\n%s" % (status, len(body), body))


class Running(AbstractContextManager["Running"]):
    """A stand-in in a process of its own; ended with the block."""

    def __init__(self, *, delay: float, together: int = 0, rate: float = 0, saved: float = SAVED) -> None:
        """As `StandIn`."""
        options = ["--delay", str(delay), "--together", str(together), "--rate", str(rate), "--saved", str(saved)]
        self.process = Popen([sys.executable, "-m", "bench.standin", *options], stdin=PIPE, stdout=PIPE, text=True)
        assert self.process.stdout is not None
        self.url = self.process.stdout.readline().strip()

    def counts(self) -> tuple[int, int]:
        """Requests accepted and refused so far."""
        with urllib.request.urlopen(f"{self.url}/counts", timeout=10) as answer:
            accepted, refused = json.load(answer)
        return accepted, refused

    def __exit__(self, *_: object) -> None:
        """End it."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        self.process.wait(timeout=10)
        self.process.stdout.close()

    def __enter__(self) -> Self:
        """It runs already."""
        return self


async def end_of_input() -> None:
    """Return when whoever started this closes its end, or is gone."""
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


async def main(stand_in: StandIn, until: Awaitable[None]) -> None:
    """Serve on a free port."""
    server = await asyncio.start_server(stand_in.serve, "127.0.0.1", 0, limit=1 << 20)
    print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
    await until


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--delay", type=float, default=0.05)
    parser.add_argument("--together", type=int, default=0)
    parser.add_argument("--rate", type=float, default=0)
    parser.add_argument("--saved", type=float, default=SAVED)
    asked = parser.parse_args()
    asyncio.run(main(StandIn(asked.delay, asked.together, asked.rate, asked.saved), end_of_input()))
