"""deliver: the rate, in calls and in requests a second, measured where requests leave."""

import heapq
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import accumulate, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backfill.deliver import DeliveryOptions, EndKind
from backfill.deliver.waiting import Pace
from tests.support.delivery_fakes import Endpoint, Run, Shelf

#: What additions of floating-point seconds may be off by.
NOTHING = 1e-6


@dataclass
class Senders:
    """Several senders at one pace, in simulated time.

    Each waits for its turn and wakes up late, writes the ledger for a while, asks at the gate until it may leave (and
    oversleeps there, too), and comes again after its answer. The lists give those seconds, over and over.
    """

    pace: Pace
    now: list[float]
    late: Sequence[float]
    ledger: Sequence[float]
    answers: Sequence[float]
    oversleep: float = 0.0
    left: list[tuple[float, int]] = field(default_factory=list)  # when, how many calls

    def send(self, batches: Sequence[int], senders: int) -> None:
        """Batches of so many calls each."""
        events: list[tuple[float, int, str, int]] = []
        waiting = list(enumerate(batches))[::-1]

        def come(at: float) -> None:
            if waiting:
                number, calls = waiting.pop()
                heapq.heappush(events, (at, number, "turn", calls))

        for _ in range(senders):
            come(self.now[0])
        while events:
            self.now[0], number, step, calls = heapq.heappop(events)
            now = self.now[0]
            if step == "turn":
                turn = now + self.pace.reserve(calls) + self.late[number % len(self.late)]
                heapq.heappush(events, (turn + self.ledger[number % len(self.ledger)], number, "gate", calls))
            elif (seconds := self.pace.leave(calls)) > 0:
                heapq.heappush(events, (now + seconds + self.oversleep, number, "gate", calls))
            else:
                self.left.append((now, calls))
                come(now + self.answers[number % len(self.answers)])


def most_over(left: Sequence[tuple[float, float]], rate: float) -> float:
    """The most by which the calls of any window, its last batch aside, are more than rate x its seconds."""
    sums = list(accumulate((calls for _, calls in left), initial=0.0))
    return max(
        sums[last] - sums[first] - rate * (left[last][0] - left[first][0])
        for first in range(len(left))
        for last in range(first, len(left))
    )


seconds = st.lists(st.floats(0, 0.3), min_size=1, max_size=7)


@given(
    rate=st.floats(10, 1e5),
    batches=st.lists(st.integers(1, 2500), min_size=1, max_size=40),
    senders=st.integers(1, 16),
    late=seconds,
    ledger=seconds,
    answers=st.lists(st.floats(0, 5), min_size=1, max_size=5),
)
def test_any_window(
    rate: float, batches: list[int], senders: int, late: list[float], ledger: list[float], answers: list[float]
) -> None:
    """In any window of W seconds at most rate x W calls and one batch leave, however late senders wake up."""
    now = [100.0]
    simulated = Senders(Pace(rate, lambda: now[0]), now, late, ledger, answers)
    simulated.send(batches, senders)
    assert len(simulated.left) == len(batches)
    assert most_over(simulated.left, rate) <= NOTHING * rate


@given(
    rate=st.floats(10, 1e5),
    requests=st.floats(0.5, 1000),
    batches=st.lists(st.integers(1, 2500), min_size=1, max_size=40),
    late=seconds,
)
def test_both_rates_hold(rate: float, requests: float, batches: list[int], late: list[float]) -> None:
    """Calls a second and requests a second, in any window."""
    now = [100.0]
    simulated = Senders(Pace(rate, lambda: now[0], requests=requests), now, late, [0.0], [0.01])
    simulated.send(batches, 4)
    assert most_over(simulated.left, rate) <= NOTHING * rate
    assert most_over([(at, 1) for at, _ in simulated.left], requests) <= NOTHING * requests


@given(
    rate=st.floats(100, 5000),
    sizes=st.lists(st.integers(500, 2500), min_size=1, max_size=9),
    senders=st.integers(2, 8),
    late=st.lists(st.floats(0, 0.01), min_size=1, max_size=7),
    ledger=st.lists(st.floats(0, 0.05), min_size=1, max_size=7),
)
def test_the_mean(rate: float, sizes: list[int], senders: int, late: list[float], ledger: list[float]) -> None:
    """Over a minute the mean is within 2% of the rate: what is late once does not add up.

    Whole spans are compared, from the first departure to the first one a minute later: a batch may be a minute's calls.
    """
    now = [0.0]
    simulated = Senders(Pace(rate, lambda: now[0]), now, late, ledger, [0.0], oversleep=0.001)
    batches = [sizes[number % len(sizes)] for number in range(int(61 * rate / min(sizes)) + 3)]
    simulated.send(batches, senders)
    first = simulated.left[0][0]
    end = next(number for number, (at, _) in enumerate(simulated.left) if at >= first + 60)
    calls = sum(count for _, count in simulated.left[:end])
    assert calls / (simulated.left[end][0] - first) == pytest.approx(rate, rel=0.02)


@given(pause=st.floats(1, 1000), rate=st.floats(10, 1e4))
def test_no_burst_after_a_pause(pause: float, rate: float) -> None:
    """What was not used is gone."""
    now = [0.0]
    simulated = Senders(Pace(rate, lambda: now[0]), now, [0.0], [0.0], [0.0, pause, 0.0])
    simulated.send([100] * 12, 3)
    assert all(after - before >= 100 / rate - NOTHING for (before, _), (after, _) in pairwise(simulated.left))


def test_turns_that_are_taken_up_late_do_not_leave_together() -> None:
    """Two senders whose turns are past leave one after the other."""
    now = [0.0]
    pace = Pace(10.0, lambda: now[0])
    assert [pace.reserve(10) for _ in range(3)] == [0, 1, 2]
    assert pace.leave(10) == 0
    now[0] = 2.5  # both were kept up by the ledger
    assert pace.leave(10) == 0
    assert pace.leave(10) == 1
    now[0] = 3.5
    assert pace.leave(10) == 0


def test_what_refusals_ask_for_lies_between_turns() -> None:
    """The seconds of `least` are looked up anew for each turn."""
    least = [0.0]
    pace = Pace(None, lambda: 0.0, least=lambda: least[0])
    assert (pace.reserve(5), pace.reserve(5)) == (0, 0)
    least[0] = 2.0
    assert (pace.reserve(5), pace.reserve(5)) == (0, 2)


def test_what_refusals_ask_for_lies_between_requests() -> None:
    """Also where both were late for their turns: a target that counts by the millisecond must not see them together."""
    now = [0.0]
    pace = Pace(None, lambda: now[0], least=lambda: 2.0)
    assert (pace.leave(5), pace.leave(5)) == (0, 2)
    now[0] = 2.0
    assert pace.leave(5) == 0


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
