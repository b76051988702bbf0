"""deliver: the rate that is found out at a target that does not tell it, in simulated time."""

import random
from copy import deepcopy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backfill.deliver.model import Attempt
from backfill.deliver.pace import (
    CUT,
    FIRST_RATE,
    LEAST_RATE,
    PLATEAU,
    PLATEAU_ROUND_TRIPS,
    PLATEAU_SECONDS,
    FoundRate,
    Pace,
    PacedSender,
    is_refusal,
)
from backfill.records import Answer, Batch, Outcome
from backfill.verdict import Action, Verdict, outcome_of
from tests.support.pace_simulation import BACKOFF, NETWORK, Simulation
from tests.support.pace_targets import Bucket, Down, Flaky, Plain, Queue, Sliding, Target, Together, even, lognormal

#: What a request takes on average at a target that needs 50 ms.
EVEN = 0.05 * 1.05 + 2.2 * NETWORK
SETTLED, END = 60.0, 180.0


@pytest.mark.parametrize(
    ("target", "capacity", "others"),
    [
        *[(Together(most=most), most / EVEN, {}) for most in (2, 8)],
        (Together(most=2), 2 / (4 * EVEN), {"needs": even(0.2)}),
        (Bucket(rate=5, burst=1), 5, {}),
        (Bucket(rate=20, burst=2), 20, {"needs": even(1.0)}),
        (Bucket(rate=70, burst=1), 70, {}),
        *[(Bucket(rate=rate, burst=rate / 10), rate, {}) for rate in (20, 100, 400)],
        (Bucket(rate=100, burst=10), 100, {"needs": lognormal(0.05)}),
        (Bucket(rate=100, burst=100), 100, {}),
        (Sliding(rate=20), 20, {}),
        (Queue(rate=100, most=5), 100, {}),
        (Together(most=32), 2 / EVEN, {"senders": 2}),
    ],
    ids=lambda what: str(what) if isinstance(what, Plain) else "",
)
def test_at_a_hidden_limit(target: Target, capacity: float, others: dict[str, Any]) -> None:
    """Delivery begins knowing nothing; then under 2% are refused, and at least 90% of the capacity are used."""
    simulation = Simulation(deepcopy(target), **others).run(END)  # it remembers what it was sent
    assert simulation.refusals(SETTLED, END) < 0.02
    assert simulation.share(capacity, SETTLED, END) >= 0.9


def test_a_limit_that_changes() -> None:
    """A target that takes less is given less, and more when it takes more again."""
    target = Bucket(rate=100, burst=10)
    simulation = Simulation(target).run(60)
    target.rate = 50
    simulation.run(150)
    assert simulation.share(50, 90, 150) >= 0.9
    assert simulation.refusals(90, 150) < 0.02
    target.rate = 100
    simulation.run(270)
    assert simulation.share(100, 210, 270) >= 0.9


def test_no_limit() -> None:
    """Where nothing is refused, nobody waits."""
    simulation = Simulation(Plain(), senders=16).run(20)
    assert simulation.share(16 / EVEN, 0, 20) >= 0.98
    assert simulation.pace.ask(1, 20.0) == 0


def test_after_an_outage() -> None:
    """What was refused because the target was down is no measure of what it takes."""
    simulation = Simulation(Down(until=120), senders=2, longest=BACKOFF).run(240)
    assert simulation.share(2 / EVEN, 180, 240) >= 0.9


@pytest.mark.parametrize(("share", "least"), [(0.01, 0.8), (0.02, 0.5)])
def test_refusals_by_chance_cost_at_most_half(share: float, least: float) -> None:
    """Two senders, as by default: of what they could send, where one or two in a hundred are refused by chance."""
    found = []
    for seed in (1, 2, 3):
        simulation = Simulation(Flaky(share=share), senders=2, seed=seed).run(END)
        alone = 2 / (EVEN + share * BACKOFF * 1.05)
        found.append(simulation.share(alone, SETTLED, END))
    assert min(found) >= least


@pytest.mark.parametrize("share", [0.001, 0.01])
def test_refusals_by_chance(share: float) -> None:
    """What has nothing to do with the rate costs less than half of it."""
    left = 16 / (EVEN + share * BACKOFF * 1.05)
    simulation = Simulation(Flaky(share=share), senders=16).run(240)
    assert simulation.share(left, 180, 240) >= 0.5


class TestFoundRate:
    """The curve itself."""

    @staticmethod
    def settled(refused_at: float) -> FoundRate:
        """One of which slow start is over, just refused at that rate."""
        found = FoundRate()
        found.refused(1, 2)
        found.accepted(3, 3)
        found.rate = refused_at
        found.refused(4, 5)
        return found

    def test_slow_start_doubles_each_second(self) -> None:
        """The first refusal says that there is a limit, and nothing of where it is."""
        found, seconds = FoundRate(), 0.0
        found.refused(0.5, 1)
        assert found.rate == FIRST_RATE
        while seconds < 5:
            seconds += 1 / found.rate
            found.used()
        assert found.rate == pytest.approx(FIRST_RATE * 2**seconds)

    def test_the_curve(self) -> None:
        """It drops at once, is back at the refused rate after PLATEAU requests, and as far above after as many more."""
        found, rates = self.settled(100), []
        for _ in range(2 * PLATEAU):
            rates.append(found.rate)
            found.used()
        assert rates[0] == pytest.approx(100 * CUT)
        assert rates == sorted(rates)
        assert rates[PLATEAU // 2] == pytest.approx(100 * (1 - (1 - CUT) / 8))
        assert rates[PLATEAU] == pytest.approx(100)
        assert found.rate == pytest.approx(100 * (2 - CUT))

    def test_slow_answers_make_it_slower(self) -> None:
        """Refusals that come late are waited for: it is back at the refused rate after ten round trips at least."""
        found = self.settled(100)
        for _ in range(99):
            found.accepted(4, 6)
        for _ in range(int(10 * 2.0 * 100)):
            assert found.rate < 100
            found.used()
        assert found.rate == pytest.approx(100)

    def test_one_cut_for_one_event(self) -> None:
        """Neither what left before the cut lowers it again, nor anything until a later one was accepted."""
        found = self.settled(100)
        found.refused(4.9, 6)
        found.refused(5.5, 6)
        assert found.rate == pytest.approx(100 * CUT)
        found.accepted(4.9, 4.9)
        found.refused(5.6, 7)
        assert found.rate == pytest.approx(100 * CUT)
        found.accepted(5.7, 5.7)
        found.refused(5.8, 8)
        assert found.rate < 100 * CUT

    @given(st.lists(st.sampled_from(["used", "accepted", "refused"]), max_size=200), st.randoms())
    def test_it_stays_a_rate(self, events: list[str], chance: random.Random) -> None:
        """Whatever happens in whatever order."""
        found, now = FoundRate(), 0.0
        for event in events:
            now += chance.random()
            if event == "used":
                found.used()
            elif event == "accepted":
                found.accepted(now - chance.random(), now)
            else:
                found.refused(now - chance.random(), now)
            assert found.rate >= CUT * LEAST_RATE


@pytest.mark.parametrize(
    ("status", "after", "is_one"),
    [
        (429, None, True),
        (429, 7.0, True),
        (503, None, True),
        (503, 7.0, False),
        (500, None, False),
        (None, None, False),
    ],
)
def test_refusals(status: int | None, after: float | None, *, is_one: bool) -> None:
    """429, and 503 that does not say when to come back; nothing else is about the rate."""
    answer = Answer(Outcome.NOT_TAKEN, None, status, "", 0.0, 0.0, 0)
    assert is_refusal(Attempt(Verdict(Action.RETRY, Outcome.NOT_TAKEN, after=after), 1, 0.0, answer)) is is_one
    assert not is_refusal(Attempt(Verdict(Action.RETRY, Outcome.NOT_TAKEN, after=after), 0, 0.0))  # nothing was sent
    for action in (Action.ACCEPTED, Action.SPLIT, Action.REJECTED):
        assert not is_refusal(Attempt(Verdict(action, Outcome.NOT_TAKEN), 1, 0.0, answer))


# ------------------------------------------------------------------------------------------- the rate, step by step


def slow_start(doublings: float) -> FoundRate:
    """A rate that was refused once, and was used since until it had doubled that often; then it was refused again."""
    found = FoundRate()
    found.refused(0.0, 1.0)
    while found.rate < FIRST_RATE * 2**doublings:
        found.used()
    found.accepted(1.5, 1.5)
    return found


def test_before_the_first_refusal_nothing_is_limited() -> None:
    """Then requests leave at the first rate, which doubles in as many requests as leave in a second at it."""
    found = FoundRate()
    found.accepted(0.0, 0.5)
    assert found.rate == float("inf")
    found.refused(0.0, 1.0)
    assert found.rate == FIRST_RATE
    found.used()
    assert found.rate == pytest.approx(FIRST_RATE * 2 ** (1 / FIRST_RATE))
    second = found.rate
    found.used()
    assert found.rate == pytest.approx(second * 2 ** (1 / second))


@given(doublings=st.floats(0, 8), round_trip=st.floats(0, 4), requests=st.integers(1, 400))
def test_after_slow_start_the_rate_is_a_cubic_of_the_requests(
    doublings: float, round_trip: float, requests: int
) -> None:
    """It drops, comes back within the plateau, and grows beyond it."""
    found = slow_start(doublings)
    found.accepted(2.0, 2.0 + round_trip)
    last = found.rate
    found.refused(3.0, 4.0)
    assert found.rate == pytest.approx(CUT * last)
    for _ in range(requests):
        found.used()
    # The mean of round trips, of which each counts an eighth.
    seconds = max(PLATEAU_ROUND_TRIPS * round_trip / 8, min(PLATEAU / last, PLATEAU_SECONDS))
    assert found.rate == pytest.approx(last * (1 + (1 - CUT) * (requests / (seconds * last) - 1) ** 3))


def test_round_trips_are_smoothed() -> None:
    """Each counts an eighth; that of the first refusal is none."""
    found = slow_start(0)
    for _ in range(3):
        found.accepted(2.0, 10.0)
    last = found.rate
    found.refused(3.0, 4.0)
    found.used()
    seconds = PLATEAU_ROUND_TRIPS * 8 * (1 - (7 / 8) ** 3)
    assert found.rate == pytest.approx(last * (1 + (1 - CUT) * (1 / (seconds * last) - 1) ** 3))


def test_one_cut_for_all_that_left_before_it() -> None:
    """What left before it, or at its moment, is refused for the old rate; the new one is tested by what left later."""
    found = slow_start(2)
    found.refused(2.0, 3.0)
    cut = found.rate
    for left_at in (1.0, 3.0, 3.5):
        found.refused(left_at, 4.0)
        assert found.rate == cut
    found.accepted(3.0, 4.0)  # left at the moment of the cut
    found.refused(3.5, 4.0)
    assert found.rate == cut
    found.accepted(3.1, 4.0)
    found.refused(3.0, 4.0)
    assert found.rate == cut
    found.refused(3.2, 4.0)
    assert found.rate < cut


def test_a_refusal_by_chance_costs_half_of_what_was_regained() -> None:
    """`last` goes half way down to a rate that is lower than it, and up to one that is higher, at once."""
    found = slow_start(4)
    found.refused(2.0, 3.0)
    last, cut = found.rate / CUT, found.rate
    found.accepted(3.1, 3.1)
    found.refused(3.2, 4.0)
    assert found.rate == pytest.approx(CUT * cut)
    found.used()
    half = (last + cut) / 2
    requests = min(PLATEAU / half, PLATEAU_SECONDS) * half
    assert found.rate == pytest.approx(half * (1 + (1 - CUT) * (1 / requests - 1) ** 3))
    for _ in range(3 * PLATEAU):
        found.used()
    high = found.rate
    assert high > last
    found.accepted(4.1, 4.1)
    found.refused(4.2, 5.0)
    assert found.rate == pytest.approx(CUT * high)


def test_no_rate_below_the_least_is_refused() -> None:
    """However often: a target that refuses all is asked every ten seconds or so."""
    found = slow_start(0)
    for turn in range(200):
        found.accepted(10.0 * turn + 3, 10.0 * turn + 3)
        found.used()
        found.refused(10.0 * turn + 4, 10.0 * turn + 5)
    found.used()
    assert found.rate == pytest.approx(CUT * LEAST_RATE, rel=0.1)


class Scripted:
    """A sender whose attempts end as it is told."""

    def __init__(self, *statuses: int) -> None:
        self._statuses = iter(statuses)

    def send(self, _batch: Batch, _counted: int) -> Attempt:
        """One attempt."""
        status = next(self._statuses)
        outcome = outcome_of(status)
        action = Action.ACCEPTED if outcome is Outcome.ACCEPTED else Action.RETRY
        return Attempt(Verdict(action, outcome), 1, 0.0, Answer(outcome, None, status, "", 0.0, 0.0, 0))


def test_the_pace_is_told_how_each_attempt_ended() -> None:
    """Refusals lower the rate, but only once something was accepted since the last one; other ends say nothing."""
    now = [100.0]
    waits: list[tuple[float, str]] = []

    def wait(seconds: float, reason: str) -> None:
        waits.append((seconds, reason))
        now[0] += seconds

    pace, rates = Pace(None, None, lambda: now[0]), []
    statuses = (429, 500, 429, 200, 429, 500, 429)
    sender = PacedSender(Scripted(*statuses), pace, wait)
    for _ in statuses:
        sender.send(Batch(1, 0, 1, 1, 0, 1, 0), 1)
        rates.append(1 / pace.ask(1, now[0]))  # how long after this request the next one may leave
        now[0] += 1e-6  # an answer takes its time
    found = FoundRate()
    found.refused(0.0, 1.0)
    expected = [found.rate]
    for at, status in enumerate(statuses[1:], 2):
        found.used()
        if status == 200:
            found.accepted(float(at), at + 0.0)
        elif status == 429 and 200 in statuses[: at - 1]:
            found.refused(float(at), at + 0.5)
        expected.append(found.rate)
    assert rates == pytest.approx(expected, rel=1e-3)
    assert {reason for _, reason in waits} == {"pace"}


def test_a_request_that_comes_when_it_is_due_says_nothing_of_the_rate() -> None:
    """Only one that had to wait for it does: then the rate is what limits."""
    now = [100.0]
    pace = Pace(None, None, lambda: now[0])
    assert pace.ask(1, now[0]) == 0.0
    pace.ended(now[0], accepted=False, refused=True)
    for came, waits in ((0.0, FIRST_RATE), (-0.1, FIRST_RATE * 2 ** (1 / FIRST_RATE))):
        now[0] += 1 / FIRST_RATE
        assert pace.ask(1, now[0] + came) == 0.0
        assert pace.ask(1, now[0]) == pytest.approx(1 / waits)
