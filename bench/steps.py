"""What each step of preparing costs a machine, from which `bench.machines` computes what many of them take.

    python -m bench.steps [--rows 1000000]

One process prepares the orders of bench/data.py as the only part of a run (`prepare --shards 0/1`); told are the CPU
seconds of each step, and the bytes that go over the network.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from backfill.cli import main as backfill
from backfill.pipeline import machine_work, parts
from bench.parts import JOB

STEPS = {
    "stage": (parts, "stage_source"),
    "settle": (parts, "settle_together"),
    "bring": (machine_work.MachineWork, "__init__"),
    "prepare": (parts, "prepare_shards"),
    "record": (parts, "record_together"),
}


def main() -> None:
    """Measure, and print a line for each step."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    rows = parser.parse_args().rows
    spent = dict.fromkeys(STEPS, 0.0)
    for step, (place, name) in STEPS.items():
        setattr(place, name, timed(getattr(place, name), step, spent))
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as named:
        folder = Path(named)
        data = folder / "orders.csv"
        subprocess.run([sys.executable, "-m", "bench.data", str(rows), str(data)], check=True)
        (folder / "job.yaml").write_text(JOB.format(data=data), "utf-8")
        os.environ["SEGMENT_WRITE_KEY"] = "bench"
        os.chdir(folder)
        words = ["prepare", "job.yaml", "--target", "segment", "--spool", "spool", "--no-progress", "-q"]
        if backfill([*words, "--shards", "0/1"]):
            raise SystemExit(1)
        sizes = {kind: sum(path.stat().st_size for path in folder.glob(f"spool/runs/*/{kind}/*")) for kind in KINDS}
        os.chdir("/")
    spent["prepare"] -= spent["bring"]  # which is inside of it
    for step, seconds in spent.items():
        print(f"{step:<8} {seconds:6.2f} CPU s, {seconds * 1e6 / rows:6.3f} a million rows")
    for kind, size in sizes.items():
        print(f"{kind:<8} {size / 1e6:6.1f} MB, {size / rows:6.1f} MB a million rows")


KINDS = ("snapshot", "spool")


def timed(function: Callable[..., Any], step: str, spent: dict[str, float]) -> Callable[..., Any]:
    """The function, the CPU seconds of the process noted while it runs."""

    def wrapped(*given: Any, **named: Any) -> Any:  # noqa: ANN401 (whatever it takes)
        began = time.process_time()
        try:
            return function(*given, **named)
        finally:
            spent[step] += time.process_time() - began

    return wrapped


if __name__ == "__main__":
    main()
