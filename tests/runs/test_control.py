"""deliver: the parts that find out how much a target takes, and the slots they grant."""

import math
import random
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backfill.deliver.ceiling import CUT, Ceiling
from backfill.deliver.chance import Chance
from backfill.deliver.concurrency import Control
from backfill.deliver.crowd import Crowd
from backfill.deliver.departure import Departure
from backfill.deliver.dips import Dips
from backfill.deliver.model import Attempt, HaltedError
from backfill.deliver.probing import Probing
from backfill.deliver.slots import Slot, Slots, is_refusal
from backfill.records import Answer, Outcome
from backfill.verdict import Action, Verdict
from tests.support.delivery_fakes import eventually


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
            control.ended(departure, 50.01, accepted=False, refused=True)
        assert control.limit(50.01) == 8
        before = control.limit(50.04)
        control.ended(control.left(50.03), 50.04, accepted=False, refused=True)  # within the round trip
        assert control.limit(50.04) == before > 8
        control.ended(together[8], 50.061, accepted=False, refused=True)  # later, but it left before
        assert control.limit(50.061) == 16
        control.ended(control.left(50.055), 50.062, accepted=False, refused=True)
        assert control.limit(50.062) == 4  # nothing was accepted meanwhile

    def test_it_grows_back_while_nothing_is_refused(self) -> None:
        """Half a round trip after a single refusal all is as before, and on the way ever more."""
        control = self.climbed(16)
        control.ended(control.left(50), 50.01, accepted=False, refused=True)
        limits = [control.limit(50.01 + number / 1000) for number in range(30)]
        assert limits[0] == 8
        assert limits == sorted(limits)
        assert limits[12] < 16
        assert limits[-1] == 16

    def test_where_a_rate_limits_the_number_does_not(self) -> None:
        """As many may be in flight as the rate needs and half as many again, though climbing did not pay."""
        control = Control(16)
        for number in range(200):
            control.ended(control.left(number), number + 0.05, accepted=True, refused=False)
        climbed = control.limit(200)
        assert climbed < 9
        control._ceiling.found(100 / (1 - CUT), 200)
        assert control.limit(200) == 9  # 1.5 x 100 x 0.05, and one

    def test_each_halving_begins_at_what_was_given_back(self) -> None:
        """Where something is accepted in between, a second refusal halves, and does not quarter."""
        control = self.climbed(16)
        control.ended(control.left(50), 50.01, accepted=False, refused=True)
        control.ended(control.left(50.01), 50.065, accepted=True, refused=False)
        control.ended(control.left(50.065), 50.066, accepted=False, refused=True)
        assert control.limit(50.066) == 8

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

    def test_rare_refusals_show_a_crowd(self) -> None:
        """Three in a row as the ninth, where one in thirty that was accepted was the ninth: eight it is."""
        crowd, told = Crowd(16), []
        for _ in range(3):
            for number in range(300):
                crowd.accepted(9 if number % 30 == 0 else 8)
            told.append(crowd.refused(9))
        assert told == [False, False, True]
        assert crowd.level == 8

    def test_rare_refusals_of_the_usual_number_show_none(self) -> None:
        """Where every other one that was accepted was as high in number, it is not for that."""
        crowd = Crowd(16)
        for _ in range(10):
            for number in range(300):
                crowd.accepted(8 + number % 2)
            assert not crowd.refused(9)

    @staticmethod
    def sent(ceiling: Ceiling, count: int, since: float, every: int) -> tuple[float, int]:
        """That many requests at the ceiling's rate, a hundred at most, each so manieth refused; when, how many were."""
        now, refused = since, 0
        for number in range(1, count + 1):
            asked = min(ceiling.level, 100.0)
            now += 1 / asked
            departure = Departure(now - 0.01, asked=asked)
            if every and number % every == 0:
                ceiling.refused(departure, now)
                refused += 1
            else:
                ceiling.accepted(departure, now, possible=100)
        return now, refused

    def test_few_refusals_are_no_ceiling(self) -> None:
        """One in two hundred is tolerated; one in twenty is not."""
        ceiling = Ceiling()
        now, _ = self.sent(ceiling, 10_000, 0, every=200)
        assert ceiling.level == math.inf
        self.sent(ceiling, 200, now, every=20)
        assert ceiling.level < 100

    def test_a_ceiling_swings_below_the_limit(self) -> None:
        """Eighty a second are taken, not more: it is found, and less than one in a hundred is refused."""
        ceiling, now, refused, levels, saved = Ceiling(), 0.0, 0, [], 1.0
        for number in range(20_000):
            asked = min(ceiling.level, 100.0)
            now += 1 / asked
            saved = min(2.0, saved + 80 / asked)
            departure = Departure(now - 0.01, asked=asked)
            if saved < 1:
                ceiling.refused(departure, now)
                refused += number > 2000
            else:
                saved -= 1
                ceiling.accepted(departure, now, possible=100)
            if number > 2000:
                levels.append(asked)
        assert refused < 0.01 * len(levels)
        assert 0.95 * 80 < sum(levels) / len(levels) < 80 * (1 + CUT / 2)
        assert max(levels) < 80 * (1 + CUT)

    def test_it_falls_once_in_a_round_trip(self) -> None:
        """However many are refused at once: until one that left after the fall was accepted."""
        ceiling = Ceiling()
        ceiling.found(100, now=10)
        for number in range(20):
            ceiling.refused(Departure(9.99, asked=100), 10 + number / 1000)
        assert ceiling.level == pytest.approx(100 * (1 - CUT))
        ceiling.accepted(Departure(9.99, asked=100), 10.03, possible=1000)
        ceiling.refused(Departure(10.01, asked=96), 10.04)
        assert ceiling.level > 95
        ceiling.accepted(Departure(10.02, asked=96), 10.05, possible=1000)
        ceiling.refused(Departure(10.03, asked=96), 10.06)
        assert ceiling.level < 95

    def test_a_silent_rest_of_a_minute_tells_the_rate(self) -> None:
        """Twenty came through in ten seconds, of a hundred a second that were allowed: it falls, by half at most."""
        ceiling = Ceiling()
        ceiling.found(100, now=0)
        for number in range(20):
            ceiling.accepted(Departure(0.1 + number / 100, asked=96), 0.2 + number / 100, possible=1000)
        ceiling.refused(Departure(10, asked=96), 10)
        assert ceiling.level == pytest.approx(100 * (1 - CUT) / 2, rel=0.02)

    def test_what_matters_no_more_is_forgotten(self) -> None:
        """A rate far above what those in flight make possible limits nothing, and is none after a while."""
        ceiling = Ceiling()
        ceiling.found(100, now=0)
        self.sent(ceiling, 10_000, 1, every=0)
        assert ceiling.level == math.inf

    def test_chance_is_no_ceiling(self) -> None:
        """One in fifty, however fast they leave: the rate falls for a while, and then no more."""
        ceiling, chances, now, asked = Ceiling(), random.Random(1), 0.0, []
        for number in range(20_000):
            asked.append(min(ceiling.level, 100.0))
            now += 1 / asked[-1]
            departure = Departure(now - 0.01, asked=asked[-1])
            if chances.random() < 0.02:
                ceiling.refused(departure, now)
            else:
                ceiling.accepted(departure, now, possible=100)
            assert asked[-1] > 50, number
        assert sum(asked[10_000:]) / 10_000 > 95

    def test_what_ceases_lower_is_no_chance(self) -> None:
        """Refused on the upper half of the way down, but not on the lower: that was a limit."""
        for lower, is_chance in ((0, False), (4, True)):
            chance = Chance()
            chance.begin(100)
            for rate, refused in ((90, 4), (80, 2 + lower), (69, lower)):
                for _ in range(300):
                    chance.accepted(rate)
                for _ in range(refused):
                    chance.refused()
                told = chance.judged(rate)
            assert told == (100 if is_chance else 69)
            assert (chance.share > 0) is is_chance

    def test_a_rate_that_grew_falls_from_there(self) -> None:
        """What counts is how far it fell from the highest that it was, and what was refused since then."""
        chance = Chance()
        chance.begin(100)
        for _ in range(50):
            chance.refused()
        for rate in (150, 200):
            chance.accepted(rate)
        for rate, told in ((145, 145), (139, 200)):
            for number in range(100):
                chance.refused() if number % 50 == 0 else chance.accepted(rate)
            assert chance.judged(rate) == told

    def test_chance_that_waits_for_the_top_is_doubted(self) -> None:
        """Where every refusal comes only when the rate has grown back, its share is thought ever smaller."""
        chance = Chance()
        chance.begin(100)
        for rate in (90, 80, 69):
            for number in range(100):
                chance.refused() if number % 50 == 0 else chance.accepted(rate)
            chance.judged(rate)
        found = chance.share
        assert found == pytest.approx(1.5 * 0.02)
        for _ in range(30):
            chance.cut(regained=True)
        assert chance.share < found / 5
        for _ in range(30):
            chance.cut(regained=False)
        assert chance.share == found

    def test_dips_deepen_only_where_nothing_is_accepted(self) -> None:
        """An outage halves again and again; refusals among accepted requests halve once each."""
        deeper, dips = Dips(), Dips()
        for number in range(1, 6):
            now = number / 10
            deeper.refused(Departure(now - 0.01), now, 0.05, deepest=False)
            dips.refused(Departure(now - 0.01), now, 0.05, deepest=False)
            dips.accepted(now + 0.01, 0.05)
        assert deeper.halvings(now, 0.05) == 5
        assert dips.halvings(now, 0.05) == 1

    def test_probes_are_paid_for(self) -> None:
        """After five refusals of a probe, five hundred are to be accepted before the next one."""
        probing = Probing()
        probing.rest(0, again=False)
        assert not probing.active(5)
        assert probing.active(5.1)
        for _ in range(5):
            probing.refused()
        probing.rest(6, again=True)
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
