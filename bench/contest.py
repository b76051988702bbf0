"""Who runs in the benchmark, and the rounds: A B C A B C, so that a slow minute of the machine hits all alike."""

import json
import os
import shutil
import statistics
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from bench.endpoint import Endpoint
from bench.process import Cost, run

REPOSITORY = Path(__file__).parent.parent
PEER_ROWS = 200_000

JOB = """\
version: 1
name: bench-orders
source:
  path: {data}
calls:
  - type: track
    message_key: [order_id]
    userId: customer_id
    anonymousId: anonymous_id
    timestamp: ordered_at
    event: {{value: Order Completed}}
    properties: {{"*": true}}
    integrations: {{All: false}}
"""
TARGETS = """\
version: 1
targets:
  bench:
    kind: segment
    endpoint: {url}
    write_key: ${{BENCH_WRITE_KEY}}
    rate: unlimited
"""


@dataclass(frozen=True)
class Entrant:
    """A program in the contest. `sends`: whether its calls must reach the endpoint, or none may."""

    name: str
    rows: int
    command: Callable[[Path], list[str]]
    sends: bool = True
    after: str = ""  # the entrant whose folder (with its state) this one continues; "" for a fresh one


@dataclass
class Result:
    """Every run of one entrant."""

    name: str
    rows: int
    seconds: list[float] = field(default_factory=list)
    cpu_seconds: list[float] = field(default_factory=list)
    peak_megabytes: list[float] = field(default_factory=list)
    requests: list[int] = field(default_factory=list)
    megabytes_received: list[float] = field(default_factory=list)

    @property
    def wall(self) -> float:
        """Median seconds."""
        return statistics.median(self.seconds)

    @property
    def speed(self) -> float:
        """Calls a second, median."""
        return self.rows / self.wall

    @property
    def cpu_per_million(self) -> float:
        """CPU seconds for a million calls, median."""
        return statistics.median(self.cpu_seconds) * 1_000_000 / self.rows

    @property
    def peak(self) -> float:
        """The highest peak memory of all runs, in MB."""
        return max(self.peak_megabytes)

    def as_json(self) -> dict[str, object]:
        """Every figure, raw and reduced."""
        return asdict(self) | {
            "calls_per_second": round(self.speed),
            "cpu_seconds_per_million": round(self.cpu_per_million, 2),
            "peak": round(self.peak),
        }


class Contest:
    """The entrants' runs against one endpoint, each in a folder of its own below `folder`."""

    def __init__(self, folder: Path, endpoint: Endpoint, rows: int) -> None:
        self.folder = folder
        self.endpoint = endpoint
        self.rows = rows

    def data(self, rows: int) -> Path:
        """The data file of that many rows, made where it is not there yet."""
        path = self.folder / "data" / f"orders-{rows}.parquet"
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            made = run([sys.executable, "-m", "bench.data", str(rows), str(path)], self.folder, _environment())
            if made.exit_code:
                message = f"the data could not be made: see {self.folder / 'stderr.txt'}"
                raise RuntimeError(message)
        return path

    def peer(self, module: str) -> Callable[[Path], list[str]]:
        """The command of a peer."""
        path = str(self.data(PEER_ROWS if module == "segment_sdk" else self.rows))
        return lambda _folder: [sys.executable, "-m", f"bench.peers.{module}", path, self.endpoint.url]

    def backfill(self, verb: str, rows: int, *options: str) -> Callable[[Path], list[str]]:
        """The command of one of backfill's verbs on the benchmark's job, its state in the entrant's folder."""
        data = self.data(rows)

        def command(folder: Path) -> list[str]:
            (folder / "job.yaml").write_text(JOB.format(data=data), encoding="utf-8")
            (folder / "targets.yaml").write_text(TARGETS.format(url=self.endpoint.url), encoding="utf-8")
            shared = ("--target", "bench", "--no-progress", "--output", "json")
            return [sys.executable, "-m", "backfill", verb, "job.yaml", *shared, *options]

        return command

    def entrants(self) -> list[Entrant]:
        """Everyone of the ordinary contest, in the order of a round."""
        live = ("--rate", "unlimited", "--yes")
        plain = self.backfill("run", self.rows, *live, "--no-gzip")
        return [
            Entrant("segment-analytics-python", PEER_ROWS, self.peer("segment_sdk")),
            Entrant("hand-written script", self.rows, self.peer("script")),
            Entrant("backfill", self.rows, plain),
            Entrant("backfill again", self.rows, plain, sends=False, after="backfill"),
            Entrant("backfill gzip", self.rows, self.backfill("run", self.rows, *live, "--gzip")),
            Entrant("backfill dry-run", self.rows, self.backfill("dry-run", self.rows), sends=False),
        ]

    def large(self) -> list[Entrant]:
        """Backfill at 4 and 8 million rows, for its memory."""
        live = ("--rate", "unlimited", "--yes", "--no-gzip")
        millions = [(count, count * 1_000_000) for count in (4, 8)]
        return [Entrant(f"backfill {count} M", rows, self.backfill("run", rows, *live)) for count, rows in millions]

    def hold(self, entrants: Sequence[Entrant], rounds: int, say: Callable[[str], None]) -> dict[str, Result]:
        """Run everyone `rounds` times in turn; RuntimeError where one fails or the endpoint got too little or much."""
        results = {entrant.name: Result(entrant.name, entrant.rows) for entrant in entrants}
        for number in range(1, rounds + 1):
            for entrant in entrants:
                self._turn(entrant, results[entrant.name])
                say(f"round {number}/{rounds}  {entrant.name}: {results[entrant.name].seconds[-1]:.2f} s")
        return results

    def _turn(self, entrant: Entrant, result: Result) -> None:
        folder = self.folder / "runs" / (entrant.after or entrant.name).replace(" ", "-")
        if not entrant.after:
            shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True, exist_ok=True)
        before = self.endpoint.received()
        cost = run(entrant.command(folder), folder, _environment())
        received = self.endpoint.received() - before
        told = calls_told(cost.output)
        if cost.exit_code or told != entrant.rows or received.failures or (received.requests > 0) != entrant.sends:
            message = f"{entrant.name}: {_failure(cost, folder)}; {told} calls, the endpoint saw {received}"
            raise RuntimeError(message)
        result.seconds.append(cost.seconds)
        result.cpu_seconds.append(cost.cpu_seconds)
        result.peak_megabytes.append(cost.peak_megabytes)
        result.requests.append(received.requests)
        result.megabytes_received.append(received.size / 1e6)


def calls_told(output: str) -> int:
    """How many calls the program says it made: backfill in its summary, a peer as a bare number."""
    told = json.loads(output or "0")
    return told if isinstance(told, int) else int(told["calls"]["planned"]) - int(told["calls"]["rejected"])


def _failure(cost: Cost, folder: Path) -> str:
    errors = (folder / "stderr.txt").read_text(encoding="utf-8")[-2_000:]
    return f"exit {cost.exit_code}\n{cost.output[-1_000:]}\n{errors}"


def _environment() -> dict[str, str]:
    """The repository on the import path, an invented key, and no state or target of the person's own."""
    # An installed program has its bytecode; so do all entrants from their second run on.
    left_out = ("BACKFILL_", "PYTHONDONTWRITEBYTECODE")
    own = {name: value for name, value in os.environ.items() if not name.startswith(left_out)}
    return own | {"PYTHONPATH": str(REPOSITORY), "BENCH_WRITE_KEY": "bench-key"}
