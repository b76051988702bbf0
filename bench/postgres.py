"""`python -m bench.postgres`: staging a query of PostgreSQL beside `psql` writing out the same by COPY.

The server is that of the tests, in a process of its own on loopback. Both read the same rows, in turn; the least of the
rounds counts, since others may use the machine. CPU seconds are those of the client and of the server together. First,
a tenth of the rows is staged, for the memory.
"""

import json
import os
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import click

from bench.process import run
from tests.support.postgres import Postgres, running_server

ROOT = Path(__file__).resolve().parents[1]
#: The speed of staging for each one of psql's.
TARGET = 0.7
MADE = """
CREATE TABLE orders AS SELECT i AS order_id, 'cust-' || i % 50000 AS customer_id,
  (i % 100000)::numeric(12, 2) / 100 AS total, (i % 97)::float8 / 7 AS discount, (i % 7)::int AS quantity,
  timestamptz '2020-01-01' + i * interval '37 s' AS ordered_at, date '2020-01-01' + (i % 1000)::int AS day,
  md5(i::text)::uuid AS token, CASE WHEN i % 3 = 0 THEN 'SUMMER' END AS coupon, i % 2 = 0 AS gift, 'paid' AS status,
  'Some Street ' || i AS address, jsonb_build_object('a', i, 'b', 'x') AS extra
FROM generate_series(1::bigint, {rows}) AS i;
"""
STAGE = """
import json, sys, time
from pathlib import Path
from backfill.job import load_job
from backfill.sources import resolve, stage
job, folder = load_job(Path(sys.argv[1])), Path(sys.argv[2])
began = time.monotonic()
snapshot = stage(job, folder, files=resolve(job), memory_bytes=300 * 2**20)
print(json.dumps({"rows": snapshot.rows, "seconds": time.monotonic() - began}))
"""
JOB = """
version: 1
name: bench
source: {{database: '{url}', table: orders}}
calls:
  - {{type: track, event: {{value: e}}, userId: customer_id, timestamp: ordered_at, message_key: order_id}}
"""


@dataclass(frozen=True)
class Took:
    """One reading of all rows."""

    seconds: float
    cpu_seconds: float
    peak_megabytes: float = 0.0


def served(server: Postgres) -> float:
    """CPU seconds of all connections that have ended."""
    fields = Path(f"/proc/{server.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[13]) + int(fields[14])) / os.sysconf("SC_CLK_TCK")


def by_psql(server: Postgres, database: str, folder: Path) -> Took:
    """The rows written out as text, and thrown away."""
    command = [str(server.bin / "psql"), "-Xq", server.url(database), "-o", "/dev/null", "-c"]
    before = served(server)
    cost = run([*command, "COPY (SELECT * FROM orders) TO STDOUT"], folder, dict(os.environ))
    time.sleep(0.5)  # until the connection's end is counted
    assert cost.exit_code == 0
    return Took(cost.seconds, cost.cpu_seconds + served(server) - before)


def by_staging(server: Postgres, database: str, folder: Path, rows: int) -> Took:
    """The rows staged; the start of Python is left out of the seconds, not of the CPU seconds."""
    folder.mkdir(exist_ok=True)
    job = folder / "job.yaml"
    job.write_text(JOB.format(url=server.url(database)))
    before = served(server)
    cost = run(
        [sys.executable, "-c", STAGE, str(job), str(folder / "state")], folder, os.environ | {"PYTHONPATH": str(ROOT)}
    )
    time.sleep(0.5)
    assert cost.exit_code == 0, (folder / "stderr.txt").read_text()
    found = json.loads(cost.output)
    assert found["rows"] == rows
    return Took(found["seconds"], cost.cpu_seconds + served(server) - before, cost.peak_megabytes)


@click.command(help=__doc__)
@click.option("--rows", default=2_000_000, show_default=True)
@click.option("--rounds", default=3, show_default=True)
def main(rows: int, rounds: int) -> None:
    """Print both, and whether the target is met."""
    with running_server() as server, tempfile.TemporaryDirectory(prefix="bench-") as folder:
        few = by_staging(server, server.new_database(MADE.format(rows=rows // 10)), Path(folder), rows // 10)
        database = server.new_database(MADE.format(rows=rows))
        psql, ours = [], []
        for _ in range(rounds):
            psql.append(by_psql(server, database, Path(folder)))
            ours.append(by_staging(server, database, Path(folder), rows))
        least = [min(each.seconds for each in took) for took in (psql, ours)]
        cpu = [min(each.cpu_seconds for each in took) for took in (psql, ours)]
        print("| | rows | s | CPU s, client and server | peak MB |\n|---|---|---|---|---|")
        print(f"| psql, COPY TO STDOUT | {rows:,} | {least[0]:.2f} | {cpu[0]:.2f} | |")
        print(f"| staged | {rows // 10:,} | {few.seconds:.2f} | {few.cpu_seconds:.2f} | {few.peak_megabytes:.0f} |")
        peak = max(each.peak_megabytes for each in ours)
        print(f"| staged | {rows:,} | {least[1]:.2f} | {cpu[1]:.2f} | {peak:.0f} |")
        ratio = least[0] / least[1]
        met = "met" if ratio >= TARGET else "NOT MET"
        print(f"\n{ratio:.2f} times the speed of psql; {TARGET} is the target: {met}")


if __name__ == "__main__":
    main()
