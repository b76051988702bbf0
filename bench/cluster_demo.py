"""`make demo-cluster`: one run on three machines, two of which die, on loopback; it ends with the proof.

PostgreSQL has the ledger, a store that speaks S3 the bytes, a sandbox takes the calls: all are those of the tests, and
nothing leaves this machine. Each machine is a process with a state directory of its own. Three prepare a run together
and one of them is killed; three deliver it, and one is killed. What the sandbox then holds is compared with the source,
by nothing that the program says of itself.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from backfill.sandbox import Sandbox
from tests.support import buckets, postgres
from tests.support.buckets import Asked, Fault

MACHINES = 3
JOB = """\
version: 1
name: demo-cluster
source: {path: people.csv, timezone: UTC, columns: {age: integer}}
calls:
  - type: identify
    message_key: [id]
    userId: id
    timestamp: {column: joined, format: "%Y-%m-%d %H:%M:%S"}
    traits: {email: email, age: age}
    integrations: {All: false}
"""


def main(words: list[str] | None = None) -> int:
    """Show it; returns 0 where every call arrived once."""
    parser = argparse.ArgumentParser(
        prog="make demo-cluster", description="One run on three machines, two of which die."
    )
    parser.add_argument("--rows", type=int, default=200_000)
    rows = parser.parse_args(words).rows
    if postgres.programs() is None:
        print("PostgreSQL is not here: `make test` installs the one of the tests", file=sys.stderr)
        return 2
    with (
        tempfile.TemporaryDirectory() as name,
        postgres.running_server() as server,
        buckets.served() as store,
        Sandbox(keep_calls=None) as sandbox,
    ):
        folder = Path(name)
        write_people(folder / "people.csv", rows)
        (folder / "job.yaml").write_text(JOB, "utf-8")
        profile = f"{{kind: segment, endpoint: '{sandbox.endpoint}', rate: 20000/s}}"
        (folder / "targets.yaml").write_text(f"version: 1\ntargets:\n  demo: {profile}\n", "utf-8")
        places = {
            "BACKFILL_STATE": server.url(server.new_database()),
            "BACKFILL_SPOOL": f"s3://{buckets.BUCKET}/demo",
            "SEGMENT_WRITE_KEY": "nobodysKey",
        }
        cluster = Cluster(folder, os.environ | buckets.credentials(store) | places)
        tell(f"{rows:,} people in a CSV. The ledger is in PostgreSQL, the bytes go to a store that speaks S3.")
        cluster.prepare(store)
        cluster.deliver(sandbox, rows)
        return prove(sandbox, folder / "people.csv")


def write_people(path: Path, rows: int) -> None:
    """The source: one person a row."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "email", "joined", "age"])
        for row in range(rows):
            writer.writerow([f"u{row:07}", f"{row}@example.org", f"2023-05-{1 + row % 28:02} 10:00:00", row % 90])


@dataclass
class Cluster:
    """The machines."""

    folder: Path
    environment: dict[str, str]

    def start(self, machine: int, *words: str) -> subprocess.Popen[str]:
        """Have a machine do something."""
        own = ["--state-dir", str(self.folder / f"machine-{machine}"), "--no-progress"]
        command = [sys.executable, "-m", "backfill", *words, *own]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
        return subprocess.Popen(command, cwd=self.folder, env=self.environment, text=True, **pipes)  # type: ignore[call-overload, no-any-return]

    def prepare(self, store: buckets.Store) -> None:
        """Prepare the run by all machines; the first is killed while it puts a second shard, and started again."""
        words = [
            ["prepare", "job.yaml", "--target", "demo", "--shards", f"{each}/{MACHINES}"] for each in range(MACHINES)
        ]
        doomed = self.start(0, *words[0])

        shards: set[str] = set()

        def kill(asked: Asked) -> Fault | None:
            if asked.method == "PUT" and "work/shard-" in asked.key:
                shards.add(asked.key)
                if len(shards) > 1:
                    doomed.kill()
                    return Fault(503, "SlowDown")
            return None

        store.script = kill
        doomed.communicate()
        store.script = lambda _: None
        tell(f"machine 0 was killed (SIGKILL) while it put its second shard: exit code {doomed.returncode}")
        begun = [self.start(each, *words[each]) for each in range(MACHINES)]
        for each, process in enumerate(begun):
            told = process.communicate()[0]
            if process.returncode:
                raise SystemExit(told)
            own = [line for line in told.splitlines() if "part" in line or "batches" in line]
            tell(f"machine {each}: {' '.join(' '.join(own).split())}")

    def deliver(self, sandbox: Sandbox, rows: int) -> None:
        """Deliver the run by all machines; the second is killed once a fifth of the calls is there."""
        began = [self.start(each, "deliver", "job.yaml", "--yes") for each in range(MACHINES)]
        doomed = began.pop(1)
        until(lambda: sandbox.stats()["accepted"] > rows / 5 or doomed.poll() is not None)
        doomed.send_signal(signal.SIGKILL)
        doomed.communicate()
        tell(f"machine 1 was killed (SIGKILL) with {sandbox.stats()['accepted']:,} calls delivered, and stays away")
        for each, process in zip((0, 2), began, strict=True):
            told = process.communicate()[0]
            if process.returncode:
                raise SystemExit(told)
            tell(f"machine {each}: exit code {process.returncode}")


def prove(sandbox: Sandbox, source: Path) -> int:
    """Hold what arrived against the source, row by row; 0 where each is there once."""
    with source.open(encoding="utf-8", newline="") as file:
        rows = {row["id"]: row["email"] for row in csv.DictReader(file)}
    stats, seen = sandbox.stats(), 0
    wrong = 0
    for kept in sandbox.calls():
        seen, call = seen + 1, json.loads(kept["json"])
        wrong += rows.pop(call["userId"], None) != call["traits"]["email"]
    tell("the proof: what the endpoint holds, held against the CSV")
    print(f"  calls received                {stats['received']:>9,}")
    print(
        f"  of them a second time         {stats['duplicate']:>9,}  in doubt when a machine died; dropped by their ids"
    )
    print(f"  calls held                    {seen:>9,}")
    print(f"  people without a call         {len(rows):>9,}")
    print(f"  calls of nobody, or wrong     {wrong:>9,}")
    good = not rows and not wrong
    print("  Every person's call is there, once." if good else "  That is WRONG.")
    return 0 if good else 1


def until(there: Callable[[], bool]) -> None:
    """Wait until it is so."""
    while not there():
        time.sleep(0.02)


def tell(text: str) -> None:
    """Say what happened."""
    print(f"[{time.strftime('%H:%M:%S')}] {text}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
