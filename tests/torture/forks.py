"""Command lines, each in a fork of this process, which has the standard streams that a shell gave it.

`python -m tests.torture.forks RESULT OUT ERR LINE ...` writes to the file RESULT, as JSON, the exit code of each line
and how long the files OUT and ERR were by then.
"""

from __future__ import annotations

import gc
import json
import os
import shlex
import sys
from pathlib import Path

from backfill.__main__ import program
from tests.torture.zygote import warm


def missing() -> list[int]:
    """The standard streams that are closed, open to nothing from now on, so that no library gets their numbers."""
    found = []
    while (descriptor := os.open(os.devnull, os.O_RDWR)) < 3:
        found.append(descriptor)
    os.close(descriptor)
    return found


def main(result: str, out: str, err: str, *lines: str) -> None:
    """Run the lines; returns here in this process alone."""
    closed = missing()
    warm()
    gc.freeze()
    ended = []
    for line in lines:
        child = os.fork()
        if not child:
            for descriptor in closed:
                os.close(descriptor)
            program(shlex.split(line))
        status = os.waitpid(child, 0)[1]
        ended.append((os.waitstatus_to_exitcode(status), *(Path(one).stat().st_size for one in (out, err))))
    Path(result).write_text(json.dumps(ended), "ascii")


if __name__ == "__main__":
    main(*sys.argv[1:])
