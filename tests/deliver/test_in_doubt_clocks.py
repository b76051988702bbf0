"""In doubt under clocks of any kind: set, set back, of another boot, of another machine."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backfill.clock import system_boot
from backfill.deliver import EndKind
from backfill.deliver.run_clock import MARK_SECONDS, SET_BACK_SECONDS, RunClock
from backfill.ledger import LedgerReader
from backfill.records import AGE_UNKNOWN, Batch, ClockMark, Decision
from backfill.verdict import StopReason
from tests.support.delivery_fakes import Endpoint, Run, Seen, Shelf, Simulated, Step
from tests.support.lives import HOUR, WINDOW, Life, World
from tests.support.waiting import until


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


def test_the_clock_is_marked_while_it_delivers() -> None:
    """Every ten minutes, not at each look: so the next process knows how late it was, also where this one is killed."""
    time = Simulated()
    with Endpoint([Step(how="stall")]) as endpoint:
        run = Run(Shelf(1), endpoint.url, time.clock())
        ended = run.in_background()
        assert endpoint.stalled.wait(10)
        for marks in (2, 3):
            time.time += MARK_SECONDS + 1
            time.up += MARK_SECONDS + 1
            until(lambda marks=marks: len(run.shelf.clocks) == marks)
            ticks = len(run.told)
            until(lambda ticks=ticks: len(run.told) > ticks + 2)
        endpoint.released.set()
        ended()
    assert [mark.at for mark in run.shelf.clocks] == [1_700_000_000 + n * (MARK_SECONDS + 1) for n in range(3)]


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
    run_clock = RunClock(world.clock(), None, ())
    before, began = run_clock.now(), world.truth
    for passed, jump in jumps:
        world.wait(passed)
        world.wrong += jump
        now = run_clock.now()
        assert now >= before
        assert now - before >= passed - 1e-3
        before = now
    assert before - 1_700_000_000.0 >= world.truth - began - 1e-3


def test_without_doubts_the_clock_begins_anew() -> None:
    """A clock that was once a year ahead does not stay so for ever: nothing depends on it."""
    world = World()
    last = ClockMark(world.truth + 9e6, world.boot, 0.0, WINDOW)
    assert RunClock(world.clock(), last, ()).now() == world.truth
    doubt = Batch(1, 0, 1, 1, 0, 1, 0, first_unknown_at=world.truth)
    assert RunClock(world.clock(), last, (doubt,)).now() > world.truth + 9e6


def test_a_virtual_machine_that_was_put_back_in_time() -> None:
    """Seconds since boot that went back are no measure."""
    world = World()
    doubt = Batch(1, 0, 1, 1, 0, 1, 0, first_unknown_at=world.truth)
    last = ClockMark(world.truth, world.boot, world.truth - world.booted + 99, WINDOW)
    world.wrong = -HOUR
    assert RunClock(world.clock(), last, (doubt,)).set_back


@pytest.mark.parametrize(
    ("since", "mark", "wrong", "time", "behind", "set_back"),
    [
        (None, 0.0, 0.0, 0.0, 0.0, False),
        (-60.0, 0.0, 0.0, 0.0, 0.0, False),
        (60.0, None, 0.0, 60.0, 60.0, False),  # a doubt is never in the future
        (301.0, None, 0.0, 301.0, 301.0, True),
        (300.0, None, 0.0, 300.0, 300.0, False),
        (0.0, 0.0, -3_600.0, 0.0, 3_600.0, False),  # at the very second of the mark
        (AGE_UNKNOWN - 1.7e9, None, 0.0, 0.0, 0.0, False),
    ],
)
def test_what_is_known_of_the_time(
    since: float | None, mark: float | None, wrong: float, time: float, behind: float, set_back: bool
) -> None:
    """The latest of the wall clock, the doubts and the last mark; all given as seconds from the true time."""
    world = World(wrong=wrong)
    doubts = [] if since is None else [Batch(1, 0, 1, 1, 0, 1, 0, first_unknown_at=world.truth + since)]
    up = world.truth - world.booted
    last = None if mark is None else ClockMark(world.truth + mark, world.boot, up, WINDOW)
    run_clock = RunClock(world.clock(), last, doubts)
    assert (run_clock.now(), run_clock.behind, run_clock.set_back) == (world.truth + time, behind, set_back)


def test_a_mark_is_due_every_ten_minutes() -> None:
    """From the beginning of the process, and from the last mark on; not in the very second."""
    world = World()
    run_clock = RunClock(world.clock(), None, ())
    for _ in range(2):
        assert not run_clock.due()
        world.wait(MARK_SECONDS)
        assert not run_clock.due()
        world.wait(0.5)
        assert run_clock.due()
        assert run_clock.mark(WINDOW) == ClockMark(world.truth, world.boot, world.truth - world.booted, WINDOW)


def test_the_systems_boot() -> None:
    """On Linux it has a name, and its seconds pass; elsewhere it has none."""
    (boot, up), (same, later) = system_boot(), system_boot()
    assert boot == same
    assert later >= up
    assert (up > 0) == bool(boot)
