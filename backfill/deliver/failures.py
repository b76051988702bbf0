"""What the exceptions of httpcore mean: how an attempt failed."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from typing import Final

import httpcore

from backfill.verdict import BEFORE_LEAVING, PROXY_REFUSED, Failure

#: All that an attempt may end with, but for a request that cannot be made at all.
FAILURES: Final = (httpcore.TimeoutException, httpcore.NetworkError, httpcore.ProxyError, httpcore.RemoteProtocolError)
_MEANINGS: Final[tuple[tuple[type[Exception], Failure], ...]] = (
    (httpcore.ConnectTimeout, Failure.CONNECT_TIMEOUT),
    (httpcore.PoolTimeout, Failure.CONNECT_TIMEOUT),
    (httpcore.WriteTimeout, Failure.WRITE_TIMEOUT),
    (httpcore.ReadTimeout, Failure.READ_TIMEOUT),
    (httpcore.WriteError, Failure.WRITE),
)


def failure_of(error: Exception, *, begun: bool = True) -> Failure:
    """Which failure one of FAILURES stands for; READ, which leaves the outcome unknown, where nothing else fits.

    Where no byte of the body was handed to the system (`begun`), the target cannot hold the calls, whatever it was:
    a proxy that goes silent before there is a tunnel, a kept connection that is found to be closed.
    """
    failure = _kind_of(error)
    return failure if begun or failure in BEFORE_LEAVING else Failure.UNSENT


def _kind_of(error: Exception) -> Failure:
    if isinstance(error, httpcore.ProxyError):  # it begins with the status that answered CONNECT
        return Failure.PROXY_REFUSED if str(error).startswith(str(PROXY_REFUSED)) else Failure.PROXY
    for kind, failure in _MEANINGS:
        if isinstance(error, kind):
            return failure
    if isinstance(error, httpcore.ConnectError):
        return _failed_to_connect(error)
    if isinstance(error, httpcore.RemoteProtocolError):
        # httpcore's words; without them the same failure is GARBLED, of the same meaning.
        return Failure.DISCONNECTED if "disconnected" in str(error) else Failure.GARBLED
    return Failure.READ


def cause_in_words(error: BaseException) -> str:
    """What the system, OpenSSL or the proxy said of a failure before anything left; empty where they said nothing."""
    if isinstance(error, httpcore.ProxyError):
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
