"""deliver: Ctrl-C, once and twice."""

import threading

import pytest

from backfill.deliver import DeliveryEnd, DeliveryOptions, EndKind
from backfill.errors import ExitCode
from backfill.records import BatchState
from tests.support.delivery_fakes import Endpoint, Run, Shelf, Step
from tests.support.waiting import until


def test_stop_ends_what_is_in_flight_and_begins_nothing() -> None:
    """The answer that was under way is still recorded."""
    with Endpoint([Step(), Step(how="stall")]) as endpoint:
        run = Run(Shelf(9), endpoint.url)
        end = run.in_background()
        assert endpoint.stalled.wait(10)
        run.stop.set()
        endpoint.released.set()
        got = end()
    assert (got.kind, got.exit_code) == (EndKind.INTERRUPTED, ExitCode.INTERRUPTED)
    assert run.shelf.states() == {1: BatchState.DELIVERED, 2: BatchState.DELIVERED}
    assert len(run.shelf.marks) == 2
    assert run.shelf.flushed == 1


def test_stop_with_the_last_batch_is_a_finish() -> None:
    """What was asked to stop but had nothing left is finished."""
    with Endpoint([Step(), Step(how="stall")]) as endpoint:
        run = Run(Shelf(2), endpoint.url)
        end = run.in_background()
        assert endpoint.stalled.wait(10)
        run.stop.set()
        endpoint.released.set()
        assert end().kind is EndKind.FINISHED


@pytest.mark.parametrize("how", ["backoff", "retry_after", "pace"])
def test_stop_ends_every_wait(how: str) -> None:
    """A minute's wait, of whatever kind, is given up at once; the batch stays as it is."""
    for _ in range(5):  # a stop between an answer and the wait for it leaves nothing to give up
        run, got = stopped_in_a_wait(how)
        assert got.kind is EndKind.INTERRUPTED
        assert (len(run.shelf.marks) - len(run.shelf.answers), run.shelf.flushed) == (0, 1)
        if how in got.totals.waits:
            break
    assert how in got.totals.waits
    assert got.totals.waits[how] < 10


def stopped_in_a_wait(how: str) -> tuple[Run, DeliveryEnd]:
    """A delivery that is asked to stop once it has an answer that makes it wait."""
    headers = (("Retry-After", "60"),) if how == "retry_after" else ()
    script = [Step(503, headers)] * 20 if how != "pace" else []
    with Endpoint(script) as endpoint:
        run = Run(Shelf(2), endpoint.url, access={"rate": 0.05} if how == "pace" else {})
        end = run.in_background()
        until(lambda: run.shelf.answers)
        run.stop.set()
        return run, end()


def test_a_stop_waits_no_longer_than_its_grace() -> None:
    """An answer that does not come keeps nobody; the batch stays sent, in doubt, which is the truth."""
    with Endpoint([Step(how="stall")]) as endpoint:
        run = Run(Shelf(2), endpoint.url, options=DeliveryOptions(grace_seconds=0.05))
        end = run.in_background()
        assert endpoint.stalled.wait(10)
        run.stop.set()
        assert end().kind is EndKind.INTERRUPTED
        assert (len(run.shelf.marks), run.shelf.answers) == (1, [])


def test_abort_returns_at_once() -> None:
    """An answer that comes after that is not recorded any more: the ledger may be closed."""
    with Endpoint([Step(), Step(how="stall")]) as endpoint:
        run = Run(Shelf(9), endpoint.url)
        end = run.in_background()
        assert endpoint.stalled.wait(10)
        run.abort.set()
        assert end().kind is EndKind.INTERRUPTED
        endpoint.released.set()
        until(lambda: not [t for t in threading.enumerate() if t.name.startswith("deliver-")])
    assert run.shelf.states() == {1: BatchState.DELIVERED}
    assert len(run.shelf.marks) == 2


def test_stop_before_the_start() -> None:
    """Nothing is sent."""
    with Endpoint() as endpoint:
        run = Run(Shelf(2), endpoint.url, options=DeliveryOptions())
        run.stop.set()
        assert run.go().kind is EndKind.INTERRUPTED
    assert endpoint.seen == []
