"""The target: its profile, key and region, the way there, what it answers, and its clock beside ours.

Where the API is known to store nothing of it, one batch without calls is sent, with the key, as a run would send it:
to Segment (counted at most as `empty_batch` in Delivery Overview:
https://www.twilio.com/docs/segment/connections/delivery-overview) and to RudderStack (answered 400). A sandbox is asked
for its health, and any other target for its front page, without the key.
"""

from __future__ import annotations

import socket
import zlib
from collections.abc import Callable, Iterator
from http import HTTPStatus
from urllib.parse import urlsplit

from backfill.clock import Clock
from backfill.deliver.clock_skew import STOP_SECONDS, WARN_SECONDS, skew
from backfill.deliver.environment import Proxy, named_proxy
from backfill.deliver.transport import Reply, get, post_once
from backfill.doctor.findings import Finding, Level, error_finding
from backfill.errors import BackfillError, ExitCode, UsageError
from backfill.pipeline.context import Options
from backfill.pipeline.target_check import refuse_stranger, target_access
from backfill.targets import Target, TargetKind
from backfill.targets.endpoint import SEGMENT_REGIONS, is_loopback
from backfill.verdict import RETRIED, TARGET_REFUSED, Failure, http_date
from backfill.wire import HEAD, gzip_body, tail

SECONDS = 10.0
#: Answer an empty batch, and hold nothing of it.
TAKE_EMPTY = (TargetKind.SEGMENT, TargetKind.RUDDERSTACK)
_WAYS = {
    Failure.NAME: "check the endpoint's name, and the machine's DNS",
    Failure.CERTIFICATE: "a proxy that opens TLS wants its authority in SSL_CERT_FILE; or the endpoint is another's",
    Failure.TLS: "the endpoint may speak plain http, or an old TLS",
    Failure.PROXY: "check HTTPS_PROXY; NO_PROXY lists what is reached without it",
    Failure.PROXY_REFUSED: "HTTPS_PROXY takes them: http://USER:PASSWORD@HOST:PORT",
}


def look_at_target(load: Callable[[bool], Target], clock: Clock) -> Iterator[Finding]:
    """All of it, as far as one thing allows the next to be looked at.

    Args:
        load: Gives the target; its argument says whether a missing write key is an error.
        clock: Ours.
    """
    missing = None
    try:
        target = load(True)
    except BackfillError as error:
        missing = error_finding("write key", error)
        try:
            target = load(False)
        except BackfillError as wrong:
            yield error_finding("target", wrong)
            return
    yield Finding("target", f"{target.name}, of the kind {target.kind}, {target.endpoint or 'inside the process'}")
    yield missing or _key(target)
    yield from _region(target)
    if not target.endpoint:
        return
    try:
        proxy = named_proxy(target.batch_url)
    except UsageError as error:
        yield error_finding("proxy", error)
        return
    yield Finding("proxy", proxy.url if proxy else "none")
    names = [] if proxy else list(_names(target))
    yield from names
    if all(name.level is Level.OK for name in names):
        yield from _ask(target, proxy, clock)


def _key(target: Target) -> Finding:
    about = "write key"
    if not target.live and not target.key_origin:
        return Finding(about, "a sandbox needs none")
    digest = f", its SHA-256 begins with {target.key_digest}" if target.key_digest else ""
    return Finding(about, f"in {target.key_origin}{digest}")


def _region(target: Target) -> Iterator[Finding]:
    host = urlsplit(target.endpoint).hostname or ""
    if target.kind is not TargetKind.SEGMENT:
        if any(host == urlsplit(home).hostname for home in SEGMENT_REGIONS.values()):
            fix = "say `kind: segment`: its limits and its memory of ids are then known"
            yield Finding("region", f"{host} is Segment's, and the kind is {target.kind}", Level.WARNING, fix)
        return
    other = {"us": "eu", "eu": "us"}.get(target.region, "")
    words = target.name.casefold().replace("_", "-").split("-")
    if other in words and target.region not in words:
        fix = "`region: us` or `eu` in the profile: a source of the other region answers 200 and shows nothing"
        yield Finding("region", f"{target.region}, though the target is called {target.name}", Level.WARNING, fix)
    elif target.region:
        yield Finding("region", f"{target.region}; a source of the other one would answer 200 and show nothing")
    else:
        yield Finding("region", f"{host} is neither of Segment's own two endpoints")


def _names(target: Target) -> Iterator[Finding]:
    parts = urlsplit(target.batch_url)
    try:
        found = socket.getaddrinfo(parts.hostname, parts.port, type=socket.SOCK_STREAM)
    except OSError as error:
        why = f"{parts.hostname}: {error.strerror}"
        yield Finding("DNS", why, Level.ERROR, _WAYS[Failure.NAME], ExitCode.STOPPED)
        return
    addresses = sorted({str(one[4][0]) for one in found})
    yield Finding("DNS", f"{parts.hostname} is {', '.join(addresses[:2])}{' ...' if addresses[2:] else ''}")


def _ask(target: Target, proxy: Proxy | None, clock: Clock) -> Iterator[Finding]:
    if not target.live:
        try:
            refuse_stranger(target)
        except UsageError as error:
            yield error_finding("request", error)
            return
    sends = target.kind in TAKE_EMPTY and target.write_key is not None
    left = clock.now()
    try:
        if sends:
            access = target_access(target, Options(), target.envelope)
            reply = post_once(access, _empty_batch(target, left), clock, SECONDS)
        else:
            reply = get(target.endpoint if target.live else f"{target.endpoint}/health", SECONDS, through=proxy)
    except UsageError as error:
        yield error_finding("request", error)
        return
    yield from _answer(target, reply, sent=sends)
    if not isinstance(reply.end, Failure):
        yield _clock(reply, left, clock.now())


def _empty_batch(target: Target, now: float) -> bytes:
    """A body as runs send them, without a call."""
    end = tail(now, target.envelope)
    return gzip_body(_DEFLATED_HEAD, len(HEAD), zlib.crc32(HEAD), end) if target.gzip else HEAD + end


def _flushed(plain: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return packer.compress(plain) + packer.flush(zlib.Z_SYNC_FLUSH)


_DEFLATED_HEAD = _flushed(HEAD)


def _answer(target: Target, reply: Reply, *, sent: bool) -> Iterator[Finding]:
    host = urlsplit(target.endpoint).hostname or ""
    end = reply.end
    if isinstance(end, Failure):
        why = f"{end}: {reply.why}" if reply.why else str(end)
        yield Finding(
            "request", why, Level.ERROR, _WAYS.get(end, "check the endpoint and the network"), ExitCode.STOPPED
        )
        return
    if target.endpoint.startswith("https:"):
        yield Finding("TLS", f"the certificate of {host} verifies")
    elif not is_loopback(host):
        yield Finding("TLS", "none: key and data go in clear", Level.WARNING, "use https")
    what = "a batch without calls" if sent else "a request without the key"
    said = f"{what} was answered with {end} in {reply.seconds:.2f} s"
    if sent and end in TARGET_REFUSED:
        fix = "the key, the source or the endpoint is wrong"
        yield Finding("request", said, Level.ERROR, fix, ExitCode.TARGET_REFUSED)
    elif end in RETRIED:
        yield Finding("request", said, Level.WARNING, "a run would try again; wait until the target answers")
    elif HTTPStatus.MULTIPLE_CHOICES <= end < HTTPStatus.BAD_REQUEST and sent:
        yield Finding("request", said, Level.ERROR, "name the endpoint that it leads to", ExitCode.STOPPED)
    else:
        yield Finding("request", f"{said}{_worth(target, end) if sent else ''}")


def _worth(target: Target, status: int) -> str:
    """What an answer to a batch without calls says of the key."""
    if target.kind is TargetKind.SEGMENT:
        return "; Segment answers so to a wrong key, too" if status < HTTPStatus.MULTIPLE_CHOICES else ""
    return ": the key was taken"


def _clock(reply: Reply, left: float, arrived: float) -> Finding:
    stated = http_date(reply.headers.get("date", ""))
    if stated is None:
        return Finding("clock", "the target does not tell its time")
    ahead = skew(stated, left, arrived)
    if abs(ahead) <= WARN_SECONDS:
        return Finding("clock", "with the target's, to a few seconds")
    side = "ahead of" if ahead > 0 else "behind"
    said = f"{abs(ahead):,.0f} s {side} the target's: all timestamps would be shifted by that much"
    stops = abs(ahead) > STOP_SECONDS
    fix = "set the clock of this machine, by NTP"
    return Finding(
        "clock", said, *((Level.ERROR, fix, ExitCode.STOPPED) if stops else (Level.WARNING, fix, ExitCode.DELIVERED))
    )
