"""Endpoints: what names the same place becomes the same text."""

from __future__ import annotations

import re
from ipaddress import ip_address
from typing import Final
from urllib.parse import SplitResult, urlsplit

from backfill.frozen import frozen

#: Segment's two regions for server sources (https://www.twilio.com/docs/segment/guides/regional-segment).
SEGMENT_REGIONS: Final = {"us": "https://api.segment.io", "eu": "https://events.eu1.segmentapis.com"}
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}
_HOST: Final = re.compile(r"[a-z0-9]([a-z0-9_-]{0,62})(\.[a-z0-9_][a-z0-9_-]{0,62})*\.?")
_PATH: Final = re.compile(r"(/[A-Za-z0-9._~-]+)*")


class EndpointError(ValueError):
    """A text does not name an endpoint that may be used; carries a hint and never the text's user and password."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


@frozen
class Endpoint:
    """`url` is scheme, host, port where it is not the scheme's own, and any path before `/v1`."""

    url: str
    batch_url: str
    loopback: bool
    plain: bool  # http, not https


def parse_endpoint(text: str) -> Endpoint:
    """The endpoint a text names; raises EndpointError.

    A scheme left out is https, on loopback http. A path that ends in `/batch` without `/v1` before it is taken as the
    whole batch URL, for services that put it elsewhere.
    """
    parts = split(text.strip())
    host, port = host_and_port(parts)
    loopback = is_loopback(host)
    scheme = parts.scheme or ("http" if loopback else "https")
    path = re.sub(r"/{2,}", "/", parts.path).rstrip("/")
    if not _PATH.fullmatch(path):
        raise EndpointError("has a path with odd characters", "such as https://api.segment.io")
    place = f"[{host}]" if ":" in host else host
    base = f"{scheme}://{place}" + (f":{port}" if port not in (None, _DEFAULT_PORTS[scheme]) else "")
    whole = path.endswith("/batch") and not path.endswith("/v1/batch")
    path = path if whole else path.removesuffix("/batch").removesuffix("/v1")
    return Endpoint(
        url=base + path,
        batch_url=base + path + ("" if whole else "/v1/batch"),
        loopback=loopback,
        plain=scheme == "http",
    )


def split(text: str) -> SplitResult:
    """The parts of a URL whose scheme may be missing; raises EndpointError for what an endpoint does not have."""
    if not text or any(character.isspace() or not character.isprintable() for character in text):
        raise EndpointError("is empty" if not text else "has spaces in it", "such as api.segment.io")
    try:
        parts = urlsplit(text if "://" in text else f"//{text}")
    except ValueError:
        raise EndpointError("is not a valid URL", "such as https://api.segment.io") from None
    if "@" in parts.netloc:
        raise EndpointError("has a user in it", "the write key comes from the environment, never in a URL")
    if parts.scheme not in ("", "http", "https"):
        raise EndpointError(f"has the scheme {parts.scheme}", "http and https are taken")
    if parts.query or parts.fragment or text.endswith(("?", "#")):
        raise EndpointError("has a query or a fragment", "such as https://api.segment.io")
    return parts


def host_and_port(parts: SplitResult) -> tuple[str, int | None]:
    """Host in lower case and port; raises EndpointError."""
    try:
        host, port = parts.hostname or "", parts.port
    except ValueError:
        raise EndpointError("has no valid port", "a port is 1 to 65535") from None
    if port == 0:
        raise EndpointError("has no valid port", "a port is 1 to 65535")
    if ":" in host:
        try:
            return str(ip_address(host)), port
        except ValueError:
            raise EndpointError("has no valid address in [ ]") from None
    if not _HOST.fullmatch(host):
        hint = "write an international name in its xn-- form" if not host.isascii() else "such as api.segment.io"
        raise EndpointError("has no valid host", hint)
    return host.rstrip("."), port


def is_loopback(host: str) -> bool:
    """Whether the host is this machine, by its name or address alone (no look-up)."""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def region_of(url: str) -> str:
    """Segment's region at that endpoint: us, eu, or empty where it is none of Segment's own."""
    return next((region for region, home in SEGMENT_REGIONS.items() if home == url), "")
