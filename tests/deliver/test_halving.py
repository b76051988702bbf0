"""Halving: a refused batch costs the calls at fault, a few requests more, and nothing else."""

import json
import math
from collections.abc import Collection
from itertools import groupby

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backfill.deliver import DeliveryOptions, EndKind
from backfill.deliver.splitting import PUT_ASIDE_CALLS
from backfill.errors import ExitCode
from backfill.records import BatchState, Outcome
from backfill.targets import AnswerFormat
from backfill.verdict import StopReason
from tests.support.delivery_fakes import Endpoint, Run, Seen, Shelf, Simulated, Step, scripted


def ids_in(seen: Seen) -> list[str]:
    """The message ids of a request."""
    return [call["messageId"] for call in json.loads(seen.plain)["batch"]]


class Picky(Endpoint):
    """Refuses every body that holds one of the ids at fault, and keeps the ids it has accepted."""

    def __init__(self, at_fault: Collection[str], status: int = 400) -> None:
        super().__init__()
        self.held: list[str] = []
        self.refused: list[list[str]] = []
        self._at_fault = set(at_fault)
        self._status = status
        self.decides = self._decide

    def _decide(self, seen: Seen) -> Step | None:
        ids = ids_in(seen)
        if self._at_fault & set(ids):
            self.refused.append(ids)
            return Step(self._status, body=b'{"error":"one of these is at fault"}')
        self.held += ids
        return None


def id_of(batch: int, call: int) -> str:
    """The id of a call on the shelf."""
    return f"secret-call-{batch}-{call}"


@settings(max_examples=40)
@given(
    calls=st.integers(1, 200),
    draws=st.lists(st.integers(0, 10**6), max_size=6),
    compressed=st.booleans(),
    status=st.sampled_from([400, 413, 422]),
)
def test_calls_at_fault_stand_alone(calls: int, draws: list[int], compressed: bool, status: int) -> None:
    """Of n calls k at fault cost at most 2k log2(n) + 1 requests; they alone are refused, all others arrive once."""
    shelf = Shelf(1, calls=calls)
    at_fault = {id_of(1, draw % calls) for draw in draws}
    with Picky(at_fault, status) as endpoint:
        end = Run(shelf, endpoint.url, access={"gzip": compressed}).go()
    assert end.kind is EndKind.FINISHED
    everything = [id_of(1, call) for call in range(calls)]
    assert endpoint.held == [one for one in everything if one not in at_fault]
    assert [ids for ids in endpoint.refused if len(ids) == 1] == [[one] for one in everything if one in at_fault]
    assert len(endpoint.seen) <= 2 * len(at_fault) * math.ceil(math.log2(calls)) + 1
    assert end.totals.calls == calls - len(at_fault)
    assert (end.totals.requests, end.totals.retries) == (len(endpoint.seen), 0)
    assert list(shelf.states().values()).count(BatchState.REJECTED) == len(at_fault)
    assert set(shelf.outcomes()) <= {Outcome.ACCEPTED, Outcome.NOT_TAKEN}


def test_parts_go_in_the_order_of_the_plan() -> None:
    """Each part is followed by its own parts, and these by the part behind it; no batch begins in between."""
    shelf = Shelf(2, calls=8)
    with Picky({id_of(1, 2), id_of(1, 7)}) as endpoint:
        Run(shelf, endpoint.url).go()
    sent = [(int(ids[0].split("-")[2]), int(ids[0].split("-")[3]), len(ids)) for ids in map(ids_in, endpoint.seen)]
    whole = [(1, 0, 8), (1, 0, 4), (1, 0, 2), (1, 2, 2), (1, 2, 1), (1, 3, 1)]
    assert sent == [*whole, (1, 4, 4), (1, 4, 2), (1, 6, 2), (1, 6, 1), (1, 7, 1), (2, 0, 8)]


class TestWrongShape:
    """Where all is refused it is no poison: the run stops before it has tried each call."""

    def test_a_first_batch_without_any(self) -> None:
        """All ten of the first batch are refused: nineteen requests, and the run stops with the answer."""
        shelf = Shelf(0)
        for number, calls in ((1, 10), (2, 2000), (3, 2000)):
            shelf.add(number, calls, 0)
        with Endpoint() as endpoint:
            endpoint.decides = lambda _: Step(400, body=b'{"error":"no such schema"}')
            end = Run(shelf, endpoint.url, options=DeliveryOptions()).go()
        assert (end.kind, end.reason, end.exit_code) == (EndKind.STOPPED, StopReason.SHAPE, ExitCode.STOPPED)
        assert (len(endpoint.seen), end.batches, end.answer) == (19, (1,), '{"error":"no such schema"}')
        assert "HTTP 400" in end.message
        assert "--retry-rejected" in end.hint

    def test_a_first_batch_with_one(self) -> None:
        """One call of the ten is accepted: that is poison, and the run goes on."""
        shelf = Shelf(3, calls=10)
        with Picky({id_of(1, call) for call in range(9)}) as endpoint:
            end = Run(shelf, endpoint.url, options=DeliveryOptions()).go()
        assert (end.kind, end.totals.calls) == (EndKind.FINISHED, 21)

    @pytest.mark.parametrize("senders", [1, 3])
    def test_three_in_a_row(self, senders: int) -> None:
        """Three batches without one accepted call stop the run, at the cost of some of their calls."""
        shelf = Shelf(9, calls=2000)
        shelf.add(10, 7, 0)
        at_fault = {id_of(batch, call) for batch in range(4, 11) for call in range(2000)}
        with Picky(at_fault) as endpoint:
            end = Run(shelf, endpoint.url, options=DeliveryOptions(concurrency=senders)).go()
        assert (end.kind, end.reason) == (EndKind.STOPPED, StopReason.SHAPE)
        assert len(end.batches) >= 3
        assert set(end.batches) <= set(range(4, 10))
        assert len(endpoint.seen) < 250
        rejected = list(shelf.states().values()).count(BatchState.REJECTED)
        assert 30 <= rejected <= 30 + 10 * senders

    def test_two_in_a_row_are_poison(self) -> None:
        """Two batches that are refused call by call between others: all others are delivered, in full."""
        shelf = Shelf(5, calls=40)
        at_fault = {id_of(batch, call) for batch in (2, 3) for call in range(40)}
        with Picky(at_fault) as endpoint:
            end = Run(shelf, endpoint.url).go()
        assert (end.kind, end.totals.calls) == (EndKind.FINISHED, 120)
        assert list(shelf.states().values()).count(BatchState.REJECTED) == 80
        first = [ids_in(seen)[0].split("-")[2] for seen in endpoint.seen]
        begun = [key for key, _ in groupby(first)]
        assert begun == ["1", "2", "3", "4", "2", "3", "5"]  # put aside until another was accepted, no longer

    def test_twice_two_are_not_three(self) -> None:
        """One accepted call in between, and the count begins anew."""
        shelf = Shelf(7, calls=4)
        with Picky({id_of(batch, call) for batch in (2, 3, 5, 6) for call in range(4)}) as endpoint:
            end = Run(shelf, endpoint.url).go()
        assert (end.kind, end.totals.calls) == (EndKind.FINISHED, 12)

    def test_the_last_two(self) -> None:
        """Nothing comes after two batches that are refused call by call: each call of them is tried, and rejected."""
        shelf = Shelf(3, calls=40)
        with Picky({id_of(batch, call) for batch in (2, 3) for call in range(40)}) as endpoint:
            end = Run(shelf, endpoint.url).go()
        assert (end.kind, end.totals.calls, len(endpoint.seen)) == (EndKind.FINISHED, 40, 1 + 2 * 79)

    def test_a_batch_that_begins_with_poison(self) -> None:
        """Ten single calls refused at its beginning put a batch aside, no more: the rest of it is delivered."""
        shelf = Shelf(2, calls=100)
        with Picky({id_of(1, call) for call in range(30)}) as endpoint:
            end = Run(shelf, endpoint.url, options=DeliveryOptions(first_alone=False)).go()
        assert (end.kind, end.totals.calls) == (EndKind.FINISHED, 170)
        assert len(endpoint.held) == len(set(endpoint.held)) == 170

    def test_successes_that_refuse_every_call(self) -> None:
        """Where the answer is a 200 that names each call as refused, it is the same."""
        shelf = Shelf(5, calls=3)
        errors = json.dumps({"errors": [{"index": place, "message": "no such source"} for place in range(3)]}).encode()
        with Endpoint([Step(), *[Step(200, body=errors)] * 4]) as endpoint:
            end = Run(shelf, endpoint.url, access={"answers": AnswerFormat.INDEXED}).go()
        assert (end.reason, end.exit_code, end.batches) == (StopReason.SHAPE, ExitCode.STOPPED, (2, 3, 4))
        assert "no such source" in end.answer
        assert len(endpoint.seen) == 4

    def test_order_is_kept_where_it_is_asked_for(self) -> None:
        """In an ordered run no batch is put aside: what is begun is ended before the next."""
        shelf = Shelf(4, calls=20)
        with Picky({id_of(2, call) for call in range(20)}) as endpoint:
            Run(shelf, endpoint.url, options=DeliveryOptions(concurrency=1, ordered=True, first_alone=False)).go()
        first = [int(ids_in(seen)[0].split("-")[2]) for seen in endpoint.seen]
        assert first == sorted(first)


def test_stopped_in_the_middle() -> None:
    """A stop while a batch is halved leaves the parts not tried, and says that it is not finished."""
    shelf = Shelf(1, calls=64)
    with Picky({id_of(1, 0)}) as endpoint:
        run = Run(shelf, endpoint.url)
        endpoint.on_request = lambda seen: run.stop.set() if len(endpoint.seen) == 3 else None
        end = run.go()
    assert (end.kind, len(endpoint.seen)) == (EndKind.INTERRUPTED, 3)


def test_stopped_with_something_put_aside() -> None:
    """What was put aside is not finished, though nothing else is left."""
    shelf = Shelf(1, calls=40)
    with Picky({id_of(1, call) for call in range(40)}) as endpoint:
        run = Run(shelf, endpoint.url)

        def stop(_: Seen) -> None:
            if sum(len(ids) == 1 for ids in endpoint.refused) == PUT_ASIDE_CALLS - 1:
                run.stop.set()

        endpoint.on_request = stop
        end = run.go()
    assert list(shelf.states().values()).count(BatchState.REJECTED) == PUT_ASIDE_CALLS
    assert end.kind is EndKind.INTERRUPTED


def test_a_part_may_be_tried_again_like_any_batch() -> None:
    """Throttled and failing answers on the way change neither the parts nor how often they are tried."""
    shelf = Shelf(1, calls=4)
    with Endpoint(scripted(503, 400, 429, 200, 500, 200)) as endpoint:
        end = Run(shelf, endpoint.url, Simulated().clock()).go()
    assert (end.kind, end.totals.requests, end.totals.retries) == (EndKind.FINISHED, 6, 3)
    assert [len(ids_in(seen)) for seen in endpoint.seen] == [4, 4, 2, 2, 2, 2]
    assert [seen.headers.get("x-retry-count") for seen in endpoint.seen] == [None, "1", None, "1", None, "1"]
