"""The sandbox over real sockets: what it answers, what it holds and what it says of itself."""

from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from backfill import __version__
from backfill.sandbox import Sandbox
from tests.support.sandbox_calls import KEY, TRACK, call, client_of, post


def test_batch_is_accepted_and_held(sandbox: Sandbox, client: httpx.Client) -> None:
    """A good batch is answered as Segment does, and is there when it was answered."""
    answer = post(client, [call("m1"), call("m2")], sentAt="2024-01-01T00:00:00.000Z")
    assert (answer.status_code, answer.json()) == (200, {"success": True})
    stats = sandbox.stats()
    assert stats == client.get("/stats").json()
    assert (stats["requests"], stats["received"], stats["accepted"], stats["distinct_ids"]) == (1, 2, 2, 2)
    assert stats["by_type"] == {"track": 2}
    assert stats["bytes"]["json"] == stats["bytes"]["wire"] > 0
    assert list(sandbox.ids()) == client.get("/ids").text.splitlines() == ["m1", "m2"]


def test_it_says_what_it_is(sandbox: Sandbox, client: httpx.Client) -> None:
    """Every answer names the sandbox in its Server header, and /health tells it as JSON."""
    assert client.get("/health").json() == {"status": "ok", "server": "backfill-sandbox", "version": __version__}
    for answer in (client.get("/health"), post(client, [call("m1")]), client.post("/v1/batch", content=b"{")):
        assert answer.headers["server"] == f"backfill-sandbox/{__version__}"
        assert "date" in answer.headers


SINGLE_CALLS = {
    "identify": {"userId": "u1", "traits": {"plan": "pro"}},
    "track": {"anonymousId": "a1", "event": "Signed Up", "properties": {}},
    "page": {"userId": "u1", "name": "Home", "category": None},
    "screen": {"userId": "u1", "name": "Start"},
    "group": {"userId": "u1", "groupId": "g1", "traits": {}},
    "alias": {"userId": "u1", "previousId": "a1"},
}


def test_single_calls_without_ids(sandbox: Sandbox, client: httpx.Client) -> None:
    """Each of the six paths takes its call, whose type is the path's, and gives an id where there is none."""
    for kind, members in SINGLE_CALLS.items():
        assert client.post(f"/v1/{kind}", json=members).status_code == 200
    stats = sandbox.stats()
    assert (stats["accepted"], stats["distinct_ids"]) == (6, 6)
    assert stats["by_type"] == dict.fromkeys(SINGLE_CALLS, 1)
    held = client.get("/calls").json()["calls"]
    assert [one["type"] for one in held] == list(SINGLE_CALLS)
    assert {len(one["messageId"]) for one in held} == {36}


def test_write_key_in_the_body_is_enough_and_is_not_kept(sandbox: Sandbox) -> None:
    """A writeKey in the body does instead of Basic; nothing that is kept has it."""
    with client_of(sandbox.endpoint) as client:
        post(client, [call("m1")], writeKey="s3cret")
        client.post("/v1/track", json={**TRACK, "messageId": "m2", "writeKey": "s3cret", "properties": {"n": 1}})
        text = client.get("/calls").text
    assert sandbox.stats()["accepted"] == 2
    assert "s3cret" not in text
    assert '"properties":{"n":1}' in text


def test_duplicates_are_dropped_over_all_sources(sandbox: Sandbox, client: httpx.Client) -> None:
    """An id counts once: in one batch, in the next, from another write key, by another call."""
    post(client, [call("m1"), call("m1", event="Other"), call("m2")])
    httpx.post(f"{sandbox.endpoint}/v1/batch", json={"batch": [call("m1"), call("m3")]}, auth=("another", ""))
    stats = sandbox.stats()
    assert (stats["received"], stats["accepted"], stats["duplicate"], stats["distinct_ids"]) == (5, 3, 2, 3)
    again = client.get("/drops", params={"reason": "duplicate"}).json()["drops"]
    assert [drop["messageId"] for drop in again] == ["m1", "m1"]


def test_duplicates_end_with_the_window() -> None:
    """After the window the same id is taken again; a duplicate does not prolong it."""
    now = [1_700_000_000.0]
    with Sandbox(clock=lambda: now[0]) as sandbox, client_of(sandbox.endpoint, auth=KEY) as client:
        outcomes = []
        for hours in (0, 23.9, 24, 47.9, 48):
            now[0] = 1_700_000_000.0 + hours * 3600
            post(client, [call("m1")])
            outcomes.append(sandbox.stats()["accepted"])
        assert outcomes == [1, 1, 2, 2, 3]
        assert sandbox.stats()["distinct_ids"] == 1


def test_the_timestamp_formula() -> None:
    """The stored timestamp is receivedAt - (sentAt - originalTimestamp), the sender's own kept beside it."""
    with (
        Sandbox(clock=lambda: 1_700_000_010.0) as sandbox,
        client_of(sandbox.endpoint, auth=KEY) as client,
    ):
        sent = "2023-11-14T22:13:20.000Z"  # ten seconds before it is received
        post(client, [call("m1", timestamp="2019-06-01T12:00:00.500Z"), call("m2")], sentAt=sent)
        post(client, [call("m3", timestamp="2019-06-01T12:00:00.500Z"), call("m4", timestamp="no time")])
        held = client.get("/calls").json()["calls"]
    assert [one["timestamp"] for one in held] == [
        "2019-06-01T12:00:10.500Z",
        "2023-11-14T22:13:30.000Z",
        "2019-06-01T12:00:00.500Z",
        "2023-11-14T22:13:30.000Z",
    ]
    assert {one["receivedAt"] for one in held} == {"2023-11-14T22:13:30.000Z"}
    assert held[0]["originalTimestamp"] == "2019-06-01T12:00:00.500Z"
    assert [one["sentAt"] for one in held] == [sent, sent, None, None]


def test_calls_are_kept_as_they_were_sent(client: httpx.Client) -> None:
    """The text of a call is kept to the letter, in whatever spacing it came, and pages follow one another."""
    numbers = '{"a":1.10,"b":12345678901234567890123456789012345678901,"c":1e5}'
    tight = '{"type":"track","userId":"u1","event":"E\\u00e9 é","messageId":"m1","properties":' + numbers + "}"
    loose = tight.replace(":", " : ").replace("m1", "m2")
    client.post("/v1/batch", content=f'{{"batch" : [ {tight} , {loose} ] }}'.encode())
    answer = client.get("/calls", params={"limit": 1})
    assert f'"call":{tight}' in answer.text
    after = answer.json()["next"]
    assert f'"call":{loose}' in client.get("/calls", params={"after": after}).text
    assert client.get("/calls", params={"after": 2}).json() == {"calls": [], "next": None}


def test_context_and_integrations_of_a_batch_are_merged(client: httpx.Client) -> None:
    """What the batch says of all its calls is in each, the call's own members winning."""
    post(
        client,
        [call("m1", context={"ip": "1.2.3.4"}), call("m2")],
        context={"ip": "0.0.0.0", "app": {"name": "x"}},
        integrations={"All": False},
    )
    first, second = (one["call"] for one in client.get("/calls").json()["calls"])
    assert first["context"] == {"ip": "1.2.3.4", "app": {"name": "x"}}
    assert second["context"] == {"ip": "0.0.0.0", "app": {"name": "x"}}
    assert first["integrations"] == second["integrations"] == {"All": False}


def test_only_the_first_calls_are_kept_and_all_ids() -> None:
    """`keep_calls` bounds the calls kept with their JSON; ids are kept without end."""
    with Sandbox(keep_calls=5) as sandbox, client_of(sandbox.endpoint, auth=KEY) as client:
        for start in (0, 3, 6):
            post(client, [call(f"m{start + n}") for n in range(3)])
        assert [one["messageId"] for one in client.get("/calls").json()["calls"]] == [f"m{n}" for n in range(5)]
        assert list(sandbox.ids()) == [f"m{n}" for n in range(9)]


@pytest.mark.parametrize("query", ["limit=x", "limit=10001", "after=-1", "reason=nonsense"])
def test_bad_page_queries_are_400(client: httpx.Client, query: str) -> None:
    """A page that cannot be is said."""
    assert client.get(f"/drops?{query}").status_code == 400
    assert client.get(f"/calls?{query}").status_code == (200 if "reason" in query else 400)


def test_an_id_with_a_line_break_is_one_line(client: httpx.Client) -> None:
    """/ids stays a text of lines, whatever the ids; U+0000 in an id makes no two ids one."""
    post(client, [call("a\nb"), call("c\0d"), call("c\0e"), call("é")])
    assert client.get("/ids").content.decode().split("\n") == ['"a\\nb"', "c\0d", "c\0e", "é", ""]


def test_ids_are_streamed_in_parts(client: httpx.Client) -> None:
    """More ids than one part holds come whole and in order."""
    ids = [f"m{n}" for n in range(25_000)]
    for start in range(0, len(ids), 2500):
        post(client, [call(one) for one in ids[start : start + 2500]])
    assert client.get("/ids").text.splitlines() == ids


def test_many_senders_at_once(sandbox: Sandbox) -> None:
    """Requests over many connections, half of them repeated, come out exact."""

    def send(n: int) -> int:
        with client_of(sandbox.endpoint, auth=KEY) as client:
            return post(client, [call(f"m{n % 20}-{k}") for k in range(50)]).status_code

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(send, range(40))) == {200}
    stats = sandbox.stats()
    assert (stats["requests"], stats["accepted"], stats["duplicate"]) == (40, 1000, 1000)
