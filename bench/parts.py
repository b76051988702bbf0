"""What it costs to prepare one run by several processes, beside one with threads, in CPU seconds.

    python -m bench.parts [--rows 1000000 3000000] [--processes 1 2 4] [--rounds 1] [--in-turn]

Each kind prepares the same orders (bench/data.py, as CSV, so that they are staged) afresh: one process that keeps all
in its state directory, one with `--spool`, and N with `--shards` at once. A process more costs a start, and to read the
snapshot once more: sizes tell the two apart.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

JOB = """\
version: 1
name: bench-orders
source:
  path: {data}
  columns: {{total: number, discount: number, quantity: integer, gift: boolean}}
calls:
  - type: track
    message_key: [order_id]
    userId: customer_id
    anonymousId: anonymous_id
    timestamp: {{column: ordered_at, format: iso8601}}
    event: {{value: Order Completed}}
    properties: {{"*": {{}}}}
    integrations: {{All: false}}
"""


@dataclass(frozen=True)
class Cost:
    """What some processes took together."""

    seconds: float
    cpu_seconds: float
    peak_megabytes: float  # of the largest


def main() -> None:
    """Measure, and print a line for each kind."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rows", type=int, nargs="+", default=[1_000_000, 3_000_000])
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--in-turn", action="store_true", help="the processes one after the other, not at once")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as name:
        folder = Path(name)
        for rows in asked.rows:
            data = folder / f"{rows}.csv"
            subprocess.run([sys.executable, "-m", "bench.data", str(rows), str(data)], check=True)
            (folder / "job.yaml").write_text(JOB.format(data=data), "utf-8")
            kinds = {"one, on its own disk": 0, "one, with --spool": -1}
            kinds |= {f"{count} with --shards": count for count in asked.processes}
            least: dict[str, Cost] = {}
            for turn in range(asked.rounds):
                for kind, count in kinds.items():
                    cost = prepared(folder, folder / f"{rows}-{turn}-{count}", count, in_turn=asked.in_turn)
                    least[kind] = min(cost, least.get(kind, cost), key=lambda one: one.cpu_seconds)
            threads = least["one, on its own disk"].cpu_seconds
            for kind, cost in least.items():
                cpu, million = cost.cpu_seconds, cost.cpu_seconds * 1e6 / rows
                print(
                    f"{rows:>10,} rows, {kind:<20} {cpu:7.2f} CPU s ({cpu / threads - 1:+.1%}),"
                    f" {million:5.2f} a million; {cost.seconds:6.1f} s, {cost.peak_megabytes:4.0f} MB",
                    flush=True,
                )
            data.unlink()


def prepared(folder: Path, place: Path, count: int, *, in_turn: bool) -> Cost:
    """Prepare the job afresh: by so many processes; 0: by one alone, -1: by one alone with --spool."""
    words = ["prepare", "job.yaml", "--target", "segment", "--state-dir", str(place / "state"), "--no-progress", "-q"]
    words += [] if count == 0 else ["--spool", str(place / "spool")]
    parts = [["--shards", f"{number}/{count}"] for number in range(count)] or [[]]
    environment = os.environ | {"SEGMENT_WRITE_KEY": "bench"}
    place.mkdir()
    began = time.monotonic()
    cpu = peak = 0.0
    for group in [[part] for part in parts] if in_turn else [parts]:
        started = [
            subprocess.Popen(
                [sys.executable, "-m", "backfill", *words, *part],
                cwd=folder, env=environment, stdout=subprocess.DEVNULL,
            )
            for part in group
        ]  # fmt: skip
        for process in started:
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
            if process.returncode != 0:
                raise SystemExit(f"{process.args}: exit code {process.returncode}")
            cpu, peak = cpu + usage.ru_utime + usage.ru_stime, max(peak, usage.ru_maxrss / 1024)
    cost = Cost(time.monotonic() - began, cpu, peak)
    subprocess.run(["rm", "-rf", str(place)], check=True)
    return cost


if __name__ == "__main__":
    main()
