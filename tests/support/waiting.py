"""Waiting for what another thread or process brings about. No test sleeps for a time that is thought to be enough."""

from __future__ import annotations

import os
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

_LOOK_SECONDS = 0.005
_TICKS = os.sysconf("SC_CLK_TCK")
_UTIME, _STIME = 11, 12  # proc(5), fields of /proc/PID/stat counted from the one behind the name


def until(holds: Callable[[], object], process: subprocess.Popen[Any] | None = None, seconds: float = 60) -> None:
    """Return once something holds; fails where it takes that long, or where the process that is to do it has ended."""
    end = time.monotonic() + seconds
    while not holds():
        assert process is None or process.poll() is None, process.communicate()
        assert time.monotonic() < end, "it never came true"
        time.sleep(_LOOK_SECONDS)


def worked(process: subprocess.Popen[Any]) -> float:
    """The CPU seconds that a process has used so far, in steps of 10 ms; infinite where it has ended."""
    if process.poll() is not None:
        return float("inf")
    fields = Path(f"/proc/{process.pid}/stat").read_text(encoding="utf-8").rpartition(") ")[2].split()
    return (int(fields[_UTIME]) + int(fields[_STIME])) / _TICKS


def until_worked(process: subprocess.Popen[Any], seconds: float) -> None:
    """Return once a process has used that many more CPU seconds, however busy the machine is; or has ended."""
    enough = worked(process) + seconds
    until(lambda: worked(process) >= enough)


def when(holds: Callable[[], object], act: Callable[[], object]) -> threading.Thread:
    """A thread that does something as soon as something holds."""

    def watch() -> None:
        until(holds)
        act()

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    return thread
