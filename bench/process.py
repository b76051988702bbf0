"""Run a program to its end and say what it cost: seconds, CPU seconds and peak memory of the whole process.

Linux counts into a child's peak what its parent held when it was started. Therefore the benchmark itself imports
nothing large, and makes its data in processes of their own.
"""

import os
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Cost:
    """What one run of a program took."""

    exit_code: int
    seconds: float
    cpu_seconds: float
    peak_megabytes: float
    output: str


def run(command: Sequence[str], folder: Path, environment: dict[str, str]) -> Cost:
    """Run the command in the folder with this environment; standard error goes to `stderr.txt` there."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "stderr.txt").open("w", encoding="utf-8") as errors:
        began = time.monotonic()
        process = subprocess.Popen(
            command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=errors, encoding="utf-8",
        )  # fmt: skip
        assert process.stdout is not None
        output = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.monotonic() - began
        process.stdout.close()
        process.returncode = os.waitstatus_to_exitcode(status)
    return Cost(
        exit_code=process.returncode,
        seconds=seconds,
        cpu_seconds=usage.ru_utime + usage.ru_stime,
        peak_megabytes=usage.ru_maxrss / 1024,  # Linux counts it in KiB
        output=output,
    )
