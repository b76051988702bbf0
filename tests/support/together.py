"""A prepared run in PostgreSQL, its target, and the processes that deliver it at once."""

from __future__ import annotations

import json
import subprocess
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from backfill.errors import ExitCode
from backfill.ledger.postgres import Database
from backfill.records import StoredRun
from backfill.state import open_store
from tests.support.delivery_fakes import Endpoint, Seen, Step
from tests.support.postgres import Postgres
from tests.support.projects import Project, backfill

#: The program, with a lease that a test can wait for.
SHORT_LEASE = """
from backfill.__main__ import program
from backfill.ledger.postgres import leases
leases.LEASE_SECONDS = 1.0
program()
"""
BAD_ROWS = (7, 3_000)


def users(seen: Seen) -> list[str]:
    """Whose calls a request has."""
    return [call["userId"] for call in json.loads(seen.plain)["batch"]]


@dataclass
class Delivery:
    """A prepared run of one call for each row, its target, and the processes that deliver it."""

    project: Project
    url: str
    job: Path
    endpoint: Endpoint
    processes: list[subprocess.Popen[str]] = field(default_factory=list)
    arrived: Counter[str] = field(default_factory=Counter)  # calls, by their id, of requests that were taken

    @property
    def run(self) -> StoredRun:
        """The run, as anybody sees it."""
        (run,) = open_store(self.project.state, database=self.url).runs()
        return run

    def start(self, *words: str, url: str = "", program: str = "") -> subprocess.Popen[str]:
        """One more process; `program` in the place of our own."""
        words = ("deliver", str(self.job), "--yes", "--output", "json", "--state", url or self.url, *words)
        self.processes.append(self.project.process(*words, program=program))
        return self.processes[-1]

    def steps(self) -> list[str]:
        """What each process that is at work does, sorted."""
        database = Database(self.url)
        ((schema,),) = database.rows("SELECT schema FROM backfill.runs")
        if not database.rows("SELECT to_regclass(?)", f"{schema}.deliverers")[0][0]:
            return []
        return sorted(step for (step,) in database.rows(f"SELECT step FROM {schema}.deliverers WHERE ended IS NULL"))

    def ends(self) -> list[tuple[int, dict[str, Any], str]]:
        """Wait for all; of each the exit code, what it tells as JSON, and what it says."""
        ends = []
        for process in self.processes:
            out, err = process.communicate(timeout=120)
            assert "Traceback" not in err, err
            ends.append((process.returncode, json.loads(out or "{}"), err))
        return ends

    def answer(self, seen: Seen, step: Step | None = None) -> Step:
        """The step, a success where there is none; notes what has arrived."""
        if len(seen.body) < int(seen.headers["content-length"]):
            return Step(how="close")  # whoever sent it was killed: nothing has arrived
        step = step or Step()
        if step.how != "answer" or step.status < 300:
            self.arrived.update(call["messageId"] for call in json.loads(seen.plain)["batch"])
        return step


@contextmanager
def prepared(
    project: Project, postgres: Postgres, rows: int, text: str, *, spool: Path | None = None, host: str = "127.0.0.1"
) -> Iterator[Delivery]:
    """Such a run, two rows of which were rejected; `text` makes the others longer. It wants a write key.

    Its bytes are in the shared folder `spool`, where one is given; its processes reach the target at `host`.
    """
    url = postgres.url(postgres.new_database())
    with Endpoint() as endpoint:
        at = f"endpoint: 'http://{host}:{endpoint.port}', insecure: true"
        profile = f"{{kind: segment, {at}, rate: unlimited}}"
        (project.folder / "targets.yaml").write_text(f"version: 1\ntargets:\n  prod: {profile}\n", "utf-8")
        job = project.people(rows, bad=BAD_ROWS, text=text)
        shared = ("--spool", spool) if spool else ()
        made = backfill("prepare", job, "--target", "prod", "--state", url, *shared)
        assert made.code == ExitCode.REJECTS, made.err
        delivery = Delivery(project, url, job, endpoint)
        endpoint.decides = delivery.answer
        yield delivery
