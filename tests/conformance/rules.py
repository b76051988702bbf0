"""The table: the rules of Segment's HTTP Tracking API, each with its requests, its answers and its source.

What `python -m tests.conformance` asks of an endpoint, what the sandbox is tested by, and what docs/sandbox.md says of
it (`make pages`). `certain=False` is what official clients do or the sandbox assumes where the documentation is silent:
an endpoint that does otherwise breaks no rule, and is reported all the same.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping
from datetime import date

from backfill.advice.facts import Source
from tests.conformance.asked import Ask, Ids, Rule
from tests.conformance.bodies import GZIP, JSON, Body, batch, compact, packed, padded, plain, single, track, with_key

DAY = date(2026, 11, 29)
_DOCS = "https://www.twilio.com/docs/segment"
HTTP = Source("HTTP API", f"{_DOCS}/connections/sources/catalog/libraries/server/http-api", DAY)
OVERVIEW = Source("Delivery Overview", f"{_DOCS}/connections/delivery-overview", DAY)
UNIFY = Source("Unify Limits", f"{_DOCS}/unify/product-limits", DAY)
GROUP = Source("Spec: Group", f"{_DOCS}/connections/spec/group", DAY)
ALIAS = Source("Spec: Alias", f"{_DOCS}/connections/spec/alias", DAY)
COMMON = Source("Spec: Common Fields", f"{_DOCS}/connections/spec/common", DAY)
DUPLICATES = Source("Handling Duplicate Data", f"{_DOCS}/guides/duplicate-data", DAY)
IMPORT = Source("analytics-ruby issue 142", "https://github.com/segmentio/analytics-ruby/issues/142", DAY)
PYTHON = Source("Analytics for Python", f"{_DOCS}/connections/sources/catalog/libraries/server/python", DAY)
RFC_GZIP = Source("RFC 1952", "https://www.rfc-editor.org/rfc/rfc1952", DAY)
RFC_HTTP = Source("RFC 9110", "https://www.rfc-editor.org/rfc/rfc9110", DAY)

LONG_AGO = "2019-06-01T12:00:00.500Z"
#: The two readings of a KB: what is below the smaller passes everywhere, what is above the larger nowhere.
CALL, CALL_1024, BODY, BODY_1024 = 32_000, 32 * 1024, 500_000, 500 * 1024
BATCH_CALLS = 2_500
DEEP = json.loads("[" * 300 + "]" * 300)


def many(count: int) -> Body:
    """A batch of so many calls, named m1 and so on."""
    return lambda ids: compact({"batch": [track(ids, f"m{n}") for n in range(1, count + 1)]})


def repeated(ids: Ids) -> bytes:
    """A batch in which an id stands twice, with another content the second time."""
    return compact({"batch": [track(ids, "m1"), track(ids, "m1", event="Other"), track(ids, "m2")]})


def sized(ids: Ids) -> bytes:
    """A batch of a call of just 32,000 bytes, one of over 32,768, and a good one."""
    bare = len(compact(track(ids, "m1", properties={"text": ""})))
    calls = [
        track(ids, name, properties={"text": "x" * (size - bare)}) for name, size in (("m1", CALL), ("m2", 32_769))
    ]
    return compact({"batch": [*calls, track(ids, "m3")]})


def drops(reason: str, says: str, *bad: Mapping[str, object], source: Source = OVERVIEW, certain: bool = True) -> Rule:
    """A batch of bad calls, and a good one among them, which is kept."""
    named = [{**call, "messageId": f"m{n}"} for n, call in enumerate(bad, 1)]
    fates = {f"m{n}": reason for n in range(1, len(bad) + 1)} | {"good": "held"}
    return Rule(reason, says, (Ask(batch(*named, "good")),), source, fates, certain=certain)


def refuses(name: str, says: str, *bodies: Body, headers: Mapping[str, str] = GZIP, certain: bool = True) -> Rule:
    """Bodies that are answered 400."""
    return Rule(name, says, tuple(Ask(body, 400, headers=headers) for body in bodies), HTTP, certain=certain)


TRACK = {"type": "track", "event": "Conformance"}
IDENTIFIED = {**TRACK, "userId": "conformance"}
SINGLE: dict[str, dict[str, object]] = {
    "identify": {"userId": "conformance", "traits": {"plan": "pro"}},
    "track": {"anonymousId": "conformance", "event": "Conformance", "properties": {}},
    "page": {"userId": "conformance", "name": "Home", "category": None},
    "screen": {"userId": "conformance", "name": "Start"},
    "group": {"userId": "conformance", "groupId": "conformance", "traits": {}},
    "alias": {"userId": "conformance", "previousId": "conformance-before"},
}


def of_path(kind: str) -> Ask:
    """A good call to its own path, which says its type."""
    return Ask(lambda ids: compact({**SINGLE[kind], "messageId": ids(kind)}), path=kind)


PATHS = (
    Rule(
        "calls",
        "`/v1/identify`, `/track`, `/page`, `/screen`, `/group` and `/alias` take one call, whose type is the path's",
        tuple(map(of_path, SINGLE)), HTTP, dict.fromkeys(SINGLE, "held"),
    ),
    Rule("batch", "`/v1/batch` takes calls of all six types",
         (Ask(batch(*({**SINGLE[kind], "type": kind, "messageId": kind} for kind in SINGLE))),),
         HTTP, dict.fromkeys(SINGLE, "held")),
    Rule("import", "`/v1/import` is an older name of `/v1/batch`", (Ask(batch("m1"), path="import"),), IMPORT,
         {"m1": "held"}),
    Rule("slash", "a trailing slash changes nothing, and is no redirect",
         (Ask(batch("m1"), path="batch/"), Ask(single("m2"), path="track/")), IMPORT, {"m1": "held", "m2": "held"},
         certain=False),
    Rule("no-path", "another path is not there", (Ask(single(), 404, path="conformance"),), RFC_HTTP, certain=False),
    Rule("method", "GET, PUT and DELETE are not allowed",
         tuple(Ask(plain(b""), 405, method=method) for method in ("GET", "PUT", "DELETE")), RFC_HTTP, certain=False),
    Rule("content-type", "`application/json` may name a charset",
         (Ask(batch("m1"), headers={"Content-Type": "application/json; charset=utf-8"}),), HTTP, {"m1": "held"}),
    Rule("other-type", "another Content-Type, or none, is taken too",
         (Ask(batch("m1"), headers={"Content-Type": "text/plain"}), Ask(batch("m2"), headers={})), HTTP,
         {"m1": "held", "m2": "held"}, certain=False),
)  # fmt: skip

KEYS = (
    Rule("basic", "the write key as Basic user, with an empty password", (Ask(batch("m1")),), HTTP, {"m1": "held"}),
    Rule("key-in-body", "the write key as `writeKey` in the body, without a header",
         (Ask(with_key(batch("m1")), authorization=None),
          Ask(with_key(single("m2")), path="track", authorization=None)),
         HTTP, {"m1": "held", "m2": "held"}),
    Rule("both-keys", "both at once, as the official libraries send it", (Ask(with_key(batch("m1"))),), PYTHON,
         {"m1": "held"}),
    Rule("no-key", "without a write key the answer is 200 all the same",
         (Ask(batch("m1"), authorization=None), Ask(batch("m2"), authorization="Basic Og=="),
          Ask(single("m3"), path="track", authorization=None)),
         OVERVIEW, dict.fromkeys(("m1", "m2", "m3"), "project_not_found")),
    Rule("bad-key", "so is it with a header that names none: another scheme, no base64",
         (Ask(batch("m1"), authorization="Bearer abc"), Ask(batch("m2"), authorization="Basic ???")), OVERVIEW,
         dict.fromkeys(("m1", "m2"), "project_not_found"), certain=False),
    Rule("wrong-key", "a write key of nobody is answered 200",
         (Ask(batch("m1"), authorization="Basic Y29uZm9ybWFuY2Utd3Jvbmc6"),), OVERVIEW, certain=False),
)  # fmt: skip

BODIES = (
    refuses("not-json", "what is not JSON: nothing, half of it, NaN, no UTF-8", *map(plain, (
        b"", b"{", b'{"batch": [NaN]}', b"\xff")), headers=JSON),
    refuses("surrogate", "half of a surrogate pair", plain(b'{"a":"\\ud800"}'), headers=JSON, certain=False),
    refuses("not-object", "JSON that is not an object", plain(b"[]"), plain(b'"text"'), headers=JSON, certain=False),
    Rule("empty", "an empty batch, or none, is answered 200 (Segment's code for it is `empty_batch`)",
         tuple(Ask(plain(body)) for body in (b'{"batch":[]}', b"{}", b'{"batch":"text"}')), OVERVIEW, certain=False),
    Rule("gzip", "a body may be gzip, with `Content-Encoding: gzip`", (Ask(packed(batch("m1")), headers=GZIP),), PYTHON,
         {"m1": "held"}),
    Rule("members", "gzip may have several members",
         (Ask(lambda ids: b"".join(gzip.compress(part, mtime=0) for part in _halves(batch("m1")(ids))), headers=GZIP),),
         RFC_GZIP, {"m1": "held"}, certain=False),
    refuses("bad-gzip", "gzip that is none, is cut short, altered or followed by something else",
            plain(b"{}"), plain(b""), packed(batch("m1"), cut=1), packed(batch("m1"), cut=8, after=bytes(8)),
            packed(batch("m1"), after=b"rest"), certain=False),
    refuses("encoding", "another Content-Encoding", plain(b"{}"), headers={**JSON, "Content-Encoding": "br"},
            certain=False),
    refuses("bomb", "20 MB of zeros in 20 KB of gzip", packed(plain(bytes(20_000_000)))),
)  # fmt: skip


def _halves(body: bytes) -> tuple[bytes, bytes]:
    return body[: len(body) // 2], body[len(body) // 2 :]


def _limit(name: str, says: str, path: str, *sizes: tuple[int, int], certain: bool = True) -> Rule:
    """Bodies of just these sizes, plain and gzip, with the status of each."""
    asks = []
    fates = {}
    for size, status in sizes:
        for kind in ("plain", "gzip"):
            inner = batch(f"{kind}-{size}") if path == "batch" else single(f"{kind}-{size}")
            body = padded(inner, size)
            asks.append(
                Ask(packed(body) if kind == "gzip" else body, status, path, headers=GZIP if kind == "gzip" else JSON)
            )
            if status == 200:
                fates[f"{kind}-{size}"] = "held"
    return Rule(name, says, tuple(asks), HTTP, fates, certain=certain)


LIMITS = (
    _limit("call-limit", "the body of one call has 32 KB at most: 32,000 bytes pass, over 32,768 do not", "track",
           (CALL, 200), (CALL_1024 + 1, 400)),
    _limit("call-1024", "a KB has 1,024 bytes there: just 32,768 pass", "track", (CALL_1024, 200), certain=False),
    _limit("body-limit", "the body of a batch has 500 KB at most: 500,000 bytes pass, over 512,000 do not", "batch",
           (BODY, 200), (BODY_1024 + 1, 400)),
    _limit("body-1024", "a KB has 1,024 bytes there: just 512,000 pass", "batch", (BODY_1024, 200), certain=False),
    Rule("count", "a batch of 2,500 calls is taken whole", (Ask(many(BATCH_CALLS)),), HTTP,
         {f"m{n}": "held" for n in range(1, BATCH_CALLS + 1)}),
    Rule("over_batch_limit", "of a larger one the excess is lost with a 200; which calls these are is not said: here"
         " the last, so that a sender who counts sees just the excess missing", (Ask(many(BATCH_CALLS + 3)),), HTTP,
         {f"m{n}": "held" if n <= BATCH_CALLS else "over_batch_limit" for n in range(1, BATCH_CALLS + 4)}),
    Rule("oversize_call", "in a batch, a call of 32,000 bytes is taken; one of over 32,768 is lost with a 200, alone",
         (Ask(sized),), HTTP, {"m1": "held", "m2": "oversize_call", "m3": "held"}),
)  # fmt: skip

CALLS = (
    drops("missing_type", "has no `type`", {"userId": "u"}),
    drops("invalid_type", "has a `type` that is none of the six", {**IDENTIFIED, "type": "Track"},
          {"type": 7, "userId": "u"}),
    drops("no_user_anon_id", "has neither `userId` nor `anonymousId` (an alias: no `userId`)", TRACK,
          {"type": "alias", "anonymousId": "a", "previousId": "p"}),
    drops("id_not_string", "has an id that is empty or not a string", {**TRACK, "userId": 7},
          {**IDENTIFIED, "anonymousId": ""}),
    drops("event_not_defined", "is a track without an event name", {"type": "track", "userId": "u"},
          {"type": "track", "userId": "u", "event": ""}),
    drops("event_not_string", "is a track with an event name that is not a string", {**IDENTIFIED, "event": 7}),
    drops("properties_not_object", "has properties that are not an object", {**IDENTIFIED, "properties": [1]}),
    drops("traits_not_object", "has traits that are not an object",
          {"type": "identify", "userId": "u", "traits": "text"}),
    drops("name_not_string", "is a page or screen with an empty name, or one that is not a string",
          {"type": "page", "userId": "u", "name": ""}, {"type": "screen", "userId": "u", "name": 7}),
    drops("category_not_string", "is a page or screen with such a category",
          {"type": "page", "userId": "u", "category": 7}, {"type": "screen", "userId": "u", "category": ""}),
    drops("device_advertisingid_should_be_string", "has a `context.device.advertisingId` that is not a string",
          {**IDENTIFIED, "context": {"device": {"advertisingId": 7}}}),
    drops("group_id_missing", "is a group without a `groupId` that is a filled string",
          {"type": "group", "userId": "u"}, {"type": "group", "userId": "u", "groupId": 7}, source=GROUP),
    drops("previous_id_missing", "is an alias without a `previousId` that is a filled string",
          {"type": "alias", "userId": "u", "previousId": ""}, source=ALIAS),
    Rule("message_id_too_long", "has a `messageId` of over 100 characters", (Ask(batch("a/99", "b/101")),), UNIFY,
         {"a/99": "held", "b/101": "message_id_too_long"}),
    Rule("message_id_not_string", "has a `messageId` that is not a string",
         (Ask(batch({**IDENTIFIED, "messageId": 7}, "good")),), UNIFY, {"good": "held"}, ("message_id_not_string",),
         certain=False),
    Rule("call_not_object", "is not an object at all",
         (Ask(lambda ids: compact({"batch": ["text", track(ids, "good")]})),), OVERVIEW, {"good": "held"},
         ("call_not_object",), certain=False),
    drops("nested_too_deep", "is nested over 250 levels deep", {**IDENTIFIED, "properties": {"a": DEEP}}, source=HTTP,
          certain=False),
    Rule("null", "a member that is null counts as one that is not there",
         (Ask(batch({**IDENTIFIED, "messageId": "m1", "anonymousId": None, "properties": None, "context": None})),),
         PYTHON, {"m1": "held"}, certain=False),
)  # fmt: skip

ONCE = (
    Rule("again", "an id that came before is a duplicate, whatever call it comes with",
         (Ask(batch("m1", "m2")), Ask(batch("m1")), Ask(single("m2", event="Other"), path="track")), DUPLICATES,
         {"m1": "duplicate held", "m2": "duplicate held"}),
    Rule("within", "so is one that stands twice in a batch", (Ask(repeated),), DUPLICATES,
         {"m1": "duplicate held", "m2": "held"}),
)  # fmt: skip


def _moment(name: str, says: str, body: Body, moment: str, *, certain: bool = True) -> Rule:
    return Rule(name, says, (Ask(body),), COMMON, {"m1": "held"}, moments={"m1": moment}, certain=certain)


DATED = {**IDENTIFIED, "messageId": "m1", "timestamp": LONG_AGO}
MOMENTS = (
    _moment("formula", "`timestamp = receivedAt - (sentAt - originalTimestamp)`, where the sender's `timestamp` is the "
            "originalTimestamp", batch(DATED, sentAt="2019-06-01T13:00:00.000Z"), "formula"),
    _moment("no-timestamp", "without a `timestamp` it is the time of receipt",
            batch("m1", sentAt="2019-06-01T13:00:00.000Z"), "received"),
    _moment("bad-timestamp", "so is it with one that cannot be read",
            batch({**DATED, "timestamp": "2019-06-01T12:00:029:Z"}, sentAt="2019-06-01T13:00:00.000Z"), "received",
            certain=False),
    _moment("no-sent-at", "without `sentAt` the sender's `timestamp` stands as it is; reports differ on that, so send "
            "one", batch(DATED), "original", certain=False),
    _moment("no-zone", "a time without a zone is read as UTC",
            batch({**DATED, "timestamp": "2019-06-01T12:00:00.500"}), "original", certain=False),
    Rule("merged", "`context` and `integrations` of a batch are merged into those of its calls",
         (Ask(batch({**IDENTIFIED, "messageId": "m1", "context": {"ip": "1.2.3.4"}}, context={"app": {"name": "x"}},
                    integrations={"All": False})),), HTTP, {"m1": "held"},
         members={"m1": {"context": {"app": {"name": "x"}, "ip": "1.2.3.4"}, "integrations": {"All": False}}}),
)  # fmt: skip

#: The whole table, by the headings of docs/sandbox.md.
TOPICS: dict[str, tuple[Rule, ...]] = {
    "Paths": PATHS,
    "Write keys": KEYS,
    "Bodies": BODIES,
    "Limits": LIMITS,
    "Calls that are dropped in silence": CALLS,
    "Duplicates": ONCE,
    "Timestamps and envelopes": MOMENTS,
}
RULES = tuple(rule for rules in TOPICS.values() for rule in rules)
