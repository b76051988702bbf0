"""A server on loopback to which the program sends batches; what is done with a request is said by who inherits."""

from __future__ import annotations

import gzip
import re
import socket
import struct
import threading
from abc import ABC, abstractmethod
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Self

#: A body of the program: the batch up to its last call, and the envelope's tail.
ENVELOPE = re.compile(rb'(?s)(\{"batch":\[.*)\],"sentAt":"[^"]{24}"\}')
NO_LINGER = struct.pack("ii", 1, 0)


def batch_in(body: bytes, *, packed: bool) -> bytes:
    """The plain bytes of a request's batch, `sentAt` left out: what the ledger has the CRC-32 and the length of."""
    plain = gzip.decompress(body) if packed else body
    match = ENVELOPE.fullmatch(plain)
    assert match, plain[-60:]
    return match[1]


class BatchServer(ABC):
    """Listens while it is entered; each connection has a thread."""

    @abstractmethod
    def answer(self, path: str, headers: dict[str, str], body: bytes) -> tuple[int | None, bytes]:
        """Status and body of the answer to a request that arrived whole; without a status the connection is reset."""

    def __enter__(self) -> Self:
        """Listening."""
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def do_POST(self) -> None:
                length = int(self.headers["Content-Length"])
                body = self.rfile.read(length)
                if len(body) < length:
                    self.close_connection = True  # whoever sent it died: nothing has arrived
                    return
                status, answer = server.answer(self.path, dict(self.headers), body)
                if status is None:
                    self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, NO_LINGER)
                    self.close_connection = True
                    return
                self.send_response(status)
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def handle(self) -> None:
                # The program that is killed in the middle of a request leaves a broken pipe: that is the test.
                try:
                    super().handle()
                except OSError:
                    self.close_connection = True

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02})
        self.thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.server.server_port}"
