"""How the sandbox reads a request, without sockets: bodies, texts, moments."""

import gzip
import json
import tracemalloc
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from isal import igzip

from backfill.limits import Limits
from backfill.sandbox.bodies import Refusal, call_texts, decode_body
from backfill.sandbox.ingest import ReceivedRequest, read_request
from backfill.sandbox.moments import iso_moment, parse_moment, stored_moment
from backfill.sandbox.server import LENIENT

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MOMENTS = st.datetimes(min_value=datetime(1, 1, 2), max_value=datetime(9999, 12, 30)).map(  # noqa: DTZ001 made aware here
    lambda moment: moment.replace(tzinfo=UTC)
)
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**40), 10**40)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


def take(document: object, *, keep: int = 100, limits: Limits = LENIENT, body: bytes | None = None) -> ReceivedRequest:
    """What is understood of a batch."""
    received = read_request(
        body or json.dumps(document).encode(),
        path="batch",
        key_in_header=True,
        received_ms=1_700_000_000_000,
        limits=limits,
        keep=keep,
    )
    assert isinstance(received, ReceivedRequest)
    return received


# ------------------------------------------------------------------------------------------------------------- moments
@given(MOMENTS)
def test_moments_read_back(moment: datetime) -> None:
    """A moment written is the moment read, cut to milliseconds, in the form Segment writes."""
    milliseconds = (moment - EPOCH) // timedelta(milliseconds=1)
    assert parse_moment(moment.isoformat()) == milliseconds
    text = iso_moment(milliseconds)
    assert parse_moment(text) == milliseconds
    assert (len(text), text[-1]) == (24, "Z")


@given(original=MOMENTS, sent=MOMENTS, received=MOMENTS)
def test_the_formula_is_the_documented_one(original: datetime, sent: datetime, received: datetime) -> None:
    """Whole milliseconds agree with exact arithmetic on datetimes of whole milliseconds."""
    whole = [moment.replace(microsecond=moment.microsecond // 1000 * 1000) for moment in (original, sent, received)]
    numbers = [(moment - EPOCH) // timedelta(milliseconds=1) for moment in whole]
    expected = (whole[2] - EPOCH) - (whole[1] - whole[0])
    assert stored_moment(*numbers) == expected // timedelta(milliseconds=1)


@pytest.mark.parametrize(
    ("text", "iso"),
    [
        ("2020-01-01T00:00:00+02:00", "2019-12-31T22:00:00.000Z"),
        ("2020-01-01T00:00:00.123456Z", "2020-01-01T00:00:00.123Z"),
        ("2020-01-01", "2020-01-01T00:00:00.000Z"),
        ("1969-12-31T23:59:59.999Z", "1969-12-31T23:59:59.999Z"),
    ],
)
def test_forms_of_moments(text: str, iso: str) -> None:
    """Zones are converted, finer digits cut, a bare date is its midnight in UTC."""
    milliseconds = parse_moment(text)
    assert milliseconds is not None
    assert iso_moment(milliseconds) == iso


@pytest.mark.parametrize("value", [None, "", "yesterday", 1_700_000_000, "2020-13-01", "2020-01-01T00:00:029:Z", []])
def test_what_is_no_moment(value: object) -> None:
    """Anything but ISO 8601 text counts as no time at all."""
    assert parse_moment(value) is None


@pytest.mark.parametrize("sent", ["0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z"])
def test_a_formula_that_leaves_the_calendar(sent: str) -> None:
    """Where the sum is outside the years 1 to 9999 the time of receipt stands."""
    extreme = "9999-12-31T00:00:00Z" if sent.startswith("0001") else "0001-01-01T00:00:00Z"
    call = {"type": "track", "userId": "u", "event": "E", "timestamp": extreme}
    assert take({"batch": [call], "sentAt": sent}).held[0].timestamp == "2023-11-14T22:13:20.000Z"


@pytest.mark.parametrize("sent", [None, "", "no time"])
def test_without_sent_at_the_timestamp_stands(sent: str | None) -> None:
    """A sentAt that is missing, empty or unreadable leaves the sender's timestamp as it is."""
    call = {"type": "track", "userId": "u", "event": "E", "timestamp": "2020-01-01T00:00:00Z"}
    assert take({"batch": [call], "sentAt": sent}).held[0].timestamp == "2020-01-01T00:00:00.000Z"


def test_original_timestamp_and_own_sent_at_are_read() -> None:
    """Older clients send originalTimestamp; a call's own sentAt goes before the batch's."""
    call = {"type": "track", "userId": "u", "event": "E", "originalTimestamp": "2020-01-01T00:00:00Z"}
    held = take({"batch": [call, {**call, "sentAt": "2023-11-14T22:13:10Z"}], "sentAt": "2023-11-14T22:13:19Z"}).held
    assert [one.timestamp for one in held] == ["2020-01-01T00:00:01.000Z", "2020-01-01T00:00:10.000Z"]


# --------------------------------------------------------------------------------------------------------------- texts
@given(
    calls=st.lists(st.dictionaries(st.text(), JSON, max_size=4) | JSON, max_size=5),
    before=st.dictionaries(st.text().filter(lambda key: key != "batch"), JSON, max_size=2),
    separators=st.sampled_from([(",", ":"), (", ", ": "), (" ,\n", "\t:\r\n ")]),
    escaped=st.booleans(),
)
def test_slices_are_the_texts(
    calls: list[object], before: dict[str, object], separators: tuple[str, str], escaped: bool
) -> None:
    """Every element's text is cut out whole, whatever the spacing, the escapes and what stands around."""
    texts = [json.dumps(call, separators=separators, ensure_ascii=escaped) for call in calls]
    around = [f"{json.dumps(key)}{separators[1]}{json.dumps(value)}" for key, value in before.items()]
    members = [*around, f'"batch"{separators[1]}[{separators[0].join(texts)}]', '"sentAt":"x"']
    text = f" {{{separators[0].join(members)}}} "
    assert call_texts(text, json.loads(text)["batch"]) == texts


def test_of_two_batches_the_last_counts() -> None:
    """A repeated key is read as every JSON reader in use reads it."""
    text = '{"batch":[{"a":1},{"a":2}],"batch":[{"a":3}]}'
    assert call_texts(text, json.loads(text)["batch"]) == ['{"a":3}']


def track(properties: str, message_id: str) -> str:
    """The text of a good track call with these properties."""
    return f'{{"type":"track","userId":"u","event":"E","messageId":"{message_id}","properties":{{"a":{properties}}}}}'


@pytest.mark.parametrize("levels", [300, 1015])
def test_the_deepest_calls_are_dropped_alone(levels: int) -> None:
    """A call nested too deeply is dropped, one of 250 levels and one beside it are kept."""
    deep, fair, good = (
        track("[" * levels + "]" * levels, "deep"),
        track("[" * 245 + "]" * 245, "fair"),
        track("1", "good"),
    )
    received = take(None, body=f'{{"batch":[{deep}, {fair}, {good}]}}'.encode())
    assert [drop.reason for drop in received.drops] == ["nested_too_deep"]
    assert [held.json for held in received.held] == [fair, good]


def test_a_batch_context_too_deep_to_write_is_left_out() -> None:
    """It costs neither the calls nor the answer."""
    body = f'{{"context":{{"a":{"[" * 400 + "]" * 400}}},"batch":[{track("1", "m")}]}}'
    assert take(None, body=body.encode()).held[0].json == track("1", "m")


def test_an_integer_of_hundreds_of_digits_is_kept() -> None:
    """A number that Python would not read is text like any other."""
    long = track("1" + "0" * 300, "m")
    assert take(None, body=f'{{"batch":[ {long} ]}}'.encode()).held[0].json == long


def test_a_call_is_measured_compact() -> None:
    """Spaces and escapes do not make a call too large; its own bytes do, to the byte."""
    call = {"type": "track", "userId": "u", "event": "E", "messageId": "m", "properties": {"é": "x"}}
    size = len(json.dumps(call, separators=(",", ":"), ensure_ascii=False).encode())
    for most, fits in ((size, True), (size - 1, False)):
        received = take({"batch": [call, {**call, "messageId": "n"}]}, limits=Limits(call_bytes=most))
        assert (received.ids == ["m", "n"]) is fits
        assert [drop.reason for drop in received.drops] == ([] if fits else ["oversize_call"] * 2)


@given(keep=st.integers(0, 6))
def test_the_first_fit_calls_are_kept(keep: int) -> None:
    """Calls that are dropped take no place among those kept."""
    good = {"type": "track", "userId": "u", "event": "E"}
    calls = [
        {"type": "track"},
        {**good, "messageId": "a"},
        7,
        {**good, "messageId": "a"},
        {**good, "messageId": "b"},
        good,
    ]
    received = take({"batch": calls}, keep=keep)
    assert received.ids[:2] == ["a", "b"]
    assert [drop.reason for drop in received.drops] == ["no_user_anon_id", "call_not_object", "duplicate"]
    assert [json.loads(held.json).get("messageId") for held in received.held] == ["a", "b", None][:keep]
    assert received.calls == 6


# -------------------------------------------------------------------------------------------------------------- bodies
@given(parts=st.lists(st.binary(max_size=200), min_size=1, max_size=5), most=st.integers(1, 1100))
def test_gzip_members_within_a_bound(parts: list[bytes], most: int) -> None:
    """The members' bytes are joined up to the limit, and refused beyond it."""
    whole = b"".join(parts)
    found = decode_body(b"".join(map(gzip.compress, parts)), "gzip", most)
    assert found == whole if len(whole) <= most else isinstance(found, Refusal) and found.reason == "too_large"


def test_a_bomb_costs_no_memory() -> None:
    """A body that would inflate to 50 MB is refused at a cost of under 4 MB."""
    bomb = igzip.compress(bytes(50_000_000))
    tracemalloc.start()
    try:
        refusal = decode_body(bomb, "gzip", 512_000)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert isinstance(refusal, Refusal)
    assert peak < 4_000_000
