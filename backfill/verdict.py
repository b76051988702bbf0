"""What an answer means. Pure: no clock, no socket, no state.

    answer                                        action            outcome
    --------------------------------------------  ----------------  ---------------------------------------------
    2xx                                           accepted          accepted
    408                                           retry             unknown: the target may have read it all
    410, 429, 460                                 retry             refused
    5xx but 501 and 505                           retry             unknown: it may have failed after it stored
    400, 413, 422 on several calls                split             refused: halved, down to the calls at fault
    400, 413, 422 on one call                     rejected          refused: this call, not the run
    401, 403, 404                                 stop, exit 8      refused: key, source or endpoint are wrong
    407, also to CONNECT                          stop, exit 5      refused: the proxy wants a user and a password
    anything else (1xx, 3xx, 501, 505, other)     stop, exit 5      refused: never followed, never guessed at
    no connection, no name, no TLS, no proxy      retry             refused: nothing has left
    a certificate that does not verify            stop, exit 5      refused: waiting does not mend it
    a failure once the request has begun          retry             unknown

The outcome `refused` means not taken (`Outcome.NOT_TAKEN`): the calls may be sent again. Rejected, they are not.

Retry and its statuses are those of Segment's own libraries as of 2026 (analytics-python 2.4.0, analytics-node 3.1.0,
analytics-java; https://support.twilio.com article 51769112022299). They wait as `Retry-After` asks on any of the
statuses to be retried, at most 300 s, without counting that attempt; else they back off from 0.5 s, doubling to 60 s,
with about 10% of jitter. 460 is Segment's own status for failures that pass.

A retry becomes a stop (exit 5, resumable) once the attempts are spent, or once nothing was accepted for too long. A
target that has never accepted anything and cannot be reached (nothing leaves) is given up within a minute: most likely
its address, the proxy or the network is wrong, and nobody should wait long to hear that. One that has has an outage.
"""

from __future__ import annotations

import email.utils
from collections.abc import Mapping
from datetime import UTC
from enum import StrEnum

from backfill.errors import ExitCode
from backfill.frozen import frozen
from backfill.records import Outcome

RETRIED = frozenset({408, 410, 429, 460}) | (frozenset(range(500, 600)) - {501, 505})
REJECTED = frozenset({400, 413, 422})
TARGET_REFUSED = frozenset({401, 403, 404})
#: Only a proxy says so.
PROXY_REFUSED = 407

#: No Retry-After is waited for longer, in seconds; a target that wants more is asked again then.
RETRY_AFTER_CAP = 300.0
#: Nor shorter: a date that is due within the second must not become a loop without a pause.
RETRY_AFTER_FLOOR = 1.0
BACKOFF_BASE = 0.5
BACKOFF_CAP = 60.0
BACKOFF_JITTER = 0.1


class Failure(StrEnum):
    """How an attempt ended without an answer; the text is for people."""

    NAME = "the host name cannot be resolved"
    CONNECT = "no connection could be made"
    CONNECT_TIMEOUT = "no connection within the time allowed"
    TLS = "the TLS handshake failed"
    CERTIFICATE = "the certificate of the target does not verify"
    PROXY = "the proxy did not connect us"
    PROXY_REFUSED = "the proxy wants another user and password"
    UNSENT = "the connection broke before anything was sent"
    WRITE = "the connection broke while the request was sent"
    WRITE_TIMEOUT = "the request could not be sent within the time allowed"
    READ = "the connection broke before the answer"
    READ_TIMEOUT = "no answer within the time allowed"
    DISCONNECTED = "the target closed the connection without an answer"
    GARBLED = "the answer is not HTTP"


#: Failures before the first byte of the request has left: the target cannot hold the calls.
BEFORE_LEAVING = frozenset(
    {
        Failure.NAME,
        Failure.CONNECT,
        Failure.CONNECT_TIMEOUT,
        Failure.TLS,
        Failure.CERTIFICATE,
        Failure.PROXY,
        Failure.PROXY_REFUSED,
        Failure.UNSENT,
    }
)


class Action(StrEnum):
    """What is to be done with the batch."""

    ACCEPTED = "accepted"
    RETRY = "retry"
    SPLIT = "split"
    REJECTED = "rejected"
    STOP = "stop"


class StopReason(StrEnum):
    """Why a delivery stops before its end."""

    TARGET_REFUSED = "target_refused"
    FINAL_ANSWER = "final_answer"
    CERTIFICATE = "certificate"
    PROXY = "proxy"
    UNREACHED = "unreached"  # it never was: nothing was ever accepted
    ATTEMPTS_SPENT = "attempts_spent"
    TIME_SPENT = "time_spent"
    WINDOW = "window"  # in doubt for longer than the target remembers ids
    SHAPE = "shape"  # whole batches refused, call by call: not one call is at fault, but all
    CLOCK = "clock"  # the local clock is wrong
    CANARY = "canary"  # asked for: after the calls of the canary


#: What no waiting mends and no halving.
FINAL: Mapping[int | Failure, StopReason] = {
    **dict.fromkeys(TARGET_REFUSED, StopReason.TARGET_REFUSED),
    PROXY_REFUSED: StopReason.PROXY,
    Failure.PROXY_REFUSED: StopReason.PROXY,
    Failure.CERTIFICATE: StopReason.CERTIFICATE,
}


@frozen
class Patience:
    """How long to go on: counted attempts of one batch, and seconds without anything accepted."""

    attempts: int = 30  # 23 minutes of back-off: an outage of ten minutes is nobody's business
    seconds: float = 12 * 3600.0
    #: A target that never accepted anything and cannot be reached is not asked again after this many seconds. The last
    #: attempt may take 15 more, until no connection is made: that is a minute.
    unreached: float = 45.0


@frozen
class Verdict:
    """What one attempt's end means.

    `after` belongs to RETRY: the seconds that the target asked for (every sender waits, the attempt does not count), or
    None where the own back-off applies (the attempt counts). `reason` and `exit_code` belong to STOP.
    """

    action: Action
    outcome: Outcome
    after: float | None = None
    reason: StopReason | None = None
    exit_code: ExitCode = ExitCode.DELIVERED


def verdict(
    end: int | Failure,
    headers: Mapping[str, str],
    *,
    calls: int,
    attempt: int,
    elapsed: float,
    unreached: float | None = None,
    now: float,
    patience: Patience,
) -> Verdict:
    """The verdict on one attempt.

    Args:
        end: the answer's status, or how the attempt failed.
        headers: the answer's, their names in lower case.
        calls: how many calls the batch holds.
        attempt: which counted attempt of this batch it was, from 1.
        elapsed: seconds since the run's target last accepted anything, or since the start.
        unreached: seconds in which nothing could leave for a target that has never accepted anything of the run;
            None once it has.
        now: POSIX seconds, for a Retry-After that is a date where the answer has no Date of its own.
        patience: when a retry becomes a stop.
    """
    outcome = outcome_of(end)
    if outcome is Outcome.ACCEPTED:
        return Verdict(Action.ACCEPTED, outcome)
    if end in FINAL:
        return _stop(outcome, FINAL[end])
    if isinstance(end, Failure) or end in RETRIED:
        never = end in BEFORE_LEAVING and unreached is not None and unreached + backoff(attempt, 0) > patience.unreached
        if never and attempt < patience.attempts:
            return _stop(outcome, StopReason.UNREACHED)
        return _retry(outcome, retry_after(headers, now), attempt, elapsed, patience)
    if end in REJECTED:
        return Verdict(Action.SPLIT if calls > 1 else Action.REJECTED, outcome)
    return _stop(outcome, StopReason.FINAL_ANSWER)


def outcome_of(end: int | Failure) -> Outcome:
    """What is known about the calls: taken, not taken (they may be sent again), or nobody can tell."""
    if isinstance(end, Failure):
        return Outcome.NOT_TAKEN if end in BEFORE_LEAVING else Outcome.UNKNOWN
    if 200 <= end <= 299:  # noqa: PLR2004 - the class of success
        return Outcome.ACCEPTED
    if end == 408 or (end >= 500 and end in RETRIED):  # noqa: PLR2004 - as the table above says
        return Outcome.UNKNOWN
    return Outcome.NOT_TAKEN


def _retry(outcome: Outcome, after: float | None, attempt: int, elapsed: float, patience: Patience) -> Verdict:
    if elapsed >= patience.seconds:
        return _stop(outcome, StopReason.TIME_SPENT)
    if after is None and attempt >= patience.attempts:
        return _stop(outcome, StopReason.ATTEMPTS_SPENT)
    return Verdict(Action.RETRY, outcome, after=after)


def _stop(outcome: Outcome, reason: StopReason) -> Verdict:
    exit_code = ExitCode.TARGET_REFUSED if reason is StopReason.TARGET_REFUSED else ExitCode.STOPPED
    return Verdict(Action.STOP, outcome, reason=reason, exit_code=exit_code)


def retry_after(headers: Mapping[str, str], now: float) -> float | None:
    """The seconds that Retry-After asks for, between RETRY_AFTER_FLOOR and RETRY_AFTER_CAP (RFC 9110, section 10.2.3).

    None where there is no such header, and where it says nothing usable (zero, a date gone by, garbage). A date is read
    against the answer's own Date where it has one, so that a wrong local clock does not matter.
    """
    text = headers.get("retry-after", "").strip()
    if text.isascii() and text.isdigit():
        seconds = float(text)  # infinite beyond 309 digits
    else:
        due = http_date(text)
        if due is None:
            return None
        date = http_date(headers.get("date", ""))
        seconds = due - (now if date is None else date)
    if seconds <= 0:
        return None
    return min(max(seconds, RETRY_AFTER_FLOOR), RETRY_AFTER_CAP)


def http_date(text: str) -> float | None:
    """POSIX seconds of an HTTP date (RFC 9110, section 5.6.7), or None where the text is none."""
    try:
        moment = email.utils.parsedate_to_datetime(text)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()  # asctime's form has no zone
    except (ValueError, IndexError, OverflowError, TypeError):
        return None


def backoff(attempt: int, jitter: float) -> float:
    """Seconds to wait after the counted attempt of that number, from 1.

    min(60, 0.5 x 2^(attempt - 1)), less up to 10%: `jitter`, from 0 to 1, is the share of those 10%. For one jitter it
    never falls from one attempt to the next; it is finite for any attempt.
    """
    doublings = min(max(attempt, 1) - 1, 32)  # the cap is reached after 7; 2.0 ** 1024 would overflow
    return float(min(BACKOFF_CAP, BACKOFF_BASE * 2.0**doublings) * (1 - BACKOFF_JITTER * jitter))
