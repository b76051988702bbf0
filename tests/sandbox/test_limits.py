"""The sandbox over real sockets: what it drops in silence and what it refuses, to the byte."""

import gzip
import json

import httpx
import pytest
from isal import igzip

from backfill.limits import SEGMENT
from backfill.sandbox import LENIENT, REASONS, Sandbox
from tests.support.sandbox_calls import KEY, TRACK, call, client_of, post

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
    with Sandbox(limits=limits) as sandbox, client_of(sandbox.endpoint, auth=KEY) as client:
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
    """Fifty megabytes of zeros in a small body are refused for their size; test_ingest bounds the memory."""
    bomb = igzip.compress(bytes(50_000_000))
    answer = client.post("/v1/batch", content=bomb, headers={"Content-Encoding": "gzip"})
    assert (answer.status_code, answer.json()["code"]) == (400, "too_large")
    assert sandbox.stats()["refused"] == {"too_large": 1}
