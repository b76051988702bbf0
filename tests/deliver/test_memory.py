"""The memory of a delivering process, as the system counts it: bounded by the senders, not by the run."""

from __future__ import annotations

import random
import sys
import time
from base64 import b64encode
from pathlib import Path

import pytest

from tests.support.batch_server import BatchServer
from tests.support.projects import KEY, Project, backfill

ROWS, TEXT = 26_000, 2_500
MEGABYTE = 1_000_000
#: Sixteen batches in flight, plain and compressed, and what an allocator keeps; the large run is five times that.
MOST_GROWTH = 40 * MEGABYTE


class Taking(BatchServer):
    """Takes everything, and keeps nothing."""

    bodies = 0

    def answer(self, path: str, headers: dict[str, str], body: bytes) -> tuple[int | None, bytes]:
        """Any body is good."""
        del path, headers
        self.bodies += len(body)
        return 200, b'{"success":true}'


def fill(project: Project, name: str, rows: int) -> Path:
    """A job of rows whose text does not compress well."""
    job, chance = project.people(0, name=name), random.Random(rows)
    with (project.folder / f"{name}.csv").open("a", encoding="ascii") as file:
        for row in range(rows):
            text = b64encode(chance.randbytes(TEXT * 3 // 4)).decode("ascii")
            file.write(f"u{row:06},{text},2023-05-01 10:00:00,{row % 90}\n")
    return job


def peak_of_delivery(project: Project, job: Path, endpoint: str) -> int:
    """The most bytes that a process held which sent all but the first batch of a prepared run."""
    target = ["--target", "segment", "--endpoint", endpoint, "--yes"]
    assert backfill("run", job, *target, "--canary").code == 5
    process = project.process("resume", job.stem, *target, "--rate", "unlimited", "--state-dir", project.state, "-q")
    peak = 0
    while process.poll() is None:  # what `wait4` tells holds that of this process as well, which is larger
        peak = max(peak, held(process.pid))
        time.sleep(0.005)
    assert process.returncode == 0, process.communicate()
    return peak


def held(pid: int) -> int:
    """The most that a process has held so far, in bytes; 0 where it is gone."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM")), 0)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells the memory of another process")
def test_a_run_of_any_size(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """Delivering 65 MB takes about as much memory as delivering a few batches."""
    monkeypatch.setenv("SEGMENT_WRITE_KEY", KEY)
    with Taking() as server:
        small = peak_of_delivery(project, fill(project, "small", 400), server.url)
        sent = server.bodies
        large = peak_of_delivery(project, fill(project, "large", ROWS), server.url)
        assert server.bodies - sent > ROWS * TEXT * 2 / 3, "compressed, base64 is three quarters"
    assert small > 20 * MEGABYTE, "it was measured"
    assert large - small < MOST_GROWTH
