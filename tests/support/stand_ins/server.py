"""A web server on loopback for one stand-in: it keeps what it was asked, and can be told what to say first."""

from __future__ import annotations

import gzip
import socket
import ssl
import threading
from base64 import b64decode
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from backfill.sandbox.server import EmbeddedServer


@dataclass(frozen=True)
class Asked:
    """One request, as a service reads it."""

    path: str
    headers: dict[str, str]  # names in lower case
    wire: bytes  # the body as it came
    query: str = ""  # behind the question mark

    @property
    def body(self) -> bytes:
        """The body, uncompressed."""
        return gzip.decompress(self.wire) if self.headers.get("content-encoding") == "gzip" else self.wire

    @property
    def user(self) -> str | None:
        """The user of Basic authentication, None where there is none."""
        scheme, _, word = self.headers.get("authorization", "").partition(" ")
        return b64decode(word).decode().partition(":")[0] if scheme == "Basic" else None

    @property
    def bearer(self) -> str | None:
        """The bearer token, None where there is none."""
        scheme, _, word = self.headers.get("authorization", "").partition(" ")
        return word if scheme == "Bearer" else None


@dataclass(frozen=True)
class Said:
    """An answer."""

    status: int = 200
    body: bytes | str = b""
    headers: dict[str, str] = field(default_factory=dict)
    kind: str = "application/json"


class StandIn:
    """Answers as `service` does, after it has said each of `first`, and keeps every request."""

    def __init__(
        self,
        service: Callable[[Asked], Said],
        *,
        first: Sequence[Said] = (),
        tls: tuple[str, str] | None = None,
        host: str = "127.0.0.1",
    ) -> None:
        self.service = service
        self.first = list(first)
        self.asked: list[Asked] = []
        self.said: list[int] = []
        self._tls = tls  # files of the certificate chain and of its key
        self._host = host
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        """Listening, and answering."""
        listener = socket.create_server((self._host, 0))
        self.port = int(listener.getsockname()[1])
        scheme = "https" if self._tls else "http"
        self.url = f"{scheme}://{self._host}:{self.port}"
        app = Starlette(routes=[Route("/{path:path}", self._answer, methods=["POST", "GET"])])
        certificate, key = self._tls or (None, None)
        config = uvicorn.Config(
            app,
            loop="asyncio",
            http="h11",
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            ssl_certfile=certificate,
            ssl_keyfile=key,
            ssl_version=ssl.PROTOCOL_TLS_SERVER,
            timeout_graceful_shutdown=2,
        )
        self._server = EmbeddedServer(config)
        self._thread = threading.Thread(target=self._server.run, kwargs={"sockets": [listener]}, daemon=True)
        self._thread.start()
        assert self._server.ready.wait(20)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.end()
        self._thread.join(10)

    async def _answer(self, request: Request) -> Response:
        asked = Asked(request.url.path, dict(request.headers), await request.body(), request.url.query)
        with self._lock:
            self.asked.append(asked)
            said = self.first.pop(0) if self.first else self.service(asked)
            self.said.append(said.status)
        return Response(said.body, said.status, said.headers, said.kind)
