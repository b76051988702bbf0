"""One version of the program at work: its process, the endpoint it sends to, and what a case came to."""

from __future__ import annotations

import json
import os
import select
import signal
import sqlite3
import subprocess
import threading
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.differential.cases import POISON, Case, Step
from tests.support.batch_server import BatchServer, batch_in

SECONDS = 180.0
KEY = "wK4tTheKeyOfNobody"
#: What is the same whenever and wherever a run took place. Of views, since these only grow.
VIEWS = {
    "run": (
        "SELECT job_name, generation, target_name, target_kind, live, id_scope, state, exit_code, only_new FROM v_run"
    ),
    "digest": "SELECT plan_digest FROM v_run",
    "states": "SELECT state, exit_code FROM v_history",
    "counts": (
        "SELECT read, filtered, unreadable, mapped, calls_per_row, planned, skipped, delivered, rejected, duplicate,"
        " already_delivered, in_doubt, pending, refused, left_in_doubt FROM v_counts"
    ),
    "accounting": "SELECT identity, whole, parts, holds FROM v_accounting",
    "problems": "SELECT code, severity, count FROM v_problems",
    "days": "SELECT day, call, calls FROM v_calls_per_day",
    "leaves": (
        "SELECT shard, first_call, calls, bytes, state, standing, status, detail FROM v_batches"
        " WHERE state <> 'split' ORDER BY shard, first_call"
    ),
    "attempts": "SELECT number, outcome, status, calls FROM v_attempts ORDER BY batch, number",
}


class Recorder(BatchServer):
    """Takes bodies and keeps them; a body that holds POISON is answered 400, and none of its calls taken."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.bodies: list[bytes] = []  # accepted ones, plain, without their `sentAt`, in the order of arrival

    def answer(self, path: str, headers: dict[str, str], body: bytes) -> tuple[int | None, bytes]:
        """Take a body, or refuse it."""
        batch = batch_in(body, packed=headers.get("Content-Encoding") == "gzip")
        if POISON in batch:
            return 400, b'{"success":false,"message":"poison"}'
        with self.lock:
            self.bodies.append(batch)
        return 200, b'{"success":true}'


@dataclass
class Outcome:
    """What a case came to."""

    ended: str = ""  # why there are no results, where there are none
    results: list[dict[str, Any]] = field(default_factory=list)  # of each command: words, code, out, err
    bodies: list[bytes] = field(default_factory=list)
    ledgers: list[dict[str, list[tuple[Any, ...]]]] = field(default_factory=list)  # by view, the oldest run first
    exports: dict[str, str] = field(default_factory=dict)  # files that commands wrote


class Version:
    """One version of the program, by its interpreter. Used by one thread at a time."""

    def __init__(self, interpreter: Path, folder: Path) -> None:
        self.interpreter = interpreter
        self.folder = folder
        self.recorder = Recorder()
        folder.mkdir(parents=True)

    def __enter__(self) -> Self:
        self.start()
        self.recorder.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end()
        self.recorder.__exit__(kind, error, trace)

    def start(self) -> None:
        """Start the process that forks."""
        environ = {"PATH": "/usr/bin:/bin", "HOME": str(self.folder), "SEGMENT_WRITE_KEY": KEY, "NO_COLOR": "1"}
        environ |= {"POLARS_MAX_THREADS": "2", "OPENBLAS_NUM_THREADS": "1", "PYDANTIC_DISABLE_PLUGINS": "__all__"}
        self.process = subprocess.Popen(
            # -P: nothing is imported from where this stands
            [self.interpreter, "-P", "-W", "ignore::DeprecationWarning", Path(__file__).with_name("worker.py")],
            cwd=self.folder,
            env=environ,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        assert self.process.stdout is not None
        self.place = json.loads(self.process.stdout.readline() or "null")
        assert self.place, f"{self.interpreter} does not have the program"

    def end(self) -> None:
        """End the process that forks, and what it has forked."""
        with self.process:
            os.killpg(self.process.pid, signal.SIGKILL)

    def run(self, case: Case, before: Version | None = None) -> Outcome:
        """Run a case in a folder of its own, which stays.

        Where another version is given, that one takes the steps until the run is stopped, and this one goes on.
        """
        first = before or self
        folder = self.folder / (case.name if before is None else f"{case.name}-resumed")
        first.recorder.bodies = []
        case.make(folder)
        split = len(case.steps) if before is None else case.resumed_after
        found = first.obey(case, case.steps[:split], folder, first.recorder.url)
        if split < len(case.steps) and not found.ended:
            rest = self.obey(case, case.steps[split:], folder, first.recorder.url)
            found = Outcome(rest.ended, [*found.results, *rest.results])
        found.bodies = first.recorder.bodies
        ledgers = [read_ledger(path) for path in folder.glob("**/runs/*/ledger.sqlite3")]
        found.ledgers = [views for _, views in sorted(ledgers, key=lambda one: one[0])]
        found.exports = {path.name: path.read_text() for path in sorted(folder.glob("export.*"))}
        return found

    def obey(self, case: Case, given: Sequence[Step], folder: Path, url: str) -> Outcome:
        """Have steps taken; returns their results, or why there are none."""
        words = {"JOB": case.job, "URL": url}
        steps = [{name: [words.get(word, word) for word in step] for name, step in one.items()} for one in given]
        result = folder / "result.json"
        result.unlink(missing_ok=True)
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps({"folder": str(folder), "steps": steps, "result": str(result)}) + "\n")
        self.process.stdin.flush()
        if not select.select([self.process.stdout], [], [], SECONDS)[0]:
            self.end()
            self.start()
            return Outcome(f"no end within {SECONDS} s")
        code = int(self.process.stdout.readline())
        if not result.exists():
            return Outcome(f"the process ended with {code}: {(folder / 'said').read_text()[-500:]}")
        return Outcome(results=json.loads(result.read_text()))


def read_ledger(path: Path) -> tuple[str, dict[str, list[tuple[Any, ...]]]]:
    """When a run was made, and its ledger by view."""
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
        views = {name: connection.execute(query).fetchall() for name, query in VIEWS.items()}
        return connection.execute("SELECT created_at FROM v_run").fetchone()[0], views
