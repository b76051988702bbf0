"""An endpoint that does to each request what its script says, down to the byte; made of plain sockets.

It keeps what a target would hold: calls by message id, the first ones' bytes, and how often each request's calls were
stored. It says what it does not know: nothing is stored but where a step says so.
"""

from __future__ import annotations

import gzip
import re
import socket
import struct
import threading
import time
import zlib
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import Literal, Self

MESSAGE = re.compile(rb'\{"type":"[a-z]+","messageId":"([^"]+)"')
SUCCESS = b'{"success":true}'
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 16\r\n\r\n" + SUCCESS
_NO_LINGER = struct.pack("ii", 1, 0)
#: No test of ours waits longer; a stalled connection is let go then.
MOST_SECONDS = 20.0


@dataclass(frozen=True, slots=True)
class Step:
    """What is done with one request.

    So much of it is read; its calls are `stored` where all was read and this says so; the parts are said, bytes at once
    and numbers as seconds of silence; `then` the connection is kept, closed, reset, or left as it is (stall) until the
    other side goes.
    """

    says: tuple[bytes | float, ...] = (OK,)
    read: Literal["nothing", "some", "head", "half", "all"] = "all"
    stored: bool = True
    then: Literal["keep", "close", "reset", "stall"] = "keep"


@dataclass
class ScriptedEndpoint:
    """Listens on loopback. One step a request, in the order in which they come; at the script's end all is well.

    `decide`, where given, is asked instead of the script.
    """

    script: Sequence[Step] = ()
    decide: Callable[[], Step] | None = None
    held: dict[bytes, bytes] = field(default_factory=dict)  # calls by id
    stored: Counter[int] = field(default_factory=Counter)  # by the CRC-32 of the batch: how often it was stored
    requests: int = 0
    connections: int = 0
    other_bytes: bool = False  # an id came again with other bytes

    def __enter__(self) -> Self:
        """Listening."""
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        # Holds the port while nobody listens there, so that nobody else gets it.
        self._place = socket.socket()
        self._place.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        self._place.bind(("127.0.0.1", 0))
        self.port = self._place.getsockname()[1]
        self.listen()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.hang_up()
        self._place.close()
        for thread in self._threads:
            thread.join(MOST_SECONDS)

    def listen(self) -> None:
        """Take connections (again)."""
        self._listener = socket.socket()
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        self._listener.bind(("127.0.0.1", self.port))
        self._listener.listen()
        self._start(self._accept, self._listener)

    def hang_up(self) -> None:
        """Refuse connections from now on, and reset those there are."""
        with suppress(OSError):  # it may be hung up already; closing alone would leave accept(2) waiting
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        with self._lock:
            for connection in self._open:
                with suppress(OSError):  # the other side may have gone
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
                    connection.shutdown(socket.SHUT_RDWR)

    def _next(self) -> Step:
        step, self.script = (self.script[0], self.script[1:]) if self.script else (Step(), ())
        return step

    def _start(self, work: Callable[[socket.socket], None], one: socket.socket) -> None:
        thread = threading.Thread(target=work, args=(one,), daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            connection.settimeout(MOST_SECONDS)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self._lock:
                self.connections += 1
                self._open.add(connection)
            self._start(self._serve, connection)

    def _serve(self, connection: socket.socket) -> None:
        rest = b""
        try:
            while (more := self._one(connection, rest)) is not None:
                rest = more
        except OSError:
            pass  # the other side has gone
        finally:
            with self._lock:
                self._open.discard(connection)
                connection.close()

    def _one(self, connection: socket.socket, rest: bytes) -> bytes | None:
        """One request; returns what came behind it, None where the connection is over."""
        # A connection on which nothing more comes is no request.
        rest = rest or connection.recv(1)
        if not rest:
            return None
        with self._lock:
            self.requests += 1
            step = self.decide() if self.decide else self._next()
        rest = self._read(connection, rest, step)
        for part in step.says:
            if isinstance(part, bytes):
                connection.sendall(part)
            else:
                time.sleep(part)
        if step.then == "keep":
            return rest
        if step.then == "stall":
            while connection.recv(65536):
                pass
        if step.then == "reset":
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
        return None

    def _read(self, connection: socket.socket, rest: bytes, step: Step) -> bytes:
        if step.read == "nothing":
            return rest
        if step.read == "some":
            connection.recv(20)
            return rest
        while b"\r\n\r\n" not in rest:
            rest += _more(connection)
        head, _, body = rest.partition(b"\r\n\r\n")
        if step.read == "head":
            return body
        found = re.search(rb"(?i)content-length: (\d+)", head)
        assert found, head
        length = int(found[1])
        wanted = length if step.read == "all" else length // 2
        while len(body) < wanted:
            body += _more(connection)
        if step.read == "all" and step.stored:
            packed = b"content-encoding: gzip" in head.lower()
            self._store(gzip.decompress(body[:length]) if packed else body[:length])
        return body[length:]

    def _store(self, plain: bytes) -> None:
        calls = plain[: plain.rindex(b'],"sentAt":"')]
        starts = [*MESSAGE.finditer(calls)]
        ends = [*(match.start() - 1 for match in starts[1:]), len(calls)]
        with self._lock:
            self.stored[zlib.crc32(calls)] += 1
            for match, end in zip(starts, ends, strict=True):
                call = calls[match.start() : end]
                self.other_bytes |= self.held.setdefault(match[1], call) != call


def _more(connection: socket.socket) -> bytes:
    part = connection.recv(65536)
    if not part:
        raise ConnectionError
    return part
