"""A run's life from process to process, in a world with clocks of its own."""

from __future__ import annotations

import re
import sqlite3
import threading
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path

from backfill.clock import Clock
from backfill.deliver import DeliveryEnd, DeliveryOptions, TargetAccess, deliver
from backfill.ledger import Ledger
from backfill.records import Decision, PlannedBatch, RunState
from backfill.verdict import Patience, StopReason
from tests.support.delivery_fakes import KEY, Endpoint, Seen, Shelf, Step
from tests.support.ledgers import RECORD, shard_plan, snapshot_of

HOUR = 3600.0
WINDOW = 24 * HOUR
LOST = Step(how="close")


@dataclass
class World:
    """The true time, and what a machine's clocks show of it."""

    truth: float = 1_700_000_000.0
    wrong: float = 0.0  # how far the wall clock is ahead of the truth
    boot: str = "boot 1"
    booted: float = 1_699_000_000.0

    def clock(self) -> Clock:
        """The clocks. Who sleeps passes the time."""
        return Clock(
            now=lambda: self.truth + self.wrong,
            monotonic=lambda: self.truth,
            sleep=self.wait,
            random=lambda: 0.0,
            boot=lambda: (self.boot, self.truth - self.booted),
        )

    def wait(self, seconds: float) -> None:
        """Time passes."""
        self.truth += seconds

    def reboot(self) -> None:
        """The machine is started anew."""
        self.boot, self.booted = f"{self.boot} and another", self.truth


@dataclass
class Life:
    """A run from process to process: a real ledger, a real endpoint, and a world of one's own."""

    path: Path
    endpoint: Endpoint
    batches: int = 4
    world: World = field(default_factory=World)
    losing: set[int] = field(default_factory=set)  # batches whose requests meet `fault`
    fault: Step = field(default_factory=lambda: LOST)
    sent: list[tuple[int, float]] = field(default_factory=list)  # batch, true time

    def __post_init__(self) -> None:
        """Plan the run."""
        self.shelf = Shelf(self.batches, calls=2)
        plan = shard_plan(0, (2,) * self.batches)
        planned = tuple(
            PlannedBatch(place, one.calls, one.bytes, one.offset, one.length, one.crc32, 2 * place)
            for place, one in enumerate(self.shelf.batches)
        )
        plan = replace(plan, batches=planned, json_bytes=sum(one.bytes for one in planned))
        with Ledger.create(self.path, RECORD) as ledger:
            ledger.record_snapshot(snapshot_of([plan]), calls_per_row=1)
            ledger.record_shard(plan)
            ledger.record_plan()
            ledger.set_state(RunState.DELIVERING)
        self.endpoint.decides = self.answer

    def answer(self, seen: Seen) -> Step | None:
        """The endpoint's part."""
        match = re.search(rb"secret-call-(\d+)-", seen.plain)
        assert match
        batch = int(match[1])
        self.sent.append((batch, self.world.truth))
        return self.fault if batch in self.losing else Step()

    def process(
        self, decision: Decision | None = None, *, ordered: bool = False, attempts: int = 1, window: float = WINDOW
    ) -> DeliveryEnd:
        """One process, from its start to its end."""
        clock = self.world.clock()
        options = DeliveryOptions(
            concurrency=1,
            first_alone=False,
            patience=Patience(attempts),
            in_doubt=decision,
            ordered=ordered,
            window_seconds=window,
        )
        with Ledger.open(self.path, clock=clock.now) as ledger:
            return deliver(
                ledger=ledger,
                spool=self.shelf,
                target=TargetAccess(self.endpoint.url, KEY),
                options=options,
                stop=threading.Event(),
                abort=threading.Event(),
                progress=lambda _totals: None,
                clock=clock,
            )

    def lose(self, *batches: int) -> None:
        """A process that ends with these in doubt, the others before and behind them not delivered yet."""
        for batch in batches:
            self.losing = {batch}
            assert self.process().reason is StopReason.ATTEMPTS_SPENT
        self.losing = set()
        self.sent.clear()

    @property
    def again(self) -> list[int]:
        """The batches sent, in their order."""
        return [batch for batch, _ in self.sent]

    def states(self) -> dict[int, str]:
        """Each batch's standing."""
        with closing(sqlite3.connect(self.path)) as connection:
            return dict(connection.execute("SELECT id, standing FROM v_batches").fetchall())
