"""verdict: what each status and failure means, how long to wait, when to give up."""

import email.utils
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backfill.errors import ExitCode
from backfill.records import Outcome
from backfill.verdict import (
    BACKOFF_CAP,
    RETRY_AFTER_CAP,
    Action,
    Failure,
    Patience,
    StopReason,
    Verdict,
    backoff,
    http_date,
    retry_after,
    verdict,
)

NOW = 1_700_000_000.0


def judge(
    end: int | Failure,
    headers: dict[str, str] | None = None,
    *,
    attempt: int = 1,
    elapsed: float = 0.0,
    unreached: float | None = None,
    patience: Patience | None = None,
    calls: int = 1,
) -> Verdict:
    """A verdict on the first attempt at a batch of one call, unless said otherwise."""
    patience = patience or Patience()
    return verdict(
        *(end, headers or {}),
        calls=calls,
        attempt=attempt,
        elapsed=elapsed,
        unreached=unreached,
        now=NOW,
        patience=patience,
    )


def expected(end: int | Failure, calls: int = 1) -> tuple[Action, Outcome, ExitCode]:  # noqa: C901, PLR0911 - one a line of the table
    """The contract once more, written down case by case rather than by sets."""
    go_on = ExitCode.DELIVERED
    match end:
        case Failure.CERTIFICATE | Failure.PROXY_REFUSED:
            return Action.STOP, Outcome.NOT_TAKEN, ExitCode.STOPPED
        case Failure.NAME | Failure.CONNECT | Failure.CONNECT_TIMEOUT | Failure.TLS | Failure.PROXY | Failure.UNSENT:
            return Action.RETRY, Outcome.NOT_TAKEN, go_on
        case Failure():
            return Action.RETRY, Outcome.UNKNOWN, go_on
        case _ if 200 <= end < 300:
            return Action.ACCEPTED, Outcome.ACCEPTED, go_on
        case 408:
            return Action.RETRY, Outcome.UNKNOWN, go_on
        case 410 | 429 | 460:
            return Action.RETRY, Outcome.NOT_TAKEN, go_on
        case 400 | 413 | 422 if calls > 1:
            return Action.SPLIT, Outcome.NOT_TAKEN, go_on
        case 400 | 413 | 422:
            return Action.REJECTED, Outcome.NOT_TAKEN, go_on
        case 401 | 403 | 404:
            return Action.STOP, Outcome.NOT_TAKEN, ExitCode.TARGET_REFUSED
        case _ if end >= 500 and end not in {501, 505}:
            return Action.RETRY, Outcome.UNKNOWN, go_on
        case _:
            return Action.STOP, Outcome.NOT_TAKEN, ExitCode.STOPPED


@pytest.mark.parametrize("calls", [1, 2, 2_500])
@pytest.mark.parametrize("end", [*range(100, 600), *Failure])
def test_every_status_and_failure(end: int | Failure, calls: int) -> None:
    """Each status from 100 to 599 and each failure means what the table says, whatever else is in the headers."""
    for headers in ({}, {"location": "https://elsewhere.example/"}):
        got = judge(end, headers, calls=calls)
        assert (got.action, got.outcome, got.exit_code) == expected(end, calls)
        assert (got.reason is None) == (got.action is not Action.STOP)
        assert got.after is None


@pytest.mark.parametrize("end", [s for s in range(100, 600) if expected(s)[0] is Action.RETRY])
def test_retry_after_counts_on_any_retryable_status(end: int | Failure) -> None:
    """The wait is what the target asks for, and does not end with the attempts; that it ends with the time, it does."""
    assert judge(end, {"retry-after": "7"}, attempt=10_000).after == 7
    assert judge(end, {"retry-after": "7"}, elapsed=12 * 3600).reason is StopReason.TIME_SPENT


@pytest.mark.parametrize("end", [e for e in [*range(100, 600), *Failure] if expected(e)[0] is not Action.RETRY])
def test_retry_after_is_ignored_elsewhere(end: int | Failure) -> None:
    """An answer that is not to be retried is not retried because of a header, nor changed by attempts and time."""
    assert judge(end, {"retry-after": "7"}, attempt=10_000, elapsed=1e9) == judge(end)


@pytest.mark.parametrize("end", [503, 429, Failure.READ, Failure.CONNECT])
def test_patience_ends(end: int | Failure) -> None:
    """The last attempt allowed, and the end of the time, turn a retry into a resumable stop of the same outcome."""
    patience = Patience(attempts=3, seconds=100)
    assert judge(end, attempt=2, elapsed=99.9, patience=patience).action is Action.RETRY
    for spent, reason in (
        ({"attempt": 3}, StopReason.ATTEMPTS_SPENT),
        ({"elapsed": 100.0}, StopReason.TIME_SPENT),
    ):
        got = judge(end, **spent, patience=patience)
        assert (got.action, got.reason, got.exit_code) == (Action.STOP, reason, ExitCode.STOPPED)
        assert got.outcome is expected(end)[1]


@pytest.mark.parametrize("end", [429, 503, *Failure])
def test_a_target_that_was_never_reached(end: int | Failure) -> None:
    """It is given up where the next attempt would come too late; an answer, or a request that left, is no such case."""
    patience = Patience(unreached=45)
    assert judge(end, attempt=5, unreached=37, patience=patience) == judge(end)  # the next one leaves 8 s later
    late = judge(end, attempt=5, unreached=37.1, patience=patience)
    if isinstance(end, Failure) and expected(end)[:2] == (Action.RETRY, Outcome.NOT_TAKEN):
        assert late == Verdict(Action.STOP, Outcome.NOT_TAKEN, reason=StopReason.UNREACHED, exit_code=ExitCode.STOPPED)
        spent = judge(end, attempt=5, unreached=37.1, patience=Patience(attempts=5, unreached=45))
        assert spent.reason is StopReason.ATTEMPTS_SPENT
    else:
        assert late == judge(end)


def test_a_proxy_that_wants_a_password() -> None:
    """Asking again does not help, whether it is the answer to CONNECT or to the request itself."""
    assert {judge(end).reason for end in (407, Failure.PROXY_REFUSED)} == {StopReason.PROXY}


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1", 1),
        ("7", 7),
        (" 7 ", 7),
        ("007", 7),
        ("301", 300),
        ("9" * 5000, 300),
        ("0", None),
        ("-5", None),
        ("1.5", None),
        ("1e3", None),
        ("٣", None),  # a digit, but no ASCII one
        ("soon", None),
        ("", None),
        ("Tue, 14 Nov 2023 22:13:30 GMT", 10),
        ("Tuesday, 14-Nov-23 22:13:30 GMT", 10),
        ("Tue Nov 14 22:13:30 2023", 10),
        ("Tue, 14 Nov 2023 22:13:21 GMT", 1),
        ("Tue, 14 Nov 2023 23:13:30 GMT", 300),
        ("Tue, 14 Nov 2023 23:13:30 +0100", 10),  # which HTTP does not allow
        ("Tue, 14 Nov 2023 22:13:20 GMT", None),
        ("Tue, 14 Nov 2022 22:13:20 GMT", None),
        ("Tue, 99 Nov 2023 99:99:99 GMT", None),
    ],
)
def test_retry_after(text: str, seconds: float | None) -> None:
    """Seconds and the three forms of an HTTP date are read; past, negative and garbled ones say nothing."""
    assert retry_after({"retry-after": text}, NOW) == seconds


def test_retry_after_date_is_read_by_the_targets_clock() -> None:
    """A date is compared with the answer's own Date: a local clock that is an hour wrong waits the same ten seconds."""
    headers = {"retry-after": "Tue, 14 Nov 2023 22:13:30 GMT", "date": "Tue, 14 Nov 2023 22:13:20 GMT"}
    assert retry_after(headers, NOW) == retry_after(headers, NOW + 3600) == retry_after(headers, NOW - 3600) == 10


@given(
    st.one_of(st.text(), st.from_regex(r"[A-Z][a-z]{2}, [0-9]{1,3} [A-Z][a-z]{2} [0-9]{1,5} [0-9:]{0,9} ?[A-Z+0-9-]*"))
)
def test_retry_after_of_anything(text: str) -> None:
    """No text of any kind makes it fail, and what it returns is between one second and the cap."""
    seconds = retry_after({"retry-after": text, "date": text}, NOW)
    assert seconds is None or 1 <= seconds <= RETRY_AFTER_CAP


@given(st.integers(0, 4_000_000_000))
def test_http_date_reads_what_is_formatted(moment: int) -> None:
    """A date in the preferred form reads back to the second."""
    assert http_date(email.utils.formatdate(moment, usegmt=True)) == moment


@pytest.mark.usefixtures("far_from_utc")
def test_a_date_is_of_utc_whatever_the_zone_here() -> None:
    """The form of asctime states no zone: it is not the local one."""
    assert http_date("Tue Nov 14 22:13:20 2023") == http_date("Tue, 14 Nov 2023 22:13:20 GMT") == NOW


@given(st.integers(-5, 10**9), st.floats(0, 1))
def test_backoff(attempt: int, jitter: float) -> None:
    """It is finite and positive for any attempt, at most the cap, at least 90% of it, and never falls."""
    full, wait = backoff(attempt, 0.0), backoff(attempt, jitter)
    assert math.isfinite(wait)
    assert 0.9 * full - 1e-9 <= wait <= full <= BACKOFF_CAP
    assert backoff(attempt, jitter) <= backoff(attempt + 1, jitter)


def test_backoff_doubles_from_half_a_second_to_a_minute() -> None:
    """The series that Segment's libraries use."""
    assert [backoff(attempt, 0.0) for attempt in range(1, 10)] == [0.5, 1, 2, 4, 8, 16, 32, 60, 60]
