"""The sandbox over real sockets: what it answers, what it holds and what it says of itself."""

import gzip
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from segment.analytics.client import Client

from backfill import __version__
from backfill.errors import LedgerError, LockedError, UsageError
from backfill.limits import SEGMENT
from backfill.sandbox import LENIENT, REASONS, Sandbox

KEY = ("a-key", "")
TRACK = {"type": "track", "userId": "u1", "event": "Order Completed"}


def call(message_id: str, **members: object) -> dict[str, object]:
    """A good track call of this id, with these members besides."""
    return {**TRACK, "messageId": message_id, **members}


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    """A sandbox in memory."""
    with Sandbox() as running:
        yield running


@pytest.fixture
def client(sandbox: Sandbox) -> Iterator[httpx.Client]:
    """A client of that sandbox, with a write key."""
    with httpx.Client(base_url=sandbox.endpoint, auth=KEY) as one:
        yield one


def post(client: httpx.Client, calls: list[object], **envelope: object) -> httpx.Response:
    """One batch."""
    return client.post("/v1/batch", json={"batch": calls, **envelope})


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


def test_both_batch_paths(sandbox: Sandbox, client: httpx.Client) -> None:
    """/v1/batch and its older name, with and without a trailing slash, without a redirect."""
    for n, path in enumerate(("batch", "batch/", "import", "import/")):
        assert client.post(f"/v1/{path}", json={"batch": [call(f"m{n}")]}).status_code == 200
    assert sandbox.stats()["accepted"] == 4


SINGLE_CALLS = {
    "identify": {"userId": "u1", "traits": {"plan": "pro"}},
    "track": {"anonymousId": "a1", "event": "Signed Up", "properties": {}},
    "page": {"userId": "u1", "name": "Home", "category": None},
    "screen": {"userId": "u1", "name": "Start"},
    "group": {"userId": "u1", "groupId": "g1", "traits": {}},
    "alias": {"userId": "u1", "previousId": "a1"},
}


@pytest.mark.parametrize("slash", ["", "/"])
def test_single_call_paths(sandbox: Sandbox, client: httpx.Client, slash: str) -> None:
    """Each of the six paths takes its call, whose type is the path's, and gives an id where there is none."""
    for kind, members in SINGLE_CALLS.items():
        assert client.post(f"/v1/{kind}{slash}", json=members).status_code == 200
    stats = sandbox.stats()
    assert (stats["accepted"], stats["distinct_ids"]) == (6, 6)
    assert stats["by_type"] == dict.fromkeys(SINGLE_CALLS, 1)
    held = client.get("/calls").json()["calls"]
    assert [one["type"] for one in held] == list(SINGLE_CALLS)
    assert {len(one["messageId"]) for one in held} == {36}


def test_write_key_in_the_body_is_enough_and_is_not_kept(sandbox: Sandbox) -> None:
    """A writeKey in the body does instead of Basic; nothing that is kept has it."""
    with httpx.Client(base_url=sandbox.endpoint) as client:
        post(client, [call("m1")], writeKey="s3cret")
        client.post("/v1/track", json={**TRACK, "messageId": "m2", "writeKey": "s3cret", "properties": {"n": 1}})
        text = client.get("/calls").text
    assert sandbox.stats()["accepted"] == 2
    assert "s3cret" not in text
    assert '"properties":{"n":1}' in text


@pytest.mark.parametrize("authorization", [None, "Basic Og==", "Basic ???", "Bearer abc"])
def test_no_write_key_is_a_silent_drop(sandbox: Sandbox, authorization: str | None) -> None:
    """Without a key the answer is 200 all the same, and every call is dropped."""
    headers = {"Authorization": authorization} if authorization else {}
    with httpx.Client(base_url=sandbox.endpoint, headers=headers) as client:
        assert post(client, [call("m1"), call("m2")]).status_code == 200
        assert client.post("/v1/track", json=call("m3")).status_code == 200
    stats = sandbox.stats()
    assert (stats["accepted"], stats["dropped"]) == (0, {"project_not_found": 3})


def test_paths_and_methods_that_are_not_there(client: httpx.Client) -> None:
    """Elsewhere 404, and 405 for what is not a POST."""
    assert client.post("/v1/events", json={}).status_code == 404
    assert client.get("/v1/batch").status_code == 405


BAD_CALLS: list[tuple[str, object]] = [
    ("missing_type", {"userId": "u1"}),
    ("invalid_type", {"type": "Track", "userId": "u1", "event": "E"}),
    ("invalid_type", {"type": 7, "userId": "u1"}),
    ("call_not_object", "text"),
    ("no_user_anon_id", {"type": "track", "event": "E"}),
    ("no_user_anon_id", {"type": "alias", "anonymousId": "a", "previousId": "p"}),
    ("id_not_string", {"type": "track", "event": "E", "userId": 7}),
    ("id_not_string", {"type": "track", "event": "E", "userId": "u1", "anonymousId": ""}),
    ("event_not_defined", {"type": "track", "userId": "u1"}),
    ("event_not_defined", {"type": "track", "userId": "u1", "event": ""}),
    ("event_not_string", {"type": "track", "userId": "u1", "event": 7}),
    ("properties_not_object", call("p", properties=[1])),
    ("traits_not_object", {"type": "identify", "userId": "u1", "traits": "text"}),
    ("name_not_string", {"type": "page", "userId": "u1", "name": ""}),
    ("category_not_string", {"type": "screen", "userId": "u1", "category": 7}),
    ("group_id_missing", {"type": "group", "userId": "u1"}),
    ("group_id_missing", {"type": "group", "userId": "u1", "groupId": 7}),
    ("previous_id_missing", {"type": "alias", "userId": "u1", "previousId": ""}),
    ("message_id_too_long", call("x" * 101)),
    ("message_id_not_string", {**TRACK, "messageId": 7}),
    ("nested_too_deep", call("deep", properties={"a": json.loads("[" * 300 + "]" * 300)})),
    ("oversize_call", call("big", properties={"text": "x" * LENIENT.call_bytes})),
    ("device_advertisingid_should_be_string", call("d", context={"device": {"advertisingId": 7}})),
]


@pytest.mark.parametrize(("reason", "bad"), BAD_CALLS)
def test_each_silent_drop(sandbox: Sandbox, client: httpx.Client, reason: str, bad: object) -> None:
    """A bad call is dropped with its reason, the good one beside it is held, and the answer is 200."""
    assert post(client, [bad, call("good")]).status_code == 200
    stats = sandbox.stats()
    assert (stats["received"], stats["accepted"], stats["dropped"]) == (2, 1, {reason: 1})
    drop = client.get("/drops", params={"reason": reason}).json()["drops"][0]
    assert drop["reason"] == reason
    assert list(sandbox.ids()) == ["good"]


def test_every_reason_is_tried() -> None:
    """No reason is documented that no test has seen."""
    elsewhere = {"project_not_found", "over_batch_limit"}
    assert {reason for reason, _ in BAD_CALLS} | elsewhere == set(REASONS)


def test_the_excess_of_a_batch_is_dropped(sandbox: Sandbox, client: httpx.Client) -> None:
    """Of 2,503 calls the last three are lost in silence."""
    assert post(client, [call(f"m{n}") for n in range(2503)]).status_code == 200
    stats = sandbox.stats()
    assert (stats["accepted"], stats["dropped"]) == (2500, {"over_batch_limit": 3})
    assert [drop["messageId"] for drop in client.get("/drops").json()["drops"]] == ["m2500", "m2501", "m2502"]


BAD_BODIES = [b"", b"{", b"[]", b'"text"', b'{"batch": [NaN]}', b"\xff", b'{"a":"\\ud800"}']


def test_what_is_not_a_json_object_is_400(sandbox: Sandbox, client: httpx.Client) -> None:
    """Bad JSON is answered 400, and counted as refused."""
    for body in BAD_BODIES:
        answer = client.post("/v1/batch", content=body)
        assert (answer.status_code, answer.json()["code"]) == (400, "bad_request")
    assert sandbox.stats()["refused"] == {"bad_request": len(BAD_BODIES)}


def test_an_empty_batch_is_200(sandbox: Sandbox, client: httpx.Client) -> None:
    """Nothing to take is no error, as far as the answer goes."""
    for document in ({"batch": []}, {}, {"batch": "text"}):
        assert client.post("/v1/batch", json=document).status_code == 200
    assert sandbox.stats()["refused"] == {"empty_batch": 3}


def padded(path: str, size: int) -> bytes:
    """A body of just so many bytes for this path."""
    one = json.dumps(call("m1"), separators=(",", ":")).encode()
    body = b'{"batch":[%b]}' % one if path == "batch" else one
    return body + b" " * (size - len(body))


@pytest.mark.parametrize(
    ("limits", "path", "most"),
    [
        (LENIENT, "batch", 512_000),
        (LENIENT, "track", 32_768),
        (SEGMENT, "batch", 500_000),
        (SEGMENT, "track", 32_000),
    ],
)
@pytest.mark.parametrize("packed", [False, True])
def test_size_limits_to_the_byte(limits: object, path: str, most: int, packed: bool) -> None:
    """A body of just the limit passes, one byte more is 400; gzip or not, the uncompressed bytes count."""
    headers = {"Content-Encoding": "gzip"} if packed else {}
    with Sandbox(limits=limits) as sandbox, httpx.Client(base_url=sandbox.endpoint, auth=KEY) as client:
        for size, status in ((most, 200), (most + 1, 400)):
            body = padded(path, size)
            wire = gzip.compress(body) if packed else body
            assert client.post(f"/v1/{path}", content=wire, headers=headers).status_code == status
        assert sandbox.stats()["refused"] == {"too_large": 1}


def test_a_far_too_large_body_is_read_and_answered(client: httpx.Client) -> None:
    """A sender of 20 MB gets its 400, not a broken connection."""
    answer = client.post("/v1/batch", content=b" " * 20_000_000)
    assert (answer.status_code, answer.json()["code"]) == (400, "too_large")


def test_gzip_of_several_members(sandbox: Sandbox, client: httpx.Client) -> None:
    """A body may be compressed in parts (RFC 1952)."""
    body = json.dumps({"batch": [call("m1"), call("m2")]}).encode()
    wire = b"".join(gzip.compress(body[n : n + 10]) for n in range(0, len(body), 10))
    assert client.post("/v1/batch", content=wire, headers={"Content-Encoding": "gzip"}).status_code == 200
    assert sandbox.stats()["accepted"] == 2


GOOD_GZIP = gzip.compress(json.dumps({"batch": [call("m1")]}).encode(), mtime=0)
BAD_ENCODINGS = {
    "cut": (GOOD_GZIP[:-1], "gzip"),
    "followed by rubbish": (GOOD_GZIP + b"rest", "gzip"),
    "not compressed": (b"{}", "gzip"),
    "empty": (b"", "gzip"),
    "wrong checksum": (GOOD_GZIP[:-8] + b"\0" * 8, "gzip"),
    "a thousand members": (gzip.compress(b"", mtime=0) * 1001, "gzip"),
    "another kind": (b"{}", "br"),
}


def test_bad_encodings_are_400(sandbox: Sandbox, client: httpx.Client) -> None:
    """What cannot be decompressed is refused, and nothing of it is held."""
    for wire, encoding in BAD_ENCODINGS.values():
        answer = client.post("/v1/batch", content=wire, headers={"Content-Encoding": encoding})
        assert (answer.status_code, answer.json()["code"]) == (400, "bad_request")
    stats = sandbox.stats()
    assert (stats["refused"], stats["received"]) == ({"bad_request": len(BAD_ENCODINGS)}, 0)


def test_a_decompression_bomb_is_bounded(sandbox: Sandbox, client: httpx.Client) -> None:
    """Half a gigabyte of zeros in half a megabyte is refused for its size; test_sandbox_ingest bounds the memory."""
    bomb = gzip.compress(b"\0" * 100_000_000)
    answer = client.post("/v1/batch", content=bomb, headers={"Content-Encoding": "gzip"})
    assert (answer.status_code, answer.json()["code"]) == (400, "too_large")
    assert sandbox.stats()["refused"] == {"too_large": 1}


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
    with Sandbox(clock=lambda: now[0]) as sandbox, httpx.Client(base_url=sandbox.endpoint, auth=KEY) as client:
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
        httpx.Client(base_url=sandbox.endpoint, auth=KEY) as client,
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
    with Sandbox(keep_calls=5) as sandbox, httpx.Client(base_url=sandbox.endpoint, auth=KEY) as client:
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


@pytest.mark.parametrize("packed", [False, True])
def test_the_official_python_library_delivers_all_it_sends(sandbox: Sandbox, packed: bool) -> None:
    """segment-analytics-python is content, and every call of its six types is held."""
    failures: list[object] = []
    library = Client(
        "a-key",
        host=sandbox.endpoint,
        gzip=packed,
        on_error=lambda error, items: failures.append(error),
        sync_mode=False,
    )
    for n in range(300):
        library.track(f"u{n}", "Order Completed", {"text": "é" * 3000 if n % 50 == 0 else "x", "n": n})
    library.identify("u1", {"plan": "pro"})
    library.page("u1", "Shop", "Home")
    library.screen("u1", "App", "Start")
    library.group("u1", "g1", {"name": "Acme"})
    library.alias("a1", "u1")
    library.shutdown()
    assert failures == []
    stats = sandbox.stats()
    assert stats["by_type"] == {"track": 300, "identify": 1, "page": 1, "screen": 1, "group": 1, "alias": 1}
    assert (stats["accepted"], stats["duplicate"], stats["dropped"], stats["refused"]) == (305, 0, {}, {})


def test_many_senders_at_once(sandbox: Sandbox) -> None:
    """Requests over many connections, half of them repeated, come out exact."""

    def send(n: int) -> int:
        with httpx.Client(base_url=sandbox.endpoint, auth=KEY) as client:
            return post(client, [call(f"m{n % 20}-{k}") for k in range(50)]).status_code

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(send, range(40))) == {200}
    stats = sandbox.stats()
    assert (stats["requests"], stats["accepted"], stats["duplicate"]) == (40, 1000, 1000)


# ------------------------------------------------------------------------------------------------ stores and addresses
def test_a_store_is_continued(tmp_path: Path) -> None:
    """A later sandbox on the same folder goes on: ids, counts and calls."""
    for turn in range(3):
        with Sandbox(tmp_path / "store") as sandbox, httpx.Client(base_url=sandbox.endpoint, auth=KEY) as client:
            post(client, [call("every"), call(f"m{turn}"), {"type": "track"}])
            assert len(client.get("/calls").json()["calls"]) == turn + 2
    stats = sandbox_stats(tmp_path / "store")
    assert (stats["requests"], stats["accepted"], stats["duplicate"]) == (3, 4, 2)
    assert stats["dropped"] == {"no_user_anon_id": 3}
    assert (tmp_path / "store").stat().st_mode & 0o777 == 0o700
    assert {file.stat().st_mode & 0o777 for file in (tmp_path / "store").iterdir()} == {0o600}


def sandbox_stats(folder: Path) -> dict[str, object]:
    """The statistics of a store that nobody has open."""
    with Sandbox(folder) as sandbox:
        return sandbox.stats()


def test_one_store_one_sandbox(tmp_path: Path) -> None:
    """A folder in use is refused, and free again afterwards."""
    with Sandbox(tmp_path), pytest.raises(LockedError, match="in use"), Sandbox(tmp_path):
        pass
    with Sandbox(tmp_path):
        pass


@pytest.mark.parametrize("content", [b"this is no database" * 100, None])
def test_a_file_that_is_not_ours_is_refused(tmp_path: Path, content: bytes | None) -> None:
    """Another kind of file, or a store of a later version, is left alone; and the lock is given back."""
    file = tmp_path / "sandbox.sqlite3"
    if content is None:
        sandbox_stats(tmp_path)
        subprocess.run(
            [
                sys.executable,
                "-c",
                f"import sqlite3; sqlite3.connect({str(file)!r}).execute('PRAGMA user_version = 9')",
            ],
            check=True,
        )
    else:
        file.write_bytes(content)
    for _ in range(2):
        with pytest.raises(LedgerError), Sandbox(tmp_path):
            pass


def test_a_folder_that_cannot_be(tmp_path: Path) -> None:
    """A file where the folder should be is a fault of the command line."""
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError), Sandbox(tmp_path / "file"):
        pass


@pytest.mark.parametrize("host", ["0.0.0.0", "192.0.2.1", "::", "example.com", ""])
def test_only_loopback(host: str) -> None:
    """Any address but loopback is refused before anything listens."""
    with pytest.raises(UsageError):
        Sandbox(host=host)


def test_a_port_in_use() -> None:
    """Two cannot have one port, and nothing outside 0 to 65535 is one."""
    with Sandbox() as first, pytest.raises(UsageError, match="cannot listen"):
        Sandbox(port=int(first.endpoint.rpartition(":")[2])).__enter__()
    with pytest.raises(UsageError, match="cannot listen"):
        Sandbox(port=70_000).__enter__()


# ---------------------------------------------------------------------------------------------- a process of its own
SERVE = """
import json, sys
from pathlib import Path
from backfill.sandbox import serve
print(json.dumps(serve(Path(sys.argv[1]), port=0, ready=lambda endpoint: print(endpoint, flush=True))), flush=True)
"""


Start = Callable[[Path], tuple[subprocess.Popen[str], str]]


@pytest.fixture
def standalone(repository: Path) -> Iterator[Start]:
    """Starts `serve` in a process, and gives it with its endpoint."""
    running: list[subprocess.Popen[str]] = []

    def start(folder: Path) -> tuple[subprocess.Popen[str], str]:
        process = subprocess.Popen(
            [sys.executable, "-c", SERVE, str(folder)],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(repository)},
        )
        running.append(process)
        assert process.stdout is not None
        return process, process.stdout.readline().strip()

    yield start
    for process in running:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGTERM])
def test_serve_ends_cleanly(standalone: Start, tmp_path: Path, end: signal.Signals) -> None:
    """Either signal ends it with its last statistics and exit 0, an open connection or not."""
    process, endpoint = standalone(tmp_path)
    with httpx.Client(base_url=endpoint, auth=KEY) as client:
        post(client, [call("m1")])
        process.send_signal(end)
        output, _ = process.communicate(timeout=30)
    assert process.returncode == 0
    assert json.loads(output)["accepted"] == 1


def test_sigkill_loses_nothing_that_was_answered(standalone: Start, tmp_path: Path) -> None:
    """Killed three times under load: every id answered 200 is there, and what is re-sent is a duplicate."""
    answered: list[str] = []
    for turn in range(3):
        process, endpoint = standalone(tmp_path)
        killer = threading.Timer(0.3 + turn / 10, process.kill)
        with ThreadPoolExecutor(4) as pool:
            senders = [pool.submit(_send_until_it_dies, endpoint, f"{turn}-{lane}") for lane in range(4)]
            killer.start()
            answered += [one for sender in senders for one in sender.result(timeout=60)]
        process.wait()
    assert answered
    with Sandbox(tmp_path) as sandbox, httpx.Client(base_url=sandbox.endpoint, auth=KEY) as client:
        held = set(sandbox.ids())
        assert set(answered) <= held
        before = sandbox.stats()
        assert (before["accepted"], before["distinct_ids"]) == (len(held), len(held))
        post(client, [call(one) for one in answered[:100]])
        assert sandbox.stats()["duplicate"] == len(answered[:100])


def _send_until_it_dies(endpoint: str, lane: str) -> list[str]:
    answered: list[str] = []
    deadline = time.monotonic() + 30
    with httpx.Client(base_url=endpoint, auth=KEY) as client:
        for n in range(100_000):
            ids = [f"{lane}-{n}-{k}" for k in range(20)]
            try:
                answer = post(client, [call(one) for one in ids])
            except httpx.TransportError:
                return answered
            assert answer.status_code == 200
            answered += ids
            if time.monotonic() > deadline:
                break
    return answered


def test_the_docs_name_every_reason(repository: Path) -> None:
    """docs/sandbox.md has each reason for a drop."""
    text = (repository / "docs" / "sandbox.md").read_text()
    assert [reason for reason in REASONS if f"`{reason}`" not in text] == []
