"""A process of a rehearsal as the rehearsal sees it: started, waited for, killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from backfill.errors import ExitCode
from backfill.frozen import frozen
from backfill.rehearse.process import READY, Work

_MODULE: Final = "backfill.rehearse.process"
#: Characters of what a process that failed has said last.
_SAID: Final = 300


@frozen
class Ended:
    """How a process ended by itself."""

    code: int
    message: str = ""


class Child:
    """One process; a context manager that leaves none behind.

    It is of a session of its own: Ctrl-C at the terminal is for the rehearsal alone.
    """

    def __init__(self, work: Work, errors: Path) -> None:
        """Start it; what it says on stderr goes to the file `errors`."""
        self._errors = errors
        with errors.open("ab") as said:
            self._process = subprocess.Popen(  # noqa: S603 our own module
                [sys.executable, "-P", "-m", _MODULE, work.text()],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=said,
                text=True,
                start_new_session=True,
            )
        self._lines: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def __enter__(self) -> Self:
        """Running."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Killed, if it runs still."""
        self.kill()
        self._reader.join()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._lines.append(line.strip())

    @property
    def ready(self) -> bool:
        """Whether its work has begun."""
        return READY in self._lines[:1]

    @property
    def running(self) -> bool:
        """Whether it has not ended."""
        return self._process.poll() is None

    def kill(self) -> None:
        """SIGKILL, to it and whatever it has started."""
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def ended(self) -> Ended:
        """How it ended, by its own account; where it gives none, that it failed, and its last words."""
        self._process.wait()
        self._reader.join()
        if len(self._lines) > 1:
            return Ended(**json.loads(self._lines[-1]))
        said = self._errors.read_text("utf-8", errors="replace").strip()[-_SAID:].splitlines()
        return Ended(int(ExitCode.UNEXPECTED), f"exit {self._process.returncode}: {said[-1] if said else 'no word'}")
