"""The endpoint of a torture: takes everything, remembers each call's bytes, and outlives the processes that die."""

from __future__ import annotations

import gzip
import json
import re
import threading
from contextlib import AbstractContextManager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Self

ENVELOPE = re.compile(rb'(?s)(\{"batch":\[.*)\],"sentAt":"[^"]{24}"\}')
ANSWER = b'{"success":true}'


class Receiver(AbstractContextManager["Receiver"]):
    """Listens on loopback; `calls` holds the bytes of every call received, by message id."""

    def __init__(self, *, seconds: float = 0.0) -> None:
        """Each answer takes so many seconds."""
        self.calls: dict[str, bytes] = {}
        self.arrivals = 0  # of calls, those that arrived again included
        self.packed = 0  # bodies that came as gzip
        self.altered: list[str] = []  # ids that came with two contents
        self.pause = threading.Event()
        self.seconds = seconds
        self.lock = threading.Lock()

    def __enter__(self) -> Self:
        """Listening."""
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if len(body) < int(self.headers["Content-Length"]):
                    self.close_connection = True  # whoever sent it died: nothing has arrived
                    return
                receiver.take(body, packed=self.headers.get("Content-Encoding") == "gzip")
                receiver.pause.wait(receiver.seconds) if receiver.seconds else None
                self.send_response(200)
                self.send_header("Content-Length", str(len(ANSWER)))
                self.end_headers()
                self.wfile.write(ANSWER)

            def handle(self) -> None:
                try:
                    super().handle()
                except OSError:  # the program was killed in the middle of a request
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
        self.pause.set()
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.server.server_port}"

    def forget(self) -> None:
        """Begin anew."""
        with self.lock:
            self.calls, self.arrivals, self.packed, self.altered = {}, 0, 0, []

    def take(self, body: bytes, *, packed: bool) -> None:
        """Keep the calls of a body."""
        plain = gzip.decompress(body) if packed else body
        match = ENVELOPE.fullmatch(plain)
        assert match, plain[-60:]
        found = dict(split_calls(str(match[1], "utf-8")))
        with self.lock:
            self.arrivals += len(found)
            self.packed += packed
            for identity, call in found.items():
                if self.calls.setdefault(identity, call) != call:
                    self.altered.append(identity)


def split_calls(text: str) -> list[tuple[str, bytes]]:
    """Each call of a body that begins with `{"batch":[`: its message id and the exact bytes."""
    decoder = json.JSONDecoder()
    place = len('{"batch":[')
    found = []
    while place < len(text):
        call, end = decoder.raw_decode(text, place)
        found.append((call["messageId"], text[place:end].encode()))
        assert text[end : end + 1] in {"", ","}, text[end : end + 20]
        place = end + 1
    return found
