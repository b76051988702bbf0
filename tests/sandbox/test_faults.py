"""Scripted faults: their grammar, that they are the same at every run, and what a client meets."""

import gzip
import json
import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from email.utils import parsedate_to_datetime
from pathlib import Path

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backfill.errors import UsageError
from backfill.sandbox import FaultScript, Sandbox
from tests.support.sandbox_calls import client_of

CALL = {"type": "track", "userId": "u1", "event": "Order Completed"}


@contextmanager
def faulty(*rules: str) -> Iterator[tuple[Sandbox, httpx.Client]]:
    """A sandbox with these faults and a client of it."""
    with (
        Sandbox(faults=FaultScript.parse(rules), clock=lambda: 1_700_000_000.0) as sandbox,
        client_of(sandbox.endpoint, auth=("a-key", "")) as client,
    ):
        yield sandbox, client


def outcomes(client: httpx.Client, count: int) -> list[int]:
    """The status of so many requests, one call each; 0 where the connection broke."""
    found = []
    for n in range(count):
        try:
            answer = client.post("/v1/batch", json={"batch": [{**CALL, "messageId": f"m{n}"}]})
        except httpx.TransportError:
            found.append(0)
        else:
            found.append(answer.status_code)
    return found


def test_status_every() -> None:
    """Each third request is refused, and what was refused is not stored."""
    with faulty("status=500,every=3") as (sandbox, client):
        assert outcomes(client, 7) == [200, 200, 500, 200, 200, 500, 200]
        stats = sandbox.stats()
        assert (stats["requests"], stats["accepted"], stats["faults"]) == (7, 5, {"status_500": 2})


def test_status_first_and_after() -> None:
    """A fault may have a beginning and an end."""
    with faulty("status=503,after=1,first=2") as (_, client):
        assert outcomes(client, 5) == [200, 503, 503, 200, 200]


def test_retry_after_in_seconds_and_as_a_date() -> None:
    """Both forms of the header that RFC 9110 knows."""
    with faulty("status=429,retry_after=7,first=1", "status=503,retry_after=date+60") as (_, client):
        first, second = (client.post("/v1/batch", json={"batch": []}) for _ in range(2))
    assert first.headers["retry-after"] == "7"
    assert parsedate_to_datetime(second.headers["retry-after"]).timestamp() == 1_700_000_060


def test_stored_though_refused() -> None:
    """A 500 may hide that the calls were taken."""
    with faulty("status=500,stored,first=1") as (sandbox, client):
        assert outcomes(client, 1) == [500]
        assert sandbox.stats()["accepted"] == 1


@pytest.mark.parametrize(("rule", "stored"), [("reset=before", 0), ("reset=after", 0), ("lost", 1)])
def test_cut_connections(rule: str, stored: int) -> None:
    """Each kind of cut breaks the connection; only a lost answer leaves the calls stored, and the next one works."""
    with faulty(f"{rule},first=1") as (sandbox, client):
        assert outcomes(client, 1) == [0]
        assert sandbox.stats()["accepted"] == stored
        assert outcomes(client, 1) == [200]
        stats = sandbox.stats()
        assert (stats["accepted"], stats["duplicate"]) == (1, stored)
        assert stats["faults"] == {rule.replace("=", "_"): 1}


def test_reset_before_reads_no_body() -> None:
    """A client that has sent only the head of its request is cut off at once, with a reset."""
    with faulty("reset=before") as (sandbox, _):
        host, port = sandbox.endpoint.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port)), timeout=20) as connection:
            connection.sendall(b"POST /v1/batch HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n")
            with pytest.raises(ConnectionResetError):
                connection.recv(1)


def test_a_client_that_goes_away_is_counted() -> None:
    """Half a body and then nothing is one refused request."""
    with faulty() as (sandbox, client):
        host, port = sandbox.endpoint.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port)), timeout=20) as connection:
            connection.sendall(b"POST /v1/batch HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n{")
        while not sandbox.stats()["refused"]:
            client.get("/health")
        assert sandbox.stats()["refused"] == {"disconnected": 1}


def test_delay_keeps_what_was_stored_from_being_answered() -> None:
    """A client that does not wait for a delayed answer finds its calls stored."""
    with faulty("delay=1,first=1") as (sandbox, client):
        with pytest.raises(httpx.ReadTimeout):
            client.post("/v1/batch", json={"batch": [{**CALL, "messageId": "m"}]}, timeout=0.3)
        assert sandbox.stats()["accepted"] == 1
        assert sandbox.stats()["faults"] == {"delay": 1}


def test_a_cut_comes_too_late_for_a_client_that_has_gone(caplog: pytest.LogCaptureFixture) -> None:
    """A reset after a delay that the client did not wait for is nothing to fail over."""
    with faulty("delay=0.3,reset=after,first=1") as (sandbox, client):
        with pytest.raises(httpx.ReadTimeout):
            client.post("/v1/batch", json={"batch": []}, timeout=0.05)
        client.close()
    assert sandbox.endpoint
    assert [record for record in caplog.records if record.name == "uvicorn.error" and record.exc_info] == []


def test_delay_goes_with_another_fault() -> None:
    """A delay is added to whatever else happens."""
    with faulty("delay=0.01", "delay=0.01,status=500") as (_, client):
        assert outcomes(client, 1) == [500]
    fault = FaultScript.parse(["delay=0.25", "delay=0.5,status=500", "reset=after"]).decide(1)
    assert (fault.delay, fault.status, fault.cut) == (0.75, 500, None)


def test_asking_is_not_faulty() -> None:
    """Only POSTs to /v1 are counted and can fail."""
    with faulty("status=500,every=2") as (_, client):
        for _ in range(3):
            assert client.get("/stats").status_code == 200
        assert outcomes(client, 2) == [200, 500]


def test_no_connection_outlives_a_fault_in_confusion() -> None:
    """Fifty requests through a mixed script over kept connections: the store agrees with the script."""
    rules = ["reset=before,every=7", "lost=1/5", "status=503,odds=1/4,seed=3", "reset=after,every=11"]
    script = FaultScript.parse(rules)
    with faulty(*rules) as (sandbox, client):
        found = outcomes(client, 50)
        assert found == [_expected(script, number) for number in range(1, 51)]
        kept = sum(
            script.decide(number).cut in {None, "lost"} and not script.decide(number).status for number in range(1, 51)
        )
        assert sandbox.stats()["accepted"] == kept


def _expected(script: FaultScript, number: int) -> int:
    fault = script.decide(number)
    return 0 if fault.cut else fault.status or 200


def test_odds_are_drawn_by_number_and_seed() -> None:
    """The same script decides the same, in whatever order it is asked; another seed decides otherwise."""
    one, other = (FaultScript.parse([f"lost=1/10,seed={seed}"]) for seed in (1, 2))
    hits = [number for number in range(1, 2001) if one.decide(number).cut]
    assert hits == sorted(number for number in range(2000, 0, -1) if one.decide(number).cut)
    assert hits != [number for number in range(1, 2001) if other.decide(number).cut]
    assert 140 < len(hits) < 260


@pytest.mark.parametrize(
    ("rule", "hits"), [("lost=0/3", 0), ("lost=3/3", 20), ("lost,odds=1/1", 20), ("lost,every=4", 5)]
)
def test_odds_at_their_ends(rule: str, hits: int) -> None:
    """Never and always are what they say."""
    script = FaultScript.parse([rule])
    assert sum(script.decide(number).cut == "lost" for number in range(1, 21)) == hits


@given(after=st.integers(0, 20), first=st.integers(1, 20), every=st.integers(1, 5))
def test_triggers_against_a_list(after: int, first: int, every: int) -> None:
    """`after`, `first` and `every` are slices of the requests, applied in this order."""
    script = FaultScript.parse([f"status=500,after={after},first={first},every={every}"])
    numbers = list(range(1, 101))
    assert [n for n in numbers if script.decide(n).status] == numbers[after:][:first][every - 1 :: every]


@pytest.mark.parametrize(
    "rule",
    [
        "",
        "status",
        "status=abc",
        "status=100",
        "status=600",
        "nonsense=1",
        "every=3",
        "status=500,status=501",
        "status=500,reset=before",
        "lost,reset=after",
        "reset=later",
        "lost=1",
        "lost=2/1",
        "lost=1/0",
        "delay=0",
        "delay=-1",
        "delay=inf",
        "delay=nan",
        "delay=x",
        "retry_after=3",
        "lost,stored",
        "status=500,stored=yes",
        "status=500,every=0",
        "status=500,first=0",
        "status=500,retry_after=soon",
        "status=500,odds=x",
        "status=500,seed=-1",
        "status=500,holding=",
        "reset=before,holding=x",
        "holding=x",
    ],
)
def test_bad_rules_are_named(rule: str) -> None:
    """A script that cannot be is refused before anything listens, with the rule and what is wrong."""
    with pytest.raises(UsageError) as caught:
        FaultScript.parse(["status=500", rule])
    assert repr(rule) in caught.value.message
    assert caught.value.hint


@pytest.mark.parametrize("compressed", [False, True])
def test_bodies_that_hold_a_text(compressed: bool) -> None:
    """They alone are refused, whatever their number and encoding; what they hold is not stored, all else is."""
    with faulty("status=422,holding=poison-1", "lost,holding=poison-2,first=1") as (sandbox, client):
        found = []
        for name in ("fine-1", "poison-1", "poison-2", "fine-2"):
            call = {"type": "track", "messageId": name, "userId": "u", "event": "e"}
            body = json.dumps({"batch": [call, call | {"messageId": f"{name}-b"}]}).encode()
            headers = {"Content-Encoding": "gzip"} if compressed else {}
            found.append(client.post("/v1/batch", content=gzip.compress(body) if compressed else body, headers=headers))
        assert [answer.status_code for answer in found] == [200, 422, 200, 200]
        assert sandbox.stats()["faults"] == {"status_422": 1}
        assert sorted({one.removesuffix("-b") for one in sandbox.ids()}) == [
            "fine-1",
            "fine-2",
            "poison-2",
        ]


def test_no_script_no_fault() -> None:
    """An empty script never fires."""
    assert json.dumps([FaultScript().decide(n).name for n in range(1, 4)]) == '["", "", ""]'


def test_the_docs_examples_parse(repository: Path) -> None:
    """Every `--fault` in docs/sandbox.md is a rule that can be."""
    rules = re.findall(r"--fault ([a-z]\S+)", (repository / "docs" / "sandbox.md").read_text())
    assert len(FaultScript.parse(rules).rules) == len(rules) > 5
