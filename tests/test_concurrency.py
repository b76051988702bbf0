"""deliver: how many requests in flight at once, and a second, a target that tells nothing is given."""

import socket
import threading
from typing import BinaryIO

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backfill.deliver import DeliveryOptions, EndKind
from backfill.deliver.concurrency import Control
from backfill.deliver.model import Attempt, HaltedError
from backfill.deliver.slots import Slot, Slots, is_refusal
from backfill.records import Answer, BatchState, Outcome
from backfill.verdict import Action, Verdict
from tests.delivery_fakes import Endpoint, Run, Shelf, Step, eventually
from tests.pace_simulation import (
    BACKOFF,
    Bucket,
    ByTheSecond,
    Down,
    Flaky,
    OneByOne,
    Plain,
    Simulation,
    Target,
    Together,
)

#: What a request of the simulation takes on average.
ROUND_TRIP = 0.05 * 1.05 + 0.002
SETTLED, END = 60.0, 180.0


class TestSettling:
    """Delivery begins knowing nothing, and settles close to what the target takes."""

    @pytest.mark.parametrize(
        ("target", "capacity"),
        [
            *[(Together(most=most), most / ROUND_TRIP) for most in (1, 2, 3, 5, 8, 13, 32)],
            *[(Bucket(rate=rate, burst=max(1, rate / 10)), rate) for rate in (20, 30, 100, 118, 400)],
            *[(Bucket(rate=rate, burst=rate), rate) for rate in (20, 400)],
            *[(Bucket(rate=rate), rate) for rate in (20, 30, 100)],
            *[(ByTheSecond(rate=rate), rate) for rate in (20, 100, 400)],
        ],
        ids=str,
    )
    def test_at_a_hidden_capacity(self, target: Target, capacity: float) -> None:
        """Under 2% are refused, and at least 90% of the capacity are used."""
        simulation = Simulation(target).run(END)
        assert simulation.refusals(SETTLED, END) < 0.02
        assert simulation.share(capacity, SETTLED, END) >= 0.9

    def test_a_limit_that_lets_bursts_through(self) -> None:
        """The weakest case: what idling has saved up is taken at once, so that the limit is seen late."""
        simulation = Simulation(Bucket(rate=100, burst=100)).run(END)
        assert simulation.refusals(SETTLED, END) < 0.03
        assert simulation.share(100, SETTLED, END) >= 0.85

    @pytest.mark.parametrize("most", [2, 8, 32])
    def test_refusals_grow_rare(self, most: int) -> None:
        """The longer a limit stands, the less often it is tried."""
        simulation = Simulation(Together(most=most)).run(300)
        later = [at for at in simulation.refused if at > 150]
        assert len(later) <= 6
        assert simulation.share(most / ROUND_TRIP, 150, 300) >= 0.9

    def test_a_capacity_that_changes(self) -> None:
        """A target that takes less is given less, and more when it takes more again."""
        target = Together(most=32)
        simulation = Simulation(target).run(30)
        target.most = 8
        simulation.run(90)
        assert simulation.share(8 / ROUND_TRIP, 60, 90) >= 0.9
        assert simulation.refusals(60, 90) < 0.02
        target.most = 32
        simulation.run(240)
        assert simulation.share(32 / ROUND_TRIP, 210, 240) >= 0.8

    def test_after_an_outage(self) -> None:
        """What was refused because the target was down is no measure of what it takes."""
        simulation = Simulation(Down(until=120), senders=16).run(180)
        assert simulation.share(16 / ROUND_TRIP, 150, 180) >= 0.8


class TestChance:
    """Refusals that have nothing to do with the load must not slow a delivery down."""

    @pytest.mark.parametrize("delay", [0.05, 0.2])
    @pytest.mark.parametrize("share", [0.0175, 0.03])
    def test_it_comes_back(self, share: float, delay: float) -> None:
        """After some minutes it is at 85% of what the back-off of the refused alone would leave."""
        capacity = 16 / (delay * 1.05 + 0.002)
        left = 1 / (1 + share * BACKOFF * capacity / 16)
        simulation = Simulation(Flaky(share=share), senders=16, delay=delay).run(240)
        assert simulation.share(capacity, 180, 240) >= 0.85 * left


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
        simulation = Simulation(OneByOne(), senders=16, delay=0.005).run(60)
        limits = [limit for _, limit in simulation.limits]
        assert sum(limits) / len(limits) < 3
        assert max(limits) <= 4

    def test_never_more_than_allowed(self) -> None:
        """One sender stays one."""
        assert {limit for _, limit in Simulation(Plain(), senders=1).run(5).limits} == {1}


class TestControl:
    """The state machine itself."""

    def test_a_refusal_halves_once_in_a_round_trip(self) -> None:
        """Those that left before the halving change nothing more; one that left after it does."""
        control = Control(16)
        for number in range(500):  # climbs
            together = [control.left(number / 10) for _ in range(control.limit(number / 10))]
            for departure in together:
                control.ended(departure, number / 10 + 0.05, accepted=True, refused=False)
        assert control.limit(50) == 16
        together = [control.left(50) for _ in range(16)]
        for departure in together[:8]:
            control.ended(departure, 50.01, accepted=False, refused=True)
        assert control.limit(50.01) in (7, 8)
        state = control.limit(50.02), control.interval(50.02)
        for departure in together[8:]:
            control.ended(departure, 50.02, accepted=False, refused=True)
        assert (control.limit(50.02), control.interval(50.02)) == state
        assert control.limit(50.3) > state[0]

    @given(
        most=st.integers(1, 64),
        events=st.lists(st.tuples(st.floats(0, 20), st.sampled_from(["leave", "accept", "refuse", "fail"]))),
    )
    def test_limits_hold_whatever_happens(self, most: int, events: list[tuple[float, str]]) -> None:
        """At least one in flight is always allowed, never more than asked for; and some request is, in finite time."""
        control, now, away = Control(most), 0.0, []
        for wait, event in events:
            now += wait
            if event == "leave":
                away.append(control.left(now))
            elif away:
                control.ended(away.pop(), now, accepted=event == "accept", refused=event == "refuse")
            assert 1 <= control.limit(now) <= most
            assert 0 <= control.interval(now) <= 60


class TestSlots:
    """What the senders wait at."""

    @pytest.mark.parametrize(
        ("status", "after", "is_one"),
        [
            (429, None, True),
            (429, 5.0, True),
            (503, None, True),
            (503, 5.0, False),
            (500, None, False),
            (None, 0, False),
        ],
    )
    def test_refusals(self, status: int | None, after: float | None, *, is_one: bool) -> None:
        """429, and 503 that does not say when to come back."""
        answer = Answer(Outcome.REFUSED, None, status, "", 0.0, 0.0, 0)
        assert is_refusal(Attempt(Verdict(Action.RETRY, Outcome.REFUSED, after=after), 1, 0.0, answer)) is is_one

    def test_who_began_goes_first(self) -> None:
        """A batch under way does not wait behind fresh ones; of the rest, the lowest sender goes first."""
        slots, order, never = Slots(Control(1), lambda: 0.0), list[int](), lambda: False
        slots.take(0, never, begun=False)

        def wait(number: int, *, begun: bool) -> None:
            slots.take(number, never, begun=begun)
            order.append(number)
            slots.give_back()

        threads = []
        for count, (number, begun) in enumerate([(3, False), (9, True), (1, False)], 1):
            threads.append(threading.Thread(target=wait, args=(number,), kwargs={"begun": begun}, daemon=True))
            threads[-1].start()
            eventually(lambda count=count: len(slots._waiting) == count)
        slots.give_back()
        for thread in threads:
            thread.join(10)
        assert order == [9, 1, 3]

    def test_who_has_a_slot_keeps_it(self) -> None:
        """The same sender goes on, unless a batch under way waits, or there are fewer slots than before."""
        control, now = Control(8), [0.0]
        slots, never = Slots(control, lambda: now[0]), lambda: False
        for number in (0, 1):
            slots.take(number, never, begun=False)
        assert slots.keep()
        threads = [
            threading.Thread(target=slots.take, args=(number, never), kwargs={"begun": begun}, daemon=True)
            for number, begun in ((2, False), (3, True))
        ]
        threads[0].start()
        eventually(lambda: len(slots._waiting) == 1)
        assert slots.keep()
        threads[1].start()
        eventually(lambda: len(slots._waiting) == 2)
        assert not slots.keep()
        threads[1].join(10)
        slots.give_back()
        threads[0].join(10)
        assert slots.keep()
        control.ended(control.left(0), 0.01, accepted=True, refused=False)
        control.ended(control.left(1), 1.01, accepted=False, refused=True)
        now[0] = 1.02
        assert (slots._taken, control.limit(now[0])) == (2, 1)
        assert not slots.keep()
        assert slots.keep()

    def test_the_end_frees_who_waits(self) -> None:
        """Who waits when the delivery is to end goes without a slot, and leaves none behind."""
        slots, over = Slots(Control(1), lambda: 0.0), threading.Event()
        mine, theirs = Slot(slots, 0, over.is_set), Slot(slots, 1, over.is_set)
        mine.take(begun=False)
        threading.Timer(0.05, over.set).start()
        with pytest.raises(HaltedError):
            theirs.take(begun=False)
        mine.give_back()
        assert (slots._taken, slots._waiting) == (0, [])


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
