"""How much several processes deliver that share one run: `python -m bench.together [--rows 300000] [--runs 3]`.

Each run is prepared anew, its ledger in PostgreSQL, and delivered by 1, 2 and 4 processes of `backfill deliver`, to a
stand-in that answers after 200 ms, as one far away does, and to one that answers at once. Before them one process has
the run alone, by `resume`. Counted is from the first request to the last answer, by the ledger; the best of the runs.
The server forces each commit to the disk.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from backfill.state import open_store
from bench.contest import JOB, TARGETS
from bench.process import run
from bench.standin import Running
from tests.support import postgres

#: The server keeps what it is told, which those of the tests do not.
DURABLE = {"fsync": "on", "full_page_writes": "on", "shared_buffers": "128MB"}
DELAYS = (0.2, 0.0)
PROCESSES = (1, 2, 4)


def environment() -> dict[str, str]:
    """That of each process."""
    return {**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent), "BENCH_WRITE_KEY": "key"}


def delivered_a_second(data: Path, server: postgres.Postgres, url: str, commands: Sequence[str]) -> float:
    """How many calls a second these commands deliver at once of a run of that data that is prepared for them."""
    with tempfile.TemporaryDirectory(dir=data.parent) as folder:
        return _delivered_a_second(Path(folder), data, server, url, commands)


def _delivered_a_second(
    folder: Path, data: Path, server: postgres.Postgres, url: str, commands: Sequence[str]
) -> float:
    state = ("--state", server.url(server.new_database()))
    (folder / "job.yaml").write_text(JOB.format(data=data), encoding="utf-8")
    (folder / "targets.yaml").write_text(TARGETS.format(url=url), encoding="utf-8")
    backfill = [sys.executable, "-m", "backfill"]
    made = run([*backfill, "prepare", "job.yaml", "--target", "bench", *state], folder, environment())
    assert made.exit_code == 0, (folder / "stderr.txt").read_text()
    processes = [
        subprocess.Popen(
            [*backfill, command, "job.yaml", "--yes", "--no-progress", *state],
            cwd=folder,
            env=environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
        )
        for command in commands
    ]
    assert [process.wait() for process in processes] == [0] * len(processes)
    (found,) = open_store(folder / ".backfill", database=state[1]).runs()
    with found.read() as reader:
        counts = reader.counts()
    assert counts.faults() == []
    return counts.delivered / ((counts.last_ended_at or 0) - (counts.first_sent_at or 0))


def main() -> None:
    """Measure, and print a line for each case."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rows", type=int, default=300_000)
    parser.add_argument("--runs", type=int, default=3)
    asked = parser.parse_args()
    postgres.SETTINGS.update(DURABLE)
    cases = {"alone": ["resume"], **{f"{count} together": ["deliver"] * count for count in PROCESSES}}
    with postgres.running_server() as server, tempfile.TemporaryDirectory(dir=Path.cwd()) as place:
        folder = Path(place)
        data = folder / "orders.parquet"
        run([sys.executable, "-m", "bench.data", str(asked.rows), str(data)], folder, environment())
        for delay in DELAYS:
            best = dict.fromkeys(cases, 0.0)
            with Running(delay=delay) as target:
                for _ in range(asked.runs):  # in turn: a busy machine is busy for all
                    for name, commands in cases.items():
                        best[name] = max(best[name], delivered_a_second(data, server, target.url, commands))
            for name, speed in best.items():
                print(f"{delay * 1000:>3.0f} ms {name:<11} {speed:>9,.0f} calls/s, {speed / best['1 together']:.2f}")


if __name__ == "__main__":
    main()
