"""The endpoint of a torture: takes everything, remembers each call's bytes, and outlives the processes that die."""

from __future__ import annotations

import json
import threading
from types import TracebackType

from tests.support.batch_server import BatchServer, batch_in

TAKEN, REFUSED = b'{"success":true}', b'{"success":false,"message":"poison"}'


class Receiver(BatchServer):
    """Listens on loopback; `calls` holds the bytes of every call received, by message id."""

    def __init__(self, *, seconds: float = 0.0) -> None:
        """Each answer takes so many seconds."""
        self.calls: dict[str, bytes] = {}
        self.arrivals = 0  # of calls, those that arrived again included
        self.packed = 0  # bodies that came as gzip
        self.altered: list[str] = []  # ids that came with two contents
        self.poison: tuple[bytes, ...] = ()  # a body that holds one of these is answered 400, and nothing of it taken
        self.pause = threading.Event()
        self.open = threading.Event()  # while it is not set, no answer is given
        self.open.set()
        self.seconds = seconds
        self.lock = threading.Lock()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.pause.set()
        self.open.set()
        super().__exit__(kind, error, trace)

    def answer(self, path: str, headers: dict[str, str], body: bytes) -> tuple[int, bytes]:
        """Take the calls of a body, or refuse it."""
        packed = headers.get("Content-Encoding") == "gzip"
        batch = batch_in(body, packed=packed)
        refused = any(poison in batch for poison in self.poison)
        if not refused:
            self.take(batch, packed=packed)
        if self.seconds:
            self.pause.wait(self.seconds)
        self.open.wait(60)
        return (400, REFUSED) if refused else (200, TAKEN)

    def forget(self) -> None:
        """Begin anew."""
        with self.lock:
            self.calls, self.arrivals, self.packed, self.altered = {}, 0, 0, []

    def take(self, batch: bytes, *, packed: bool) -> None:
        """Keep the calls of a batch."""
        found = dict(split_calls(str(batch, "utf-8")))
        with self.lock:
            self.arrivals += len(found)
            self.packed += packed
            for identity, call in found.items():
                if self.calls.setdefault(identity, call) != call:
                    self.altered.append(identity)


def split_calls(text: str) -> list[tuple[str, bytes]]:
    """Each call of a batch, which begins with `{"batch":[`: its message id and the exact bytes."""
    decoder = json.JSONDecoder()
    place = len('{"batch":[')
    found = []
    while place < len(text):
        call, end = decoder.raw_decode(text, place)
        found.append((call["messageId"], text[place:end].encode()))
        assert text[end : end + 1] in {"", ","}, text[end : end + 20]
        place = end + 1
    return found
