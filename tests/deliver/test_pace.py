"""deliver: turns, so that requests leave at the stated rates and not while the target asked for a pause."""

import heapq
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from typing import TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backfill.deliver import DeliveryOptions, EndKind
from backfill.deliver.pace import FIRST_RATE, Pace
from tests.support.delivery_fakes import Access, Endpoint, Run, Shelf, Simulated, Step
from tests.support.pace_simulation import most_over

T = TypeVar("T")

#: What additions of floating-point seconds may be off by.
NOTHING = 1e-6


@dataclass
class Senders:
    """Several senders of one process or more, at one pace, in simulated time.

    Each queues for a turn, wakes up late, writes the ledger for a while, and comes again after its answer. The lists
    give those seconds, over and over.
    """

    paces: Sequence[Pace]  # one of each process, whose clock is ahead by ten seconds for each one before it
    now: list[float]
    late: Sequence[float]
    ledger: Sequence[float]
    answers: Sequence[float]
    turns: list[tuple[float, int]] = field(default_factory=list)  # when, how many calls
    left: list[tuple[float, int]] = field(default_factory=list)

    def send(self, batches: Sequence[int], senders: int) -> None:
        """Batches of so many calls each; each sender is of the next process."""
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._batches = list(enumerate(batches))[::-1]
        self._lines: list[deque[tuple[float, int, int]]] = [deque() for _ in self.paces]
        self._count = 0
        self._asleep = [False for _ in self.paces]  # the first of the line
        for sender in range(senders):
            self._after(0.0, partial(self._come, sender % len(self.paces)))
        while self._events:
            self.now[0], _, happens = heapq.heappop(self._events)
            happens()

    def _after(self, seconds: float, happens: Callable[[], None]) -> None:
        self._count += 1
        heapq.heappush(self._events, (self.now[0] + seconds, self._count, happens))

    def _come(self, process: int) -> None:
        if self._batches:
            self._lines[process].append((self.now[0] + 10.0 * process, *self._batches.pop()))
            self._ask(process)

    def _wake(self, process: int) -> None:
        self._asleep[process] = False
        self._ask(process)

    def _ask(self, process: int) -> None:
        line = self._lines[process]
        while line and not self._asleep[process]:
            came, number, calls = line[0]
            if (seconds := self.paces[process].ask(calls, came)) > 0:
                self._asleep[process] = True
                self._after(seconds + self.late[number % len(self.late)], partial(self._wake, process))
            else:
                line.popleft()
                self.turns.append((self.now[0], calls))
                self._after(self.ledger[number % len(self.ledger)], partial(self._leave, process, number, calls))

    def _leave(self, process: int, number: int, calls: int) -> None:
        self.left.append((self.now[0], calls))
        self._after(self.answers[number % len(self.answers)], partial(self._come, process))


class Kept:
    """What several processes share of their pace, by a clock of its own."""

    def __init__(self, now: list[float]) -> None:
        self.text, self.ahead, self._now = "", 1_700_000_000.0, now

    def change_pace(self, change: Callable[[str, float], tuple[str, T]]) -> T:
        """As SharedPace."""
        self.text, result = change(self.text, self._now[0] + self.ahead)
        return result


def paces(now: list[float], rate: float | None, processes: int, requests: float | None = None) -> list[Pace]:
    """One of each process; one alone shares its with nobody."""
    shared = Kept(now) if processes > 1 else None
    return [
        Pace(rate, requests, lambda ahead=10.0 * process: now[0] + ahead, shared)  # type: ignore[misc]
        for process in range(processes)
    ]


seconds = st.lists(st.floats(0, 0.3), min_size=1, max_size=7)


@given(
    rate=st.floats(10, 1e5),
    batches=st.lists(st.integers(1, 2500), min_size=1, max_size=40),
    processes=st.integers(1, 4),
    senders=st.integers(1, 16),
    late=seconds,
    ledger=seconds,
    answers=st.lists(st.floats(0, 5), min_size=1, max_size=5),
)
def test_any_window(
    rate: float,
    batches: list[int],
    processes: int,
    senders: int,
    late: list[float],
    ledger: list[float],
    answers: list[float],
) -> None:
    """In any window of W seconds rate x W calls and one batch leave, and of each sender one that was late for it."""
    now = [100.0]
    simulated = Senders(paces(now, rate, processes), now, late, ledger, answers)
    simulated.send(batches, senders)
    assert len(simulated.left) == len(batches)
    assert most_over(simulated.left, rate) <= senders * max(batches) + NOTHING * rate


@given(
    rate=st.floats(10, 1e5),
    requests=st.floats(0.5, 1000),
    batches=st.lists(st.integers(1, 2500), min_size=1, max_size=40),
    processes=st.integers(1, 4),
    senders=st.integers(1, 16),
    answers=st.lists(st.floats(0, 5), min_size=1, max_size=5),
)
def test_both_rates_hold(
    rate: float, requests: float, batches: list[int], processes: int, senders: int, answers: list[float]
) -> None:
    """Calls a second and requests a second, in any window, exactly where nobody is late."""
    now = [100.0]
    simulated = Senders(paces(now, rate, processes, requests), now, [0.0], [0.0], answers)
    simulated.send(batches, senders)
    assert most_over(simulated.turns, rate) <= NOTHING * rate
    assert most_over([(at, 1) for at, _ in simulated.turns], requests) <= NOTHING * requests


@given(
    rate=st.floats(100, 5000),
    sizes=st.lists(st.integers(500, 2500), min_size=1, max_size=9),
    processes=st.integers(1, 4),
    senders=st.integers(2, 8),
    late=st.lists(st.floats(0, 0.01), min_size=1, max_size=7),
    ledger=st.lists(st.floats(0, 0.05), min_size=1, max_size=7),
)
def test_the_mean(
    rate: float, sizes: list[int], processes: int, senders: int, late: list[float], ledger: list[float]
) -> None:
    """Over a minute the mean is within 2% of the rate: what is late once does not add up.

    Whole spans are compared, from the first departure to the first one a minute later: a batch may be a minute's calls.
    """
    now = [0.0]
    simulated = Senders(paces(now, rate, processes), now, late, ledger, [0.0])
    batches = [sizes[number % len(sizes)] for number in range(int(61 * rate / min(sizes)) + 3)]
    simulated.send(batches, senders)
    first = simulated.left[0][0]
    end = next(number for number, (at, _) in enumerate(simulated.left) if at >= first + 60)
    calls = sum(count for _, count in simulated.left[:end])
    assert calls / (simulated.left[end][0] - first) == pytest.approx(rate, rel=0.02)


@given(idle=st.floats(1, 1000), rate=st.floats(10, 1e4), processes=st.integers(1, 4))
def test_no_burst_after_an_idle_time(idle: float, rate: float, processes: int) -> None:
    """What was not used is gone."""
    now = [0.0]
    simulated = Senders(paces(now, rate, processes), now, [0.0], [0.0], [0.0, idle, 0.0])
    simulated.send([100] * 12, 3)
    assert all(after - before >= 100 / rate - NOTHING for (before, _), (after, _) in pairwise(simulated.left))


class TestPause:
    """What a Retry-After asks for."""

    def test_the_longest_counts(self) -> None:
        """A shorter wait does not end a longer one."""
        now = [5.0]
        pace = Pace(None, None, lambda: now[0])
        assert pace.ask(1, 5.0) == 0
        pace.pause(10)
        pace.pause(3)
        assert pace.ask(1, 5.0) == 10
        now[0] = 15
        assert pace.ask(1, 5.0) == 0

    def test_one_that_begins_during_the_wait_for_a_turn(self) -> None:
        """It is waited for, too, and those who waited do not leave together."""
        time = Simulated()
        pace, waits = Pace(10.0, None, lambda: time.up), list[tuple[float, str]]()

        def wait(seconds: float, reason: str) -> None:
            if seconds > 0:
                waits.append((seconds, reason))
            time.up += seconds
            if len(waits) == 1 and time.up < 2:
                pace.pause(5)

        assert [pace.take(10, wait) for _ in range(3)] == [0, 6, 7]
        assert waits == [(1, "pace"), (5, "retry_after"), (1, "pace")]


@pytest.mark.parametrize(
    ("script", "access"),
    [
        ([], {"rate": 100.0}),
        ([], {"requests": 2.0}),
        ([Step(429, (("Retry-After", "7"),))], {}),
        ([Step(429), Step()], {}),  # then the rate that is found out makes each wait
    ],
)
def test_nothing_is_marked_while_its_turn_is_waited_for(script: list[Step], access: Access) -> None:
    """A process that is killed in such a wait leaves no batch in doubt that never left."""
    unanswered: list[int] = []

    class Watched(Simulated):
        def sleep(self, seconds: float) -> None:
            unanswered.append(len(run.shelf.marks) - len(run.shelf.answers))
            super().sleep(seconds)

    with Endpoint(script) as endpoint:
        run = Run(Shelf(5, calls=20), endpoint.url, Watched().clock(), access=access)
        assert run.go().kind is EndKind.FINISHED
    assert len(unanswered) >= 4
    assert not any(unanswered)


def test_without_any_rate_nobody_waits() -> None:
    """There is nothing to wait for."""
    pace = Pace(None, None, lambda: 0.0)
    assert [pace.ask(10**9, 0.0) for _ in range(3)] == [0, 0, 0]


@pytest.mark.parametrize("access", [{"rate": 4000.0}, {"requests": 40.0}, {"rate": 9000.0, "requests": 40.0}])
def test_of_a_delivery(access: dict[str, float]) -> None:
    """Several senders on a real clock: no batch arrives before the pace allows it to leave."""
    arrived: list[float] = []
    with Endpoint() as endpoint:
        endpoint.on_request = lambda _: arrived.append(time.monotonic())
        began = time.monotonic()
        options = DeliveryOptions(concurrency=4, first_alone=False)
        run = Run(Shelf(20, calls=100), endpoint.url, options=options, access=access)  # type: ignore[arg-type]
        assert run.go().kind is EndKind.FINISHED
    assert len(arrived) == 20
    assert all(at >= began + 0.025 * number - NOTHING for number, at in enumerate(sorted(arrived)))


@pytest.mark.parametrize(
    ("rate", "requests", "calls", "seconds"),
    [(None, None, 9, 0.0), (None, 4.0, 9, 0.25), (100.0, None, 9, 0.09), (100.0, 4.0, 9, 0.25), (100.0, 4.0, 50, 0.5)],
)
def test_the_turn_after_a_request(rate: float | None, requests: float | None, calls: int, seconds: float) -> None:
    """It is due as late as the slower of the two stated rates asks."""
    pace = Pace(rate, requests, lambda: 1_000.0)
    assert pace.ask(calls, 1_000.0) == 0.0
    assert pace.ask(1, 1_000.0) == pytest.approx(seconds)


class TestSeveralProcesses:
    """What one of them learns holds for all."""

    def test_a_pause(self) -> None:
        """Also for one that waits for its turn already."""
        now = [100.0]
        one, two = paces(now, 10.0, 2)
        assert one.ask(10, 100.0) == 0
        assert two.ask(10, 110.0) == pytest.approx(1)
        one.pause(30)
        now[0] += 1
        assert two.ask(10, 110.0) == pytest.approx(29)
        now[0] += 29
        assert two.ask(10, 110.0) == 0

    def test_the_rate_found_out(self) -> None:
        """After a refusal that one of them met, requests of the others leave at that rate, too."""
        now = [100.0]
        one, two = paces(now, None, 2)
        assert (one.ask(1, 100.0), two.ask(1, 110.0)) == (0, 0)
        one.ended(now[0] + 1_700_000_000.0, accepted=False, refused=True)
        assert two.ask(1, 110.0) == pytest.approx(1 / FIRST_RATE)

    def test_the_server_s_clock_is_set_back(self) -> None:
        """As a server's whose place another takes: nobody waits for the time to come again."""
        now = [100.0]
        kept = Kept(now)
        one, two = (Pace(10.0, None, lambda: now[0], kept) for _ in range(2))
        assert one.ask(10, 100.0) == 0
        kept.ahead -= 3_600
        assert two.ask(10, 100.0) == pytest.approx(1)
