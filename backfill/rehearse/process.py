"""The process that is killed: `python -m backfill.rehearse.process ARGUMENTS` makes one run, as `backfill run` would.

ARGUMENTS are JSON, the fields of `Work`. It says `ready` on stdout when all is imported, and at its end how that was,
as JSON. It ends at once when its standard input does: with the rehearsal, however that was ended.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from backfill.errors import BackfillError
from backfill.frozen import frozen
from backfill.job.load import load_job
from backfill.pipeline.context import Options, RunContext, RunRequest
from backfill.pipeline.run import run_job
from backfill.rules import CODES
from backfill.state import open_store
from backfill.targets import Target, load_target

READY = "ready"


@frozen
class Work:
    """What a process of a rehearsal does."""

    job_file: str
    state: str  # its state directory
    endpoint: str
    batch_calls: int  # of a batch at most
    rows: int | None  # the first of the source; None: all
    prepare: bool = False  # and sends nothing

    def text(self) -> str:
        """As an argument of the process."""
        return json.dumps(asdict(self))

    def target(self) -> Target:
        """The sandbox there."""
        target = load_target("sandbox", targets_file=None, endpoint=self.endpoint, environ={})
        return replace(target, limits=replace(target.limits, batch_calls=self.batch_calls))

    def request(self, context: RunContext) -> RunRequest:
        """What `backfill run` would ask for."""
        job = load_job(Path(self.job_file), {code: rule.lowerable for code, rule in CODES.items()})
        options = Options(unlimited=True, keep_spool=True, only_prepare=self.prepare, rows=self.rows)
        return RunRequest(job, self.target(), options, context)


def main(arguments: str) -> dict[str, Any]:
    """Make the run; returns how it ended."""
    work = Work(**json.loads(arguments))
    request = work.request(RunContext(store=open_store(Path(work.state))))
    try:
        end = run_job(request)
    except BackfillError as error:
        return told(error.exit_code, error)
    return told(end.exit_code, end.error)


def told(code: int, error: BackfillError | None) -> dict[str, Any]:
    """How a run ended, for the rehearsal."""
    return {"code": int(code), "message": error.message if error else ""}


def end_with_parent() -> None:
    """Wait for the end of standard input, and end; not by `sys.stdin`, which Python cannot close while it is read."""
    while os.read(0, 1):
        pass
    os._exit(1)


if __name__ == "__main__":
    threading.Thread(target=end_with_parent, daemon=True).start()
    sys.stdout.write(f"{READY}\n")
    sys.stdout.flush()
    sys.stdout.write(json.dumps(main(sys.argv[1])) + "\n")
