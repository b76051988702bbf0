"""`python -m tests.torture.power_cut_main [--cuts 200] [--seed 1]`: cut the power at so many random instants."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.delivery_fakes import Step
from tests.support.projects import KEY
from tests.torture.power_cut_run import ROWS, Judge, Recording, Target, project_in, strace

#: The endpoint's faults while it is recorded: retried answers, one of which leaves a batch in doubt.
SCRIPT = (Step(), Step(), Step(500), Step(), Step(how="reset_after"), Step(429), Step(how="close"))


@contextmanager
def recorded(folder: Path, rows: int = ROWS) -> Iterator[Judge]:
    """A judge over a fresh recording: a dry run, a canary that stops after the first batch, a resume that finishes."""
    place = folder / "project"
    place.mkdir()
    with Target(SCRIPT) as target:
        project, job = project_in(place, target.port, rows)
        files = {path: path.read_bytes() for path in place.rglob("*") if path.is_file()}
        recording = Recording(project, job, target, files)
        recording.record("dry-run", job)
        recording.record(*recording.words("run"), "--canary")
        recording.record(*recording.words("resume"))
        yield Judge(recording)


def say(text: str) -> None:
    """A line of the report, at once."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def main() -> int:
    """Try every cut; tell each that fails, and how to try it alone."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cuts", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", type=int, help="the number of one cut of that seed")
    parser.add_argument("-v", "--verbose", action="store_true")
    options = parser.parse_args()
    if strace() is None:
        sys.stderr.write("strace is needed, and leave to trace: apt-get install strace\n")
        return 2
    os.environ["SEGMENT_WRITE_KEY"] = KEY
    failed = 0
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="power-cut-") as folder, recorded(Path(folder)) as judge:
        calls, requests = len(judge.recording.calls), len(judge.requests)
        say(f"{calls:,} calls of the system recorded, {requests} requests in them; seed {options.seed}")
        for number, cut in enumerate(judge.cuts(options.cuts, options.seed)):
            if options.only not in (None, number):
                continue
            what = f"cut {number} after {cut.after} ({judge.recording.calls[cut.after - 1].name}), {cut.survival}"
            try:
                word = judge.try_cut(cut)
            except Exception as error:
                failed += 1
                say(f"FAILED {what}: {type(error).__name__}: {error}")
                if options.only is not None:
                    raise
            else:
                if options.verbose:
                    say(f"{what}: {word}")
    say(f"{options.cuts} cuts, {failed} failed, {time.monotonic() - began:.0f} s")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
