"""Killed with SIGKILL at random instants of stage, prepare and deliver, and run again: nothing lost or doubled."""

from __future__ import annotations

import random
import signal
import sqlite3
import subprocess
import urllib.request
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from backfill import identity
from backfill.errors import LedgerError
from backfill.ledger import LedgerReader
from backfill.records import RunState
from backfill.state.folder import StateFolder
from backfill.state.run import RunFolder
from tests.support.examples import examples
from tests.support.projects import KEY, Project
from tests.support.waiting import until, until_worked
from tests.support.wiretap import Fingerprint, Heard, Wiretap

ROWS = 70_000
SCOPE = "crash-test"
#: Calls a second: several batches are at work, and a delivery is under way at the last kill, on a busy machine too.
RATE = 12_000
FAULTS = ("status=500,every=14", "status=429,retry_after=1,after=20,first=1", "lost=1/12", "reset=after,every=17")
CONCURRENCY = 3
#: One run each, killed five times: of the first two, one twice while it stages, one while it prepares. `make fuzz`
#: kills a hundred.
SEEDS = range(2, 2 + examples(2))
#: The state in which a step is under way, and within how many CPU seconds or requests of its beginning the kill comes.
STEPS = {
    "stage": (RunState.STAGING, 0.15),
    "prepare": (RunState.PREPARING, 0.12),
    "deliver": (RunState.DELIVERING, 8),
}
ORDER = list(RunState)


def chain(moment: random.Random) -> list[str]:
    """The steps in which the processes of one run are killed, in their order: each once at least."""
    return sorted([*STEPS, *moment.choices(list(STEPS), k=2)], key=list(STEPS).index)


@contextmanager
def faulty_endpoint(folder: Path) -> Iterator[str]:
    """A sandbox with faults in a process of its own."""
    words = [word for fault in FAULTS for word in ("--fault", fault)]
    process = Project(folder).process("sandbox", "--port", "0", "--store", folder / "endpoint", *words)
    assert process.stderr is not None
    line = process.stderr.readline()
    assert "http://127.0.0.1:" in line, line
    try:
        yield line.split()[2].rstrip(",")
    finally:
        process.terminate()
        process.communicate(timeout=20)


def expected_ids() -> set[str]:
    """The ids of an unbroken run, by the standard library's uuid5."""
    space = identity.namespace(SCOPE, "people", "identify", 1)
    return {identity.message_id(space, [f"u{row:06}"]) for row in range(ROWS)}


def held_ids(endpoint: str) -> list[str]:
    """Every id the endpoint holds."""
    with urllib.request.urlopen(f"{endpoint}/ids") as answer:
        return str(answer.read(), "utf-8").split()


def state_of(ledger: Path) -> RunState | None:
    """The state of a run under way; None before there is one to be read."""
    try:
        with LedgerReader(ledger) as reader:
            return reader.status().state
    except LedgerError:
        return None


@contextmanager
def left_behind(ledger: Path) -> Iterator[sqlite3.Connection]:
    """The ledger of a killed process. Opened to write, as the next process does: SQLite may have to recover it."""
    with closing(sqlite3.connect(ledger)) as connection:
        yield connection


def batches_in(ledger: Path, state: str) -> set[Fingerprint]:
    """What the ledger holds of the batches in a state."""
    with left_behind(ledger) as connection:
        return set(connection.execute("SELECT crc32, bytes FROM batches WHERE state = ?", (state,)))


def kill_in(step: str, process: subprocess.Popen[str], folder: RunFolder, tap: Wiretap, moment: random.Random) -> str:
    """Kill the process at a random instant after it came to the step; returns the state the run is left in."""
    wanted, span = STEPS[step]
    lock = folder.path.parent.parent / "locks" / f"{folder.run_id}.lock"
    requests = len(tap.heard) + moment.uniform(0, span)
    until(
        lambda: (
            at_work(lock, process.pid)
            and (
                wanted is RunState.STAGING
                or ORDER.index(state_of(folder.ledger) or RunState.STAGING) >= ORDER.index(wanted)
            )
            and (wanted is not RunState.DELIVERING or len(tap.heard) > requests)
        ),
        process,
    )
    if wanted is not RunState.DELIVERING:
        until_worked(process, moment.uniform(0, span))
    assert process.poll() is None, process.communicate()
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=20)
    if not folder.begun():
        return "staging"
    with left_behind(folder.ledger) as connection:
        return str(connection.execute("SELECT state FROM run").fetchone()[0])


def at_work(lock: Path, pid: int) -> bool:
    """Whether that process holds the run by now: it writes its number into the lock."""
    return lock.exists() and lock.read_text(encoding="ascii").strip() == str(pid)


@pytest.mark.parametrize("seed", SEEDS)
def test_killed_and_run_again(tmp_path: Path, seed: int) -> None:
    """One run, killed five times: the same set of ids, no delivered call again, of the rest only what was in flight."""
    (tmp_path / "targets.yaml").write_text(
        f"version: 1\ntargets:\n  prod: {{kind: segment, write_key: '${{SEGMENT_WRITE_KEY}}', id_scope: {SCOPE}}}\n",
        encoding="utf-8",
    )
    project = Project(tmp_path, {"SEGMENT_WRITE_KEY": KEY})
    job = project.people(ROWS)
    moment = random.Random(f"chain {seed}")
    died: list[str] = []
    resent: list[str] = []
    with faulty_endpoint(tmp_path) as endpoint, Wiretap(endpoint) as tap:
        words = ["run", job, "--target", "prod", "--endpoint", tap.url, "--yes", "--concurrency", str(CONCURRENCY)]
        delivered: set[Fingerprint] = set()
        in_flight: set[Fingerprint] = set()
        before: list[Heard] = []
        folder = StateFolder(project.state).find("people", "segment", f"segment {tap.url}", 1)
        for step in chain(moment):
            process = project.process(*words, "--rate", f"{RATE}/s")
            died.append(kill_in(step, process, folder, tap, moment))
            resent.append(judge(before, tap.heard[len(before) :], delivered, in_flight))
            before = list(tap.heard)
            if not folder.begun():
                continue
            delivered, in_flight = batches_in(folder.ledger, "delivered"), batches_in(folder.ledger, "sent")
            assert len(in_flight) <= CONCURRENCY
        process = project.process(*words, "--rate", "unlimited", "--output", "json")
        out, err = process.communicate(timeout=120)
        assert process.returncode == 0, err
        resent.append(judge(before, tap.heard[len(before) :], delivered, in_flight))
        held = held_ids(endpoint)
        assert len(held) == len(set(held)) == ROWS
        assert set(held) == expected_ids()
        batch_of: dict[bytes, Fingerprint] = {}
        for heard in tap.heard:
            assert {batch_of.setdefault(one, heard.batch) for one in heard.ids} == {heard.batch}
        counts = f"killed while {', '.join(died)}; {len(held):,} ids held of {ROWS:,} rows\n"
        counts += f"requests of each process (of them batches sent before): {', '.join(resent)}\n"
        print(f"\n{counts}the last process: {out.strip()}")  # noqa: T201 (shown by pytest -rP and where it fails)


def judge(before: list[Heard], now: list[Heard], delivered: set[Fingerprint], in_flight: set[Fingerprint]) -> str:
    """Check what one process sent against what the ledger said when the one before it died; returns the counts."""
    sent = {heard.batch for heard in now}
    assert not sent & delivered, "a batch recorded as delivered was sent again"
    again = sent & {heard.batch for heard in before}
    assert again <= in_flight, "a batch that was not in flight was sent again"
    return f"{len(now)} ({len(again)})"
