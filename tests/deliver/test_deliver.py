"""deliver: whole deliveries, over real sockets, from a ledger and a spool in memory."""

import gzip
import json
import random
import threading
import time
import zlib
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backfill import __version__
from backfill.deliver import DeliveryOptions, EndKind
from backfill.errors import ExitCode, LedgerError, RefusedError, UsageError
from backfill.records import Batch, BatchState, Outcome
from backfill.verdict import Patience, StopReason
from backfill.wire import HEAD
from tests.support.delivery_fakes import KEY, Endpoint, Run, Seen, Shelf, Simulated, Step, scripted


def test_delivers_everything_once() -> None:
    """More batches than one group of the ledger, several senders: each arrives once, is recorded, and counted."""
    shelf = Shelf(150)
    with Endpoint() as endpoint:
        run = Run(shelf, endpoint.url, options=DeliveryOptions(concurrency=4))
        end = run.go()
    assert (end.kind, end.exit_code) == (EndKind.FINISHED, ExitCode.DELIVERED)
    assert sorted(seen.calls for seen in endpoint.seen) == sorted(shelf.contents.values())
    assert shelf.states() == dict.fromkeys(range(1, 151), BatchState.DELIVERED)
    assert len(shelf.marks) == len(shelf.answers) == 150
    assert shelf.flushed == 1
    totals = end.totals
    assert (totals.requests, totals.retries, totals.calls) == (150, 0, 450)
    assert totals.json_bytes == sum(map(len, shelf.contents.values()))
    assert totals.wire_bytes == sum(len(seen.body) for seen in endpoint.seen)
    assert run.told[-1] == totals


def test_nothing_to_deliver() -> None:
    """An empty plan is finished without a request."""
    with Endpoint() as endpoint:
        end = Run(Shelf(0), endpoint.url, options=DeliveryOptions()).go()
    assert (end.kind, end.totals.requests, endpoint.connections) == (EndKind.FINISHED, 0, 0)


@pytest.mark.parametrize("compressed", [True, False])
def test_the_request(compressed: bool) -> None:
    """Body, authentication and headers are as the API wants them; sentAt is the time of this attempt in UTC."""
    shelf, time = Shelf(1, size=2000), Simulated(time=1_700_000_000.9876)
    with Endpoint() as endpoint:
        Run(
            shelf,
            endpoint.url,
            time.clock(),
            access={"gzip": compressed, "headers": {"X-Strict-Mode": "1", "user-agent": "ours"}},
        ).go()
    (seen,) = endpoint.seen
    assert seen.plain == shelf.contents[1] + b'],"sentAt":"2023-11-14T22:13:20.987Z"}'
    assert [call["messageId"] for call in json.loads(seen.plain)["batch"]] == [f"secret-call-1-{n}" for n in range(3)]
    assert seen.path == "/v1/batch"
    expected = {
        "host": f"localhost:{endpoint.port}",
        "authorization": "Basic d2tfZG9fbm90X3Nob3dfbWU6",  # base64 of the key and a colon
        "content-type": "application/json",
        "content-length": str(len(seen.body)),
        "user-agent": "ours",
        "x-strict-mode": "1",
    }
    assert expected.items() <= seen.headers.items()
    assert ("content-encoding" in seen.headers) == compressed
    assert "x-retry-count" not in seen.headers
    assert (len(seen.body) < len(seen.plain)) == compressed
    if compressed:
        one_member = zlib.decompressobj(31)
        assert one_member.decompress(seen.body) == seen.plain
        assert one_member.eof
        assert not one_member.unused_data


@pytest.mark.parametrize("compressed", [True, False])
def test_a_retry_has_the_same_calls_and_a_new_sent_at(compressed: bool) -> None:
    """Byte for byte the same but for sentAt, the time of each attempt; X-Retry-Count says which retry it is."""
    shelf, time = Shelf(1), Simulated()
    with Endpoint(scripted(503, 503)) as endpoint:
        end = Run(shelf, endpoint.url, time.clock(), access={"gzip": compressed}).go()
    assert {seen.calls for seen in endpoint.seen} == {shelf.contents[1]}
    starts = [1_700_000_000.0, 1_700_000_000.5, 1_700_000_001.5]
    sent_at = [datetime.fromisoformat(seen.sent_at).timestamp() for seen in endpoint.seen]
    assert sent_at == pytest.approx(starts, abs=0.002, rel=0)
    assert [at for _, _, at in shelf.marks] == pytest.approx(starts, abs=0.002, rel=0)
    assert [seen.headers.get("x-retry-count") for seen in endpoint.seen] == [None, "1", "2"]
    assert {seen.headers["user-agent"] for seen in endpoint.seen} == {f"backfill/{__version__}"}
    assert (end.totals.requests, end.totals.retries, end.totals.calls) == (3, 2, 3)


def test_an_attempt_is_marked_before_it_leaves() -> None:
    """When a request arrives, its mark is in the ledger, and its answer is not."""
    shelf = Shelf(20)
    marked = []
    with Endpoint() as endpoint:

        def check(seen: Seen) -> None:
            number = int(json.loads(seen.plain)["batch"][0]["messageId"].split("-")[2])
            marked.append((number in {batch for batch, _, _ in shelf.marks}, number in shelf.states()))

        endpoint.on_request = check
        Run(shelf, endpoint.url, options=DeliveryOptions(concurrency=3)).go()
    assert marked == [(True, False)] * 20


def test_attempts_of_earlier_processes_count_on() -> None:
    """A batch that an earlier process tried four times is attempt five, retry four, with a full set of attempts."""
    shelf = Shelf(0)
    shelf.add(1, 3, 0, attempts=4)
    with Endpoint(scripted(503)) as endpoint:
        run = Run(shelf, endpoint.url, Simulated().clock())
        run.options = DeliveryOptions(concurrency=1, patience=Patience(attempts=2))
        assert run.go().kind is EndKind.FINISHED
    assert [number for _, number, _ in shelf.marks] == [5, 6]
    assert [seen.headers["x-retry-count"] for seen in endpoint.seen] == ["4", "5"]


class TestFirstBatch:
    """What goes alone, and what --canary does."""

    def test_the_first_batch_goes_alone_and_awaited(self) -> None:
        """Until the first answer has come no other request begins; then several are under way at once."""
        with Endpoint([Step(how="stall")]) as endpoint:
            run = Run(Shelf(40), endpoint.url, options=DeliveryOptions(concurrency=3))
            end = run.in_background()
            assert endpoint.stalled.wait(10)
            senders = [thread.name for thread in threading.enumerate() if thread.name.startswith("deliver-")]
            assert (senders, len(endpoint.seen), len(run.shelf.marks)) == (["deliver-0"], 1, 1)
            all_three = threading.Barrier(3)  # of which 39 more batches make 13
            endpoint.on_request = lambda _: all_three.wait(30)
            endpoint.released.set()
            assert end().kind is EndKind.FINISHED
        assert endpoint.seen[0].calls == run.shelf.contents[1]
        assert endpoint.at_once == 3

    def test_a_large_first_batch_is_cut(self) -> None:
        """Its first ten calls go alone, the rest of them follows at once, with the same bytes of each call."""
        shelf = Shelf(2, calls=25)
        with Endpoint() as endpoint:
            end = Run(shelf, endpoint.url, options=DeliveryOptions(concurrency=1)).go()
        assert (end.kind, end.totals.calls, end.totals.requests) == (EndKind.FINISHED, 50, 3)
        assert [len(json.loads(seen.plain)["batch"]) for seen in endpoint.seen] == [10, 15, 25]
        first, rest, _ = (seen.calls for seen in endpoint.seen)
        assert first + b"," + rest.removeprefix(HEAD) == shelf.contents[1]

    def test_what_was_begun_is_not_cut(self) -> None:
        """Of a batch that an earlier process has sent the same bytes go again: the target may hold its calls."""
        shelf = Shelf(0)
        shelf.add(1, 25, 0, attempts=1, first_unknown_at=time.time())
        with Endpoint() as endpoint:
            assert Run(shelf, endpoint.url, options=DeliveryOptions()).go().kind is EndKind.FINISHED
        assert [seen.calls for seen in endpoint.seen] == [shelf.contents[1]]

    def test_canary_sends_ten_calls(self) -> None:
        """However large the first planned batch is."""
        with Endpoint() as endpoint:
            end = Run(Shelf(3, calls=25), endpoint.url, options=DeliveryOptions(canary=True)).go()
        assert (end.reason, end.totals.calls, len(endpoint.seen)) == (StopReason.CANARY, 10, 1)

    def test_a_first_batch_that_stops_the_run_is_all_that_was_sent(self) -> None:
        """A wrong key is found out by the first batch."""
        with Endpoint(scripted(401)) as endpoint:
            run = Run(Shelf(40), endpoint.url, options=DeliveryOptions(concurrency=4))
            assert run.go().reason is StopReason.TARGET_REFUSED
        assert (len(endpoint.seen), len(run.shelf.marks)) == (1, 1)

    def test_canary(self) -> None:
        """It stops after the first batch, resumable, exit 5."""
        with Endpoint() as endpoint:
            run = Run(Shelf(3), endpoint.url, options=DeliveryOptions(canary=True))
            end = run.go()
        assert (end.kind, end.reason, end.exit_code) == (EndKind.STOPPED, StopReason.CANARY, ExitCode.STOPPED)
        assert run.shelf.states() == {1: BatchState.DELIVERED}
        assert "resume" in end.hint

    def test_canary_again(self) -> None:
        """Once the first batch was delivered, another canary sends nothing."""
        with Endpoint() as endpoint:
            end = Run(Shelf(3), endpoint.url, options=DeliveryOptions(canary=True, first_alone=False)).go()
        assert (end.reason, endpoint.connections) == (StopReason.CANARY, 0)

    def test_canary_of_one_batch(self) -> None:
        """A plan of a single batch is finished by its canary."""
        with Endpoint() as endpoint:
            end = Run(Shelf(1), endpoint.url, options=DeliveryOptions(canary=True)).go()
        assert end.kind is EndKind.FINISHED


@pytest.mark.parametrize("status", [400, 413, 422])
def test_a_refused_call_is_rejected_and_the_rest_delivered(status: int) -> None:
    """A call that stands alone becomes rejected, with what the target said; the others go on."""
    shelf = Shelf(3, calls=1)
    with Endpoint([Step(), Step(status, body=b'{"message":"bad\nshape"}')]) as endpoint:
        end = Run(shelf, endpoint.url).go()
    assert (end.kind, end.totals.requests, end.totals.calls) == (EndKind.FINISHED, 3, 2)
    assert shelf.states() == {1: BatchState.DELIVERED, 2: BatchState.REJECTED, 3: BatchState.DELIVERED}
    answer = shelf.answers[1][2]
    assert (answer.status, answer.outcome, answer.detail) == (status, Outcome.NOT_TAKEN, '{"message":"bad shape"}')


@pytest.mark.parametrize(
    ("status", "exit_code"),
    [
        (401, 8),
        (403, 8),
        (404, 8),
        (301, 5),
        (302, 5),
        (304, 5),
        (307, 5),
        (402, 5),
        (405, 5),
        (418, 5),
        (501, 5),
        (505, 5),
    ],
)
def test_a_final_answer_stops_the_run(status: int, exit_code: int) -> None:
    """Key, source and endpoint errors are exit 8, the unforeseen exit 5; redirects are not followed."""
    shelf = Shelf(3)
    with Endpoint() as elsewhere, Endpoint() as endpoint:
        endpoint.script = [Step(), Step(status, (("Location", elsewhere.url),), b"" if status == 304 else b"no way")]
        end = Run(shelf, endpoint.url).go()
    assert (end.kind, end.exit_code, end.batches) == (EndKind.STOPPED, ExitCode(exit_code), (2,))
    assert f"HTTP {status}" in end.message
    assert end.answer == ("" if status == 304 else "no way")
    assert elsewhere.connections == 0
    assert shelf.states() == {1: BatchState.DELIVERED}
    assert shelf.outcomes() == [Outcome.ACCEPTED, Outcome.NOT_TAKEN]
    assert len(endpoint.seen) == 2


class TestInDoubt:
    """Nothing leaves once the target may have forgotten what it holds."""

    def run(self, url: str, since: float, time: Simulated) -> Run:
        """Three batches, the second and third in doubt since then."""
        shelf = Shelf(1)
        shelf.add(2, 3, 0, attempts=1, first_unknown_at=since)
        shelf.add(3, 3, 0, attempts=1, first_unknown_at=since)
        return Run(shelf, url, time.clock())

    @pytest.mark.parametrize("age", [0, 24 * 3600, -299])
    def test_within_the_window_it_is_sent_again(self, age: float) -> None:
        """Up to 24 hours after the first unknown attempt; a clock a little behind is no obstacle."""
        time = Simulated()
        with Endpoint() as endpoint:
            assert self.run(endpoint.url, time.time - age, time).go().kind is EndKind.FINISHED
        assert len(endpoint.seen) == 3

    @pytest.mark.parametrize("age", [24 * 3600 + 1, 10**8, -301])
    def test_past_the_window_the_run_stops(self, age: float) -> None:
        """Exit 5, both batches named, neither sent; so too where the clock was set back and the age is unknown."""
        time = Simulated()
        with Endpoint() as endpoint:
            run = self.run(endpoint.url, time.time - age, time)
            end = run.go()
        assert (end.kind, end.reason, end.exit_code) == (EndKind.STOPPED, StopReason.WINDOW, ExitCode.STOPPED)
        assert end.batches == (2, 3)
        assert "2, 3" in end.message
        assert len(endpoint.seen) == len(run.shelf.marks) == 1

    def test_the_window_closes_between_two_attempts(self) -> None:
        """The age counts from the first unknown attempt, also of this process, and is looked at before each."""
        time = Simulated()
        options = DeliveryOptions(concurrency=1, first_alone=False, window_seconds=100)
        script = [Step(429), *[Step(503, (("Retry-After", "40"),))] * 9]
        with Endpoint(script) as endpoint:
            run = Run(Shelf(1), endpoint.url, time.clock(), options)
            end = run.go()
        assert end.reason is StopReason.WINDOW
        # 429 leaves no doubt; then unknown at 0.5 s, again at 40.5 and 80.5; 120.5 would be too late.
        assert [at - 1_700_000_000 for _, _, at in run.shelf.marks] == pytest.approx([0, 0.5, 40.5, 80.5])


class TestDamage:
    """What is wrong on this side ends the delivery with an exception, and nothing in doubt."""

    def test_a_spool_that_does_not_fit(self) -> None:
        """A stream of another length than the ledger says is not sent, nor marked."""
        shelf = Shelf(2)
        shelf.streams[2] = shelf.streams[2][:-1]
        with Endpoint() as endpoint, pytest.raises(LedgerError, match="batch 2"):
            Run(shelf, endpoint.url).go()
        assert [batch for batch, _, _ in shelf.marks] == [1]

    def test_errors_of_the_ledger_come_through(self) -> None:
        """What the ledger raises in a sender's thread is raised by deliver, and the other senders end."""

        class Failing(Shelf):
            def mark_sent(self, batch: Batch, at: float) -> int:
                if batch.id == 7:
                    raise LedgerError("disk I/O error")
                return super().mark_sent(batch, at)

        shelf = Failing(50)
        with Endpoint() as endpoint, pytest.raises(LedgerError, match="disk"):
            Run(shelf, endpoint.url, options=DeliveryOptions(concurrency=3)).go()
        assert 7 not in shelf.states()

    def test_a_limit_that_was_lowered(self) -> None:
        """A batch larger than the target takes by now is not sent."""
        shelf = Shelf(1, size=1000)
        limit = len(shelf.contents[1])
        with Endpoint() as endpoint, pytest.raises(RefusedError, match=f"{limit:,}"):
            Run(shelf, endpoint.url, access={"body_limit": limit}).go()
        assert shelf.marks == []

    def test_a_target_that_cannot_be_asked(self) -> None:
        """An endpoint without a usable scheme is an error of the setup."""
        with pytest.raises(UsageError):
            Run(Shelf(1), "ftp://localhost/v1/batch").go()


FAULTS = st.one_of(
    st.sampled_from([408, 410, 429, 460, 500, 502, 503, 504, 511]).map(Step),
    st.sampled_from([Step(429, (("Retry-After", "2"),)), Step(503, (("Retry-After", "soon"),))]),
    st.sampled_from(["reset_before", "reset_after", "close", "garbage", "cut"]).map(lambda how: Step(how=how)),
)


@settings(max_examples=25)
@given(script=st.lists(FAULTS, max_size=8), batches=st.integers(1, 4), compressed=st.booleans())
def test_any_faults_that_pass_leave_everything_delivered(script: list[Step], batches: int, compressed: bool) -> None:
    """Whatever happens on the way, each batch ends delivered exactly once, and each attempt has its mark and answer."""
    shelf, time = Shelf(batches), Simulated(jitter=random.random())
    with Endpoint(script) as endpoint:
        end = Run(shelf, endpoint.url, time.clock(), access={"gzip": compressed}).go()
    assert end.kind is EndKind.FINISHED
    assert shelf.states() == dict.fromkeys(range(1, batches + 1), BatchState.DELIVERED)
    assert shelf.outcomes().count(Outcome.ACCEPTED) == batches
    assert [mark[:2] for mark in shelf.marks] == [answer[:2] for answer in shelf.answers]
    assert {seen.calls for seen in endpoint.seen} == set(shelf.contents.values())
    sent_at = [seen.sent_at for seen in endpoint.seen]
    assert sent_at == sorted(sent_at)


def test_neither_key_nor_payload_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """At the finest log level of every library, through faults and successes: no key, no call."""
    script = [
        Step(503),
        Step(how="reset_after"),
        Step(400, body=f"who is {KEY}?".encode()),
        Step(401, body=KEY.encode()),
    ]
    shelf = Shelf(3)
    with caplog.at_level("DEBUG"), Endpoint(script) as endpoint:
        end = Run(shelf, endpoint.url, Simulated().clock()).go()
    told = caplog.text + repr(end) + repr(shelf.answers)
    for secret in (KEY, "d2tfZG9fbm90X3Nob3dfbWU6", "secret-call"):
        assert secret not in told
    assert shelf.answers[2][2].detail == "who is [write key]?"


def test_the_system_clock_by_default() -> None:
    """Without a clock of one's own, sentAt is now."""
    with Endpoint() as endpoint:
        before = datetime.now(UTC)
        Run(Shelf(1), endpoint.url).go()
    sent_at = datetime.fromisoformat(endpoint.seen[0].sent_at)
    assert -0.001 <= (sent_at - before).total_seconds() < 60
    assert gzip.decompress(endpoint.seen[0].body)
