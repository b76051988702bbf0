"""One HTTP request and what came back. The only module that knows which HTTP client is used: httpx.

Its fork httpx2 passes the tests of this package where it is imported in its place. Of httpx only the transport is used:
its client would follow redirects, keep cookies and decode answers. Two things for which httpx has no function are seen
through its `trace` extension, which reports each step of a request and hands out each new connection
(https://www.python-httpx.org/advanced/extensions/):

- the socket, which `Deadline` shuts down when the attempt takes too long;
- whether an answer was read from the socket after its request had left. httpx keeps bytes that came behind an answer,
  and would take them for the answer to the next request.
"""

from __future__ import annotations

import logging
import socket
import ssl
from base64 import b64encode
from collections.abc import Iterator, Mapping
from dataclasses import field
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import urlsplit

import httpx as client

from backfill import __version__
from backfill.clock import Clock
from backfill.deliver.deadline import Deadline
from backfill.deliver.environment import Proxy, context_for, named_proxy
from backfill.deliver.model import DeliveryOptions, TargetAccess
from backfill.errors import UsageError
from backfill.frozen import frozen
from backfill.memory import ANSWER_BYTES, ANSWER_BYTES_BY_CALL
from backfill.targets import AuthScheme
from backfill.verdict import BEFORE_LEAVING, PROXY_REFUSED, Failure

#: An answer's body is not read for longer than this, in seconds.
ANSWER_SECONDS = 10.0
#: An idle connection is given up before the usual peers do (nginx 75 s, load balancers 60 s): a request that meets a
#: connection just closed is a batch in doubt.
IDLE_SECONDS: Final = 20.0
#: Written at once, in bytes. A timeout counts for each of these: TLS counts it for all that it is given.
WRITE_BYTES: Final = 128 * 1024
#: A socket's timeout that no read leaves behind, in seconds.
_UNREAD: Final = 86_400.0

#: All that an attempt may end with, but for a request that cannot be made at all.
FAILURES: Final = (client.TimeoutException, client.NetworkError, client.ProxyError, client.RemoteProtocolError)
_MEANINGS: Final[tuple[tuple[type[Exception], Failure], ...]] = (
    (client.ConnectTimeout, Failure.CONNECT_TIMEOUT),
    (client.PoolTimeout, Failure.CONNECT_TIMEOUT),
    (client.WriteTimeout, Failure.WRITE_TIMEOUT),
    (client.ReadTimeout, Failure.READ_TIMEOUT),
    (client.WriteError, Failure.WRITE),
)


@frozen
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
    if target.auth is AuthScheme.BASIC:
        return basic_authorization(target.write_key)
    return f"Bearer {target.write_key}" if target.auth is AuthScheme.BEARER else target.write_key


class Transport:
    """One connection to the target, kept alive and renewed after `renew_seconds`. Used by one thread."""

    def __init__(self, target: TargetAccess, options: DeliveryOptions, clock: Clock, context: ssl.SSLContext) -> None:
        # The client's engine writes every header of an answer to its debug log: not ours to show.
        logging.getLogger(client.__name__.replace("httpx", "httpcore")).setLevel(logging.WARNING)
        self._url = client.URL(target.batch_url)
        self._headers = _headers(target)
        longest = options.attempt_seconds
        timeouts = {"connect": options.connect_seconds, "read": options.read_seconds, "write": options.read_seconds}
        self._timeouts = {name: min(seconds, longest) for name, seconds in timeouts.items()}
        self._monotonic = clock.monotonic
        self._renew_seconds = options.renew_seconds
        self._attempt_seconds = options.attempt_seconds
        self._answer_bytes = ANSWER_BYTES_BY_CALL if target.answers.by_call else ANSWER_BYTES
        self._context = context
        self._proxy = named_proxy(target.batch_url)
        self._socket: socket.socket  # that of the connection, once there is one
        self._open()
        self._deadline = Deadline()

    def _open(self) -> None:
        proxy = self._proxy
        self._http = client.HTTPTransport(
            verify=self._context,
            trust_env=False,
            limits=client.Limits(max_connections=1, max_keepalive_connections=1, keepalive_expiry=IDLE_SECONDS),
            proxy=client.Proxy(proxy.url, auth=proxy.auth, ssl_context=proxy.context) if proxy else None,
        )
        self._opened = self._monotonic()

    def post(self, body: bytes, retries: int, tail: bytes = b"") -> Reply:
        """Send one body, say that it is the retry of that number (0: none), and return how it ended. Never follows.

        `tail` is the end of the body, which is then not copied to be joined with it.

        Raises:
            UsageError: the URL or a header of the target cannot be sent at all.
        """
        if self._monotonic() - self._opened > self._renew_seconds:
            self._http.close()
            self._open()
        sending = _Body(body, tail)
        request = self._request(sending, retries)
        left = self._monotonic()
        self._deadline.begin(self._attempt_seconds)
        try:
            response = self._http.handle_request(request)
        except (client.LocalProtocolError, client.UnsupportedProtocol) as error:
            raise UsageError(f"no request can be made for this target: {error}") from error
        except FAILURES as error:
            failure = failure_of(error, begun=sending.begun, left=sending.left, late=self._deadline.passed)
            return Reply(failure, self._monotonic() - left, why=self._why(failure, error))
        finally:
            self._deadline.end()
        answer, cut = self._read(response)
        if HTTPStatus.OK <= response.status_code < HTTPStatus.MULTIPLE_CHOICES and not sending.left:
            return Reply(Failure.WRITE, self._monotonic() - left)  # it cannot be the answer to what never came
        return Reply(
            end=response.status_code,
            seconds=self._monotonic() - left,
            headers={name.decode("latin-1").lower(): value.decode("latin-1") for name, value in response.headers.raw},
            body=answer,
            cut=cut,
        )

    def _request(self, body: _Body, retries: int) -> client.Request:
        headers = [*self._headers, (b"Content-Length", str(body.length).encode("ascii"))]
        if retries:
            headers.append((b"X-Retry-Count", str(retries).encode("ascii")))
        extensions = {"timeout": self._timeouts, "trace": self._trace}
        return client.Request("POST", self._url, headers=headers, stream=body, extensions=extensions)

    def _trace(self, event: str, info: Mapping[str, Any]) -> None:
        """Look at a step of a request: what it begins with, or, once it is complete, what it returned."""
        step = event.partition(".")[2]
        if step in ("connect_tcp.complete", "start_tls.complete"):
            self._socket = info["return_value"].get_extra_info("socket")
            self._deadline.watch(self._socket)
        elif step == "receive_response_headers.started":
            self._socket.settimeout(_UNREAD)  # each read sets its own
        elif step == "receive_response_headers.complete" and self._socket.gettimeout() == _UNREAD:
            raise client.RemoteProtocolError("the answer was there before the request")

    def _read(self, response: client.Response) -> tuple[bytes, bool]:
        """The answer's body, at most that many bytes of it, and whether it was cut. A broken body changes no status."""
        parts: list[bytes] = []
        size = 0
        end = self._monotonic() + ANSWER_SECONDS
        cut = False
        self._deadline.begin(ANSWER_SECONDS)
        try:
            for part in response.iter_raw():  # no compressed answer was asked for, and none shall grow in memory
                parts.append(part)
                size += len(part)
                if size > self._answer_bytes or self._monotonic() > end:
                    cut = True
                    break
        except FAILURES:
            cut = True
        finally:
            self._deadline.end()
            response.close()
        return b"".join(parts)[: self._answer_bytes], cut

    def _why(self, failure: Failure, error: Exception) -> str:
        """What was said of a failure before anything left, and which proxy was on the way, where one was."""
        if failure not in BEFORE_LEAVING:
            return ""
        words = cause_in_words(error)
        if self._proxy is None or failure is Failure.CERTIFICATE:
            return words
        proxy = f"through the proxy {self._proxy.url}"
        return f"{words}, {proxy}" if words else proxy

    def close(self) -> None:
        """Close the connection, for good."""
        self._deadline.close()
        self._http.close()


def post_once(target: TargetAccess, body: bytes, clock: Clock, seconds: float) -> Reply:
    """One request, sent as a run would send it, on a connection of its own; each wait takes `seconds` at most.

    Raises:
        UsageError: The proxy or the CA bundle that the environment names cannot be used.
    """
    options = DeliveryOptions(connect_seconds=seconds, read_seconds=seconds, attempt_seconds=seconds)
    transport = Transport(target, options, clock, context_for(target.batch_url))
    try:
        return transport.post(body, 0)
    finally:
        transport.close()


def get(url: str, seconds: float, *, through: Proxy | None = None) -> Reply:
    """Ask for a page, without key, of a sandbox on this machine without proxy; each wait takes `seconds` at most."""
    return ask(url, seconds, through=through)


def ask(
    url: str,
    seconds: float,
    *,
    headers: Mapping[str, str] | None = None,
    body: bytes | None = None,
    through: Proxy | None = None,
) -> Reply:
    """Ask an API: GET, or POST where there is a body. Never follows; each wait takes `seconds` at most.

    The answer is whole: `cut` is never set.
    """
    # As `Transport` has it: the client's engine writes every header to its debug log.
    logging.getLogger(client.__name__.replace("httpx", "httpcore")).setLevel(logging.WARNING)
    proxy = client.Proxy(through.url, auth=through.auth, ssl_context=through.context) if through else None
    method = "GET" if body is None else "POST"
    options: dict[str, Any] = {"verify": context_for(url), "trust_env": False, "proxy": proxy}
    try:
        answer = client.request(method, url, timeout=seconds, headers=headers, content=body, **options)
    except FAILURES as error:
        return Reply(_kind_of(error), seconds=0.0, why=cause_in_words(error))
    return Reply(answer.status_code, answer.elapsed.total_seconds(), answer.headers, answer.content)


class _Body(client.SyncByteStream):
    """A request's body, which knows whether any and whether all of it was handed to the system.

    The answer is read also where sending broke off: a target may refuse early. It cannot accept early.
    """

    def __init__(self, *pieces: bytes) -> None:
        self._pieces = pieces
        self.length = sum(map(len, pieces))
        self.begun = self.left = False

    def __iter__(self) -> Iterator[bytes]:
        self.begun = True
        for piece in self._pieces:
            for start in range(0, len(piece), WRITE_BYTES):
                yield piece[start : start + WRITE_BYTES]
        self.left = True


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


def failure_of(error: Exception, *, begun: bool = True, left: bool = True, late: bool = False) -> Failure:
    """Which failure one of FAILURES stands for; READ, which leaves the outcome unknown, where nothing else fits.

    Args:
        error: how the request ended.
        begun: whether a byte of the body was handed to the system. Where none was, the target cannot hold the calls,
            whatever it was: a proxy that goes silent before there is a tunnel, a kept connection that was closed.
        left: whether the whole body was.
        late: whether the attempt took too long, and its connection was ended for that.
    """
    failure = _kind_of(error)
    if not begun:
        return failure if failure in BEFORE_LEAVING else Failure.UNSENT
    if late:
        return Failure.READ_TIMEOUT if left else Failure.WRITE_TIMEOUT
    return failure


def _kind_of(error: Exception) -> Failure:
    if isinstance(error, client.ProxyError):  # it begins with the status that answered CONNECT
        return Failure.PROXY_REFUSED if str(error).startswith(str(PROXY_REFUSED)) else Failure.PROXY
    for kind, failure in _MEANINGS:
        if isinstance(error, kind):
            return failure
    if isinstance(error, client.ConnectError):
        return _failed_to_connect(error)
    if isinstance(error, client.RemoteProtocolError):
        # The client's words; without them the same failure is GARBLED, of the same meaning.
        return Failure.DISCONNECTED if "disconnected" in str(error) else Failure.GARBLED
    return Failure.READ


def cause_in_words(error: BaseException) -> str:
    """What the system, OpenSSL or the proxy said of a failure before anything left; empty where they said nothing."""
    if isinstance(error, client.ProxyError):
        return str(error)
    for cause in _causes(error):
        if isinstance(cause, ssl.SSLCertVerificationError):
            return cause.verify_message
        if isinstance(cause, OSError):
            return (cause.reason if isinstance(cause, ssl.SSLError) else cause.strerror) or ""
    return ""


def _causes(error: BaseException) -> Iterator[BaseException]:
    """An exception, and what it came from."""
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        cause = cause.__cause__ or cause.__context__


def _failed_to_connect(error: BaseException) -> Failure:
    """Look down the causes of a ConnectError for what the system said."""
    for cause in _causes(error):
        if isinstance(cause, ssl.SSLCertVerificationError):
            return Failure.CERTIFICATE
        if isinstance(cause, ssl.SSLError):
            return Failure.TLS
        if isinstance(cause, socket.gaierror):
            return Failure.NAME
    return Failure.CONNECT
