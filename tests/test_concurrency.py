"""deliver: how many requests in flight at once, and a second, a target that tells nothing is given."""

import socket
import threading
from typing import Any, BinaryIO

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backfill.deliver import DeliveryOptions, EndKind
from backfill.deliver.ceiling import Ceiling
from backfill.deliver.concurrency import Control
from backfill.deliver.crowd import Crowd
from backfill.deliver.departure import Departure
from backfill.deliver.model import Attempt, HaltedError
from backfill.deliver.probing import Probing
from backfill.deliver.slots import Slot, Slots, is_refusal
from backfill.deliver.spacing import Spacing
from backfill.records import Answer, BatchState, Outcome
from backfill.verdict import Action, Verdict
from tests.delivery_fakes import Endpoint, Run, Shelf, Step, eventually
from tests.pace_simulation import BACKOFF, NETWORK, Simulation
from tests.pace_targets import (
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
SETTLED, END = 60.0, 120.0

UNEVENLY: dict[str, Any] = {"needs": lognormal(0.05)}
BY_CALLS: dict[str, Any] = {"weight": lambda chance: chance.uniform(0.5, 1.5)}


class TestSettling:
    """Delivery begins knowing nothing, and settles close to what the target takes."""

    @pytest.mark.parametrize(
        ("target", "capacity", "others"),
        [
            *[(Together(most=most), most / EVEN, {}) for most in (1, 2, 3, 5, 8, 12)],
            (Together(most=32), 16 / EVEN, {"senders": 16}),
            (Together(most=8), 4 / EVEN, {"senders": 4}),
            *[(Together(most=most), most / UNEVEN, UNEVENLY) for most in (2, 5, 12)],
            (Together(most=8), 8 / (4 * EVEN), {"needs": even(0.2)}),
            (Together(most=3), 3 / (0.02 * 1.05 + 2.2 * NETWORK), {"needs": even(0.02)}),
            *[(Bucket(rate=rate, burst=1), rate, {}) for rate in (5, 10, 20, 50, 100, 200, 400)],
            *[(Bucket(rate=rate, burst=1), rate, {"needs": even(0.03)}) for rate in (50, 100, 200)],
            *[(Bucket(rate=rate, burst=rate / 10), rate, {}) for rate in (20, 50, 100, 200)],
            *[(Bucket(rate=rate, burst=rate), rate, {}) for rate in (20, 50, 100)],
            *[(Bucket(rate=rate, burst=2 * rate), rate, {}) for rate in (20, 50, 100)],
            (Bucket(rate=100, burst=10), 100, UNEVENLY),
            *[(Window(rate=rate), rate, {}) for rate in (10, 50, 100)],
            *[(Sliding(rate=rate), rate, {}) for rate in (20, 100)],
            *[(Queue(rate=rate, most=50), rate, {}) for rate in (20, 100)],
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
            pytest.param(Bucket(rate=1000, burst=1), 1000, {}, 0.02, 0.7, id="no two within 1 ms"),
            # All the rest of the ten seconds is refused: one probe costs what many others do.
            pytest.param(Window(rate=20, seconds=10), 20, {}, 0.06, 0.7, id="so many in ten seconds"),
            # Small bursts and calls that vary: some refusals are chance, and cost a probe its result.
            pytest.param(Bucket(rate=20, burst=2, calls=True), 20, BY_CALLS, 0.05, 0.8, id="by calls, which vary"),
            # A round trip of a second is long, and what is refused in it says little.
            pytest.param(Bucket(rate=20, burst=2), 20, {"needs": even(1.0)}, 0.02, 0.55, id="slow answers"),
        ],
    )
    def test_what_is_missed(
        self, target: Target, capacity: float, others: dict[str, Any], refused: float, used: float
    ) -> None:
        """The weakest cases: not within both bounds, yet not far off."""
        simulation = Simulation(target, **others).run(END)
        assert simulation.refusals(SETTLED, END) < refused
        assert simulation.share(capacity, SETTLED, END) >= used

    @pytest.mark.parametrize("most", [2, 8])
    def test_refusals_grow_rare(self, most: int) -> None:
        """The longer a limit stands, the less often it is tried."""
        simulation = Simulation(Together(most=most)).run(300)
        later = [at for at in simulation.refused if at > 150]
        assert len(later) <= 12
        assert simulation.share(most / EVEN, 150, 300) >= 0.95

    def test_a_capacity_that_changes(self) -> None:
        """A target that takes less is given less, and more when it takes more again."""
        target = Together(most=16)
        simulation = Simulation(target).run(30)
        target.most = 4
        simulation.run(90)
        assert simulation.share(4 / EVEN, 60, 90) >= 0.9
        assert simulation.refusals(60, 90) < 0.02
        target.most = 16
        simulation.run(240)
        assert simulation.share(16 / EVEN, 210, 240) >= 0.8

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
        simulation = Simulation(Down(until=120), senders=16).run(220)
        assert simulation.share(16 / EVEN, 190, 220) >= 0.9  # until then some still back off, for a minute

    def test_an_outage_is_asked_ever_less(self) -> None:
        """While everything is refused, requests leave at most once a second, but for the first of them."""
        simulation = Simulation(Down(until=60), senders=16).run(60)
        assert len([at for at in simulation.refused if at > 5]) <= 56


class TestChance:
    """Refusals that have nothing to do with the load."""

    @pytest.mark.parametrize(
        ("share", "senders", "seconds", "used"),
        [
            (0.001, 16, 0.05, 0.9),
            (0.0025, 16, 0.05, 0.9),
            (0.0025, 4, 0.004, 0.9),
            (0.005, 4, 0.05, 0.9),
            # Each refusal halves the concurrency for a round trip, which costs more the more are in flight.
            (0.01, 16, 0.2, 0.7),
            (0.01, 16, 0.05, 0.55),
        ],
    )
    def test_they_do_not_slow_it_down(self, share: float, senders: int, seconds: float, used: float) -> None:
        """It stays near what the back-off of the refused alone would leave; at 1% and more it does not."""
        left = senders / (seconds * 1.05 + 2.2 * NETWORK + share * BACKOFF * 1.05)
        simulation = Simulation(Flaky(share=share), senders=senders, needs=even(seconds)).run(END)
        assert simulation.share(left, SETTLED, END) >= used

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

    def test_never_more_than_allowed(self) -> None:
        """One sender stays one."""
        assert {limit for _, limit in Simulation(Plain(), senders=1).run(5).limits} == {1}


class TestControl:
    """The state machine itself."""

    @staticmethod
    def climbed(most: int) -> Control:
        """At 50 seconds, with nothing refused and answers after 50 ms."""
        control = Control(most)
        for number in range(500):
            together = [control.left(number / 10) for _ in range(control.limit(number / 10))]
            for departure in together:
                control.ended(departure, number / 10 + 0.05, accepted=True, refused=False)
        assert control.limit(50) == most
        return control

    def test_a_refusal_halves_once_in_a_round_trip(self) -> None:
        """Those that left before the halving change nothing more; one that left after it does, a round trip later."""
        control = self.climbed(16)
        together = [control.left(50) for _ in range(16)]
        control.ended(together[0], 50.01, accepted=False, refused=True)
        assert control.limit(50.01) == 8
        for departure in together[1:8]:
            control.ended(departure, 50.02, accepted=False, refused=True)
        assert control.limit(50.02) == 8
        control.ended(control.left(50.03), 50.04, accepted=False, refused=True)  # within the round trip
        assert control.limit(50.04) == 8
        control.ended(control.left(50.055), 50.062, accepted=False, refused=True)
        assert control.limit(50.062) == 4

    def test_it_grows_back_while_nothing_is_refused(self) -> None:
        """A round trip after a single refusal all is as before."""
        control = self.climbed(16)
        control.ended(control.left(50), 50.01, accepted=False, refused=True)
        assert control.limit(50.055) == 8
        assert control.limit(50.065) == 16

    def test_what_is_refused_again_and_again_is_tried_ever_less(self) -> None:
        """Each round trip with a refusal halves, until one request a second leaves."""
        control, now = self.climbed(16), 50.0
        limits, intervals = [], []
        for _ in range(12):
            control.ended(control.left(now), now + 0.001, accepted=False, refused=True)
            limits.append(control.limit(now + 0.001))
            intervals.append(control.interval(now + 0.001))
            now += 0.06
        assert limits[:5] == [8, 4, 2, 1, 1]
        assert intervals == sorted(intervals)
        assert intervals[-1] == 1

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

    @given(
        most=st.integers(1, 64),
        waits=st.lists(st.floats(0, 0.2), min_size=1, max_size=200),
        refused=st.sets(st.integers(0, 199)),
    )
    def test_a_halving_halves(self, most: int, waits: list[float], refused: set[int]) -> None:
        """Whenever it halves, no more than half of what was allowed is, and at least twice the time lies between."""
        control, now = Control(most), 0.0
        for number, wait in enumerate(waits):
            now += wait
            departure = control.left(now)
            now += 0.01
            limit, depth = control.limit(now), control._dips.depth
            control.ended(departure, now, accepted=number not in refused, refused=number in refused)
            if control._dips.depth > depth:
                assert control.limit(now) <= max(1, (limit + 1) // 2)


class TestLimits:
    """Which limit it is that refuses."""

    def test_a_crowd(self) -> None:
        """Above five all are refused, up to five none: five it is."""
        crowd = Crowd(16)
        for _ in range(3):
            for together in range(1, 6):
                crowd.accepted(together)
        assert [crowd.refused(together) for together in (6, 7, 8)] == [
            False,
            True,
            False,
        ]  # of the last alone, nothing more is known
        assert crowd.level == 5
        assert crowd.clean()

    def test_chance_is_no_crowd(self) -> None:
        """Where as many in flight were accepted, two refusals show nothing."""
        crowd = Crowd(16)
        for _ in range(8):
            crowd.accepted(16)
        assert not any(crowd.refused(16) for _ in range(3))
        assert crowd.level is None

    def test_a_rate_is_no_crowd(self) -> None:
        """Where few in flight are refused as well, it is not for their number."""
        crowd = Crowd(16)
        for together in (1, 2, 3, 4) * 3:
            crowd.accepted(together)
        assert not any(crowd.refused(together) for together in (2, 3, 16, 16))

    def test_a_spacing(self) -> None:
        """Ten milliseconds apart they are accepted, five apart refused: in between it is."""
        spacing, now, told = Spacing(), 0.0, []
        for gap, is_taken in [(0.01, True)] * 3 + [(0.005, False), (0.01, True)] * 2:
            now += gap
            departure = Departure(now, gap=spacing.left(now))
            if is_taken:
                spacing.accepted(departure)
            else:
                told.append(spacing.refused(departure))
        assert told == [None, pytest.approx(0.0072, rel=0.05)]

    def test_a_burst_is_no_spacing(self) -> None:
        """Where some were accepted that left together, it is not for that."""
        spacing = Spacing()
        for number in range(4):
            spacing.accepted(Departure(number / 1000, gap=spacing.left(number / 1000)))
        for number in range(1, 9):
            assert spacing.refused(Departure(number / 100, gap=spacing.left(number / 100))) is None

    def test_the_ceiling_is_what_came_through(self) -> None:
        """Every fourth of a hundred a second is refused: seventy-five come through, and a little less is sent."""
        ceiling = Ceiling()
        told = [ceiling.refused(Departure(number / 100, number), asked=100, silent=0.01) for number in range(0, 101, 4)]
        assert told == [False] * 25 + [True]
        assert ceiling.level == pytest.approx(0.96 * 75)

    def test_few_refusals_are_no_ceiling(self) -> None:
        """One in two hundred: chance."""
        ceiling = Ceiling()
        for number in range(0, 10000, 200):
            assert not ceiling.refused(Departure(number / 100, number), asked=100, silent=0.01)

    def test_probes_are_paid_for(self) -> None:
        """After five refusals of a probe, five hundred are to be accepted before the next one."""
        probing = Probing()
        probing.rest(Departure(0), 0)
        assert not probing.active(5)
        assert probing.active(5.1)
        for _ in range(5):
            probing.refused()
        probing.rest(Departure(6, probing=True), 6)
        for _ in range(499):
            probing.accepted(10)
        assert not probing.active(100)
        probing.accepted(100)
        assert probing.active(100.1)
        assert probing.growth(104.1) > probing.growth(101) > 0


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
        now[0] = 1.015  # within a round trip
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
