"""The sandbox's HTTP side: Segment's paths below /v1, and what we ask of it ourselves."""

from __future__ import annotations

import asyncio
import base64
import binascii
import itertools
import socket
import struct
from collections.abc import Callable

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from backfill.limits import Limits
from backfill.sandbox.bodies import Refusal, decode_body, too_large
from backfill.sandbox.drops import KINDS
from backfill.sandbox.faults import FaultScript, ScriptedFault
from backfill.sandbox.holdings import RequestRecord
from backfill.sandbox.ingest import BATCH_PATHS, ReceivedRequest, read_request
from backfill.sandbox.pages import Access, Pages
from backfill.sandbox.statistics import Statistics, refusal
from backfill.sandbox.store import Store, StoreError

#: The header in which `backfill` names its run to a sandbox, and to no other target.
RUN_HEADER = "Backfill-Run"
MOST_RUN_CHARACTERS = 200
# What is read off a connection of a body that is too large, so that its sender gets to read the answer.
_MOST_DRAINED_BYTES = 64 * 1024 * 1024
_NO_LINGER = struct.pack("ii", 1, 0)
_ACCEPTED = b'{"success":true}'


class SandboxApi:
    """The answers of one sandbox."""

    def __init__(
        self,
        store: Store,
        *,
        faults: FaultScript,
        limits: Limits,
        clock: Callable[[], float],
        token: str | None = None,
        ending: Callable[[], bool] = lambda: False,
    ) -> None:
        """`clock` gives seconds since 1970: the time of receipt. What is read wants the `token`, where there is one.

        `ending` says whether the server is to stop: then pages that watch are let go.
        """
        self._store = store
        self._faults = faults
        self._limits = limits
        self._clock = clock
        self._token = token
        self._pages = Pages(store, ending=ending)
        self._numbers = itertools.count(1)

    def app(self) -> Starlette:
        """The ASGI application. It expects the connection's transport as `state["transport"]` of each request."""
        routes = [
            Route(f"/v1/{path}{slash}", self._receive, methods=["POST"])
            for path in (*BATCH_PATHS, *KINDS)
            for slash in ("", "/")
        ]
        routes += [*Statistics(self._store).routes(), *self._pages.routes()]
        app = Starlette(routes=routes, middleware=[Middleware(Access, token=self._token)])
        app.router.redirect_slashes = False
        return app

    async def _receive(self, request: Request) -> Response:
        number, counts = next(self._numbers), {"requests": 1}
        wire: bytes | Refusal = b""
        try:
            if self._faults.reads_bodies:
                wire = await _read_body(request, self._limits.body_bytes)
            fault = self._faults.decide(number, self._text(request, wire))
            if fault.name:
                counts[f"faults/{fault.name}"] = 1
            if fault.cut != "before" and not self._faults.reads_bodies:
                wire = await _read_body(request, self._limits.body_bytes)
            if fault.cut in {"before", "after"} or (fault.status is not None and not fault.stored):
                await self._write(self._unstored(request, wire, counts, _end_of(fault)))
                return await self._faulty(request, fault)
            outcome = self._read_request(request, wire)
            await self._write(self._record(request, outcome, counts, wire, fault))
        except ClientDisconnect:
            await self._write(self._unstored(request, b"", counts | {"refused/disconnected": 1}, "disconnected"))
            return Response()
        except StoreError as error:
            return refusal(503, "store_failed", str(error))
        if fault.ends_it:
            return await self._faulty(request, fault)
        await _wait(fault.delay)
        if isinstance(outcome, Refusal):
            return refusal(400, outcome.reason, outcome.message)
        return Response(_ACCEPTED, media_type="application/json")

    def _text(self, request: Request, wire: bytes | Refusal) -> bytes:
        """The uncompressed body; empty where it is none, or too large."""
        encoding = request.headers.get("content-encoding", "").strip().lower()
        body = decode_body(wire, encoding, self._limits.body_bytes) if wire and isinstance(wire, bytes) else wire
        return body if isinstance(body, bytes) else b""

    def _record(
        self,
        request: Request,
        outcome: ReceivedRequest | Refusal,
        counts: dict[str, int],
        wire: bytes | Refusal,
        fault: ScriptedFault,
    ) -> RequestRecord:
        if isinstance(outcome, Refusal):
            counts = counts | {f"refused/{outcome.reason}": 1}
            return self._unstored(request, b"", counts, _end_of(fault) if fault.ends_it else f"400 {outcome.reason}")
        sizes = {"bytes/json": outcome.body_bytes, "bytes/wire": len(wire) if isinstance(wire, bytes) else 0}
        # Segment's code for it; still answered 200.
        empty = {} if outcome.calls else {"refused/empty_batch": 1}
        end = _end_of(fault) if fault.ends_it else "200"
        return RequestRecord(outcome, counts | sizes | empty, run=run_of(request), answer=end)

    def _unstored(self, request: Request, wire: bytes | Refusal, counts: dict[str, int], answer: str) -> RequestRecord:
        """The record of a request of which no call is stored; what it held is told where it was read."""
        received = self._read_request(request, wire, store=False) if wire else None
        first_id, calls, size = None, 0, 0
        if isinstance(received, ReceivedRequest):
            first_id, calls, size = received.first_id, received.calls, received.body_bytes
        return RequestRecord(
            None,
            counts,
            run=run_of(request),
            answer=answer,
            received_ms=int(self._clock() * 1000),
            first_id=first_id,
            calls=calls,
            body_bytes=size,
        )

    def _read_request(
        self, request: Request, wire: bytes | Refusal, *, store: bool = True
    ) -> ReceivedRequest | Refusal:
        path = request.url.path.removeprefix("/v1/").rstrip("/")
        # A single call's limit is that of its whole request (HTTP API page).
        most = self._limits.body_bytes if path in BATCH_PATHS else self._limits.call_bytes
        encoding = request.headers.get("content-encoding", "").strip().lower()
        body = decode_body(wire, encoding, most) if isinstance(wire, bytes) else wire
        if isinstance(body, Refusal):
            return body
        return read_request(
            body,
            path=path,
            key_in_header=_has_basic_user(request.headers.get("authorization", "")),
            received_ms=int(self._clock() * 1000),
            limits=self._limits,
            keep=self._store.room if store else 0,
            keep_dropped=self._store.room_for_drops if store else 0,
        )

    async def _write(self, record: RequestRecord) -> None:
        await asyncio.wrap_future(self._store.submit(record))

    async def _faulty(self, request: Request, fault: ScriptedFault) -> Response:
        """The end that the script wants: an answer, or a reset and a response for nobody."""
        await _wait(fault.delay)
        if fault.status is not None:
            headers = {"Retry-After": fault.retry_after.header(self._clock())} if fault.retry_after else {}
            return refusal(fault.status, "scripted_fault", "this fault was asked for", headers)
        transport: asyncio.Transport = request.state.transport
        if not transport.is_closing():  # the client may have gone during a delay
            transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
            transport.abort()
        await asyncio.sleep(0)  # until the server has noticed, it would write to the connection
        return Response()


def run_of(request: Request) -> str:
    """What the sender calls its run, or the sender's own name: its User-Agent."""
    named = request.headers.get(RUN_HEADER, "") or request.headers.get("user-agent", "")
    return named[:MOST_RUN_CHARACTERS]


def _end_of(fault: ScriptedFault) -> str:
    """How a scripted fault ends a request, in words."""
    if fault.status is not None:
        return f"{fault.status} by script{', stored' if fault.stored else ''}"
    ends = {"before": "cut before it was read", "after": "cut after it was read", "lost": "stored, then cut"}
    return ends.get(fault.cut or "", "200")


async def _read_body(request: Request, most: int) -> bytes | Refusal:
    """The body as it came; a Refusal where it has more bytes than its text may have, since gzip adds next to none."""
    parts: list[bytes] = []
    size = 0
    async for part in request.stream():
        size += len(part)
        if size <= 2 * most:
            parts.append(part)
        elif size > _MOST_DRAINED_BYTES:
            break
    return b"".join(parts) if size <= 2 * most else too_large(most)


def _has_basic_user(authorization: str) -> bool:
    """Whether an Authorization header names a write key: Basic, with a user that is not empty (RFC 7617)."""
    scheme, _, token = authorization.partition(" ")
    if scheme.lower() != "basic":
        return False
    try:
        user = base64.b64decode(token.strip(), validate=True).partition(b":")[0]
    except binascii.Error:
        return False
    return bool(user)


async def _wait(seconds: float) -> None:
    if seconds:
        await asyncio.sleep(seconds)
