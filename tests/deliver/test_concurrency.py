"""deliver: how many requests in flight at once, and a second, a target that tells nothing is given."""

import socket
import threading
from typing import Any, BinaryIO

import pytest

from backfill.deliver import DeliveryOptions, EndKind
from backfill.deliver.climb import Climb
from backfill.deliver.concurrency import Control
from backfill.deliver.departure import Departure
from backfill.records import BatchState
from tests.support.delivery_fakes import Endpoint, Run, Shelf, Step
from tests.support.pace_simulation import BACKOFF, NETWORK, Simulation
from tests.support.pace_targets import (
    Bucket,
    Down,
    Flaky,
    OneByOne,
    Plain,
    Queue,
    Sliding,
    Target,
    Together,
    Window,
    even,
    lognormal,
)

#: What a request takes on average at a target that needs 50 ms, and at one that now needs more, now less.
EVEN, UNEVEN = 0.05 * 1.05 + 2.2 * NETWORK, 0.05 + 2.2 * NETWORK
SETTLED, END = 60.0, 180.0

UNEVENLY: dict[str, Any] = {"needs": lognormal(0.05)}
BY_CALLS: dict[str, Any] = {"weight": lambda chance: chance.uniform(0.5, 1.5)}


class TestSettling:
    """Delivery begins knowing nothing, and settles close to what the target takes."""

    @pytest.mark.parametrize(
        ("target", "capacity", "others"),
        [
            *[(Together(most=most), most / EVEN, {}) for most in (1, 2, 3, 5, 8, 13, 32)],
            (Together(most=32), 16 / EVEN, {"senders": 16}),
            (Together(most=8), 4 / EVEN, {"senders": 4}),
            *[(Together(most=most), most / UNEVEN, UNEVENLY) for most in (2, 5, 12)],
            (Together(most=8), 8 / (4 * EVEN), {"needs": even(0.2)}),
            (Together(most=1), 1 / 1.0511, {"needs": even(1.0)}),
            (Together(most=3), 3 / (0.02 * 1.05 + 2.2 * NETWORK), {"needs": even(0.02)}),
            *[(Bucket(rate=rate, burst=1), rate, {}) for rate in (5, 10, 20, 30, 50, 70, 100, 200, 400)],
            *[(Bucket(rate=rate, burst=1), rate, {"needs": even(0.03)}) for rate in (50, 100, 200)],
            *[(Bucket(rate=rate, burst=max(1, rate / 10)), rate, {}) for rate in (5, 20, 30, 50, 100, 118, 200, 400)],
            *[(Bucket(rate=rate, burst=rate), rate, {}) for rate in (20, 50, 100, 200, 400)],
            *[(Bucket(rate=rate, burst=2 * rate), rate, {}) for rate in (20, 50, 100, 200, 400)],
            (Bucket(rate=100, burst=10), 100, UNEVENLY),
            (Bucket(rate=20, burst=2), 20, {"needs": even(1.0)}),
            *[(Window(rate=rate), rate, {}) for rate in (10, 20, 50, 100, 200, 400)],
            *[(Sliding(rate=rate), rate, {}) for rate in (20, 100)],
            *[(Queue(rate=rate, most=most), rate, {}) for rate in (20, 100, 400) for most in (5, 50)],
        ],
        ids=lambda what: str(what) if isinstance(what, Plain) else "",
    )
    def test_at_a_hidden_capacity(self, target: Target, capacity: float, others: dict[str, Any]) -> None:
        """Under 2% are refused, and at least 90% of the capacity are used."""
        simulation = Simulation(target, **others).run(END)
        assert simulation.refusals(SETTLED, END) < 0.02
        assert simulation.share(capacity, SETTLED, END) >= 0.9

    @pytest.mark.parametrize(
        ("target", "capacity", "others", "refused", "used"),
        [
            # Nothing is as exact as a millisecond.
            pytest.param(Bucket(rate=1000, burst=1), 1000, {}, 0.02, 0.85, id="no two within 1 ms"),
            # All the rest of the ten seconds is refused: one probe costs what many others do.
            pytest.param(Window(rate=20, seconds=10), 20, {}, 0.06, 0.8, id="so many in ten seconds"),
            # Small bursts and calls that vary: there is no sharp limit.
            pytest.param(Bucket(rate=20, burst=2, calls=True), 20, BY_CALLS, 0.05, 0.8, id="by calls, which vary"),
        ],
    )
    def test_what_is_missed(
        self, target: Target, capacity: float, others: dict[str, Any], refused: float, used: float
    ) -> None:
        """The weakest cases: not within both bounds, yet not far off."""
        simulation = Simulation(target, **others).run(END)
        assert simulation.refusals(SETTLED, END) < refused
        assert simulation.share(capacity, SETTLED, END) >= used

    @pytest.mark.parametrize("most", [2, 8, 32])
    def test_refusals_grow_rare(self, most: int) -> None:
        """The longer a limit stands, the less often it is tried."""
        simulation = Simulation(Together(most=most)).run(300)
        later = [at for at in simulation.refused if at > 150]
        assert len(later) <= 6
        assert simulation.share(most / EVEN, 150, 300) >= 0.95

    def test_a_capacity_that_changes(self) -> None:
        """A target that takes less is given less, and more when it takes more again."""
        target = Together(most=32)
        simulation = Simulation(target).run(30)
        target.most = 8
        simulation.run(90)
        assert simulation.share(8 / EVEN, 60, 90) >= 0.9
        assert simulation.refusals(60, 90) < 0.02
        target.most = 32
        simulation.run(240)
        assert simulation.share(32 / EVEN, 210, 240) >= 0.8

    def test_a_rate_that_changes(self) -> None:
        """Likewise where so many a second are taken."""
        target = Bucket(rate=100, burst=10)
        simulation = Simulation(target).run(60)
        target.rate = 50
        simulation.run(150)
        assert simulation.share(50, 90, 150) >= 0.9
        assert simulation.refusals(90, 150) < 0.02

    def test_after_an_outage(self) -> None:
        """What was refused because the target was down is no measure of what it takes."""
        simulation = Simulation(Down(until=120), senders=16, longest=BACKOFF).run(180)
        assert simulation.share(16 / EVEN, 150, 180) >= 0.8

    def test_after_an_outage_and_the_wait(self) -> None:
        """Senders that were refused again and again wait up to a minute; then all is as before."""
        simulation = Simulation(Down(until=120), senders=16).run(220)
        assert simulation.share(16 / EVEN, 190, 220) >= 0.9

    def test_an_outage_is_asked_ever_less(self) -> None:
        """While everything is refused, requests leave at most once a second, but for the first of them."""
        simulation = Simulation(Down(until=60), senders=16).run(60)
        assert len([at for at in simulation.refused if at > 5]) <= 56


class Watched(Control):
    """Notes the limit before and after each halving."""

    def __init__(self, most: int) -> None:
        super().__init__(most)
        self.halvings: list[tuple[int, int]] = []

    def ended(self, departure: Departure, now: float, *, accepted: bool, refused: bool) -> None:
        """As a Control's."""
        limit, halved = self.limit(now), self._dips._halved
        super().ended(departure, now, accepted=accepted, refused=refused)
        if self._dips._halved != halved:
            self.halvings.append((limit, self.limit(now)))


@pytest.mark.parametrize(
    "target", [Together(most=8), Bucket(rate=70, burst=1), Bucket(rate=100, burst=10), Flaky(share=0.02)], ids=str
)
def test_every_refusal_halves(target: Target) -> None:
    """Whatever is found out by it: right after a halving no more than half as many may be in flight."""
    simulation = Simulation(target, make=Watched).run(60)
    halvings = simulation.control.halvings  # type: ignore[attr-defined]
    assert len(halvings) > 2
    assert [(before, after) for before, after in halvings if after > max(1, (before + 1) // 2)] == []


class TestChance:
    """Refusals that have nothing to do with the load."""

    @pytest.mark.parametrize(
        ("share", "senders", "seconds", "used"),
        [
            (0.001, 16, 0.05, 0.9),
            (0.0025, 16, 0.05, 0.9),
            (0.0025, 4, 0.004, 0.9),
            (0.005, 4, 0.05, 0.9),
            (0.01, 16, 0.2, 0.85),
            (0.01, 16, 0.05, 0.85),
            (0.0175, 16, 0.05, 0.85),
            (0.0175, 16, 0.2, 0.85),
            (0.03, 16, 0.05, 0.85),
            (0.03, 16, 0.2, 0.85),
        ],
    )
    def test_they_do_not_slow_it_down(self, share: float, senders: int, seconds: float, used: float) -> None:
        """After some minutes it stays near what the back-off of the refused alone would leave."""
        left = senders / (seconds * 1.05 + 2.2 * NETWORK + share * BACKOFF * 1.05)
        simulation = Simulation(Flaky(share=share), senders=senders, needs=even(seconds)).run(240)
        assert simulation.share(left, 180, 240) >= used

    def test_beside_a_limit(self) -> None:
        """They do not hide it."""
        simulation = Simulation(Flaky(share=0.001, inner=Together(most=8))).run(END)
        assert simulation.refusals(SETTLED, END) < 0.02
        assert simulation.share(8 / EVEN, SETTLED, END) >= 0.9


class TestClimbing:
    """More senders where they pay, and only there."""

    def test_answers_that_take_long(self) -> None:
        """The senders wait, each for its answer: as many as there may be are soon at work, and evenly at any time."""
        simulation = Simulation(Plain(), senders=16).run(20)
        assert [limit for at, limit in simulation.limits if at > 15] == pytest.approx([16] * 250, abs=1)
        assert simulation.control.interval(20) == 0
        assert not simulation.refused

    def test_a_busy_target(self) -> None:
        """Where requests wait for each other, more at once only make each take longer: few are sent at once."""
        simulation = Simulation(OneByOne(), senders=16, needs=even(0.005)).run(60)
        limits = [limit for _, limit in simulation.limits]
        assert sum(limits) / len(limits) < 3
        assert max(limits) <= 4

    def test_steps_that_did_not_pay_become_smaller(self) -> None:
        """Where eight at once are best, twice as many are tried, then half as many more, two more, one more."""
        climb, now, tried = Climb(64), 0.0, []
        for _ in range(20_000):
            now += 1 / (100.0 * min(climb.level, 8))  # what comes through grows with the level, up to eight
            climb.accepted(now)
            if not tried or tried[-1] != climb.level:
                tried.append(climb.level)
        assert tried[:12] == [2, 4, 8, 16, 8, 12, 8, 10, 8, 9, 8, 12]

    def test_never_more_than_allowed(self) -> None:
        """One sender stays one."""
        assert {limit for _, limit in Simulation(Plain(), senders=1).run(5).limits} == {1}


class Narrow(Endpoint):
    """Takes two requests at once, for ten milliseconds each, and refuses any more."""

    def _answer(self, connection: socket.socket, reader: BinaryIO, step: Step) -> bool:
        if self._busy > 2:
            return super()._answer(connection, reader, Step(429))
        threading.Event().wait(0.01)
        return super()._answer(connection, reader, step)


class TestDelivery:
    """A delivery over sockets."""

    def test_a_target_that_takes_two_at_once(self) -> None:
        """Everything is delivered, and once the limit was met, few are refused."""
        with Narrow() as endpoint:
            run = Run(Shelf(300), endpoint.url, options=DeliveryOptions(first_alone=False))
            end = run.go()
        assert end.kind is EndKind.FINISHED
        assert run.shelf.states() == dict.fromkeys(range(1, 301), BatchState.DELIVERED)
        assert endpoint.at_once > 2
        assert 0 < end.totals.retries < 60
