"""URLs of a source: objects of a bucket, and single files of a web server.

`s3://bucket/key`, `gs://bucket/key` and `az://container/key` are written as the vendors' own tools have them: a key is
taken as it stands, nothing in it is percent-decoded. `https://host/path` is a URL of the web (RFC 3986), which is.
"""

from __future__ import annotations

import re
from ipaddress import ip_address
from urllib.parse import unquote, urlsplit

from backfill.frozen import frozen

#: Scheme as people write it -> the one it is.
BUCKETS = {
    **dict.fromkeys(("s3", "s3a", "s3n"), "s3"),
    **dict.fromkeys(("gs", "gcs"), "gs"),
    **dict.fromkeys(("az", "azure", "abfs", "abfss"), "az"),
}
WEB = ("https", "http")
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
#: `abfss://container@account.dfs.core.windows.net/key`: what stands before the @ is no secret there.
_CONTAINER_OF_ACCOUNT = re.compile(r"[a-z0-9$-]+@[a-z0-9]+\.(dfs|blob)\.[a-z0-9.-]+", re.IGNORECASE)
_SECRETS = "credentials come from the environment, never from the job file"


@frozen
class Remote:
    """A URL taken apart."""

    scheme: str  # s3, gs, az, https or http
    place: str  # the bucket, container or host
    key: str  # what comes behind it, without the slash

    @property
    def is_web(self) -> bool:
        """One file of a web server, of which no listing can be had."""
        return self.scheme in WEB

    @property
    def object_name(self) -> str:
        """What the store calls the object: a URL of the web is percent-encoded, a key is not."""
        return unquote(self.key) if self.is_web else self.key

    @property
    def root(self) -> str:
        """The URL without the key."""
        return f"{self.scheme}://{self.place}/"


def scheme_of(path: str) -> str:
    """The scheme of a path as written, in lower case; empty for a file's path."""
    found = _SCHEME.match(path)
    return found[1].lower() if found else ""


def is_remote(path: str) -> bool:
    """A path, as written or of a SourceFile, that is a URL of a bucket or of a web server."""
    return scheme_of(path) in (*BUCKETS, *WEB)


def remote(url: str) -> Remote:
    """A URL, taken apart."""
    scheme = scheme_of(url)
    place, _, key = url[len(scheme) + len("://") :].partition("/")
    return Remote(BUCKETS.get(scheme, scheme), place, key)


def remote_fault(url: str) -> tuple[str, str] | None:
    """What is wrong with a URL of a source, and what to do; None where it can be tried."""
    found = remote(url)
    if not found.place:
        return f"names no {'host' if found.is_web else 'bucket'}", f"write {found.scheme}://NAME/..."
    if "@" in found.place and not (found.scheme == "az" and _CONTAINER_OF_ACCOUNT.fullmatch(found.place)):
        return "holds credentials", _SECRETS
    if found.is_web:
        return _web_fault(url, found)
    if any(part in ("", ".", "..") for part in found.key.rstrip("/").split("/")[:-1]):
        return "has an empty folder name, `.` or `..` in its key", "copy such objects to another key, and name that"
    return None


def _web_fault(url: str, found: Remote) -> tuple[str, str] | None:
    parts = urlsplit(url)
    if parts.query or parts.fragment:
        return (
            "has a query, which may hold credentials",
            'fetch it by another program, and read what that writes: `path: "-"`, `curl -sSf URL | backfill run JOB`',
        )
    if found.scheme == "http" and not is_loopback(url):
        return "would be read without encryption", "write https://"
    if not found.key or found.key.endswith("/"):
        return "names no file", "a web server has no listing: name each file, in a list"
    return None


def is_loopback(url: str) -> bool:
    """The URL's host is this machine."""
    host = urlsplit(url).hostname or ""
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False
