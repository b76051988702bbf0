"""NO_PROXY: which hosts are reached without a proxy, as curl, requests and Go read it between them. Pure.

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

import re
from ipaddress import ip_address, ip_network

_PORTS = {"http": 80, "https": 443}
_WITH_PORT = re.compile(r"(?:\[([^\]]*)\]|([^:]*)):(\d+)")


def is_bypassed(scheme: str, host: str, port: int | None, listed: str) -> bool:
    """Whether a list says that a host is to be reached directly; `port` None is the scheme's own."""
    place = host.strip("[]").rstrip(".").casefold()
    number = port or _PORTS.get(scheme)
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
