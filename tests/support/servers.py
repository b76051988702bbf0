"""What the database servers that tests start have in common: a folder, a port on loopback, a process of their own."""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from itertools import count
from pathlib import Path
from typing import Any

from tests.support.waiting import until

_START_SECONDS = 60


def free_ports(number: int) -> list[int]:
    """Ports of loopback that nothing listens at."""
    with ExitStack() as stack:
        taken = [stack.enter_context(socket.socket()) for _ in range(number)]
        for one in taken:
            one.bind(("127.0.0.1", 0))
        return [int(one.getsockname()[1]) for one in taken]


class DatabaseServer:
    """A server over the files in a folder. A subclass has `make`, `start` and `sql`."""

    sql: Callable[..., str]

    def __init__(self, folder: Path) -> None:
        self.folder, (self.port,) = folder, free_ports(1)
        self._numbers = count(1)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """Of the server."""
        assert self._process is not None
        return self._process.pid

    def stop(self, sign: signal.Signals) -> None:
        """Send it that signal, and wait until it has ended; nothing where it does not run."""
        if self._process is not None:
            self._process.send_signal(sign)
            self._process.wait(60)
            self._process = None

    def new_database(self, text: str = "", options: str = "") -> str:
        """A new database, with these statements run in it; `options` are CREATE DATABASE's. Returns its name."""
        name = f"test_{next(self._numbers)}"
        self.sql(f"CREATE DATABASE {name} {options}")
        if text:
            self.sql(text, name)
        return name

    def wait(self, answers: Callable[[], bool]) -> None:
        """Wait until it answers."""

        def settled() -> bool:
            return answers() or self._process is None or self._process.poll() is not None

        until(settled, seconds=_START_SECONDS)
        assert answers(), (self.folder / "log").read_text()


@contextmanager
def running(make: Callable[[Path], Any], sign: signal.Signals) -> Iterator[Any]:
    """The server that `make` makes of a folder, made and started; in the end that signal stops it."""
    folder = Path(tempfile.mkdtemp(prefix="bf-"))  # short: the path of a socket has 107 bytes at most
    server = make(folder)
    try:
        server.make()
        server.start()
        yield server
    finally:
        server.stop(sign)
        shutil.rmtree(folder, ignore_errors=True)
