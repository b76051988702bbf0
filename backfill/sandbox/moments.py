"""The timestamp that Segment would hold, in whole milliseconds since 1970.

`timestamp = receivedAt - (sentAt - originalTimestamp)`, the sender's `timestamp` being the originalTimestamp
(https://www.twilio.com/docs/segment/connections/spec/common).
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)


def parse_moment(value: object) -> int | None:
    """Milliseconds since 1970 of an ISO 8601 text, finer digits cut; None for anything else.

    A text without a zone is read as UTC, which the documentation does not say (unconfirmed).
    """
    if not isinstance(value, str):
        return None
    try:
        moment = datetime.fromisoformat(value)
        aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        return (aware - _EPOCH) // _MILLISECOND
    except (ValueError, OverflowError):
        return None


def iso_moment(milliseconds: int) -> str:
    """`YYYY-MM-DDTHH:MM:SS.mmmZ`. Raises OverflowError outside the years 1 to 9999."""
    moment = _EPOCH + timedelta(milliseconds=milliseconds)
    return f"{moment.replace(tzinfo=None).isoformat(timespec='milliseconds')}Z"


def stored_moment(original: int | None, sent: int | None, received: int) -> int:
    """The stored timestamp, all in milliseconds since 1970.

    No original: the time of receipt, as documented. An unreadable one comes here as None too: libraries' users report
    that it falls back to the sender's clock, which the formula turns into the time of receipt. No sentAt: the original
    as it stands, which maintainers say and one report denies (unconfirmed).
    """
    if original is None:
        return received
    return original if sent is None else received - (sent - original)
