"""What the exceptions of httpcore mean: how an attempt failed."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from typing import Final

import httpcore

from backfill.verdict import Failure

#: All that an attempt may end with, but for a request that cannot be made at all.
FAILURES: Final = (httpcore.TimeoutException, httpcore.NetworkError, httpcore.ProxyError, httpcore.RemoteProtocolError)
_MEANINGS: Final[tuple[tuple[type[Exception], Failure], ...]] = (
    (httpcore.ConnectTimeout, Failure.CONNECT_TIMEOUT),
    (httpcore.PoolTimeout, Failure.CONNECT_TIMEOUT),
    (httpcore.ProxyError, Failure.PROXY),
    (httpcore.WriteTimeout, Failure.WRITE_TIMEOUT),
    (httpcore.ReadTimeout, Failure.READ_TIMEOUT),
    (httpcore.WriteError, Failure.WRITE),
)


def failure_of(error: Exception) -> Failure:
    """Which failure one of FAILURES stands for; READ, which leaves the outcome unknown, where nothing else fits."""
    for kind, failure in _MEANINGS:
        if isinstance(error, kind):
            return failure
    if isinstance(error, httpcore.ConnectError):
        return _failed_to_connect(error)
    if isinstance(error, httpcore.RemoteProtocolError):
        # httpcore's words; without them the same failure is GARBLED, of the same meaning.
        return Failure.DISCONNECTED if "disconnected" in str(error) else Failure.GARBLED
    return Failure.READ


def certificate_fault(error: BaseException) -> str:
    """What is wrong with the target's certificate, in OpenSSL's words; empty where it was not the certificate."""
    return next(
        (cause.verify_message for cause in _causes(error) if isinstance(cause, ssl.SSLCertVerificationError)), ""
    )


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
