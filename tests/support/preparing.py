"""Runs that several processes prepare, for tests: the sample jobs and an odd one, in small shards; and what is left."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from sqlite3 import connect
from typing import Any

from backfill.state import open_store
from tests.support.processes import STARTED
from tests.support.projects import Project, Result, backfill

SMALL_SHARD = 100
#: Of the ledger what preparing has put there.
TABLES = ("shards", "batches", "problems", "samples", "days")
REPOSITORY = Path(__file__).resolve().parents[2]
JOBS = [*sorted(path.name for path in (REPOSITORY / "jobs").glob("*.yaml")), "odd.yaml"]
#: Of a source with repeated ids in several shards, in conflict too, ids that differ in case, and bad values.
ODD = """\
version: 1
name: odd
source: {path: odd.csv, timezone: UTC, columns: {age: integer}}
calls:
  - type: identify
    message_key: [id]
    userId: id
    timestamp: {column: joined, format: "%Y-%m-%d %H:%M:%S"}
    traits: {email: email, age: age}
    integrations: {All: false}
  - type: track
    when: age > 10
    message_key: [id]
    userId: id
    timestamp: {column: joined, format: "%Y-%m-%d %H:%M:%S"}
    event: {value: Joined}
    integrations: {All: false}
"""


def lay_out(folder: Path) -> Path:
    """Copy the sample jobs and their data, and write the odd one beside them; returns the folder of jobs."""
    for name in ("jobs", "sample_data"):
        shutil.copytree(REPOSITORY / name, folder / name)
    jobs = folder / "jobs"
    (jobs / "odd.yaml").write_text(ODD, "utf-8")
    rows = [f"u{row},{row}@example.org,2023-05-{1 + row % 28:02} 10:00:00,{row % 90}" for row in range(400)]
    rows[70:70] = [*rows[:5], "U7,7@example.org,2023-05-08 10:00:00,7", "u9,other@example.org,2023-05-10 10:00:00,9"]
    rows[200] = rows[200].replace(",", ",,", 1)
    rows[300:300] = [*rows[65:75], "u3,3@example.org,2023-05-04 10:00:00,old"]
    (jobs / "odd.csv").write_text("\n".join(["id,email,joined,age", *rows]) + "\n", "utf-8")
    return jobs


def prepare(job: Path, state: Path, spool: Path, *options: str) -> Result:
    """One process of those that prepare the job."""
    words = ("--target", "segment", "--state-dir", state, "--spool", spool, "--output", "json")
    return backfill("prepare", job, *words, *options)


def small_process(project: Project, *arguments: str | Path) -> subprocess.Popen[str]:
    """The program as a process of its own to which a few rows are several shards; it ends with the test."""
    program = "import sys, tests.support.small_shards, backfill.cli; sys.exit(backfill.cli.main(sys.argv[1:]))"
    environ = os.environ | {"PYTHONPATH": str(REPOSITORY)} | project.environ
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    process = subprocess.Popen(
        [sys.executable, "-c", program, *map(str, arguments)], cwd=project.folder, env=environ, **pipes
    )
    STARTED.append(process)
    return process


def prepared(state: Path, spool: Path) -> tuple[dict[str, list[object]], list[str]]:
    """What preparing has left: rows of the ledger, and the names of the shared files, which have their digests."""
    (run,) = open_store(state).runs()
    with connect(f"file:{run.ledger}?mode=ro", uri=True) as ledger:
        told = {table: ledger.execute(f"SELECT * FROM {table}").fetchall() for table in TABLES}
        told["plan"] = ledger.execute("SELECT state, plan_digest FROM run").fetchall()
    ledger.close()
    (place,) = (spool / "runs").iterdir()
    found = sorted(path.relative_to(place).as_posix() for path in place.rglob("*") if path.is_file())
    return told, [name for name in found if not name.startswith("snapshot/")]
