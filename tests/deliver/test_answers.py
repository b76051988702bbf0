"""What the body of a success says: odd, or which calls were refused; and the parts that come of it."""

from __future__ import annotations

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backfill.deliver.answers import Success, read_success
from backfill.targets import AnswerFormat

IDS = [f"0b1c{number:04}-0000-5000-8000-000000000000" for number in range(3)]


def read(
    form: AnswerFormat, body: bytes | str, *, status: int = 200, cut: bool = False, ids: list[str] = IDS
) -> Success:
    """The success of a batch of these calls."""
    body = body.encode() if isinstance(body, str) else body
    return read_success(form, status, body, cut=cut, calls=len(ids), ids=lambda: ids)


@pytest.mark.parametrize(
    ("form", "body"),
    [
        (AnswerFormat.SUCCESS, '{"success": true}'),
        (AnswerFormat.SUCCESS, '{"success":true,"more":[1]}\n'),
        (AnswerFormat.OK, "OK"),
        (AnswerFormat.OK, "OK\n"),
        (AnswerFormat.OK, '{"msg":"OK"}'),
        (AnswerFormat.STATUS, "{}"),
        (AnswerFormat.STATUS, "thanks"),
        (AnswerFormat.JITSU, '{"ok":true,"receivedEvents":3,"okEvents":3}'),
        (AnswerFormat.JITSU, '{"ok":true,"receivedEvents":3,"okEvents":1,"deduplicatedEvents":2}'),
        (AnswerFormat.JITSU, '{"ok":true,"receivedEvents":3,"okEvents":3,"deduplicatedEvents":2,"errors":null}'),
        (AnswerFormat.INDEXED, '{"errors":[]}'),
        (AnswerFormat.INDEXED, "{}"),
    ],
)
def test_a_plain_success(form: AnswerFormat, body: str) -> None:
    """Each service's own success says nothing further."""
    assert read(form, body) == Success()


@pytest.mark.parametrize("form", AnswerFormat)
@pytest.mark.parametrize(
    ("body", "cut", "says"),
    [
        ("", False, "is empty"),
        (" \r\n", False, "is empty"),
        ("<!DOCTYPE html><title>Log in</title>", False, "web page"),
        ("\n<html>", True, "web page"),
        ('{"success":tr', False, "is not JSON"),
        ('{"success":tr', True, "is cut off"),
        ('{"success":true}', True, "is cut off"),
        ("[" * 100_000, False, "is not JSON"),
    ],
)
def test_an_odd_success(form: AnswerFormat, body: str, cut: bool, says: str) -> None:
    """A portal's page, an empty or torn body are odd from whatever service; no call is refused by them."""
    success = read(form, body, cut=cut)
    assert says in success.odd
    assert not success.refused


def test_what_only_one_service_says() -> None:
    """Segment says success, RudderStack OK; another text is odd of them, and of no unknown service."""
    odd = {form: read(form, "accepted").odd for form in AnswerFormat}
    assert [form for form, text in odd.items() if not text] == [AnswerFormat.STATUS]
    assert read(AnswerFormat.SUCCESS, '{"success":false}').odd
    assert read(AnswerFormat.SUCCESS, "true").odd


def test_no_content() -> None:
    """A 204 has no body, which is odd only where errors would stand in it."""
    odd = [form for form in AnswerFormat if read(form, "", status=204).odd]
    assert odd == [AnswerFormat.JITSU, AnswerFormat.INDEXED]


words = st.text(min_size=1, max_size=20)


@given(st.data(), st.sampled_from([AnswerFormat.JITSU, AnswerFormat.INDEXED]))
def test_refused_calls_are_found(data: st.DataObject, form: AnswerFormat) -> None:
    """Whatever calls a service names, in any order and with any words, those are refused and no others."""
    shown = st.text("abc.-_0123456789", min_size=1, max_size=36)
    ids = data.draw(st.lists(shown, min_size=1, max_size=12, unique=True))
    refused = data.draw(st.dictionaries(st.integers(0, len(ids) - 1), words))
    if form is AnswerFormat.JITSU:
        errors: list[object] = [f"Message ID: {ids[index]}: {text}" for index, text in refused.items()]
        answer = {"ok": not errors, "receivedEvents": len(ids), "okEvents": len(ids) - len(errors), "errors": errors}
    else:
        answer = {"errors": [{"index": index, "message": text} for index, text in refused.items()]}
    assert read(form, json.dumps(answer), ids=ids) == Success(refused)


def test_ids_as_jitsu_writes_them() -> None:
    """It replaces what it does not like in an id, and shortens it."""
    ids = ["order/1 é", "x" * 100]
    kept = [re.sub(r"[^a-zA-Z0-9._-]", "_", one)[:64] for one in ids]
    errors = [f"Message ID: {one}: event error" for one in kept]
    assert read(AnswerFormat.JITSU, json.dumps({"ok": False, "errors": errors}), ids=ids).refused.keys() == {0, 1}


@pytest.mark.parametrize(
    ("error", "said"),
    [
        ({"index": 1, "error": "no"}, "no"),
        ({"index": 1, "code": 7}, "7"),
        ({"index": 1, "message": {"a": "b"}}, '{"a": "b"}'),
        ({"index": 1}, ""),
    ],
)
def test_words_of_an_indexed_error(error: dict[str, object], said: str) -> None:
    """Whatever stands for words is taken for them."""
    assert read(AnswerFormat.INDEXED, json.dumps({"errors": [error]})).refused == {1: said}


def test_some_that_name_no_call() -> None:
    """Those that name one are refused; that others do not is said."""
    errors = [{"index": 2, "message": "no"}, {"index": 3}, {"index": -1}, "?", {"index": "0"}]
    success = read(AnswerFormat.INDEXED, json.dumps({"errors": errors}))
    assert success.refused == {2: "no"}
    assert "4 errors that name no call" in success.odd


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["ok", "errors", "okEvents", "index"]), inner),
)


@given(
    st.sampled_from(AnswerFormat),
    st.binary() | json_values.map(lambda value: json.dumps(value).encode()),
    st.booleans(),
)
def test_any_body_is_read(form: AnswerFormat, body: bytes, cut: bool) -> None:
    """No body breaks anything, and no call is refused that is not in the batch."""
    success = read(form, body, cut=cut)
    assert success.refused.keys() <= {0, 1, 2}
    assert success.refused == {} or form.by_call
