"""`python -m tests.torture.together [--kills 200] [--seed 1] [--processes 3]`: deliverers that come and are killed.

One prepared run is delivered by several processes at once, from a ledger in PostgreSQL, to a target that answers 500,
stores and does not say so, and cuts connections. Now and then one of them is killed with SIGKILL, or stopped for good,
and another comes in its place; some reach the ledger through a network that is cut. Then everything received is
compared with the plan: each call once, or again as often as the outcome of an attempt at its batch was unknown.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import sys
import tempfile
import threading
import time
import uuid
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from backfill.records import RunState, StoredRun
from backfill.records.plan import CALL_RECORD
from tests.support.cutting_proxy import CuttingProxy
from tests.support.delivery_fakes import Seen, Step
from tests.support.postgres import Postgres, running_server
from tests.support.projects import KEY, Project
from tests.support.together import Delivery, prepared
from tests.torture.zygote import Child, Ended, Zygote

#: Rows for each kill: a process that is killed has sent some of them.
ROWS_A_KILL = 100
#: Makes calls so long that a batch holds some twenty of them.
PADDING = "x" * 20_000
#: Exit codes of processes that were not killed: all sent; some rows rejected; cut off from the ledger; late.
GOOD = (0, 3, 5, 7)


@dataclass
class Torture:
    """What is done to the processes of one delivery, by chance, and what came of them."""

    delivery: Delivery
    zygote: Zygote
    proxy: CuttingProxy
    chance: random.Random
    kills: int
    processes: int = 3
    children: list[Child] = field(default_factory=list)
    ended: list[Ended] = field(default_factory=list)
    killed: int = 0
    _requests: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _due: threading.Event = field(default_factory=threading.Event)
    _next: int = 3

    def answer(self, seen: Seen) -> Step:
        """Of ten requests one fails, in one of several ways."""
        with self._lock:
            self._requests += 1
            if self._requests >= self._next:
                self._due.set()
            odds = self.chance.random()
        if odds < 0.02:
            return Step(503)
        if odds < 0.04:
            return self.delivery.answer(seen, Step(how="close"))  # taken, and nobody is told
        return Step(500) if odds < 0.06 else self.delivery.answer(seen)

    def start(self) -> None:
        """One more process; one in three over the network that is cut."""
        url = self.delivery.url
        if self.chance.random() < 1 / 3:
            url = url.replace(f":{url.split(':')[-1].split('/')[0]}/", f":{self.proxy.port}/")
        words = ("deliver", self.delivery.job, "--yes", "--no-progress", "--state", url, "--attempts", "1000")
        environ = {"SEGMENT_WRITE_KEY": KEY}
        self.children.append(self.zygote.start(*words, cwd=self.delivery.project.folder, environ=environ))

    def go_on(self) -> None:
        """Kill and start until all kills are done, then let the rest come to its end."""
        for _ in range(self.processes):
            self.start()
        while self.killed < self.kills and self._state() is not RunState.FINISHED:
            self._due.wait(20)
            with self._lock:
                self._due.clear()
                self._next = self._requests + self.chance.randint(1, 6)
            time.sleep(self.chance.random() * 0.02)
            if self.chance.random() < 1 / 4:
                self.proxy.cut(self.chance.randint(1, 6), passed_on=self.chance.random() < 1 / 2)
            self._kill_one()
            self.start()
        for child in self.children:
            self.ended.append(child.wait())
        while self._state() is not RunState.FINISHED:  # the last ones were cut off, say
            self.children = []
            self.start()
            self.ended.append(self.children[0].wait())
            assert self.ended[-1].code in GOOD, self.ended[-1]

    def _kill_one(self) -> None:
        child = self.children.pop(self.chance.randrange(len(self.children)))
        child.send(signal.SIGKILL)
        self.ended.append(child.wait())
        self.killed += self.ended[-1].code == -signal.SIGKILL

    def _state(self) -> RunState:
        with self.delivery.run.read() as reader:
            return reader.status().state


def faults(delivery: Delivery, ended: list[Ended]) -> list[str]:
    """What is wrong with what was received, beside the plan and the ledger."""
    wrong = [f"exit code {one.code}: {one.err}" for one in ended if one.code not in (*GOOD, -signal.SIGKILL)]
    wrong += [one.err for one in ended if "Traceback" in one.err]
    run = delivery.run
    with run.read() as reader:
        counts = reader.counts()
        wrong += counts.faults()
        if (counts.in_doubt, counts.pending) != (0, 0):
            wrong.append(f"{counts.in_doubt} in doubt, {counts.pending} pending")
        if [str(state) for _, state, _, _ in reader.history()].count("finished") != 1:
            wrong.append("it was not finished once")
        planned: set[str] = set()
        for span in reader.call_spans():
            unknown = sum(one.outcome == "unknown" for one in reader.attempts(span.batch))
            for identity in ids_of(run, span.shard, span.first_call, span.calls):
                planned.add(identity)
                if not 1 <= delivery.arrived[identity] <= 1 + unknown:
                    wrong.append(f"{identity} arrived {delivery.arrived[identity]} times, {unknown} unknown")
    return wrong + [f"{identity} was not planned" for identity in delivery.arrived.keys() - planned]


def ids_of(run: StoredRun, shard: int, first: int, calls: int) -> list[str]:
    """The message ids of calls of a shard, as text."""
    records = np.frombuffer(run.spool().calls_of(shard), CALL_RECORD)[first : first + calls]
    return [str(uuid.UUID(bytes=one.tobytes())) for one in records["id_bytes"]]


def torture(
    project: Project, postgres: Postgres, zygote: Zygote, *, kills: int, seed: int, processes: int = 3
) -> Torture:
    """Prepare a run, torture those who deliver it, and raise AssertionError where that shows."""
    with (
        prepared(project, postgres, ROWS_A_KILL * kills + 400, PADDING) as delivery,
        CuttingProxy(postgres.port) as proxy,
    ):
        made = Torture(delivery, zygote, proxy, random.Random(seed), kills, processes)
        delivery.endpoint.decides = made.answer
        made.go_on()
        assert (wrong := faults(delivery, made.ended)) == [], "\n".join(wrong)
    return made


def main() -> int:
    """The long form."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--processes", type=int, default=3)
    asked = parser.parse_args()
    os.environ["SEGMENT_WRITE_KEY"] = KEY
    with ExitStack() as open_still:
        folder = Path(open_still.enter_context(tempfile.TemporaryDirectory()))
        server = open_still.enter_context(running_server())
        zygote = open_still.enter_context(Zygote(folder))
        (folder / "project").mkdir()
        project = Project(folder / "project", {"SEGMENT_WRITE_KEY": KEY})
        began = time.monotonic()
        made = torture(project, server, zygote, kills=asked.kills, seed=asked.seed, processes=asked.processes)
        doubled = made.delivery.arrived.total() - len(made.delivery.arrived)
        codes = dict(sorted(Counter(one.code for one in made.ended).items()))
    sys.stdout.write(
        f"{made.killed} kills, {made.proxy.cuts} cuts, {len(made.ended)} processes (exit codes {json.dumps(codes)}):"
        f" {len(made.delivery.arrived):,} calls arrived, {doubled:,} more than once, each of them in doubt;"
        f" {time.monotonic() - began:.0f} s\n"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
