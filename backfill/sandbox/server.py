"""The sandbox as a server on loopback: embedded in a thread, or alone until a signal ends it."""

from __future__ import annotations

import asyncio
import ipaddress
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from backfill.errors import StoppedError, UsageError
from backfill.limits import DEDUP_WINDOW_SECONDS, SEGMENT, Limits
from backfill.sandbox.app import SandboxApi
from backfill.sandbox.faults import FaultScript
from backfill.sandbox.statistics import SERVER_HEADER, statistics
from backfill.sandbox.store import Store

#: The reading of Segment's limits that lets through what its official libraries send: 500 and 32 times 1,024 bytes.
#: The Python one sends bodies of up to 507,767 bytes. A sender held to the smaller reading passes both.
LENIENT = Limits(body_bytes=500 * 1024, call_bytes=32 * 1024, batch_calls=SEGMENT.batch_calls)
KEEP_CALLS = 10_000
DEFAULT_PORT = 8888
# An idle connection is closed after this: longer than any client keeps one, so that no request meets the closing.
_KEEP_ALIVE_SECONDS = 600
_SHUTDOWN_SECONDS = 2
_BACKLOG = 2048
_LOOK_SECONDS = 0.5


class Sandbox:
    """A Segment-compatible endpoint on loopback, in a thread of this process; a context manager.

    With `store`, a folder, what it holds is durable before a request is answered 200, and a later sandbox goes on from
    there; without, it lasts as long as the sandbox. `keep_calls` is how many calls are kept with their JSON, all where
    it is None; every message id is kept. `window_seconds` is how long an id counts as a duplicate, `clock` gives
    seconds since 1970. On entering it listens, on a free port where `port` is 0. With a `token` it may listen elsewhere
    than on loopback, and who reads what it holds has to have it. Raises UsageError for an address that is not loopback
    or not free, LockedError and LedgerError for a store in use or not ours.
    """

    def __init__(
        self,
        store: Path | None = None,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        faults: FaultScript | None = None,
        keep_calls: int | None = KEEP_CALLS,
        window_seconds: float = DEDUP_WINDOW_SECONDS,
        limits: Limits = LENIENT,
        clock: Callable[[], float] = time.time,
        token: str | None = None,
    ) -> None:
        self._address = listening_address(host, anywhere=token is not None), port
        self._token = token
        self._folder = store
        self._faults = faults or FaultScript()
        self._keep_calls = keep_calls
        self._window_seconds = window_seconds
        self._limits = limits
        self._clock = clock
        self.endpoint = ""

    def __enter__(self) -> Self:
        """Listening, and answering."""
        listener = _listen(*self._address)
        try:
            self._store = Store(self._folder, keep_calls=self._keep_calls, window_seconds=self._window_seconds)
        except BaseException:
            listener.close()
            raise
        host, port = listener.getsockname()[:2]
        self.endpoint = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
        api = SandboxApi(
            self._store,
            faults=self._faults,
            limits=self._limits,
            clock=self._clock,
            token=self._token,
            ending=lambda: self._server.should_exit,
        )
        self._server = EmbeddedServer(_configuration(api))
        self._thread = threading.Thread(
            target=self._server.run, kwargs={"sockets": [listener]}, name="sandbox-server", daemon=True
        )
        self._thread.start()
        self._server.ready.wait()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Answer what is under way, for two seconds at most; then close the store."""
        self._server.end()
        self._thread.join()
        self._store.close()

    @property
    def running(self) -> bool:
        """Whether the server answers still."""
        return self._thread.is_alive()

    def stats(self) -> dict[str, Any]:
        """The same as GET /stats, of all requests answered so far."""
        return statistics(self._store.ask(lambda tables: tables.counts()).result())

    def ids(self) -> Iterator[str]:
        """Every message id held, in order of receipt; read in parts."""
        after = 0
        while part := self._store.ask(lambda tables: tables.ids(after=after, limit=KEEP_CALLS)).result():  # noqa: B023 answered before `after` changes
            yield from part
            after += len(part)

    def calls(self) -> Iterator[dict[str, Any]]:
        """The calls that are kept with their JSON, in order of receipt: columns of the store's table; read in parts."""
        return self._rows("calls")

    def drops(self, reason: str | None = None) -> Iterator[dict[str, Any]]:
        """The calls that were dropped, duplicates among them, or those of one reason; as `calls`."""
        return self._rows("drops", reason)

    def _rows(self, table: str, reason: str | None = None) -> Iterator[dict[str, Any]]:
        after = 0
        while part := self._store.ask(
            lambda tables: tables.page(table, after=after, limit=KEEP_CALLS, reason=reason)  # noqa: B023 as above
        ).result():
            yield from part
            after = part[-1]["number"]


class EmbeddedServer(uvicorn.Server):
    """Tells when it listens, and ends at once where nothing is under way.

    uvicorn's own looks ten times a second whether it is to end, and then waits as long for its connections: every run
    to the embedded sandbox would end 150 ms later.
    """

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.ready = threading.Event()
        self._wake: Callable[[], object] = lambda: None

    def end(self) -> None:
        """Have it end: to be called in another thread, once it is ready."""
        self.should_exit = True
        with suppress(RuntimeError):  # it has ended by itself, and its loop is closed
            self._wake()

    def run(self, sockets: list[socket.socket] | None = None) -> None:
        """Serve until it is to end; ready at the latest by then, so that nobody waits for one that could not begin."""
        try:
            super().run(sockets)
        finally:
            self.ready.set()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, and tell so."""
        await super().startup(sockets)
        self._woken = asyncio.Event()
        self._wake = partial(asyncio.get_running_loop().call_soon_threadsafe, self._woken.set)
        self.ready.set()

    async def main_loop(self) -> None:
        """Wait until it is to end."""
        while not await self.on_tick(0):  # which renews the date that answers tell
            with suppress(TimeoutError):
                await asyncio.wait_for(self._woken.wait(), 1.0)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Close what is idle; where answers are under way, wait for them as uvicorn does."""
        for listener in (*self.servers, *(sockets or ())):
            listener.close()
        for connection in list(self.server_state.connections):
            connection.shutdown()
        for _ in range(2):  # turns of the loop, until those that were idle are closed
            await asyncio.sleep(0)
        if self.server_state.connections or self.server_state.tasks:
            await super().shutdown(sockets)


def _configuration(api: SandboxApi) -> uvicorn.Config:
    return uvicorn.Config(
        api.app(),
        http=_Protocol,
        loop="asyncio",
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        headers=[("Server", SERVER_HEADER)],
        timeout_keep_alive=_KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=_SHUTDOWN_SECONDS,
    )


class _Protocol(H11Protocol):
    """Gives the application the transport of its connection, for faults that cut it."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as uvicorn's own
        super().connection_made(transport)
        self.app_state = {**self.app_state, "transport": transport}


def serve(
    store: Path | None = None,
    *,
    host: str = "127.0.0.1",
    port: int = DEFAULT_PORT,
    faults: FaultScript | None = None,
    keep_calls: int | None = KEEP_CALLS,
    limits: Limits = LENIENT,
    token: str | None = None,
    ready: Callable[[str], None] = lambda _endpoint: None,
) -> dict[str, Any]:
    """Run a sandbox until SIGINT or SIGTERM, shut it down cleanly and return its last statistics.

    `ready` is called with the endpoint once it listens. To be called in the main thread. Raises as Sandbox does, and
    StoppedError where the server ends by itself.
    """
    ends = {signal.SIGINT, signal.SIGTERM}
    # Blocked here before any thread starts, so that the two are fetched by sigtimedwait and interrupt nothing.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ends)
    try:
        sandbox = Sandbox(store, host=host, port=port, faults=faults, keep_calls=keep_calls, limits=limits, token=token)
        with sandbox:
            ready(sandbox.endpoint)
            while signal.sigtimedwait(ends, _LOOK_SECONDS) is None:
                if not sandbox.running:
                    raise StoppedError("the sandbox's server ended by itself", hint="see what it said above")
            return sandbox.stats()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def listening_address(host: str, *, anywhere: bool = False) -> str:
    """The address, if it is loopback, or may be `anywhere`.

    Raises:
        UsageError: It is none, or not loopback: what is sent to a sandbox is real customers' data.
    """
    try:
        address = ipaddress.ip_address("127.0.0.1" if host == "localhost" else host)
    except ValueError as error:
        raise UsageError(f"{host!r} is not an address to listen on", hint="use 127.0.0.1 or ::1") from error
    if not (address.is_loopback or anywhere):
        raise UsageError(f"the sandbox listens on loopback only, not on {host}", hint="use 127.0.0.1 or ::1")
    return str(address)


def _listen(host: str, port: int) -> socket.socket:
    # The protocol is said in full: asyncio turns Nagle's algorithm off only for sockets of which it knows that they are
    # TCP, and with it every answer on a kept connection waits 40 ms for the client's delayed acknowledgement.
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(_BACKLOG)
    except (OSError, OverflowError) as error:
        listener.close()
        raise UsageError(f"cannot listen on {host}, port {port}: {error}", hint="name another --port") from error
    return listener
