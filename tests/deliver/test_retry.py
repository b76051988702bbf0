"""deliver: retries, back-off, Retry-After, pace and clock, with simulated time."""

import email.utils
import itertools
import sys
import threading
import traceback

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backfill.clock import Clock
from backfill.deliver import DeliveryOptions, EndKind
from backfill.deliver.clock_skew import STOP_SECONDS, WARN_SECONDS, SkewWatch, skew
from backfill.deliver.pace import Pace
from backfill.deliver.retry import Waiter
from backfill.errors import ExitCode
from backfill.records import BatchState, Outcome
from backfill.verdict import Failure, Patience, StopReason, backoff
from tests.support.delivery_fakes import Endpoint, Run, Shelf, Simulated, Step, scripted
from tests.support.waiting import until


def patient(attempts: int = 10) -> DeliveryOptions:
    """One sender with so much patience."""
    return DeliveryOptions(concurrency=1, first_alone=False, patience=Patience(attempts))


@pytest.mark.parametrize("status", [408, 410, 429, 460, 500, 502, 503, 504, 508, 511, 599])
def test_passing_statuses_are_retried(status: int) -> None:
    """Twice refused, then delivered; the outcome of each attempt is written down as what it is."""
    time = Simulated()
    with Endpoint(scripted(status, status)) as endpoint:
        run = Run(Shelf(1), endpoint.url, time.clock())
        assert run.go().kind is EndKind.FINISHED
    unknown = Outcome.UNKNOWN if status == 408 or status >= 500 else Outcome.NOT_TAKEN
    assert run.shelf.outcomes() == [unknown, unknown, Outcome.ACCEPTED]
    assert [answer.status for _, _, answer in run.shelf.answers] == [status, status, 200]
    assert time.up == pytest.approx(0.5 + 1)


@pytest.mark.parametrize(
    ("how", "failure"),
    [
        ("reset_before", None),
        ("reset_after", Failure.READ),
        ("close", Failure.DISCONNECTED),
        ("garbage", Failure.GARBLED),
    ],
)
def test_broken_connections_are_retried(how: str, failure: Failure | None) -> None:
    """A failure once the request has left is of unknown outcome; a new connection delivers the batch."""
    with Endpoint([Step(), Step(how=how), Step(how=how)]) as endpoint:
        run = Run(Shelf(3), endpoint.url, Simulated().clock())
        assert run.go().kind is EndKind.FINISHED
    assert run.shelf.outcomes()[1:3] == [Outcome.UNKNOWN] * 2
    answer = run.shelf.answers[1][2]
    # A reset amid the request shows as an error or as an end, by the kernel's leisure; both leave the same doubt.
    assert (answer.status, answer.state) == (None, None)
    assert answer.detail in ({failure} if failure else {Failure.READ, Failure.DISCONNECTED})
    assert endpoint.connections == 3


def test_spent_attempts_stop_the_run() -> None:
    """Ten attempts, three minutes of growing waits, then exit 5; the batch stays to be delivered."""
    time = Simulated(jitter=1.0)
    with Endpoint([Step(503, body=b"down for maintenance")] * 99) as endpoint:
        run = Run(Shelf(3), endpoint.url, time.clock(), patient())
        end = run.go()
    assert (end.kind, end.reason, end.exit_code) == (EndKind.STOPPED, StopReason.ATTEMPTS_SPENT, ExitCode.STOPPED)
    assert (end.batches, end.answer) == ((1,), "down for maintenance")
    assert "HTTP 503" in end.message
    assert len(endpoint.seen) == 10
    assert run.shelf.states() == {}
    assert time.up == pytest.approx(sum(backoff(n, 1.0) for n in range(1, 10)))
    assert end.totals.waits == {"backoff": pytest.approx(time.up)}


def test_attempts_are_counted_for_each_batch() -> None:
    """A batch that took two attempts leaves the next one its full number."""
    with Endpoint(scripted(503, 200, 503, 200, 503)) as endpoint:
        end = Run(Shelf(3), endpoint.url, Simulated().clock(), patient(attempts=2)).go()
    assert end.kind is EndKind.FINISHED


def test_retry_after_costs_no_attempt() -> None:
    """More waits than attempts are allowed, each as long as asked for."""
    time = Simulated()
    with Endpoint([Step(429, (("Retry-After", "7"),))] * 30) as endpoint:
        run = Run(Shelf(1), endpoint.url, time.clock(), patient(attempts=2))
        assert run.go().kind is EndKind.FINISHED
    assert time.up == pytest.approx(30 * 7)
    assert [number for _, number, _ in run.shelf.marks] == list(range(1, 32))


def test_retry_after_that_says_nothing_counts() -> None:
    """A zero, a date gone by and garbage are no licence to ask at once and for ever."""
    texts = ["0", "Tue, 14 Nov 2000 22:13:20 GMT", "-3", "soon"]
    with Endpoint([Step(503, (("Retry-After", text),)) for text in texts]) as endpoint:
        end = Run(Shelf(1), endpoint.url, Simulated().clock(), patient(attempts=4)).go()
    assert end.reason is StopReason.ATTEMPTS_SPENT


def test_time_without_success_stops_the_run() -> None:
    """A target that asks to wait for ever is waited for twelve hours."""
    time = Simulated()
    with Endpoint([Step(), *[Step(429, (("Retry-After", "99999"),))] * 999]) as endpoint:
        end = Run(Shelf(2), endpoint.url, time.clock(), patient()).go()
    assert (end.reason, end.exit_code) == (StopReason.TIME_SPENT, ExitCode.STOPPED)
    assert time.up == pytest.approx(12 * 3600)
    assert len(endpoint.seen) == 2 + 12 * 12  # the waits are capped at five minutes


def test_time_is_spent_however_many_attempts_there_are() -> None:
    """Twelve hours without any success end a run that backs off by itself, too."""
    time = Simulated()
    with Endpoint([Step(), *[Step(429)] * 999]) as endpoint:
        end = Run(Shelf(2), endpoint.url, time.clock(), patient(1_000_000)).go()
    assert (end.reason, end.exit_code) == (StopReason.TIME_SPENT, ExitCode.STOPPED)
    assert 12 * 3600 <= time.up < 12 * 3600 + 60


def all_wait(senders: int) -> bool:
    """Whether that many senders are at work, and each waits: for its turn, or for the time of another attempt."""
    frames = sys._current_frames()
    stacks = [
        {frame.f_code for frame, _ in traceback.walk_stack(frames.get(thread.ident or 0))}
        for thread in threading.enumerate()
        if thread.name.startswith("deliver-")
    ]
    return len(stacks) == senders and all(stack & {Pace.take.__code__, Waiter.wait.__code__} for stack in stacks)


def test_a_pause_holds_every_sender() -> None:
    """While one sender waits as asked, the others send nothing."""
    release = threading.Event()
    up = [0.0]

    def sleep(seconds: float) -> None:
        release.wait(30)
        up[0] += seconds

    clock = Clock(monotonic=lambda: up[0], sleep=sleep)
    with Endpoint([Step(), Step(429, (("Retry-After", "60"),))]) as endpoint:
        run = Run(Shelf(60), endpoint.url, clock, DeliveryOptions(concurrency=3))
        end = run.in_background()
        until(lambda: all_wait(3))
        # At most what the other two had in flight when the answer came.
        assert len(endpoint.seen) == len(run.shelf.marks) <= 2 + 2 * 2 + 10
        up[0] = 60.1
        release.set()
        assert end().kind is EndKind.FINISHED
    assert run.shelf.states() == dict.fromkeys(range(1, 61), BatchState.DELIVERED)


def test_pace_of_a_delivery() -> None:
    """At 100 calls a second, 50 batches of 20 take just short of ten seconds; retries are paced as well."""
    time = Simulated()
    with Endpoint(scripted(503)) as endpoint:
        run = Run(Shelf(50, calls=20), endpoint.url, time.clock(), access={"rate": 100.0})
        end = run.go()
    assert end.kind is EndKind.FINISHED
    starts = [at - run.shelf.marks[0][2] for _, _, at in run.shelf.marks]
    assert starts[0] == 0
    assert starts[1] >= 0.5 - 1e-6  # the back-off, then its turn
    assert all(later - sooner >= 0.2 - 1e-6 for sooner, later in itertools.pairwise(starts))
    assert starts[-1] == pytest.approx(0.5 + 49 * 0.2, abs=0.21)


class TestSkew:
    """The local clock against the answer's Date."""

    @given(moment=st.floats(1e9, 2e9), ahead=st.floats(-1e6, 1e6), there=st.floats(0, 30), back=st.floats(0, 30))
    def test_skew_is_never_overstated(self, moment: float, ahead: float, there: float, back: float) -> None:
        """However long the request took on its way there and back, the skew found is at most the true one."""
        left, arrived = moment + ahead, moment + ahead + there + back
        found = skew(float(int(moment + there)), left, arrived)
        assert abs(found) <= abs(ahead) + 1e-6
        assert found * ahead >= 0
        assert abs(ahead - found) <= there + back + 1 + 1e-6

    def at(self, ahead: float, batches: int = 3) -> Run:
        """A delivery with a clock so far ahead of the target's; its end is kept."""
        time = Simulated(time=1_700_000_000 + ahead)
        date = email.utils.formatdate(1_700_000_000, usegmt=True)
        with Endpoint([Step(headers=(("Date", date),))] * 9) as endpoint:
            run = Run(Shelf(batches), endpoint.url, time.clock(), DeliveryOptions(concurrency=1))
            self.end = run.go()
        return run

    @pytest.mark.parametrize("ahead", [-4.9, 0, 5.9])
    def test_a_good_clock(self, ahead: float, caplog: pytest.LogCaptureFixture) -> None:
        """Up to five seconds, and the second that Date leaves open, nothing is said."""
        self.at(ahead)
        assert self.end.kind is EndKind.FINISHED
        assert not caplog.records

    @pytest.mark.parametrize(
        ("ahead", "says"), [(-200.5, " s behind the target's"), (30, "29 s ahead of the target's")]
    )
    def test_a_poor_clock_is_told_once(self, ahead: float, says: str, caplog: pytest.LogCaptureFixture) -> None:
        """One warning, whatever the number of answers."""
        self.at(ahead)
        assert self.end.kind is EndKind.FINISHED
        (record,) = caplog.records
        assert says in record.getMessage()

    @pytest.mark.parametrize(("ahead", "says"), [(-301.5, "302 s behind"), (3601, "3,600 s ahead of")])
    def test_a_wrong_clock_stops_the_run(self, ahead: float, says: str) -> None:
        """After the first batch, which goes alone, for that: its answer is recorded, nothing else is sent."""
        run = self.at(ahead)
        assert (self.end.reason, self.end.exit_code) == (StopReason.CLOCK, ExitCode.STOPPED)
        assert says in self.end.message
        assert run.shelf.states() == {1: BatchState.DELIVERED}
        assert len(run.shelf.marks) == 1

    def test_each_date_is_looked_at_once(self, caplog: pytest.LogCaptureFixture) -> None:
        """Answers of one second tell no more than its first one; those of another one are told of no more either."""
        watch, moment = SkewWatch(), 1_700_000_000
        dates = [email.utils.formatdate(moment + seconds, usegmt=True) for seconds in range(4)]
        for date in dates[:2]:
            watch.observe(date, moment + 100.0, moment + 100.0)
        said = "the local clock is 99 s ahead of the target's: all timestamps will be shifted by that much"
        assert [record.getMessage() for record in caplog.records] == [said]
        watch.observe(dates[1], moment + 1_000.0, moment + 1_000.0)
        assert watch.too_large is None
        watch.observe(dates[2], moment + 1_000.0, moment + 1_000.0)
        assert watch.too_large == 997.0
        watch.observe(dates[3], moment + 3.0, moment + 3.0)
        assert watch.too_large == 997.0  # a clock that was that wrong is not to be trusted now
        assert len(caplog.records) == 1

    @pytest.mark.parametrize("side", [1, -1])
    def test_the_bounds_themselves_are_good(self, side: int, caplog: pytest.LogCaptureFixture) -> None:
        """Five seconds are not told, and three hundred do not stop the run."""
        moment = 1_700_000_000.0
        for number, bound in enumerate((WARN_SECONDS, STOP_SECONDS)):
            watch, ours = SkewWatch(), moment + side * bound + (side > 0)  # Date leaves a second open
            watch.observe(email.utils.formatdate(moment, usegmt=True), ours, ours)
            assert watch.too_large is None
            assert len(caplog.records) == number

    @pytest.mark.parametrize("date", ["", "yesterday", "Tue, 99 Nov 2023 22:13:20 GMT"])
    def test_no_usable_date(self, date: str) -> None:
        """An answer without a Date says nothing about the clock."""
        with Endpoint([Step(headers=(("Date", date),))]) as endpoint:
            assert Run(Shelf(1), endpoint.url).go().kind is EndKind.FINISHED
