"""The end of an attempt, whatever the other side does.

A timeout of a socket counts from the last byte: a header that comes byte by byte, or one `100 Continue` after another,
would keep an attempt alive for days. Here every wait of a connection is also cut to what is left of the attempt.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from ssl import SSLContext
from typing import Any, Final

import httpcore

#: Written at once, in bytes. A timeout counts for each of these: TLS counts it for all that it is given.
WRITE_BYTES: Final = 128 * 1024


class Deadline:
    """When the attempt under way ends. Real seconds, as the sockets have them. Used by one thread."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._end = 0.0

    def begin(self, seconds: float) -> None:
        """From now on there are so many seconds."""
        self._end = self._monotonic() + seconds

    def within(self, timeout: float | None, late: type[httpcore.TimeoutException]) -> float:
        """A timeout cut to what is left; raises `late` where nothing is."""
        left = self._end - self._monotonic()
        if left <= 0:
            raise late("the attempt took too long")
        return left if timeout is None else min(timeout, left)


class BoundedBackend(httpcore.NetworkBackend):
    """Makes connections that keep to a deadline."""

    def __init__(self, inner: httpcore.NetworkBackend, deadline: Deadline) -> None:
        self._inner = inner
        self._deadline = deadline

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        """A connection; the timeout is for each address of the host."""
        allowed = self._deadline.within(timeout, httpcore.ConnectTimeout)
        stream = self._inner.connect_tcp(host, port, allowed, local_address, socket_options)
        return BoundedStream(stream, self._deadline)


class BoundedStream(httpcore.NetworkStream):
    """A connection that keeps to a deadline."""

    def __init__(self, inner: httpcore.NetworkStream, deadline: Deadline) -> None:
        self._inner = inner
        self._deadline = deadline
        self._held: bytes | None = None  # the first that was written since something was read: the head of a request

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        """What has come."""
        if self._held:  # a request without a body, such as CONNECT
            self._send(self._held, timeout)
        self._held = None
        return self._inner.read(max_bytes, self._deadline.within(timeout, httpcore.ReadTimeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        """Send it all by the next `read`: the head of a request leaves with its body, in one packet where both fit."""
        if self._held is None:
            self._held = buffer
            return
        if not buffer:
            return
        view = memoryview(buffer)
        if self._held:  # not joined with all of a body: to copy half a megabyte costs more than to send it
            self._send(self._held + buffer[:WRITE_BYTES], timeout)
            self._held, view = b"", view[WRITE_BYTES:]
        for start in range(0, len(view), WRITE_BYTES):
            self._send(view[start : start + WRITE_BYTES], timeout)

    def _send(self, content: bytes | memoryview, timeout: float | None) -> None:
        allowed = self._deadline.within(timeout, httpcore.WriteTimeout)
        self._inner.write(content, allowed)  # type: ignore[arg-type] # goes to send()

    def close(self) -> None:
        """Close it."""
        self._inner.close()

    def start_tls(
        self, ssl_context: SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        """The same with TLS; Python counts the timeout for the whole handshake."""
        allowed = self._deadline.within(timeout, httpcore.ConnectTimeout)
        return BoundedStream(self._inner.start_tls(ssl_context, server_hostname, allowed), self._deadline)

    def get_extra_info(self, info: str) -> Any:  # noqa: ANN401 - as httpcore has it
        """What httpcore wants to know of the socket."""
        return self._inner.get_extra_info(info)
