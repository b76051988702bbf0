"""What the exceptions of httpx mean: how an attempt failed."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator

import httpx

from backfill.verdict import Failure

_FAILURES: tuple[tuple[type[httpx.TransportError], Failure], ...] = (
    (httpx.ConnectTimeout, Failure.CONNECT_TIMEOUT),
    (httpx.PoolTimeout, Failure.CONNECT_TIMEOUT),
    (httpx.ProxyError, Failure.PROXY),
    (httpx.WriteTimeout, Failure.WRITE_TIMEOUT),
    (httpx.ReadTimeout, Failure.READ_TIMEOUT),
    (httpx.WriteError, Failure.WRITE),
)


def failure_of(error: httpx.TransportError) -> Failure:
    """Which failure an httpx exception stands for; READ, which leaves the outcome unknown, where nothing else fits."""
    for kind, failure in _FAILURES:
        if isinstance(error, kind):
            return failure
    if isinstance(error, httpx.ConnectError):
        return _failed_to_connect(error)
    if isinstance(error, httpx.RemoteProtocolError):
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
