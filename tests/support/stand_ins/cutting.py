"""A TCP proxy on loopback that cuts connections after so many bytes from the server, in the middle of what they say."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

_PIECE = 4096


@dataclass
class CuttingProxy:
    """In front of a port on loopback. `cuts`: after how many bytes each connection in turn is cut; later ones are not.

    `silent`: a connection that is due to be cut says nothing more instead.
    """

    target: int
    cuts: list[int] = field(default_factory=list)
    silent: bool = False
    connections: int = 0

    def __enter__(self) -> Self:
        """Listening."""
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._open: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for one in self._open:
            _cut(one)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.create_connection(("127.0.0.1", self.target))
            self._open += [client, server]
            left = self.cuts[self.connections] if self.connections < len(self.cuts) else None
            self.connections += 1
            threading.Thread(target=self._carry, args=(client, server, None), daemon=True).start()
            threading.Thread(target=self._carry, args=(server, client, left), daemon=True).start()

    def _carry(self, one: socket.socket, other: socket.socket, left: int | None) -> None:
        with suppress(OSError):
            while data := one.recv(_PIECE):
                if left is not None and len(data) >= left:
                    other.sendall(data[:left])
                    if self.silent:
                        return
                    break
                left = None if left is None else left - len(data)
                other.sendall(data)
        _cut(one)
        _cut(other)


def _cut(one: socket.socket) -> None:
    with suppress(OSError):
        one.shutdown(socket.SHUT_RDWR)
    one.close()
