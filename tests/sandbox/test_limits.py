"""The sandbox's own side of drops and refusals, and its limits to the byte; the rules are in test_conformance."""

import gzip
import json

import httpx
import pytest

from backfill.limits import SEGMENT
from backfill.sandbox import LENIENT, Sandbox
from tests.support.sandbox_calls import KEY, call, client_of, post


def test_the_reasons_of_drops_are_told(client: httpx.Client) -> None:
    """/drops has each call that was dropped, of one reason where it is asked for that."""
    bad = [call("m1", event=""), call("m2", userId=7), call("m3", userId="")]
    assert post(client, [bad[0], call("good"), *bad[1:]]).status_code == 200
    found = [client.get("/drops", params=of).json()["drops"] for of in ({}, {"reason": "id_not_string"})]
    assert [(drop["messageId"], drop["reason"]) for drop in found[0]] == [
        ("m1", "event_not_defined"),
        ("m2", "id_not_string"),
        ("m3", "id_not_string"),
    ]
    assert found[1] == found[0][1:]


def test_the_codes_of_refusals(sandbox: Sandbox, client: httpx.Client) -> None:
    """A 400 says which of the two it is; both are counted, and nothing of them is held. An empty batch is counted."""
    for body, code in ((b"{", "bad_request"), (b" " * 600_000, "too_large")):
        answer = client.post("/v1/batch", content=body)
        assert (answer.status_code, answer.json()["code"]) == (400, code)
    client.post("/v1/batch", json={"batch": []})
    stats = sandbox.stats()
    assert (stats["refused"], stats["received"]) == ({"bad_request": 1, "too_large": 1, "empty_batch": 1}, 0)


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


def test_members_without_end_are_400(client: httpx.Client) -> None:
    """A body of a thousand members and one costs no more than its refusal."""
    wire = gzip.compress(b"", mtime=0) * 1001
    assert client.post("/v1/batch", content=wire, headers={"Content-Encoding": "gzip"}).status_code == 400
