"""`python -m bench.pg_dump`: what staging a pg_dump costs beside loading it into a server, in CPU seconds, in one run.

The server is one of the tests', its processes' time counted with psql's. The dump holds one table with its primary key,
as COPY and as INSERTs of 100 rows. Loading is not all that people do without us: they export the rows again, which is
measured too (`psql`, COPY TO STDOUT).
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from tests.support.postgres import Postgres

ROOT = Path(__file__).resolve().parents[1]
TABLE = """
CREATE TABLE orders AS
    SELECT i AS id, 'user' || i || '@example.com' AS email, (i * 37 % 10000) / 100.0::numeric AS total,
           timestamptz '2020-01-01' + i * interval '1 minute' AS at, 'some words ' || i % 7 AS note, i % 3 = 0 AS paid
    FROM generate_series(1, {rows}) i;
ALTER TABLE orders ADD PRIMARY KEY (id);
"""
WAYS: dict[str, list[str]] = {"COPY": [], "INSERT of 100 rows": ["--rows-per-insert=100"]}
STAGE = """
import sys, time
from pathlib import Path
from backfill.sources import stage
from tests.support.sourcing import job_over
before = time.process_time()
stage(job_over(sys.argv[1], format="pg_dump", table="orders"), Path(sys.argv[2]), memory_bytes=400_000_000)
print(time.process_time() - before)
"""


def server_seconds(pid: int) -> float:
    """The CPU seconds of a server, its processes that ended among them."""
    fields = Path(f"/proc/{pid}/stat").read_text("utf-8").rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")


def exported(server: Postgres, url: str) -> float:
    """The CPU seconds, of psql and of the server, of writing the rows out again."""
    before, psql = server_seconds(server.pid), os.times().children_user
    command = [server.bin / "psql", "-Xqc", "COPY orders TO STDOUT", "-o", os.devnull, url]
    subprocess.run(command, check=True)
    psql = os.times().children_user - psql
    time.sleep(0.5)
    return server_seconds(server.pid) - before + psql


@click.command()
@click.option("--rows", default=2_000_000, show_default=True)
@click.option("--rounds", default=3, show_default=True, help="The least of them counts.")
def main(*, rows: int, rounds: int) -> None:
    """Measure, and print the ratios."""
    sys.path.insert(0, str(ROOT))
    from tests.support.postgres import running_server  # noqa: PLC0415

    with running_server() as server, tempfile.TemporaryDirectory(prefix="backfill-bench-") as folder:
        database = server.new_database(TABLE.format(rows=rows))
        for way, options in WAYS.items():
            path = Path(folder) / "dump.sql"
            subprocess.run([server.bin / "pg_dump", "-f", path, *options, server.url(database)], check=True)
            loads, exports, stages = [], [], []
            for turn in range(rounds):
                into = server.url(server.new_database())
                before = server_seconds(server.pid)
                psql = os.times().children_user
                subprocess.run([server.bin / "psql", "-Xqf", path, into], check=True, stdout=subprocess.DEVNULL)
                psql = os.times().children_user - psql
                time.sleep(0.5)  # until the server has waited for the process that served us
                loads.append(server_seconds(server.pid) - before + psql)
                exports.append(exported(server, into))
                command = [sys.executable, "-c", STAGE, path, Path(folder) / f"{way}-{turn}"]
                done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT)
                stages.append(float(done.stdout))
            load, export, stage, size = min(loads), min(exports), min(stages), path.stat().st_size / 1e6
            ratios = f"{load / stage:.1f}, with export {(load + export) / stage:.1f}"
            click.echo(
                f"{way}: {size:.0f} MB; loading {load:.1f}, export {export:.1f}, staging {stage:.1f}, ratio {ratios}"
            )


if __name__ == "__main__":
    main()
