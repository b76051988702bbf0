"""A listener between the program and an endpoint: notes every body, passes it on, and passes on what happens there."""

from __future__ import annotations

import gzip
import http.client
import re
import socket
import struct
import threading
import zlib
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

MESSAGE_ID = re.compile(rb'"messageId":"([^"]+)"')
ENVELOPE = re.compile(rb'(?s)(\{"batch":\[.*)\],"sentAt":"[^"]{24}"\}')
NO_LINGER = struct.pack("ii", 1, 0)

#: What a batch is known by in the ledger, too: CRC-32 and length of its plain bytes, `sentAt` left out.
Fingerprint = tuple[int, int]


@dataclass(frozen=True)
class Heard:
    """One request: the batch it carried."""

    batch: Fingerprint
    ids: tuple[bytes, ...]
    status: int | None  # None: the endpoint cut the connection


@dataclass
class Wiretap:
    """Listens on loopback and forwards to `endpoint`."""

    endpoint: str
    heard: list[Heard] = field(default_factory=list)

    def __enter__(self) -> Self:
        """Listening."""
        tap = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                status, answer = tap.forward(self.path, dict(self.headers), body)
                tap.note(body, status, packed=self.headers.get("Content-Encoding") == "gzip")
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
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05})
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

    def forward(self, path: str, headers: dict[str, str], body: bytes) -> tuple[int | None, bytes]:
        """Pass a request on; the status is None where the endpoint cut the connection."""
        connection = http.client.HTTPConnection(urlsplit(self.endpoint).netloc, timeout=30)
        try:
            connection.request("POST", path, body, headers)
            answer = connection.getresponse()
            return answer.status, answer.read()
        except (OSError, http.client.HTTPException):
            return None, b""
        finally:
            connection.close()

    def note(self, body: bytes, status: int | None, *, packed: bool) -> None:
        """Keep what a request carried."""
        plain = gzip.decompress(body) if packed else body
        match = ENVELOPE.fullmatch(plain)
        assert match, plain[-60:]
        batch = match[1]
        self.heard.append(Heard((zlib.crc32(batch), len(batch)), tuple(MESSAGE_ID.findall(batch)), status))
