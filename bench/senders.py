"""How many senders pay: `python -m bench.senders`. Delivery alone, with ledger and spool, of a prepared run.

Against nginx on loopback, which takes all there is, and against a stand-in that answers after 50 ms; gzip and plain
bodies; 1 to 16 senders. Each case is a process of its own on its own copy of the run, round after round; medians.
"""

import argparse
import contextlib
import json
import resource
import shutil
import statistics
import sys
import tempfile
import threading
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from bench.contest import JOB, TARGETS
from bench.endpoint import Endpoint
from bench.process import run
from bench.standin import Running

SENDERS = ("1", "2", "4", "8", "16")
DELAY = 0.05


@dataclass(frozen=True)
class Figures:
    """What one delivery took."""

    requests: int
    calls: int
    seconds: float
    cpu_seconds: float


def deliver_once(folder: Path, url: str, senders: str, *, gzip: bool) -> Figures:
    """Deliver the run in that folder, in this process."""
    from backfill.deliver import DeliveryOptions, TargetAccess, deliver  # noqa: PLC0415 (the child alone)
    from backfill.ledger import Ledger  # noqa: PLC0415
    from backfill.records import RunState  # noqa: PLC0415
    from backfill.spool import Spool  # noqa: PLC0415

    options = DeliveryOptions(first_alone=False, concurrency=int(senders))
    with Ledger.open(folder / "ledger.sqlite3") as ledger:
        ledger.set_state(RunState.DELIVERING)
        began, cpu = time.monotonic(), cpu_seconds()
        end = deliver(
            ledger=ledger, spool=Spool(folder / "spool"), target=TargetAccess(f"{url}/v1/batch", "key", gzip=gzip),
            options=options, stop=threading.Event(), abort=threading.Event(), progress=lambda _: None,
        )  # fmt: skip
        return Figures(end.totals.requests, end.totals.calls, time.monotonic() - began, cpu_seconds() - cpu)


def cpu_seconds() -> float:
    """User and system time of this process so far."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def prepare(folder: Path, url: str, rows: int) -> Path:
    """Prepare a run of so many rows, all but ten calls of it still to be sent; returns its folder."""
    environment = {"PYTHONPATH": str(Path(__file__).parent.parent), "BENCH_WRITE_KEY": "key", "PATH": "/usr/bin:/bin"}
    data = folder / "orders.parquet"
    commands = [
        [sys.executable, "-m", "bench.data", str(rows), str(data)],
        [sys.executable, "-m", "backfill", "run", "job.yaml", "--target", "bench", "--yes", "--canary"],
    ]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "job.yaml").write_text(JOB.format(data=data), encoding="utf-8")
    (folder / "targets.yaml").write_text(TARGETS.format(url=url), encoding="utf-8")
    for command in commands:
        run(command, folder, environment)
    (ledger,) = folder.glob(".backfill/**/ledger.sqlite3")
    return ledger.parent


def measure(prepared: Path, folder: Path, url: str, senders: str, *, gzip: bool) -> Figures:
    """One delivery in a process of its own, on its own copy."""
    shutil.copytree(prepared, folder / "copy", ignore=shutil.ignore_patterns("snapshot"))
    command = [sys.executable, "-m", "bench.senders", "--child", str(folder / "copy"), url, senders, str(int(gzip))]
    cost = run(command, folder, {"PYTHONPATH": str(Path(__file__).parent.parent), "PATH": "/usr/bin:/bin"})
    shutil.rmtree(folder / "copy")
    if cost.exit_code:
        raise RuntimeError((folder / "stderr.txt").read_text(encoding="utf-8"))
    return Figures(**json.loads(cost.output))


def line(where: str, senders: str, figures: list[Figures]) -> str:
    """The medians of one case."""
    speed = statistics.median(one.requests / one.seconds for one in figures)
    calls = statistics.median(one.calls / one.seconds for one in figures)
    cpu = statistics.median(one.cpu_seconds / one.calls * 1e6 for one in figures)
    return f"{where:<18}{senders:>8}{speed:>14,.0f}{calls:>14,.0f}{cpu:>10.2f}"


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--child", nargs=4)
    asked = parser.parse_args()
    if asked.child:
        folder, url, senders, gzip = asked.child
        print(json.dumps(asdict(deliver_once(Path(folder), url, senders, gzip=gzip == "1"))))
        return 0
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        nginx = stack.enter_context(Endpoint(folder / "nginx"))
        slow = stack.enter_context(Running(delay=DELAY))
        prepared = prepare(folder / "prepared", nginx.url, asked.rows)
        print(f"{'':<18}{'senders':>8}{'requests/s':>14}{'calls/s':>14}{'CPU s/M':>10}")
        for name, url in (("loopback", nginx.url), ("50 ms", slow.url)):
            for gzip in (True, False):
                results: dict[str, list[Figures]] = {senders: [] for senders in SENDERS}
                for _ in range(asked.rounds):
                    for senders, figures in results.items():
                        figures.append(measure(prepared, folder, url, senders, gzip=gzip))
                for senders, figures in results.items():
                    print(line(f"{name}, {'gzip' if gzip else 'plain'}", senders, figures), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
