"""The numbers of the API, each with its source.

Segment, HTTP API page (https://www.twilio.com/docs/segment/connections/sources/catalog/libraries/server/http-api):
32 KB a call, 500 KB and 2,500 calls a batch request. Neither 1,000 nor 1,024 is said to be the K, so the smaller,
decimal reading is taken: a call refused here is seen, one dropped there is not.
"""

from __future__ import annotations

from backfill.frozen import frozen


@frozen
class Limits:
    """What one request may hold, in uncompressed bytes of the very body sent, and calls."""

    body_bytes: int = 500_000
    call_bytes: int = 32_000
    batch_calls: int = 2_500
    envelope_bytes: int = 0  # of a body: what a target's profile adds to its envelope


SEGMENT = Limits()
#: RudderStack (https://www.rudderstack.com/docs/api/http-api/): 32 KB a call, 4 MB a batch, K read as above; its server
#: measures 4,096,000 bytes, and 413 is the answer beyond. It counts no calls: Segment's number keeps batches small
#: enough that one refused or in doubt does not cost too much.
RUDDERSTACK = Limits(body_bytes=4_000_000)

#: Unify drops calls with longer group ids (https://www.twilio.com/docs/segment/unify/product-limits).
GROUP_ID_CHARACTERS = 500
#: Unify drops calls with more properties or traits (same page).
UNIFY_PROPERTIES = 300
#: Values beyond this many properties are dropped (https://www.twilio.com/docs/segment/connections/rate-limits).
PROPERTIES = 10_000
#: messageId is to have fewer than 100 characters (HTTP API page).
MESSAGE_ID_CHARACTERS = 99
#: Beyond this, IEEE 754 doubles (and so most JSON readers) no longer tell integers apart (RFC 8259, section 6).
SAFE_INTEGER = 2**53
#: The workspace limit that Segment documents, in calls a second (rate limits page).
SEGMENT_CALLS_PER_SECOND = 1_000
#: How long Segment remembers message ids, in seconds (https://www.twilio.com/docs/segment/guides/duplicate-data).
DEDUP_WINDOW_SECONDS = 24 * 3600
#: The first calls of a run that go alone and awaited (canary batch).
CANARY_CALLS = 10
#: JSON nested deeper is refused: readers of JSON, Segment's among them, have limits of their own (orjson's is 1,024).
JSON_DEPTH = 1_000
#: With all that is around it, a call may have as many levels as such a reader takes of a body, which has two more.
CALL_DEPTH = 1_022
