"""One run delivered by several processes at once, from one ledger in PostgreSQL."""

from __future__ import annotations

import json
import signal
import threading
import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest

from backfill.errors import ExitCode
from backfill.ledger.postgres import Database
from backfill.records import RunState
from backfill.sandbox import Sandbox
from backfill.state import open_store
from tests.support.cutting_proxy import CuttingProxy
from tests.support.delivery_fakes import Endpoint, Seen, Step
from tests.support.pace_simulation import most_over
from tests.support.postgres import Postgres
from tests.support.projects import Project, backfill
from tests.support.together import SHORT_LEASE, Delivery, prepared, users
from tests.support.waiting import until
from tests.torture.together import torture
from tests.torture.zygote import Zygote

ROWS = 4_000
SENT = ROWS - 2
#: The program, whose look at what was prepared takes as long as a test wants.
SLOW_LOOK = """
import time
from pathlib import Path
from backfill.__main__ import program
from backfill.spool.files import Spool
verify = Spool.verify
def slow(spool, shards):
    Path("looking").touch()
    while not Path("looked").exists():
        time.sleep(0.01)
    verify(spool, shards)
Spool.verify = slow
program()
"""


@pytest.fixture
def delivery(project: Project, key: str, postgres: Postgres) -> Iterator[Delivery]:
    """A run of some thirty batches."""
    with prepared(project, postgres, ROWS, "x" * 3_000) as made:
        yield made


def test_three_with_faults(delivery: Delivery) -> None:
    """The first calls go alone; all that can be is delivered once, but for what was in doubt; all end alike."""
    all_there, numbers = threading.Event(), count()

    def faulty(seen: Seen) -> Step:
        number = next(numbers)
        if number == 0:
            assert all_there.wait(60)
        if "u001234" in users(seen):
            return Step(400)
        if number == 11:
            return Step(429, (("Retry-After", "1"),))
        return Step(500) if number % 7 == 5 else delivery.answer(seen)

    endpoint = delivery.endpoint
    endpoint.decides = faulty
    for _ in range(3):
        delivery.start()
    until(lambda: delivery.steps() == ["first", "wait", "wait"])
    until(lambda: endpoint.seen)
    watched = backfill("status", delivery.job, "--state", delivery.url)
    lines = [line for line in watched.out.splitlines() if line.startswith("  process   pid ")]
    assert [", has " in line for line in lines] == [True] * 3, watched.out
    assert max(map(len, lines)) <= 80
    told = backfill("status", delivery.job, "--state", delivery.url, "--output", "json").object
    assert (told["held_by"], sorted(one["batches"] for one in told["deliverers"])[:2]) == (None, [0, 0])
    assert [len(users(seen)) for seen in endpoint.seen] == [10]
    all_there.set()
    ends = delivery.ends()
    assert [code for code, _, _ in ends] == [ExitCode.REJECTS] * 3, ends
    assert (len(delivery.arrived), max(delivery.arrived.values())) == (SENT - 1, 1)  # what had failed was not taken
    for _, told, _ in ends:
        assert (told["state"], told["calls"]["delivered"], told["calls"]["rejected"]) == ("finished", SENT - 1, 3)
        assert told["requests"] == len(endpoint.seen)
    assert sum(told["share"]["calls"] for _, told, _ in ends) == SENT - 1
    assert sum(told["share"]["requests"] for _, told, _ in ends) == len(endpoint.seen)
    with delivery.run.read() as reader:
        states = [str(state) for _, state, _, _ in reader.history()]
    assert (states.count("finished"), states[-1]) == (1, "finished")
    assert "HTTP400" in backfill("rejects", delivery.job, "--state", delivery.url).out
    again = backfill("deliver", delivery.job, "--yes", "--state", delivery.url)
    assert (again.code, "finished before" in again.err) == (ExitCode.REJECTS, True)


def test_what_the_target_says_of_all(delivery: Delivery) -> None:
    """One process hears it, of the first calls; the others end with it and send nothing; it can be resumed."""
    all_there, endpoint = threading.Event(), delivery.endpoint

    def refuse(_: Seen) -> Step:
        assert all_there.wait(60)
        return Step(401)

    endpoint.decides = refuse
    for _ in range(3):
        delivery.start()
    until(lambda: delivery.steps() == ["first", "wait", "wait"])
    all_there.set()
    ends = delivery.ends()
    assert [code for code, _, _ in ends] == [ExitCode.TARGET_REFUSED] * 3, ends
    assert sum("stopped by another process" in err.replace("\n", " ") for _, _, err in ends) == 2
    assert len(endpoint.seen) == 1
    endpoint.decides = delivery.answer
    rest = backfill("resume", delivery.job, "--yes", "--state", delivery.url)
    assert rest.code == ExitCode.REJECTS, rest.err
    assert len(delivery.arrived) == SENT


def test_one_that_comes_too_late(delivery: Delivery) -> None:
    """The others finish the run, and remove its bytes, while it looks through them: it ends as they do."""
    late = delivery.start(program=SLOW_LOOK)
    until((delivery.project.folder / "looking").exists, late)
    assert delivery.start().wait(120) == ExitCode.REJECTS
    (delivery.project.folder / "looked").touch()
    ends = delivery.ends()
    assert [code for code, _, _ in ends] == [ExitCode.REJECTS] * 2, ends
    assert (ends[0][1]["share"]["calls"], delivery.arrived.total()) == (0, SENT)
    with delivery.run.read() as reader:
        assert [str(state) for _, state, _, _ in reader.history()][-2:] == ["delivering", "finished"]


def test_signals(delivery: Delivery) -> None:
    """One that is asked to end gives back what it has, and the other goes on; the last one stops the run."""
    let, waiting, endpoint = threading.Semaphore(12), threading.Semaphore(0), delivery.endpoint

    def slow(seen: Seen) -> Step:
        waiting.release()
        assert let.acquire(timeout=60)
        return Step(400) if "u000003" in users(seen) else delivery.answer(seen)

    endpoint.decides = slow
    first, second = delivery.start(), delivery.start()
    until(lambda: delivery.steps() == ["first", "send"])
    for _ in range(16):  # twelve that were let, of them those that find the call that is refused; two of each process
        assert waiting.acquire(timeout=60)
    first.send_signal(signal.SIGTERM)
    let.release(4)  # what either has in flight
    first.wait(60)
    assert [holder.pid for holder in delivery.run.holders()] == [second.pid]
    with delivery.run.read() as reader:
        assert reader.status().state is RunState.DELIVERING
    second.send_signal(signal.SIGINT)
    let.release(100)
    assert [code for code, _, _ in delivery.ends()] == [ExitCode.TERMINATED, ExitCode.INTERRUPTED]
    with delivery.run.read() as reader:
        assert (reader.status().state, reader.counts().in_doubt) == (RunState.STOPPED, 0)
    assert "HTTP400" in backfill("rejects", delivery.job, "--state", delivery.url).out
    endpoint.decides = delivery.answer
    delivery.start()
    assert delivery.ends()[-1][0] == ExitCode.REJECTS
    assert (len(delivery.arrived), max(delivery.arrived.values())) == (SENT - 1, 1)


def test_one_stopped_past_its_lease(delivery: Delivery) -> None:
    """The other sends what it had in hand; let go on, it sends and records nothing more, and ends with exit code 7."""
    held, let, endpoint = threading.Event(), threading.Event(), delivery.endpoint

    def hold(seen: Seen) -> Step:
        if len(endpoint.seen) == 4:
            held.set()
            assert let.wait(60)
        return delivery.answer(seen)

    endpoint.decides = hold
    late = delivery.start("--concurrency", "1", program=SHORT_LEASE)
    until(held.is_set, late)
    in_flight = {call["messageId"] for call in json.loads(endpoint.seen[3].plain)["batch"]}
    late.send_signal(signal.SIGSTOP)
    until(lambda: Database(delivery.url).rows("SELECT 1 FROM backfill.leases WHERE expires < clock_timestamp()"))
    let.set()
    other = delivery.start(program=SHORT_LEASE)
    _, err = other.communicate(timeout=60)
    assert other.returncode == ExitCode.REJECTS, err
    sent = len(endpoint.seen)
    late.send_signal(signal.SIGCONT)
    _, said = late.communicate(timeout=60)
    assert (late.returncode, "taken over by another process" in said) == (ExitCode.LOCKED, True), said
    assert len(endpoint.seen) == sent
    assert len(delivery.arrived) == SENT
    assert {one for one, times in delivery.arrived.items() if times > 1} == in_flight
    with delivery.run.read() as reader:
        assert reader.counts().faults() == []


def test_killed_and_cut_off(delivery: Delivery, postgres: Postgres) -> None:
    """One is killed, the network of another fails: the third sends the rest, doubled is what was in doubt alone."""
    numbers = count(1)
    with CuttingProxy(postgres.port) as proxy:

        def fail(seen: Seen) -> Step:
            number = next(numbers)
            if number == 6:
                doomed.kill()
            if number % 5 == 0:
                proxy.cut(1, passed_on=number % 2 == 0)
            return delivery.answer(seen)

        delivery.endpoint.decides = fail
        doomed = delivery.start()
        delivery.start(url=delivery.url.replace(f":{postgres.port}/", f":{proxy.port}/"))
        delivery.start()
        codes = [process.wait(120) for process in delivery.processes]
    assert (codes[0], codes[2]) == (-signal.SIGKILL, ExitCode.REJECTS)
    assert codes[1] in (ExitCode.REJECTS, ExitCode.STOPPED), delivery.processes[1].communicate()
    assert len(delivery.arrived) == SENT
    with delivery.run.read() as reader:
        assert reader.counts().faults() == []
        unknown = [one.calls for one in reader.sent_attempts() if one.outcome == "unknown"]
    assert delivery.arrived.total() - SENT <= sum(unknown)
    assert len(unknown) <= 4


def test_one_rate_for_machines(project: Project, key: str, postgres: Postgres, tmp_path: Path) -> None:
    """They have nothing but ledger and bytes in common.

    By when requests arrive: in any window no more than the rate allows, and one batch of each sender besides.
    """
    rate, senders = 4_000.0, 6
    arrived: list[tuple[float, int]] = []
    with prepared(project, postgres, ROWS, "x" * 3_000, spool=tmp_path / "shared") as delivery:
        delivery.endpoint.on_request = lambda seen: arrived.append((time.monotonic(), len(users(seen))))
        for number in range(3):
            here = ("--state-dir", str(tmp_path / f"machine {number}"))
            delivery.start("--rate", f"{rate:g}/s", *here, "--targets", str(project.folder / "targets.yaml"))
        assert [code for code, _, _ in delivery.ends()] == [ExitCode.REJECTS] * 3
    assert (len(delivery.arrived), max(delivery.arrived.values())) == (SENT, 1)
    assert not list((tmp_path / "shared").rglob("*.segment*"))  # the run is finished, and tidied away
    assert sum(calls for _, calls in arrived) == SENT
    assert most_over(sorted(arrived), rate) <= senders * max(calls for _, calls in arrived)


def test_one_alone_and_several(delivery: Delivery) -> None:
    """Whoever would have the run alone ends with exit code 7 while others deliver it."""
    let = threading.Event()

    def wait(seen: Seen) -> Step:
        assert let.wait(60)
        return delivery.answer(seen)

    delivery.endpoint.decides = wait
    delivery.start()
    until(lambda: delivery.endpoint.seen)
    words = (delivery.job, "--yes", "--state", delivery.url)
    for alone in (("resume", *words), ("deliver", *words, "--canary"), ("deliver", *words, "--in-doubt", "skip")):
        ended = backfill(*alone)
        assert (ended.code, "at work on the run" in ended.err.replace("\n", " ")) == (ExitCode.LOCKED, True), ended.err
    let.set()
    assert delivery.ends()[0][0] == ExitCode.REJECTS


def test_a_ledger_in_a_file_has_one_writer(project: Project, key: str) -> None:
    """`deliver` is `resume` there: a second one ends with exit code 7."""
    job = project.people(50)
    let = threading.Event()
    with Endpoint() as endpoint:
        endpoint.on_request = lambda _: let.wait(60)
        profile = f"{{kind: segment, endpoint: 'http://127.0.0.1:{endpoint.port}', rate: unlimited}}"
        (project.folder / "targets.yaml").write_text(f"version: 1\ntargets:\n  prod: {profile}\n", "utf-8")
        assert backfill("prepare", job, "--target", "prod").code == ExitCode.DELIVERED
        first = project.process("deliver", job, "--yes")
        until(lambda: endpoint.seen, first)
        second = backfill("deliver", job, "--yes")
        assert (second.code, "at work on the run" in second.err.replace("\n", " ")) == (ExitCode.LOCKED, True)
        let.set()
        out, err = first.communicate(timeout=60)
        assert (first.returncode, "50 received" in out) == (ExitCode.DELIVERED, True), err


def test_the_sandbox_of_one_process(project: Project, key: str, postgres: Postgres) -> None:
    """It takes no second: that one ends with exit code 7 and has taken nothing; by its address several send there."""
    url, job = postgres.url(postgres.new_database()), project.people(50)
    assert backfill("prepare", job, "--target", "sandbox", "--state", url).code == ExitCode.DELIVERED
    (run,) = open_store(project.state, database=url).runs()
    with Sandbox(project.state / "sandbox") as sandbox:
        second = backfill("deliver", job, "--state", url)
        assert (second.code, "in use by another sandbox" in second.err) == (ExitCode.LOCKED, True), second.err
        with run.read() as reader:
            assert (reader.status().state, run.holders()) == (RunState.PREPARED, [])
        there = ("--target", "sandbox", "--endpoint", sandbox.endpoint)
        assert backfill("prepare", job, *there, "--state", url).code == ExitCode.DELIVERED
        (other,) = {one.run_id for one in open_store(project.state, database=url).runs()} - {run.run_id}
        ends = [project.process("deliver", other, "--state", url) for _ in range(2)]
        assert [process.wait(60) for process in ends] == [ExitCode.DELIVERED] * 2, ends[0].communicate()
        assert (sandbox.stats()["received"], sandbox.stats()["accepted"]) == (50, 50)
    first = backfill("deliver", run.run_id, "--state", url, "--state-dir", project.state)
    assert first.code == ExitCode.DELIVERED, first.err


def test_killed_at_random(project: Project, key: str, postgres: Postgres, tmp_path: Path) -> None:
    """The short form of `python -m tests.torture.together`."""
    with Zygote(tmp_path) as zygote:
        made = torture(project, postgres, zygote, kills=12, seed=13)
    assert made.killed >= 6
