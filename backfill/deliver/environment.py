"""What a connection takes from the environment: proxies and CA bundles.

Proxies are HTTPS_PROXY, HTTP_PROXY, ALL_PROXY and NO_PROXY, never for loopback; bundles SSL_CERT_FILE and SSL_CERT_DIR.
NO_PROXY is read as curl, requests and Go read it between them:

    entry                  matches
    ---------------------  ------------------------------------------------------------
    *                      every host
    example.com            example.com and what is below it
    .example.com           the same
    *.example.com          what is below it only
    example.com:8443       the same as without the port, at that port only
    10.1.2.3, [::1]:8443   that address, where the URL has an address
    10.0.0.0/8, fd00::/8   every address in that network, where the URL has an address

Entries stand between commas or blanks. Names are never looked up.
"""

from __future__ import annotations

import os
import re
import ssl
import urllib.request
from dataclasses import field
from ipaddress import ip_address, ip_network
from typing import Final
from urllib.parse import SplitResult, unquote, urlsplit

import certifi

from backfill.errors import UsageError
from backfill.frozen import frozen
from backfill.targets.endpoint import is_loopback

PORTS: Final = {"http": 80, "https": 443}
_WITH_PORT: Final = re.compile(r"(?:\[([^\]]*)\]|([^:]*)):(\d+)")
_PROXIES: Final = "HTTPS_PROXY or ALL_PROXY names it; http:// and https:// proxies are supported"


@frozen
class Proxy:
    """An HTTP proxy."""

    url: str  # scheme, host and port
    auth: tuple[str, str] | None = field(default=None, repr=False)  # user and password
    context: ssl.SSLContext | None = None  # of the connection to itself, where that is https


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


def named_proxy(url: str) -> Proxy | None:
    """The same, taken apart.

    Raises:
        UsageError: it is none that can be used.
    """
    named = proxy_for(url)
    if named is None:
        return None
    try:
        parts = urlsplit(named)
    except ValueError:  # what it says may hold a password
        raise UsageError("the proxy that the environment names is not a valid URL", hint=_PROXIES) from None
    if parts.scheme not in PORTS:
        raise _unusable(parts, f"{parts.scheme}:// is not the scheme of a proxy")
    try:
        port = parts.port or PORTS[parts.scheme]
    except ValueError as error:
        raise _unusable(parts, str(error)) from error
    host = parts.hostname or ""
    if not host or not host.isascii():
        raise _unusable(parts, "it names no host that is written in ASCII")
    return Proxy(
        f"{parts.scheme}://{f'[{host}]' if ':' in host else host}:{port}",
        auth=(unquote(parts.username), unquote(parts.password or "")) if parts.username else None,
        context=_trusting() if parts.scheme == "https" else None,
    )


def _unusable(parts: SplitResult, why: str) -> UsageError:
    """The error of a proxy, told without the name and password that may stand in its URL."""
    return UsageError(
        f"the proxy {parts.scheme}://{parts.netloc.rpartition('@')[2]} cannot be used: {why}",
        hint=_PROXIES,
    )


def context_for(url: str) -> ssl.SSLContext:
    """The TLS context for a URL, to be shared by its transports: making one reads the whole CA bundle.

    Where there is no TLS it trusts nobody, which costs nothing.

    Raises:
        UsageError: the bundle that the environment names cannot be read, or holds no certificates.
    """
    return _trusting() if url.lower().startswith("https:") else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


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


def is_bypassed(scheme: str, host: str, port: int | None, listed: str) -> bool:
    """Whether a list says that a host is to be reached directly; `port` None is the scheme's own."""
    place = host.strip("[]").rstrip(".").casefold()
    number = port or PORTS.get(scheme)
    return any(_matches(entry.casefold(), place, number) for entry in re.split(r"[,\s]+", listed) if entry)


def _matches(entry: str, host: str, port: int | None) -> bool:
    if at_port := _WITH_PORT.fullmatch(entry):
        if int(at_port[3]) != port:
            return False
        entry = at_port[1] or at_port[2]
    entry = entry.strip("[]").rstrip(".")
    if entry == "*":
        return True
    try:
        address = ip_address(host)
    except ValueError:
        return _names(entry, host)
    try:
        return address in ip_network(entry, strict=False)
    except ValueError:
        return False


def _names(entry: str, host: str) -> bool:
    if entry.startswith("*."):
        return host.endswith(entry[1:])
    name = entry.lstrip(".")
    return bool(name) and (host == name or host.endswith(f".{name}"))
