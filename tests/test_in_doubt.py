"""In doubt: what is sent again, until when, what is asked about, and what becomes of it; under clocks of any kind."""

from __future__ import annotations

import re
import sqlite3
import tempfile
import threading
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backfill.deliver import Clock, DeliveryEnd, DeliveryOptions, EndKind, TargetAccess, deliver
from backfill.deliver.halving import halves
from backfill.deliver.model import system_boot
from backfill.deliver.steady import SET_BACK_SECONDS, SteadyClock
from backfill.ledger import Ledger, LedgerReader, RunState
from backfill.limits import ENVELOPE_HEAD
from backfill.records import Answer, Batch, BatchState, ClockMark, Decision, Outcome, PlannedBatch
from backfill.sandbox import FaultScript, Sandbox
from backfill.verdict import Patience, StopReason
from tests.delivery_fakes import KEY, Endpoint, Seen, Shelf, Step
from tests.ledgers import RECORD, shard_plan, snapshot_of
from tests.projects import KEY as PROJECT_KEY
from tests.projects import Project, Result, backfill

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


@pytest.fixture
def life(tmp_path: Path) -> Iterator[Life]:
    """A run about to be sent."""
    with Endpoint() as endpoint:
        yield Life(tmp_path / "ledger.sqlite3", endpoint)


# ------------------------------------------------------------------------------------------------------ the window


def test_within_the_window_it_is_sent_again(life: Life) -> None:
    """The next process sends it first, with the same bytes; nothing is asked."""
    life.lose(2)
    life.world.wait(23.9 * HOUR)
    assert life.process().kind is EndKind.FINISHED
    assert life.again == [2, 3, 4]
    bodies = [seen.calls for seen in life.endpoint.seen if b"secret-call-2-" in seen.plain]
    assert bodies == [life.shelf.contents[2]] * 2


def test_past_the_window_the_rest_is_delivered_then_it_stops(life: Life) -> None:
    """Exit 5 with the batch named; all others are delivered; the next process sends nothing."""
    life.lose(2)
    life.world.wait(WINDOW + 60)
    end = life.process()
    assert (end.kind, end.reason, int(end.exit_code)) == (EndKind.STOPPED, StopReason.WINDOW, 5)
    assert end.batches == (2,)
    assert life.again == [3, 4]
    assert life.states() == {1: "delivered", 2: "in_doubt", 3: "delivered", 4: "delivered"}
    assert life.process().batches == (2,)
    assert life.again == [3, 4]


def test_ordered_runs_stop_at_it(life: Life) -> None:
    """Nothing overtakes it."""
    life.lose(2)
    life.world.wait(WINDOW + 60)
    end = life.process(ordered=True)
    assert (end.reason, end.batches) == (StopReason.WINDOW, (2,))
    assert life.again == []


def test_many_are_named_in_part(tmp_path: Path) -> None:
    """A message names ten; the end has them all."""
    with Endpoint() as endpoint:
        life = Life(tmp_path / "ledger.sqlite3", endpoint, batches=13)
        with closing(sqlite3.connect(life.path)) as connection, connection:
            connection.execute("UPDATE batches SET state = 'sent', first_unknown_at = 5")
        end = life.process()
        assert end.batches == tuple(range(1, 14))
        assert "10, ..." in end.message
        assert "11" not in end.message
        assert life.again == []


def test_the_window_closes_between_two_attempts(life: Life) -> None:
    """The age is looked at before each attempt of a process, too: its retries end, the rest is delivered."""
    life.losing, life.fault = {2}, Step(503, (("Retry-After", "300"),))
    end = life.process(window=1_000)
    assert (end.reason, end.batches) == (StopReason.WINDOW, (2,))
    attempts = [at for batch, at in life.sent if batch == 2]
    assert [at - attempts[0] for at in attempts] == pytest.approx([0, 300, 600, 900])
    assert life.states() == {1: "delivered", 2: "in_doubt", 3: "delivered", 4: "delivered"}


def test_parts_inherit_the_doubt_of_their_batch(life: Life) -> None:
    """A refusal splits a batch that may have arrived before: its parts are not sent again past the window, unasked."""
    life.lose(2)
    with Ledger.open(life.path) as ledger:
        batch = ledger.next_batches(1)[0]
        plain = life.shelf.contents[2]
        first, second = (len(call) for call in plain.removeprefix(ENVELOPE_HEAD).split(b",{"))
        refused = Answer(Outcome.REFUSED, BatchState.SPLIT, 413, "too large", life.world.truth, 0.1, 100)
        parts = halves(batch, plain, [first, second + 1])
        planned = ledger.record_parts(batch, ledger.mark_sent(batch, life.world.truth), refused, parts)
    assert [part.first_unknown_at for part in planned] == [batch.first_unknown_at] * 2
    life.world.wait(30 * HOUR)
    end = life.process()
    assert (end.reason, end.batches) == (StopReason.WINDOW, tuple(part.id for part in planned))
    assert life.again == [3, 4]


# --------------------------------------------------------------------------------------------------- the decision


def test_resend(life: Life) -> None:
    """Sent again with the same bytes; recorded for each batch and in the history."""
    life.lose(2)
    life.world.wait(30 * HOUR)
    assert life.process(Decision.RESEND).kind is EndKind.FINISHED
    assert life.again == [2, 3, 4]
    with LedgerReader(life.path) as reader:
        assert reader.counts().delivered == 8
        assert "1 batch (2 calls) in doubt is to be sent again" in reader.history()[-1][3]
    with closing(sqlite3.connect(life.path)) as connection:
        assert connection.execute("SELECT batch, decision, calls FROM v_decisions").fetchall() == [(2, "resend", 2)]


def test_a_resend_that_is_lost_begins_a_new_window(life: Life) -> None:
    """It is sent again for 24 hours from the decision, without being asked; then it is asked about again."""
    life.lose(2)
    life.world.wait(30 * HOUR)
    life.losing = {2}
    assert life.process(Decision.RESEND).reason is StopReason.ATTEMPTS_SPENT
    life.world.wait(23 * HOUR)
    assert life.process().reason is StopReason.ATTEMPTS_SPENT
    life.world.wait(2 * HOUR)
    assert life.process().reason is StopReason.WINDOW
    assert life.again == [2, 2, 3, 4]


def test_a_decision_outlives_a_process_that_sent_nothing(life: Life) -> None:
    """Killed between decision and request, say: the next process carries it out."""
    life.lose(2)
    life.world.wait(30 * HOUR)
    with Ledger.open(life.path) as ledger:
        ledger.decide(ledger.in_doubt(), Decision.RESEND, life.world.truth)
    life.world.wait(HOUR)
    assert life.process().kind is EndKind.FINISHED
    assert life.again == [2, 3, 4]


def test_skip(life: Life) -> None:
    """Left in doubt for good: counted so, never handed out again; the run can finish."""
    life.lose(2)
    life.world.wait(30 * HOUR)
    assert life.process(Decision.SKIP).kind is EndKind.FINISHED
    assert life.again == [3, 4]
    assert life.process(Decision.RESEND).kind is EndKind.FINISHED
    assert life.again == [3, 4]
    with Ledger.open(life.path) as ledger:
        counts = ledger.reader.counts()
        assert (counts.delivered, counts.in_doubt, counts.left_in_doubt, counts.pending) == (6, 2, 2, 0)
        assert counts.faults() == []
        assert ledger.in_doubt() == []
        (left,) = ledger.reader.doubts()
        assert (left.batch, left.left, left.since) == (2, True, 1_700_000_000.0)
        assert "1 batch (2 calls) in doubt is left so for good" in ledger.reader.history()[-1][3]
        ledger.finish(5, "some are left in doubt")
    with closing(sqlite3.connect(life.path)) as connection:
        assert connection.execute("SELECT state, standing FROM v_batches WHERE id = 2").fetchone() == (
            "left",
            "in_doubt",
        )
        assert connection.execute("SELECT batch, state FROM v_in_doubt").fetchall() == [(2, "left")]


@pytest.mark.parametrize("decision", Decision)
def test_nothing_is_decided_within_the_window(life: Life, decision: Decision) -> None:
    """There it is sent again as always."""
    life.lose(2)
    life.world.wait(HOUR)
    assert life.process(decision).kind is EndKind.FINISHED
    assert life.again == [2, 3, 4]
    with closing(sqlite3.connect(life.path)) as connection:
        assert connection.execute("SELECT count(*) FROM v_decisions").fetchone() == (0,)


# ------------------------------------------------------------------------------------------------------ the clocks


@pytest.mark.parametrize(
    ("hours", "set_by", "reboot", "again"),
    [
        (1, 0, True, True),
        (30, 0, True, False),
        (30, -24, False, False),  # looks six hours old; the seconds since boot tell
        (1, -24, False, True),  # they also tell that it may be sent
        (1, -24, True, False),  # nothing tells: it is asked about
        (30, -48, True, False),
        (1, 7 * 24, False, False),  # looks a week old: asked in vain, but nothing is doubled
        (1, 7 * 24, True, False),
        (1, -0.05, True, True),  # three minutes are a correction
    ],
)
def test_a_clock_set_between_two_processes(life: Life, hours: float, set_by: float, reboot: bool, again: bool) -> None:
    """Never sent again outside the true window, whatever the wall clock shows."""
    life.lose(2)
    life.world.wait(hours * HOUR)
    life.world.wrong = set_by * HOUR
    if reboot:
        life.world.reboot()
    assert life.process().kind is (EndKind.FINISHED if again else EndKind.STOPPED)
    assert life.again == ([2, 3, 4] if again else [3, 4])


def test_an_age_that_was_lost_stays_lost(life: Life, caplog: pytest.LogCaptureFixture) -> None:
    """A clock set back over a reboot: said, in the history, and so for all later processes until somebody decides."""
    life.lose(2)
    life.world.wait(HOUR)
    life.world.wrong = -48 * HOUR
    life.world.reboot()
    assert life.process().reason is StopReason.WINDOW
    assert "the clock was set back" in caplog.text
    with LedgerReader(life.path) as reader:
        assert "the clock was set back" in reader.history()[-1][3]
        assert reader.doubts()[0].since is None
    for wrong in (-48 * HOUR, -1 * HOUR, 0.0):
        life.world.wrong = wrong
        life.world.wait(HOUR)
        assert life.process().reason is StopReason.WINDOW
    assert life.again == [3, 4]
    assert life.process(Decision.RESEND).kind is EndKind.FINISHED


def test_a_clock_that_was_ahead_when_the_doubt_began(life: Life) -> None:
    """Put right afterwards, it would make the batch young again a week later."""
    life.world.wrong = 7 * 24 * HOUR
    life.lose(2)
    life.world.wrong = 0
    life.world.wait(7 * 24 * HOUR + HOUR)
    assert life.process().reason is StopReason.WINDOW
    assert life.again == [3, 4]


def test_a_clock_set_back_while_it_delivers(life: Life) -> None:
    """A day back between two attempts: the window closes all the same, by the seconds that passed."""
    life.losing, life.fault = {2}, Step(503, (("Retry-After", "300"),))
    answer = life.answer

    def set_back(seen: Seen) -> Step | None:
        if len(life.sent) == 3:
            life.world.wrong = -24 * HOUR
        return answer(seen)

    life.endpoint.decides = set_back
    assert life.process(window=1_000).reason is StopReason.WINDOW
    attempts = [at for batch, at in life.sent if batch == 2]
    assert [at - attempts[0] for at in attempts] == pytest.approx([0, 300, 600, 900])
    # What was marked meanwhile is of the run's clock, so that the next process is not led astray either.
    life.sent.clear()
    life.world.wait(-24 * HOUR + 25 * HOUR)
    assert life.process(window=1_000).reason is StopReason.WINDOW
    assert life.again == []


PROCESSES = st.lists(
    st.tuples(
        st.floats(0, 60),  # true hours before it
        st.sampled_from([0.0, -1.0, -24.0, -7 * 24.0, 1.0, 7 * 24.0]),  # by which the wall clock is set
        st.booleans(),  # whether its requests are answered
    ),
    min_size=2,
    max_size=6,
)


@settings(max_examples=15, deadline=None)
@given(processes=PROCESSES)
def test_no_clock_doubles_a_call(processes: list[tuple[float, float, bool]]) -> None:
    """However the wall clock is set within one boot: nothing in doubt is sent again after 24 true hours, unasked."""
    with tempfile.TemporaryDirectory() as folder, Endpoint() as endpoint:
        life = Life(Path(folder) / "ledger.sqlite3", endpoint, batches=2)
        since: dict[int, float] = {}
        for hours, set_by, answered in processes:
            life.world.wait(hours * HOUR)
            life.world.wrong += set_by * HOUR
            life.losing = set() if answered else {1, 2}
            life.process()
            for batch, at in life.sent:
                assert at - since.setdefault(batch, at) <= WINDOW + SET_BACK_SECONDS
            if answered:
                since = {batch: at for batch, at in since.items() if life.states()[batch] == "in_doubt"}
            life.sent.clear()


@given(jumps=st.lists(st.tuples(st.floats(0, 1e5), st.floats(-1e6, 1e6)), max_size=30))
def test_the_runs_clock_never_goes_back(jumps: list[tuple[float, float]]) -> None:
    """However the wall clock jumps, no second that passed is lost."""
    world = World()
    steady = SteadyClock(world.clock(), None, ())
    before, began = steady.now(), world.truth
    for passed, jump in jumps:
        world.wait(passed)
        world.wrong += jump
        now = steady.now()
        assert now >= before
        assert now - before >= passed - 1e-3
        before = now
    assert before - 1_700_000_000.0 >= world.truth - began - 1e-3


def test_without_doubts_the_clock_begins_anew() -> None:
    """A clock that was once a year ahead does not stay so for ever: nothing depends on it."""
    world = World()
    last = ClockMark(world.truth + 9e6, world.boot, 0.0, WINDOW)
    assert SteadyClock(world.clock(), last, ()).now() == world.truth
    doubt = Batch(1, 0, 1, 1, 0, 1, 0, first_unknown_at=world.truth)
    assert SteadyClock(world.clock(), last, (doubt,)).now() > world.truth + 9e6


def test_a_virtual_machine_that_was_put_back_in_time() -> None:
    """Seconds since boot that went back are no measure."""
    world = World()
    doubt = Batch(1, 0, 1, 1, 0, 1, 0, first_unknown_at=world.truth)
    last = ClockMark(world.truth, world.boot, world.truth - world.booted + 99, WINDOW)
    world.wrong = -HOUR
    assert SteadyClock(world.clock(), last, (doubt,)).set_back


def test_the_systems_boot() -> None:
    """On Linux it has a name, and its seconds pass; elsewhere it has none."""
    (boot, up), (same, later) = system_boot(), system_boot()
    assert boot == same
    assert later >= up
    assert (up > 0) == bool(boot)


# ------------------------------------------------------------------------------------------------ the command line


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """An empty project."""
    return Project(tmp_path)


@pytest.fixture
def doubtful(project: Project, monkeypatch: pytest.MonkeyPatch) -> Iterator[Doubtful]:
    """A live run of 12 people, one of whom cannot be sent, whose first batch met an outage that is over by now."""
    monkeypatch.setenv("SEGMENT_WRITE_KEY", PROJECT_KEY)
    with Sandbox(faults=FaultScript.parse(["status=503,first=1"])) as sandbox:
        job = project.people(13, bad=[12])
        run = Doubtful(project, job, sandbox.endpoint)
        assert run.go("--attempts", "1").code == 5
        yield run


@dataclass
class Doubtful:
    """A run with a batch in doubt, and the command line."""

    project: Project
    job: Path
    endpoint: str

    def go(self, *options: str) -> Result:
        """`backfill run`, the result as JSON."""
        target = ("--target", "segment", "--endpoint", self.endpoint, "--yes")
        return backfill("run", self.job, *target, "--output", "json", *options)

    def status(self, *options: str) -> Result:
        """`backfill status` of the run."""
        return backfill("status", "people", "--state-dir", self.project.state, *options)

    def age(self, hours: float) -> None:
        """Let the doubt be that much older."""
        (ledger,) = self.project.state.glob("runs/*/ledger.sqlite3")
        with closing(sqlite3.connect(ledger)) as connection, connection:
            connection.execute("UPDATE batches SET first_unknown_at = first_unknown_at - ?", (hours * HOUR,))


def test_5_past_the_window(doubtful: Doubtful) -> None:
    """Everything else is delivered; the batch is shown with its calls, its age and its last answer; the way on, too."""
    doubtful.age(25)
    stopped = doubtful.go()
    assert stopped.code == 5
    assert stopped.object["state"] == "stopped"
    assert (stopped.object["calls"]["in_doubt"], stopped.object["calls"]["delivered"]) == (10, 2)
    assert re.search(
        r"batch 1: 10 calls in doubt since \S+ \S+; 1 attempt, the last was answered HTTP 503", stopped.err
    )
    assert "--in-doubt resend" in stopped.err
    again = doubtful.go()
    assert (again.code, again.object["requests"]) == (5, 0)


def test_5_a_finished_run_with_skipped_batches(doubtful: Doubtful) -> None:
    """5 goes before 3; summary, message and status say why; a re-run says it again and sends nothing."""
    doubtful.age(25)
    skipped = doubtful.go("--in-doubt", "skip")
    assert skipped.code == 5, skipped.err
    calls = skipped.object["calls"]
    assert skipped.object["state"] == "finished"
    assert (calls["in_doubt"], calls["delivered"], calls["rejected"], calls["pending"]) == (10, 2, 1, 0)
    assert "10 calls, for longer than the target remembers ids" in skipped.err
    assert "10 calls are left in doubt, as --in-doubt skip asked" in skipped.err
    again = doubtful.go("--in-doubt", "resend")
    assert (again.code, again.object["requests"], again.object["calls"]) == (5, 0, calls)
    assert "10 calls are left in doubt, as --in-doubt skip asked" in again.err
    text = doubtful.status().out
    assert "10 calls in 1 batch are left so for good" in text
    assert "1 batch (10 calls) in doubt is left so for good" in text
    assert not list(doubtful.project.state.glob("runs/*/spool/*.segment"))


def test_3_a_resend_delivers(doubtful: Doubtful) -> None:
    """The decision is in the history, and the confirmation says that calls may arrive twice."""
    doubtful.age(25)
    resent = doubtful.go("--in-doubt", "resend")
    assert resent.code == 3, resent.err
    assert "they may arrive twice" in resent.err
    assert (resent.object["calls"]["delivered"], resent.object["calls"]["in_doubt"]) == (12, 0)
    assert "to be sent again" in doubtful.status().out


def test_resume_takes_the_decision(doubtful: Doubtful) -> None:
    """`resume` as well as `run`."""
    doubtful.age(25)
    options = ("--state-dir", str(doubtful.project.state), "--yes")
    assert backfill("resume", *options).code == 5
    assert backfill("resume", *options, "--in-doubt", "resend").code == 3


def test_status_shows_doubts(doubtful: Doubtful) -> None:
    """How many, since when, until when they are sent again by themselves; batch by batch for one run; text and JSON."""
    text = doubtful.status().out
    assert re.search(
        r"10 calls in 1 batch: no answer told whether they arrived; since \S+ \S+Z; sent again by itself", text
    )
    table = backfill("status", "--state-dir", doubtful.project.state).out
    assert "DOUBT SINCE" in table.splitlines()[0]
    assert "SENT AGAIN UNTIL" in table.splitlines()[0]
    found = doubtful.status("--output", "json").object["in_doubt"]
    (one,) = found.pop("listed")
    assert (found["batches"], found["calls"], found["age_unknown"], found["left_batches"]) == (1, 10, 0, 0)
    assert (one["batch"], one["calls"], one["attempts"], one["last_status"]) == (1, 10, 1, 503)
    since, until = (datetime.fromisoformat(found[name]) for name in ("since", "sent_again_until"))
    assert (until - since).total_seconds() == WINDOW
    (whole,) = backfill("status", "--state-dir", doubtful.project.state, "--output", "json").objects
    assert "listed" not in whole["in_doubt"]
    doubtful.age(25)
    assert "not all of it is sent again by itself" in doubtful.status().out
    assert doubtful.go("--in-doubt", "resend").code == 3
    assert "in doubt  " not in doubtful.status().out
    assert "DOUBT SINCE" not in backfill("status", "--state-dir", doubtful.project.state).out
