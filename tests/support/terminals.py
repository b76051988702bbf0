"""The program on a terminal of its own."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable
from pathlib import Path

from tests.support.processes import STARTED
from tests.support.projects import KEY, Project

SECONDS = 60


class Terminal:
    """The program on a terminal of its own."""

    def __init__(
        self, project: Project, *arguments: str | Path, environ: dict[str, str] | None = None, columns: int = 100
    ) -> None:
        self.master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        repository = Path(__file__).resolve().parents[2]
        settings = {"PYTHONPATH": str(repository), "TERM": "xterm", "SEGMENT_WRITE_KEY": KEY, **(environ or {})}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "backfill", *map(str, arguments)],
            cwd=project.folder,
            env=os.environ | settings,
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
        )
        STARTED.append(self.process)
        os.close(slave)
        self.text = ""

    def read_until(self, enough: Callable[[str], bool]) -> str:
        """Read until `enough` of the text so far, or the end."""
        deadline = time.monotonic() + SECONDS
        while not enough(self.text):
            assert time.monotonic() < deadline, self.text
            if not select.select([self.master], [], [], 0.1)[0]:
                continue
            try:
                chunk = os.read(self.master, 65536)
            except OSError:  # the other end is closed: the process ended
                break
            if not chunk:
                break
            self.text += chunk.decode("utf-8", "replace")
        return self.text

    def type(self, text: str) -> None:
        """Press keys."""
        os.write(self.master, text.encode())

    def end(self) -> tuple[int, str]:
        """Read to the end; returns the exit code and all that was shown."""
        text = self.read_until(lambda _text: False)
        code = self.process.wait(timeout=SECONDS)
        os.close(self.master)
        return code, text.replace("\r\n", "\n")
