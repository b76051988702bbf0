"""A cluster of dask on loopback: a scheduler and its workers, each a process, in the hands of a process of its own.

As a program it says the scheduler's address, then does what its lines of input ask, and says the workers' process ids.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from tests.support.waiting import until

HERE = Path(__file__).resolve()


@dataclass
class DaskCluster:
    """What a test asks of it."""

    address: str
    said: IO[str]
    asked: IO[str]
    scheduler: int  # the process id

    def scale(self, workers: int) -> list[int]:
        """Have so many workers; returns their process ids once they are there."""
        self.asked.write(f"{workers}\n")
        self.asked.flush()
        return [int(word) for word in self.said.readline().split()]


@contextmanager
def dask_cluster(folder: Path, *, small_shards: bool = True) -> Iterator[DaskCluster]:
    """A cluster without workers, whose files are in the folder; it ends with the block."""
    environ = os.environ | {"PYTHONPATH": str(HERE.parents[2]), "DASK_TEMPORARY_DIRECTORY": str(folder)}
    command = [sys.executable, str(HERE), *(["small"] if small_shards else [])]
    with subprocess.Popen(command, env=environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        yield DaskCluster(process.stdout.readline().strip(), process.stdout, process.stdin, process.pid)
        process.stdin.close()


def serve(preload: list[str]) -> None:
    """Be the program."""
    from distributed import Client, LocalCluster

    loopback = {"host": "127.0.0.1", "dashboard_address": "127.0.0.1:0", "worker_dashboard_address": None}
    with LocalCluster(n_workers=0, threads_per_worker=1, processes=True, preload=preload, **loopback) as cluster:
        print(cluster.scheduler_address, flush=True)  # noqa: T201
        for line in sys.stdin:
            cluster.scale(int(line))
            with Client(cluster) as client:
                until(lambda client=client, count=int(line): len(client.nthreads()) == count)
                print(*client.run(os.getpid).values(), flush=True)  # noqa: T201


if __name__ == "__main__":
    serve([str(HERE.with_name("small_shards.py"))] if "small" in sys.argv else [])
