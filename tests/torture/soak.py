"""`python -m tests.torture.soak [--calls 10000000] [--kills 6] [--seed 1]`: many calls through random faults.

A Parquet file of so many rows is sent to an endpoint that answers 429, 500 and 503, cuts connections before, after and
while it answers, stores and does not say so, and is slow; now and then the program is killed with SIGKILL and resumed.
Then everything received is counted: each id of the plan once or, where the outcome of an attempt was unknown, again.
The program's own memory is sampled all along. Exit 1 where anything is lost, doubled or growing.
"""

from __future__ import annotations

import argparse
import os
import random
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import polars as pl

from backfill import identity
from tests.support.projects import KEY
from tests.torture.soak_endpoint import BATCH, BATCHES_FILE, IDS_FILE

REPOSITORY = Path(__file__).resolve().parent.parent.parent
SCOPE = "soak"
#: 429 and 503 are rare: they mean too much at once, and a sender that heeds them grows slow where they mean nothing.
FAULTS = (
    *("status=500,odds=1/60,seed=1", "status=502,odds=1/80,seed=2", "status=500,stored,odds=1/200,seed=3"),
    *("status=429,odds=1/3000,seed=4", "status=503,retry_after=1,odds=1/500,seed=5", "lost=1/100,seed=6"),
    *("reset=before,odds=1/150,seed=7", "reset=after,odds=1/150,seed=8", "delay=0.3,odds=1/100,seed=9"),
)
JOB = """\
version: 1
name: soak
source: {path: soak.parquet}
calls:
  - type: track
    message_key: [order]
    userId: user
    timestamp: at
    event: {value: Order Completed}
    properties: {order: order, total: total, city: city, note: note}
    integrations: {All: false}
"""
TARGETS = """\
version: 1
targets:
  prod: {{kind: segment, endpoint: "http://127.0.0.1:{port}", id_scope: {scope}, write_key: "${{SEGMENT_WRITE_KEY}}"}}
"""
ROWS_AT_ONCE = 1_000_000
SAMPLE_SECONDS = 0.5
#: The slope of the memory may make so many MB over the whole soak: allocators are no clocks.
MOST_GROWTH = 60.0


@dataclass(frozen=True, slots=True)
class Sample:
    """The memory of a process after so many calls were received from the run."""

    process: int  # from 1
    seconds: float
    calls: int
    megabytes: float


@dataclass
class Soak:
    """One soak, its folder and what it has seen."""

    folder: Path
    calls: int
    samples: list[Sample] = field(default_factory=list)
    peaks: list[float] = field(default_factory=list)
    processes: int = 0
    killed: int = 0

    def make_source(self) -> None:
        """The rows, a row group of a million at a time."""
        parts = self.folder / "soak.parquet"
        frame = pl.LazyFrame({"n": pl.int_range(self.calls, eager=True)}).select(
            order=pl.format("o{}", pl.col("n").cast(pl.String).str.zfill(9)),
            user=pl.format("u{}", pl.col("n") % 1_000_003),
            at=pl.datetime(2023, 1, 1, time_zone="UTC") + pl.duration(seconds=pl.col("n") % 30_000_000),
            total=(pl.col("n") * 7 % 100_000) / 100,
            city=pl.col("n") % 997,
            note=pl.format("row {} of a soak, with some words to make it as long as a call is", pl.col("n")),
        )
        frame.sink_parquet(parts, row_group_size=ROWS_AT_ONCE)
        (self.folder / "soak.yaml").write_text(JOB, encoding="utf-8")

    @contextmanager
    def endpoint(self) -> Iterator[None]:
        """The endpoint, in a process of its own."""
        command = [sys.executable, "-m", "tests.torture.soak_endpoint", str(self.folder), *FAULTS]
        with subprocess.Popen(
            command, cwd=REPOSITORY, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as process:
            assert process.stdout is not None
            port = int(process.stdout.readline())
            (self.folder / "targets.yaml").write_text(TARGETS.format(port=port, scope=SCOPE), encoding="utf-8")
            try:
                yield
            finally:
                process.terminate()

    def received(self) -> int:
        """Calls stored so far, duplicates included."""
        return (self.folder / IDS_FILE).stat().st_size // 16

    def process(self, verb: str, kill_at: int | None) -> int | None:
        """Run the program to its end, or kill it once so many calls were received; returns its exit code."""
        words = ["run", "soak.yaml"] if verb == "run" else ["resume"]
        words += ["--target", "prod", "--yes", "--rate", "unlimited", "--concurrency", "4", "--no-progress"]
        self.processes += 1
        began = time.monotonic()
        with (self.folder / "said.txt").open("ab") as said:
            process = subprocess.Popen(
                [sys.executable, "-m", "backfill", *words],
                cwd=self.folder,
                env=os.environ | {"PYTHONPATH": str(REPOSITORY), "SEGMENT_WRITE_KEY": KEY},
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
            )
            while process.poll() is None:
                received = self.received()
                megabytes = memory_of(process.pid)
                if megabytes:
                    self.samples.append(
                        Sample(self.processes, time.monotonic() - began, received, megabytes["RssAnon"])
                    )
                    self.peaks.append(megabytes["VmHWM"])
                if kill_at is not None and received >= kill_at:
                    process.kill()
                    process.wait()
                    self.killed += 1
                    return None
                time.sleep(SAMPLE_SECONDS)
        return process.returncode

    def run(self, kills: list[int]) -> None:
        """From the first process to the last."""
        verb = "run"
        while True:
            code = self.process(verb, kills.pop(0) if kills else None)
            if code == 0:
                return
            if code not in (None, 5):
                raise SystemExit(f"exit code {code}: see {self.folder / 'said.txt'}")
            verb = "resume"

    def judge(self) -> tuple[list[str], list[str]]:
        """What was found, and what of it is wrong."""
        ids = np.fromfile(self.folder / IDS_FILE, dtype=np.dtype((np.void, 16)))
        distinct = len(np.unique(ids))
        space = identity.namespace(SCOPE, "soak", "track", 1)
        wanted = random.Random(1).sample(range(self.calls), min(2_000, self.calls))
        expected = np.array(
            [np.void(bytes.fromhex(identity.message_id(space, [f"o{one:09}"]).replace("-", ""))) for one in wanted],
            dtype=np.dtype((np.void, 16)),
        )
        missing = int((~np.isin(expected, ids)).sum())
        stored = Counter(
            (crc32, size) for crc32, size, _ in BATCH.iter_unpack((self.folder / BATCHES_FILE).read_bytes())
        )
        (ledger,) = self.folder.glob(".backfill/runs/*/ledger.sqlite3")
        with closing(sqlite3.connect(ledger)) as connection:
            counts = connection.execute("SELECT planned, delivered, in_doubt, pending FROM v_counts").fetchone()
            holds = all(one for (one,) in connection.execute("SELECT holds FROM v_accounting"))
            rows = connection.execute(
                "SELECT b.crc32, b.bytes, b.state, coalesce(sum(a.outcome = 'unknown' OR a.outcome IS NULL), 0),"
                " count(*) FROM batches b LEFT JOIN attempts a ON a.batch = b.id GROUP BY b.id"
            ).fetchall()
        unexplained = sum(stored[crc32, size] > 1 + unknown for crc32, size, _, unknown, _ in rows)
        unstored = sum(state == "delivered" and not stored[crc32, size] for crc32, size, state, _, _ in rows)
        again = sum(times - 1 for times in stored.values())
        wrong = []
        if distinct != self.calls or missing:
            wrong.append(f"{self.calls - distinct:,} calls were lost, {missing} of {len(wanted):,} samples")
        if unexplained or unstored:
            wrong.append(f"{unexplained} batches came again without need, {unstored} count as delivered and never came")
        if counts != (self.calls, self.calls, 0, 0) or not holds:
            wrong.append(f"the ledger says (planned, delivered, in doubt, pending) {counts}")
        growth = self.growth()
        if growth * self.calls / 10_000_000 > MOST_GROWTH:  # of a short soak the slope says little
            wrong.append(f"memory grows: {growth:.0f} MB over ten million calls")
        requests = sum(attempts for *_, attempts in rows)
        least, most = self.delivering()
        processes = f"{self.processes} processes, of which {self.killed} were killed"
        told = [
            f"{self.calls:,} calls, {len(rows):,} batches, {requests:,} requests; {processes}",
            f"received {len(ids):,}, distinct {distinct:,}; {again:,} batches came again",
            f"memory while delivering: {least:.0f} to {most:.0f} MB, slope {growth:+.1f} MB over ten million calls",
            f"in the longest process, at its quarters: {self.quarters()}",
            f"peak memory of all, preparing included: {max(self.peaks):.0f} MB",
        ]
        return told, wrong

    def rising(self) -> list[list[Sample]]:
        """The samples of each process while calls were received, its first ones left out, while it warms up."""
        found = []
        for number in range(1, self.processes + 1):
            own = [one for one in self.samples if one.process == number]
            begun, ended = (own[0].calls + self.calls / 100, own[-1].calls) if own else (0, 0)
            found.append([one for one in own if begun < one.calls < ended])
        return [own for own in found if len(own) >= 4]

    def delivering(self) -> tuple[float, float]:
        """The least and the most memory while delivering."""
        values = [one.megabytes for own in self.rising() for one in own] or [0.0]
        return min(values), max(values)

    def quarters(self) -> str:
        """The memory of the process that sent most, from its first sample to its last."""
        own = max(self.rising(), key=lambda one: one[-1].calls - one[0].calls, default=[])
        places = [own[(len(own) - 1) * part // 4] for part in range(5)] if own else []
        return ", ".join(f"{one.megabytes:.0f} MB at {one.calls / 1e6:.1f} M" for one in places)

    def growth(self) -> float:
        """The slope of memory over calls, in MB over ten million: least squares, each process at its own level."""
        above = below = 0.0
        for own in self.rising():
            calls = np.array([one.calls for one in own], dtype=float)
            memory = np.array([one.megabytes for one in own])
            calls -= calls.mean()
            above += float((calls * (memory - memory.mean())).sum())
            below += float((calls * calls).sum())
        return above / below * 10_000_000 if below else 0.0


def memory_of(process: int) -> dict[str, float]:
    """RssAnon and VmHWM of a process in MB; empty where it is gone.

    The first is its own memory: without files that it maps, whose pages are the system's to take back. The second is
    the most that it ever had, those included.
    """
    try:
        lines = Path(f"/proc/{process}/status").read_text(encoding="ascii").splitlines()
    except OSError:
        return {}
    parts = (line.split() for line in lines if line.startswith(("RssAnon", "VmHWM")))
    return {name.rstrip(":"): int(size) / 1024 for name, size, _ in parts}


def main() -> int:
    """One soak; returns 1 where something is wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=10_000_000)
    parser.add_argument("--kills", type=int, default=6)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    chance = random.Random(options.seed)
    kills = sorted(chance.randrange(options.calls) for _ in range(options.kills))
    with tempfile.TemporaryDirectory(prefix="soak-") as folder:
        soak = Soak(Path(folder), options.calls)
        soak.make_source()
        with soak.endpoint():
            began = time.monotonic()
            soak.run(kills)
            seconds = time.monotonic() - began
        told, wrong = soak.judge()
    lines = [f"{seconds:.0f} s", *told, *(f"WRONG: {one}" for one in wrong)]
    sys.stdout.write("\n".join(lines) + "\n")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
