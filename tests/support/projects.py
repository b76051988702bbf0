"""Small projects for the tests of the line and the command line: a source, a job file, and the program run on them."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from io import StringIO
from pathlib import Path
from typing import IO, Any

from backfill.cli import main
from tests.support.processes import STARTED

KEY = "wK4tTheKeyOfNobody"
JOB = """\
version: 1
name: {name}
source:
  path: {source}
  timezone: UTC
  columns: {{age: integer}}
calls:
  - type: identify
    message_key: [id]
    userId: id
    timestamp: {{column: joined, format: "%Y-%m-%d %H:%M:%S"}}
    traits: {{email: email, age: age}}
    integrations: {{All: false}}
"""


@dataclass(frozen=True)
class Result:
    """What one invocation came to."""

    code: int
    out: str
    err: str

    @property
    def objects(self) -> list[dict[str, Any]]:
        """The JSON objects on stdout, one a line."""
        return [json.loads(line) for line in self.out.splitlines()]

    @property
    def object(self) -> dict[str, Any]:
        """The only JSON object on stdout."""
        (one,) = self.objects
        return one


def backfill(*arguments: str | Path) -> Result:
    """Run the command line in this process."""
    out, err = StringIO(), StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        code = main([str(argument) for argument in arguments])
    return Result(code, out.getvalue(), err.getvalue())


@dataclass(frozen=True)
class Project:
    """A folder with job files and their sources, and a state directory inside."""

    folder: Path
    environ: Mapping[str, str] = field(default_factory=dict)

    @property
    def state(self) -> Path:
        """The state directory."""
        return self.folder / ".backfill"

    def people(self, rows: int, *, bad: Sequence[int] = (), name: str = "people", text: str = "") -> Path:
        """A job with a CSV of so many people, those in `bad` with an age that is no integer; returns the job file."""
        self.rows(rows, bad=bad, name=name, text=text)
        job = self.folder / f"{name}.yaml"
        job.write_text(JOB.format(name=name, source=f"{name}.csv"), encoding="utf-8")
        return job

    def rows(self, rows: int, *, bad: Sequence[int] = (), name: str = "people", text: str = "") -> Path:
        """Write the people's CSV anew; `text` makes its records longer."""
        source = self.folder / f"{name}.csv"
        with source.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(["id", "email", "joined", "age"])
            for row in range(rows):
                age = "old" if row in bad else row % 90
                writer.writerow([f"u{row:06}", f"{text}{row}@example.org", f"2023-05-{1 + row % 28:02} 10:00:00", age])
        return source

    def process(
        self, *arguments: str | Path, stdin: IO[bytes] | int = subprocess.DEVNULL, program: str = ""
    ) -> subprocess.Popen[str]:
        """Start the program as a process of its own, in this folder, without a terminal; it ends with the test.

        `program` is Python that is run in its place.
        """
        repository = Path(__file__).resolve().parents[2]
        environ = os.environ | {"PYTHONPATH": str(repository)} | self.environ
        process = subprocess.Popen(
            [sys.executable, *(("-c", program) if program else ("-m", "backfill")), *map(str, arguments)],
            cwd=self.folder,
            env=environ,
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        STARTED.append(process)
        return process
