"""What a connection takes from the environment, as httpx would: proxies and CA bundles.

Proxies are HTTPS_PROXY, HTTP_PROXY, ALL_PROXY and NO_PROXY, never for loopback; bundles SSL_CERT_FILE and SSL_CERT_DIR.
"""

from __future__ import annotations

import os
import ssl
import urllib.request
from urllib.parse import SplitResult, unquote, urlsplit

import certifi
import httpcore

from backfill.deliver.model import TargetAccess
from backfill.deliver.no_proxy import is_bypassed
from backfill.errors import UsageError
from backfill.targets.endpoint import is_loopback

_PROXIES = "HTTPS_PROXY or ALL_PROXY names it; http:// and https:// proxies are supported"


def proxy_for(url: str) -> str | None:
    """The proxy that the environment names for a URL; never one for loopback."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    proxies = urllib.request.getproxies()
    if is_loopback(host) or is_bypassed(parts.scheme, host, parts.port, proxies.get("no", "")):
        return None
    if not urllib.request.getproxies_environment() and urllib.request.proxy_bypass(host):
        return None  # what the settings of macOS and Windows say
    proxy = proxies.get(parts.scheme) or proxies.get("all")
    return proxy if not proxy or "://" in proxy else f"http://{proxy}"


def named_proxy(url: str) -> httpcore.Proxy | None:
    """The same as httpcore takes it, with the name and password that may stand in it.

    Raises:
        UsageError: it is none that can be used.
    """
    named = proxy_for(url)
    if named is None:
        return None
    try:
        parts = urlsplit(named)
    except ValueError:  # what it says may hold a password
        raise UsageError("the proxy that the environment names is no URL", hint=_PROXIES) from None
    try:
        place = httpcore.URL(scheme=parts.scheme, host=parts.hostname or "", port=parts.port, target="/")
    except ValueError as error:
        raise _unusable(parts, str(error)) from error
    if parts.scheme not in ("http", "https"):
        raise _unusable(parts, f"{parts.scheme}:// is not the scheme of a proxy")
    return httpcore.Proxy(
        place,
        auth=(unquote(parts.username), unquote(parts.password or "")) if parts.username else None,
        ssl_context=_trusting() if parts.scheme == "https" else None,
    )


def _unusable(parts: SplitResult, why: str) -> UsageError:
    """The error of a proxy, told without the name and password that may stand in its URL."""
    return UsageError(
        f"the proxy {parts.scheme}://{parts.netloc.rpartition('@')[2]} cannot be used: {why}",
        hint=_PROXIES,
    )


def tls_context(target: TargetAccess) -> ssl.SSLContext | None:
    """The TLS context for a target, to be shared by its transports: making one reads the whole CA bundle.

    None where there is no TLS.

    Raises:
        UsageError: the bundle that the environment names cannot be read, or holds no certificates.
    """
    return _trusting() if target.batch_url.lower().startswith("https:") else None


def _trusting() -> ssl.SSLContext:
    """A context that trusts the bundle of the environment, or else the usual authorities."""
    file = os.environ.get("SSL_CERT_FILE")
    folder = None if file else os.environ.get("SSL_CERT_DIR")
    try:
        return ssl.create_default_context(cafile=file or (None if folder else certifi.where()), capath=folder)
    except OSError as error:  # ssl.SSLError is one
        raise UsageError(
            f"the CA bundle {file or folder} cannot be used: {error.strerror or error}",
            hint="SSL_CERT_FILE names a file of certificates in PEM form; without it the usual authorities are trusted",
        ) from error
