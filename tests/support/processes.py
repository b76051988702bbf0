"""The processes that tests start, so that none outlives its test, however that ends."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

STARTED: list[subprocess.Popen[Any]] = []


@contextmanager
def all_ended() -> Iterator[None]:
    """Whatever was started meanwhile, and is still at work, is killed; its pipes are closed."""
    before = len(STARTED)
    try:
        yield
    finally:
        for process in STARTED[before:]:
            process.kill()  # which does nothing where it has ended and somebody has waited for it
            for pipe in (process.stdin, process.stdout, process.stderr):
                if pipe is not None:
                    pipe.close()
            process.wait(20)
        del STARTED[before:]
