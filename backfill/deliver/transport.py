"""One HTTP request and what came back.

httpcore, the engine of httpx, is used without httpx around it. It has no redirects, cookies or decoding to switch off,
costs 40% less CPU a request (`python -m bench.transports`), and has a place for the backend that the deadline needs.
"""

from __future__ import annotations

import logging
import ssl
from base64 import b64encode
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from urllib.parse import urlsplit

import httpcore

from backfill import __version__
from backfill.deliver.deadline import BoundedBackend, Deadline
from backfill.deliver.environment import named_proxy
from backfill.deliver.failures import FAILURES, cause_in_words, failure_of
from backfill.deliver.model import Errand, TargetAccess
from backfill.errors import UsageError
from backfill.targets import AuthForm
from backfill.verdict import BEFORE_LEAVING, Failure

#: Of an answer's body no more is read, in bytes, nor for longer than this, in seconds.
ANSWER_BYTES = 64 * 1024
#: Where it names the calls that were refused: room for 2,500 of them with 400 bytes each.
ANSWER_BYTES_BY_CALL = 1024 * 1024
ANSWER_SECONDS = 10.0
#: An idle connection is given up before the usual peers do (nginx 75 s, load balancers 60 s): a request that meets a
#: connection just closed is a batch in doubt.
IDLE_SECONDS = 20.0


@dataclass(frozen=True, slots=True)
class Reply:
    """How one request ended."""

    end: int | Failure  # the status, or how it failed
    seconds: float  # from leaving to here
    headers: Mapping[str, str] = field(default_factory=dict)  # names in lower case
    body: bytes = b""  # at most ANSWER_BYTES, or ANSWER_BYTES_BY_CALL
    cut: bool = False  # the body broke off, or was longer
    why: str = ""  # where nothing left: what the system, the proxy or the certificate's check said


def basic_authorization(write_key: str) -> str:
    """The Authorization value of a write key: Basic, with the key as user and an empty password."""
    return "Basic " + b64encode(f"{write_key}:".encode()).decode("ascii")


def key_header(target: TargetAccess) -> str:
    """The value of the header that carries the write key."""
    if target.auth is AuthForm.BASIC:
        return basic_authorization(target.write_key)
    return f"Bearer {target.write_key}" if target.auth is AuthForm.BEARER else target.write_key


class Transport:
    """One connection to the target, kept alive and renewed after `renew_seconds`. Used by one thread."""

    def __init__(self, errand: Errand, context: ssl.SSLContext | None) -> None:
        target, options = errand.target, errand.options
        # httpcore writes every header of an answer to its debug log: not ours to show.
        logging.getLogger("httpcore").setLevel(logging.WARNING)
        self._url = httpcore.URL(target.batch_url)
        self._headers = _headers(target)
        timeouts = {"connect": options.connect_seconds, "read": options.read_seconds, "write": options.read_seconds}
        self._extensions = {"timeout": timeouts}
        self._monotonic = errand.clock.monotonic
        self._renew_seconds = options.renew_seconds
        self._attempt_seconds = options.attempt_seconds
        self._deadline = Deadline()
        self._answer_bytes = ANSWER_BYTES_BY_CALL if target.answers.by_call else ANSWER_BYTES
        self._context = context
        self._proxy = named_proxy(target.batch_url)
        self._open()

    def _open(self) -> None:
        self._http = httpcore.ConnectionPool(
            ssl_context=self._context,
            proxy=self._proxy,
            max_connections=1,
            max_keepalive_connections=1,
            keepalive_expiry=IDLE_SECONDS,
            network_backend=BoundedBackend(httpcore.SyncBackend(), self._deadline),
        )
        self._opened = self._monotonic()

    def post(self, body: bytes, retries: int, tail: bytes = b"") -> Reply:
        """Send one body, say that it is the retry of that number (0: none), and return how it ended. Never follows.

        `tail` is the end of the body, which is then not copied to be joined with it.

        Raises:
            UsageError: the URL or a header of the target cannot be sent at all.
        """
        if self._monotonic() - self._opened > self._renew_seconds:
            self.close()
            self._open()
        headers = [*self._headers, (b"Content-Length", str(len(body) + len(tail)).encode("ascii"))]
        if retries:
            headers.append((b"X-Retry-Count", str(retries).encode("ascii")))
        sending = _Body(body, tail)
        request = httpcore.Request("POST", self._url, headers=headers, content=sending, extensions=self._extensions)
        left = self._monotonic()
        self._deadline.begin(self._attempt_seconds)
        try:
            response = self._http.handle_request(request)
        except (httpcore.LocalProtocolError, httpcore.UnsupportedProtocol) as error:
            raise UsageError(f"no request can be made for this target: {error}") from error
        except FAILURES as error:
            failure = failure_of(error, begun=sending.begun)
            return Reply(failure, self._monotonic() - left, why=self._why(failure, error))
        self._deadline.begin(ANSWER_SECONDS)
        body, cut = _read(response, self._answer_bytes, self._monotonic)
        if _said_more(self._http):
            self.close()
            self._open()
        if HTTPStatus.OK <= response.status < HTTPStatus.MULTIPLE_CHOICES and not sending.left:
            return Reply(Failure.WRITE, self._monotonic() - left)  # it cannot be the answer to what never came
        return Reply(
            end=response.status,
            seconds=self._monotonic() - left,
            headers={name.decode("latin-1").lower(): value.decode("latin-1") for name, value in response.headers},
            body=body,
            cut=cut,
        )

    def _why(self, failure: Failure, error: Exception) -> str:
        """What was said of a failure before anything left, and which proxy was on the way, where one was."""
        if failure not in BEFORE_LEAVING:
            return ""
        words = cause_in_words(error)
        if self._proxy is None or failure is Failure.CERTIFICATE:
            return words
        place = self._proxy.url.origin
        proxy = f"through the proxy {place.scheme.decode()}://{place.host.decode()}:{place.port}"
        return f"{words}, {proxy}" if words else proxy

    def close(self) -> None:
        """Close the connection."""
        self._http.close()


class _Body:
    """A request's body, which knows whether any and whether all of it was handed to the system.

    httpcore reads the answer also where sending broke off: a target may refuse early. It cannot accept early.
    """

    def __init__(self, *pieces: bytes) -> None:
        self._pieces = pieces
        self.begun = self.left = False

    def __iter__(self) -> Iterator[bytes]:
        self.begun = True
        yield from self._pieces
        self.left = True


def _said_more(http: httpcore.ConnectionPool) -> bool:
    """Whether bytes came behind an answer. httpcore keeps them, and would take them for the answer to the next request.

    It has no public word for that; tests/deliver/test_endpoint_faults.py would tell if its inside had other names.
    """
    inner: object = next(iter(http.connections), None)
    while (below := getattr(inner, "_connection", None)) is not None:  # behind a proxy one deeper
        inner = below
    state = getattr(inner, "_h11_state", None)
    return state is not None and bool(state.trailing_data[0])


def _headers(target: TargetAccess) -> list[tuple[bytes, bytes]]:
    """All headers but those that change from one request to the next."""
    own = {
        "Host": urlsplit(target.batch_url).netloc,
        "User-Agent": f"backfill/{__version__}",
        target.auth_header: key_header(target),
        "Content-Type": "application/json",
        "Accept": "application/json",
        "Connection": "keep-alive",
    }
    if target.gzip:
        own["Content-Encoding"] = "gzip"
    stated = {name.lower() for name in target.headers}  # a profile's own word goes before ours
    kept = {name: value for name, value in own.items() if name.lower() not in stated}
    return [(name.encode("ascii"), value.encode("latin-1")) for name, value in {**kept, **target.headers}.items()]


def _read(response: httpcore.Response, most: int, monotonic: Callable[[], float]) -> tuple[bytes, bool]:
    """So many bytes of the answer's body at most, and whether it was cut. A broken body changes no status."""
    parts: list[bytes] = []
    size = 0
    end = monotonic() + ANSWER_SECONDS
    cut = False
    try:
        assert isinstance(response.stream, Iterable)
        for part in response.stream:  # as it came: no compressed answer was asked for, and none shall grow in memory
            parts.append(part)
            size += len(part)
            if size > most or monotonic() > end:
                cut = True
                break
    except FAILURES:
        cut = True
    finally:
        response.close()
    return b"".join(parts)[:most], cut
