"""An HTTP proxy on loopback: it tunnels by CONNECT, to where its table of names says, and keeps what it was asked."""

from __future__ import annotations

import socket
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self


@dataclass
class Proxy:
    """`places` are its names: host and port as asked for -> port on loopback. Others are refused with 403."""

    places: Mapping[str, int]
    asked: list[str] = field(default_factory=list)  # the first line of each request
    headers: list[dict[str, str]] = field(default_factory=list)  # names in lower case
    heard: bytearray = field(default_factory=bytearray)  # all that went through from clients, tunnels' bytes included

    def __enter__(self) -> Self:
        """Listening."""
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client, client.makefile("rb") as reader:
            first = reader.readline().decode("latin-1").strip()
            lines = [line.decode("latin-1").strip() for line in iter(reader.readline, b"\r\n")]
            self.asked.append(first)
            self.headers.append({name.lower(): value for name, _, value in (line.partition(": ") for line in lines)})
            method, place, _ = first.split(" ")
            if method != "CONNECT" or place not in self.places:
                client.sendall(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")
                return
            with socket.create_connection(("127.0.0.1", self.places[place])) as target:
                client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
                back = threading.Thread(target=self._carry, args=(target, client), daemon=True)
                back.start()
                self._carry(client, target, self.heard)
                back.join(10)

    @staticmethod
    def _carry(source: socket.socket, sink: socket.socket, heard: bytearray | None = None) -> None:
        """Pass on what comes, until one of the two is closed."""
        try:
            while part := source.recv(65536):
                if heard is not None:
                    heard += part
                sink.sendall(part)
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            return
