"""A proxy on loopback that cuts a connection at a chosen message, or swallows all that comes from then on."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from types import TracebackType
from typing import Self


class CuttingProxy:
    """Carries each connection to a port of loopback, until one is to be cut; those that come after live.

    A message is what a client hands over at once: libpq sends each statement so. It listens at a port of loopback that
    is free, or by the socket that it is given.
    """

    def __init__(self, port: int, listener: socket.socket | None = None) -> None:
        self._target = port
        self._listener = listener or socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._lock = threading.Lock()
        self._left: int | None = None
        self._passed_on = False
        self.cuts = 0
        self._swallowed = b""
        self.swallows = threading.Event()
        self._thread = threading.Thread(target=self._accept, daemon=True)

    def cut(self, message: int, *, passed_on: bool) -> None:
        """Cut at that message from now, from 1; `passed_on`: the server has it, and its answer is lost."""
        with self._lock:
            self._left, self._passed_on = message, passed_on

    def swallow(self, answer: bytes) -> None:
        """From the next answer that has these bytes: take all, both ways and of new connections, too, pass on none."""
        self._swallowed = answer

    def __enter__(self) -> Self:
        """Listening."""
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.create_connection(("127.0.0.1", self._target))
            cut = threading.Event()
            for source, sink, ours in ((client, server, True), (server, client, False)):
                threading.Thread(target=self._carry, args=(source, sink, cut, ours), daemon=True).start()

    def _carry(self, source: socket.socket, sink: socket.socket, cut: threading.Event, ours: bool) -> None:
        with suppress(OSError), source:
            while data := source.recv(1 << 20):
                if ours and self._is_last():
                    cut.set()
                    if self._passed_on:
                        sink.sendall(data)
                    source.shutdown(socket.SHUT_RDWR)  # the client's side alone: the server learns nothing of it
                    return
                if not ours and self._swallowed and self._swallowed in data:
                    self.swallows.set()
                if cut.is_set() or self.swallows.is_set():
                    continue
                sink.sendall(data)
        if not cut.is_set() and not self.swallows.is_set():
            with suppress(OSError):
                sink.shutdown(socket.SHUT_RDWR)

    def _is_last(self) -> bool:
        with self._lock:
            if self._left is None:
                return False
            self._left -= 1
            if self._left:
                return False
            self._left = None
            self.cuts += 1
            return True
