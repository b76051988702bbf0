"""The end of an attempt, whatever the other side does.

A timeout of a socket counts from the last byte: a header that comes byte by byte, or one `100 Continue` after another,
would keep an attempt alive for days. So a thread shuts the socket of an attempt down that takes too long; whoever
reads or writes there then sees a connection that broke.
"""

from __future__ import annotations

import socket
import threading
import time
from contextlib import suppress
from typing import Final

NEVER: Final = float("inf")


class Deadline:
    """When the attempt under way ends, in real seconds, as the sockets have them. Used by one thread besides its own.

    The thread sleeps until the earliest end that it was told of. Most attempts end long before theirs, and the next
    one's is later: then there is nothing to wake it for.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._socket: socket.socket | None = None
        self._end = NEVER
        self._wakes = NEVER  # when the thread looks next
        self._closed = False
        self._passed = False
        threading.Thread(target=self._watch, name="deadline", daemon=True).start()

    @property
    def passed(self) -> bool:
        """Whether the attempt begun last took too long, and its connection was ended for that."""
        return self._passed

    def begin(self, seconds: float) -> None:
        """Allow this many seconds from now on."""
        with self._changed:
            self._passed = False
            self._end = time.monotonic() + seconds
            if self._end < self._wakes:
                self._changed.notify()

    def end(self) -> None:
        """There is nothing to wait for any more."""
        with self._changed:
            self._end = NEVER

    def watch(self, connected: socket.socket) -> None:
        """This is the socket of the attempt, from now on and for those that follow."""
        with self._changed:
            self._socket = connected
            if self._passed:
                self._shut_down()

    def close(self) -> None:
        """End the thread."""
        with self._changed:
            self._closed = True
            self._changed.notify()

    def _watch(self) -> None:
        with self._changed:
            while not self._closed:
                left = self._end - time.monotonic()
                if left <= 0:
                    self._passed = True
                    self._end = NEVER
                    self._shut_down()
                else:
                    self._wakes = self._end
                    self._changed.wait(None if left == NEVER else left)

    def _shut_down(self) -> None:
        if self._socket is not None:
            with suppress(OSError):  # it was closed meanwhile
                # Not what SSLSocket makes of it, which would forget that there is TLS: closing alone wakes no reader.
                socket.socket.shutdown(self._socket, socket.SHUT_RDWR)
