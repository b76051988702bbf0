"""deliver: a target that cannot be reached, what is said of an outage, and what is counted of it."""

import logging
import socket
from collections.abc import Iterator
from dataclasses import replace

import pytest

from backfill.deliver import DeliveryOptions, EndKind
from backfill.deliver.model import Attempt
from backfill.deliver.retry import LOG_SECONDS, Outage
from backfill.deliver.totals import RunningTotals
from backfill.errors import ExitCode
from backfill.records import Answer, Outcome
from backfill.verdict import Action, Failure, Patience, StopReason, Verdict, outcome_of
from tests.support.delivery_fakes import Endpoint, Run, Shelf, Simulated, Step, scripted

FIRST = DeliveryOptions(concurrency=4, patience=Patience(attempts=10))


def answered(end: int | Failure) -> Attempt:
    """An attempt that ended so."""
    status = None if isinstance(end, Failure) else end
    outcome = outcome_of(end)
    action = Action.ACCEPTED if outcome is Outcome.ACCEPTED else Action.RETRY
    detail = str(end) if status is None else ""
    return Attempt(Verdict(action, outcome), 1, 0.0, Answer(outcome, None, status, detail, 0.0, 0.1, 100))


@pytest.fixture
def unheard() -> Iterator[str]:
    """The URL of a port at which nobody listens."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{held.getsockname()[1]}/v1/batch"


def test_given_up_within_a_minute(unheard: str, caplog: pytest.LogCaptureFixture) -> None:
    """Nothing was ever accepted: exit 5 within a minute, the cause in the message, and said at the first failure."""
    time = Simulated()
    run = Run(Shelf(3), unheard, time.clock(), FIRST)
    end = run.go()
    assert (end.reason, end.exit_code) == (StopReason.UNREACHED, ExitCode.STOPPED)
    assert time.up < 60
    assert end.message.endswith("no connection could be made: Connection refused")
    assert [record.getMessage() for record in caplog.records] == [
        f"{unheard}: no connection could be made: Connection refused; it is tried again in 0.5 s"
    ]
    assert caplog.records[0].levelno == logging.WARNING


def test_what_never_left_is_not_counted(unheard: str) -> None:
    """Neither as a request nor as bytes on the wire; the ledger has the attempts, each with its cause."""
    run = Run(Shelf(1), unheard, Simulated().clock(), FIRST)
    end = run.go()
    assert (end.totals.requests, end.totals.retries, end.totals.wire_bytes) == (0, 0, 0)
    assert len(run.shelf.answers) > 3
    assert {answer.wire_bytes for _, _, answer in run.shelf.answers} == {0}
    assert not any(answer.left for _, _, answer in run.shelf.answers)


def test_an_outage_is_sat_out(unheard: str) -> None:
    """Where calls of the run were accepted, in an earlier process say, all attempts are made."""
    time = Simulated()
    run = Run(Shelf(1), unheard, time.clock(), replace(FIRST, first_alone=False, concurrency=1))
    end = run.go()
    assert (end.reason, len(run.shelf.answers)) == (StopReason.ATTEMPTS_SPENT, 10)
    assert time.up > 60


def test_reached_once_accepted() -> None:
    """What this very process had accepted counts as well: from then on a target that went away has an outage."""
    time = Simulated()
    totals = RunningTotals(time.clock().monotonic)
    (batch,) = Shelf(1).batches
    time.up = 30.0
    assert totals.unreached() == 30
    totals.add_attempt(batch, answered(503).answer, retried=False)  # type: ignore[arg-type] # there is one
    assert totals.unreached() == 0
    time.up = 50.0
    assert totals.unreached() == 20
    totals.add_attempt(batch, answered(200).answer, retried=False)  # type: ignore[arg-type]
    assert totals.unreached() is None


def test_a_target_that_answers_is_reached() -> None:
    """Refusals of the first batch are an outage as any other: they are sat out, and the pauses asked for as well."""
    time = Simulated()
    with Endpoint([Step(429, (("Retry-After", "200"),)), *scripted(*[503] * 8)]) as endpoint:
        end = Run(Shelf(1), endpoint.url, time.clock(), FIRST).go()
    assert end.kind is EndKind.FINISHED
    assert time.up > 260


def test_what_is_not_sent_again_is_not_waited_for(caplog: pytest.LogCaptureFixture) -> None:
    """A target that remembers nothing: the failure is said, not a next time that never comes."""
    time = Simulated()
    with Endpoint([Step(how="close")]) as endpoint:
        endpoint.on_request = lambda _: time.sleep(1)
        options = DeliveryOptions(concurrency=1, first_alone=False, window_seconds=0)
        end = Run(Shelf(2), endpoint.url, time.clock(), options).go()
    assert (end.reason, len(endpoint.seen), time.up) == (StopReason.WINDOW, 2, 2)
    assert caplog.records[0].getMessage() == (
        f"{endpoint.url}: the target closed the connection without an answer; its calls stay in doubt"
    )


class TestSaid:
    """What people hear while nothing comes through."""

    @pytest.fixture
    def time(self) -> Simulated:
        """A clock."""
        return Simulated()

    @pytest.fixture
    def outage(self, time: Simulated) -> Outage:
        """One that has not begun."""
        return Outage("there", time.clock().monotonic)

    def test_once_a_minute(self, outage: Outage, time: Simulated, caplog: pytest.LogCaptureFixture) -> None:
        """Sixteen senders that all fail are one outage; it is said again while it lasts, and that it is over."""
        for _ in range(16):
            outage.failed(answered(Failure.CONNECT), 0.5)
        time.up += LOG_SECONDS
        for _ in range(16):
            outage.failed(answered(503), 60.0)
        outage.end()
        outage.end()
        assert [record.getMessage() for record in caplog.records] == [
            "there: no connection could be made; it is tried again in 0.5 s",
            "there: HTTP 503, nothing was accepted for 60 s; it is tried again in 60.0 s",
            "there: calls are accepted again, after 60.0 s",
        ]

    def test_everyday_business(self, outage: Outage, time: Simulated, caplog: pytest.LogCaptureFixture) -> None:
        """A 429 here and there is how a pace is found; ten seconds of nothing else are worth a word."""
        for _ in range(5):
            outage.failed(answered(429), 0.5)
            time.up += 9
            outage.end()
        assert not caplog.records
        outage.failed(answered(429), 0.5)
        time.up += 10
        outage.failed(answered(429), 0.5)
        assert len(caplog.records) == 1

    def test_a_long_pause(self, outage: Outage, caplog: pytest.LogCaptureFixture) -> None:
        """A target that asks for five minutes has them, and people are told."""
        outage.failed(answered(429), 300.0)
        assert [r.getMessage() for r in caplog.records] == ["there: HTTP 429; it is tried again in 300.0 s"]
