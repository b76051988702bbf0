"""`python -m bench.machines`: what a billion rows take on 1, 10 and 100 machines, by a simulation, and what bounds it.

A run goes through its steps as the program takes them: one machine stages and settles; each machine brings the whole
snapshot, then its threads make one shard after the other and put it into the store; one machine records the plan; all
deliver at the target's one limit. Machines are lost at random, with the shards in their hands, and replaced. What a
step costs is measured (`bench.steps`, docs/performance.md); network and limits of targets are assumed, and stated.
"""

from __future__ import annotations

import heapq
import random
from dataclasses import dataclass, field

SHARD_ROWS = 32_768


@dataclass(frozen=True)
class Costs:
    """CPU seconds and megabytes of a million rows (13 columns, 420 bytes of JSON a call); see docs/scale.md."""

    stage: float = 2.59  # by all threads of a machine
    settle: float = 0.22  # as above
    bring: float = 0.045  # by one thread: the snapshot is hashed
    prepare: float = 2.87  # by any thread
    record: float = 0.40  # by one thread, in the order of shards
    deliver: float = 1.8  # by all threads
    snapshot: float = 46.4
    spool: float = 113.5


@dataclass(frozen=True)
class Machine:
    """What each machine has; assumed: a small one of a cloud, and a bucket that serves many at once."""

    threads: int = 4
    network: float = 600.0  # MB/s, 5 Gbit/s
    store: float = 10_000.0  # MB/s, of all machines together
    lost_after: float = 12 * 3600.0  # seconds, on average, as spot instances are
    replaced_in: float = 180.0


@dataclass
class Outcome:
    """Seconds that each step took, in their order."""

    steps: dict[str, float]
    shards: int  # made
    again: int  # of them more than once, as a machine was lost

    @property
    def seconds(self) -> float:
        """From the first row to the last answer."""
        return sum(self.steps.values())

    def bound(self, *, sending: bool) -> str:
        """The step that takes longest, of all or but for delivery."""
        steps = {name: took for name, took in self.steps.items() if sending or name != DELIVER}
        return max(steps, key=lambda name: steps[name])


STAGE, SETTLE, BRING, PREPARE = "staging, on one machine", "settling, on one machine", "the snapshot, to each", "shards"
RECORD, DELIVER = "the plan, on one machine", "delivery"


def simulate(
    rows: int,
    machines: int,
    limit: float,
    costs: Costs = Costs(),
    machine: Machine = Machine(),
    seed: int = 13,
) -> Outcome:
    """A run of so many rows, each a call, to a target that takes `limit` calls a second."""
    millions = rows / 1e6
    share = min(machine.network, machine.store / machines)  # MB/s for each, all at once
    bring = millions * (costs.snapshot / share + costs.bring)
    shards = -(-rows // SHARD_ROWS)
    fleet = Fleet(machines, machine, costs, bring, share, random.Random(seed))
    prepare, again = fleet.prepare(shards)
    sending = machines * machine.threads * 1e6 / costs.deliver  # calls a second
    return Outcome(
        {
            STAGE: millions * (costs.stage / machine.threads + costs.snapshot / machine.network),
            SETTLE: millions * costs.settle / machine.threads,
            BRING: bring,
            PREPARE: prepare,
            RECORD: millions * costs.record,
            DELIVER: rows / min(limit, sending),
        },
        shards,
        again,
    )


@dataclass
class Fleet:
    """Machines that make shards, event by event: a thread is free, or a machine is lost."""

    machines: int
    machine: Machine
    costs: Costs
    bring: float  # seconds until a new machine has the snapshot
    share: float
    chance: random.Random
    _events: list[tuple[float, int, int, int]] = field(
        default_factory=list
    )  # when, which machine, its life, shard or -1

    def prepare(self, shards: int) -> tuple[float, int]:
        """Seconds until all are made, all machines having the snapshot, and how many were made again."""
        lives = [0] * self.machines
        left, again, now, made = list(range(shards)), 0, 0.0, 0
        for machine in range(self.machines):
            self._live(0.0, machine, 0)
        while made < shards:
            now, machine, life, shard = heapq.heappop(self._events)
            if life != lives[machine]:  # in the hands of a machine that was lost: somebody else makes it
                again += shard >= 0
                left += [shard] if shard >= 0 else []
                continue
            if shard == LOST:
                lives[machine] += 1
                self._live(now + self.machine.replaced_in + self.bring, machine, lives[machine])
                continue
            made += shard >= 0
            if left:
                heapq.heappush(self._events, (now + self._seconds(), machine, life, left.pop()))
        return now, again

    def _live(self, at: float, machine: int, life: int) -> None:
        """A machine is there from then on, until it is lost."""
        for _ in range(self.machine.threads):
            heapq.heappush(self._events, (at, machine, life, FREE))
        if self.machine.lost_after < float("inf"):
            lost = at + self.chance.expovariate(1 / self.machine.lost_after)
            heapq.heappush(self._events, (lost, machine, life, LOST))

    def _seconds(self) -> float:
        """A shard in the hands of one thread: its CPU seconds, a tenth more or less, and its way to the store."""
        millions = SHARD_ROWS / 1e6
        work = self.costs.prepare * self.chance.uniform(0.9, 1.1)
        return millions * (work + self.costs.spool * self.machine.threads / self.share)


FREE, LOST = -1, -2
#: Calls a second: Segment's limit of a workspace (docs/targets.md), and what a target of one's own may take.
TARGETS = {"Segment": 1_000, "one's own": 50_000}


def table(rows: int = 1_000_000_000) -> str:
    """The runs as a table of Markdown."""
    lines = [
        "| target, calls/s | machines | until prepared | of it longest | delivery | in all | bound by |",
        "|---|---|---|---|---|---|---|",
    ]
    for target, limit in TARGETS.items():
        for machines in (1, 10, 100):
            run = simulate(rows, machines, limit)
            before = run.seconds - run.steps[DELIVER]
            longest = run.bound(sending=False)
            lines.append(
                f"| {target}, {limit:,} | {machines} | {told(before)} | {longest}, {told(run.steps[longest])} |"
                f" {told(run.steps[DELIVER])} | {told(run.seconds)} | {bound_by(run, limit, rows)} |"
            )
    return "\n".join(lines)


def bound_by(run: Outcome, limit: float, rows: int) -> str:
    """What the whole run is bound by."""
    longest = run.bound(sending=True)
    if longest != DELIVER:
        return longest
    return "the target's limit" if run.steps[DELIVER] <= rows / limit else "sending"


def told(seconds: float) -> str:
    """A duration for people."""
    for name, size in (("days", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {name}"
    return f"{seconds:.0f} s"


if __name__ == "__main__":
    print(table())
