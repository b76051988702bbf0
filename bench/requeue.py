"""`python -m bench.requeue`: a whole run of a million calls, of which a warehouse lacks, doubles and moves some.

The run is delivered to a server on loopback, compared with a Parquet file that has all its calls but 1,000, 200 of them
twice and 50 five hours later, requeued and resumed: the server has to see exactly those 1,000 again, the same bytes.
"""

import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from random import Random

import click
import polars as pl

from backfill.wire import HEAD
from tests.support.batch_server import BatchServer, batch_in

ROOT = Path(__file__).resolve().parents[1]
MISSING, DOUBLED, SHIFTED = 1_000, 200, 50
JOB = """\
version: 1
name: orders
source: {path: orders.parquet}
calls:
  - type: track
    message_key: [id]
    userId: user
    event: {value: Order Completed}
    timestamp: at
    properties: {order_id: id, total: total, city: city}
    integrations: {All: false}
"""


class Receiver(BatchServer):
    """Takes everything, and keeps the id of each call, its timestamp and a hash of its bytes."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, str, bytes]] = []

    def answer(self, path: str, headers: dict[str, str], body: bytes) -> tuple[int | None, bytes]:
        """Accepted."""
        del path
        text = batch_in(body, packed=headers.get("Content-Encoding") == "gzip").decode()[len(HEAD) :]
        decoder, at = json.JSONDecoder(), 0
        while at < len(text):
            call, end = decoder.raw_decode(text, at)
            digest = hashlib.sha256(text[at:end].encode()).digest()
            self.calls.append((call["messageId"], call["timestamp"], digest))
            at = end + 1
        return 200, b"{}"


def run(folder: Path, *arguments: str, codes: tuple[int, ...] = (0,)) -> tuple[float, str]:
    """Run the program; its seconds, and what it prints."""
    began = time.monotonic()
    command = [sys.executable, "-m", "backfill", *arguments]
    environ = os.environ | {"SEGMENT_WRITE_KEY": "bench", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=folder, env=environ, capture_output=True, text=True, check=False)
    assert done.returncode in codes, done.stderr
    return time.monotonic() - began, done.stdout


def write_rows(folder: Path, calls: int) -> None:
    """The job, and its source."""
    number = pl.int_range(calls)
    rows = pl.DataFrame({"n": pl.arange(calls, eager=True)}).select(
        id=pl.format("o{}", number),
        user=pl.format("u{}", number % 50_000),
        at=(pl.lit(1_600_000_000_000) + number * 60_000).cast(pl.Datetime("ms", "UTC")),
        total=(number % 10_000) / 100,
        city=pl.format("City {}", number % 400),
    )
    rows.write_parquet(folder / "orders.parquet")
    (folder / "job.yaml").write_text(JOB, "utf-8")


def warehouse(folder: Path, calls: list[tuple[str, str, bytes]]) -> set[str]:
    """Write what a warehouse has of these calls; the ids that it lacks."""
    chosen = Random(1).sample(range(len(calls)), MISSING + DOUBLED + SHIFTED)
    lost, twice, moved = set(chosen[:MISSING]), chosen[MISSING : MISSING + DOUBLED], set(chosen[MISSING + DOUBLED :])
    frame = pl.DataFrame({"id": [one[0] for one in calls], "original_timestamp": [one[1] for one in calls]})
    at = pl.col("original_timestamp").str.to_datetime(time_zone="UTC")
    frame = frame.with_row_index("n").with_columns(original_timestamp=at)
    later = pl.when(pl.col("n").is_in(moved)).then(pl.col("original_timestamp") + pl.duration(hours=5))
    frame = frame.with_columns(original_timestamp=later.otherwise(pl.col("original_timestamp")))
    rows = pl.concat([frame.filter(~pl.col("n").is_in(lost)), frame[twice]]).drop("n")
    rows.sample(fraction=1, shuffle=True, seed=2).write_parquet(folder / "there.parquet")
    return {calls[place][0] for place in lost}


@click.command()
@click.option("--calls", default=1_000_000, show_default=True)
def main(calls: int) -> None:
    """Run it once, print the seconds of each step; fails where anything else than those calls is sent again."""
    with tempfile.TemporaryDirectory(prefix="backfill-bench-") as temporary, Receiver() as receiver:
        folder = Path(temporary)
        write_rows(folder, calls)
        live = ("--endpoint", receiver.url, "--yes", "--rate", "unlimited", "--no-progress")
        sent, _ = run(folder, "run", "job.yaml", "--target", "segment", *live)
        first = list(receiver.calls)
        assert len(first) == calls
        lost = warehouse(folder, first)
        receiver.calls.clear()
        against = ("--against", "there.parquet", "--late", "0s", "--requeue", "--output", "json")
        compared, told = run(folder, "reconcile", "job.yaml", *against, codes=(3,))
        found = json.loads(told)
        counts = Counter(found["counts"])
        assert (counts["missing"], counts["doubled"], counts["shifted"]) == (MISSING, DOUBLED, SHIFTED), counts
        assert (found["requeue"]["calls"], found["cause"], receiver.calls) == (MISSING, "time_zone", [])
        resumed, _ = run(folder, "resume", found["requeue"]["run_id"], *live)
        assert sorted(receiver.calls) == sorted(one for one in first if one[0] in lost)
    click.echo("| calls | run s | reconcile --requeue s | resume s | sent again |\n|---|---|---|---|---|")
    click.echo(f"| {calls:,} | {sent:.1f} | {compared:.1f} | {resumed:.1f} | {len(lost):,} |")


if __name__ == "__main__":
    main()
