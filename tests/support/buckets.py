"""A store of objects for tests, on loopback: S3, GCS and Azure as far as obstore speaks them, with scripted faults."""

from __future__ import annotations

import hashlib
import re
import ssl
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape, unescape

import trustme

#: Keys in one answer to a listing.
PAGE = 1_000
BUCKET = "shop"


@dataclass
class Asked:
    """One request that arrived."""

    method: str
    key: str  # of the object; empty for a listing
    query: Mapping[str, str]
    headers: Mapping[str, str]


@dataclass
class Fault:
    """What to answer in place of the truth."""

    status: int = 0  # with `code` in S3's XML
    code: str = ""
    extra: str = ""  # more of that XML
    headers: Mapping[str, str] = field(default_factory=dict)
    cut: int = -1  # bytes of the body, then the connection is closed
    stall: int = -1  # bytes of the body, then nothing more comes
    then: Callable[[], object] | None = None  # done after the cut, before the connection is closed


Script = Callable[[Asked], Fault | None]


class Store:
    """Objects by key, what was asked, and the script of faults; `url` is the endpoint."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.asked: list[Asked] = []
        self.parts: dict[str, bytes] = {}  # of objects that are put in parts, by upload and number
        self.begun = 0
        self.script: Script = lambda _: None
        self.tagged = True  # False: no ETag
        self.dated = True  # False: no Last-Modified
        self.ranged = True  # False: a range is answered by the whole
        self.closing = Event()
        self.url = ""

    def put(self, **objects: bytes) -> None:
        """Put objects whose keys are names of Python."""
        self.objects |= objects

    def once(self, fault: Fault, method: str = "GET", times: int = 1) -> None:
        """Answer so the first requests of that method for an object, and truly then."""
        left = [fault] * times

        def script(asked: Asked) -> Fault | None:
            return left.pop() if left and asked.key and asked.method == method else None

        self.script = script

    def always(self, fault: Fault) -> None:
        """Answer so whatever is asked."""
        self.script = lambda _: fault

    def gets(self, key: str | None = None) -> list[Asked]:
        """The bodies that were asked for."""
        return [one for one in self.asked if one.method == "GET" and one.key and key in (None, one.key)]


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def __init__(self, store: Store) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.store = store


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server

    def handle(self) -> None:
        """Answer until the client goes, which it may do within a body."""
        with suppress(ConnectionError, ssl.SSLError):
            super().handle()

    def log_message(self, *_: object) -> None:
        """Nothing is logged."""

    def do_PUT(self) -> None:
        """Put an object, or a part of one."""
        self._change()

    def do_POST(self) -> None:
        """Begin an object in parts, or end it."""
        self._change()

    def do_DELETE(self) -> None:
        """Remove an object, or give up what was begun."""
        self._change()

    def _change(self) -> None:
        """What changes objects, as S3 has it."""
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        parts = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(parts.query, keep_blank_values=True).items()}
        bucket, _, key = unquote(parts.path).lstrip("/").partition("/")
        store = self.server.store
        asked = Asked(self.command, key, query, dict(self.headers.items()))
        store.asked.append(asked)
        fault = store.script(asked)
        if fault is not None and fault.then is not None:
            fault.then()
        if fault is not None and fault.status:
            self._refuse(fault.status, fault.code, fault.extra, fault.headers)
        elif bucket != BUCKET:
            self._refuse(404, "NoSuchBucket")
        elif self.command == "DELETE":
            store.objects.pop(key, None)
            self._send(204, {}, b"")
        elif self.command == "PUT" and self.headers.get("If-None-Match") == "*" and key in store.objects:
            self._refuse(412, "PreconditionFailed")
        elif self.command == "PUT":
            place = f"{query['uploadId']} {int(query['partNumber']):05d}" if "uploadId" in query else key
            (store.parts if "uploadId" in query else store.objects)[place] = body
            self._send(200, {"ETag": f'"{hashlib.md5(body).hexdigest()}"'} if store.tagged else {}, b"")
        elif "delete" in query:
            keys = re.findall(r"<Key>(.*?)</Key>", body.decode())
            for found in keys:
                store.objects.pop(unescape(found), None)
            gone = "".join(f"<Deleted><Key>{found}</Key></Deleted>" for found in keys)
            self._send(200, {"Content-Type": "application/xml"}, f"<DeleteResult>{gone}</DeleteResult>".encode())
        else:
            self._in_parts(key, query)

    def _in_parts(self, key: str, query: Mapping[str, str]) -> None:
        store = self.server.store
        if "uploads" in query:
            store.begun += 1
            made = f"<UploadId>{store.begun}</UploadId>"
            root = "InitiateMultipartUploadResult"
        else:
            own = [place for place in sorted(store.parts) if place.split(" ")[0] == query["uploadId"]]
            store.objects[key] = b"".join(store.parts.pop(place) for place in own)
            made, root = f"<ETag>&quot;{len(own)}&quot;</ETag>", "CompleteMultipartUploadResult"
        text = f"<{root}><Bucket>{BUCKET}</Bucket><Key>{escape(key)}</Key>{made}</{root}>"
        self._send(200, {"Content-Type": "application/xml"}, text.encode())

    def do_HEAD(self) -> None:
        """An object's headers."""
        self._answer()

    def do_GET(self) -> None:
        """An object, or a listing."""
        self._answer()

    def _answer(self) -> None:
        parts = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(parts.query, keep_blank_values=True).items()}
        names = unquote(parts.path).lstrip("/").split("/", 1)
        key = names[1] if len(names) > 1 else ""
        listing = "list-type" in query or "comp" in query
        asked = Asked(self.command, "" if listing else key, query, dict(self.headers.items()))
        self.server.store.asked.append(asked)
        fault = self.server.store.script(asked)
        if fault is not None and fault.status:
            self._refuse(fault.status, fault.code, fault.extra, fault.headers)
        elif names[0] != BUCKET and not listing:
            self._refuse(404, "NoSuchBucket")
        elif listing:
            self._list(names[0], query)
        else:
            self._object(key, fault)

    def _refuse(self, status: int, code: str = "", extra: str = "", headers: Mapping[str, str] | None = None) -> None:
        body = f"<Error><Code>{code}</Code><Message>no</Message>{extra}</Error>".encode() if code else b""
        self._send(status, {"Content-Type": "application/xml", **(headers or {})}, body)

    def _send(self, status: int, headers: Mapping[str, str], body: bytes, fault: Fault | None = None) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "HEAD":
            return
        if fault is None:
            self.wfile.write(body)
            return
        self.wfile.write(body[: max(fault.cut, fault.stall)])
        self.wfile.flush()
        if fault.then is not None:
            fault.then()
        if fault.stall >= 0:
            self.server.store.closing.wait()
        self.close_connection = True

    def _object(self, key: str, fault: Fault | None) -> None:
        body = self.server.store.objects.get(key)
        if body is None:
            self._refuse(404, "NoSuchKey")
            return
        tag = f'"{hashlib.md5(body).hexdigest()}"'
        headers = {"ETag": tag} if self.server.store.tagged else {}
        headers |= {"Last-Modified": formatdate(1_700_000_000, usegmt=True)} if self.server.store.dated else {}
        if self.headers.get("If-Match", tag) != tag:
            self._refuse(412, "PreconditionFailed")
            return
        status, whole = 200, len(body)
        asked = self.headers.get("Range", "")
        if asked and self.server.store.ranged:
            first, _, last = asked.removeprefix("bytes=").partition("-")
            start, stop = (int(first), int(last) + 1 if last else whole) if first else (whole - int(last), whole)
            body = body[start:stop]
            headers["Content-Range"] = f"bytes {start}-{start + len(body) - 1}/{whole}"
            status = 206
        self._send(status, headers, body, fault)

    def _list(self, bucket: str, query: Mapping[str, str]) -> None:
        if bucket != BUCKET:
            self._refuse(404, "ContainerNotFound" if "comp" in query else "NoSuchBucket")
            return
        after = query.get("continuation-token") or query.get("marker") or ""
        keys = sorted(
            key for key in self.server.store.objects if key.startswith(query.get("prefix", "")) and key > after
        )
        page, more = keys[:PAGE], len(keys) > PAGE
        azure = "comp" in query
        entries = "".join((_blob if azure else _contents)(key, self.server.store.objects[key]) for key in page)
        if azure:
            mark = f"<NextMarker>{escape(page[-1]) if more else ''}</NextMarker>"
            text = f"<EnumerationResults><Blobs>{entries}</Blobs>{mark}</EnumerationResults>"
        else:
            mark = f"<NextContinuationToken>{escape(page[-1])}</NextContinuationToken>" if more else ""
            whole = f"<IsTruncated>{str(more).lower()}</IsTruncated>"
            text = f"<ListBucketResult>{whole}{entries}{mark}</ListBucketResult>"
        self._send(200, {"Content-Type": "application/xml"}, text.encode())


def _contents(key: str, body: bytes) -> str:
    tag = hashlib.md5(body).hexdigest()
    return (
        f"<Contents><Key>{escape(key)}</Key><LastModified>2023-11-14T22:13:20.000Z</LastModified>"
        f"<ETag>&quot;{tag}&quot;</ETag><Size>{len(body)}</Size></Contents>"
    )


def _blob(key: str, body: bytes) -> str:
    tag = hashlib.md5(body).hexdigest()
    return (
        f"<Blob><Name>{escape(key)}</Name><Properties><Last-Modified>Tue, 14 Nov 2023 22:13:20 GMT</Last-Modified>"
        f"<Content-Length>{len(body)}</Content-Length><Content-Type>text/plain</Content-Type>"
        f"<Etag>{tag}</Etag><BlobType>BlockBlob</BlobType></Properties></Blob>"
    )


@contextmanager
def served(certificate: trustme.LeafCert | None = None) -> Iterator[Store]:
    """A store that listens, until the block ends; over TLS with a certificate."""
    store = Store()
    server = _Server(store)
    store.url = f"http{'s' if certificate else ''}://127.0.0.1:{server.server_port}"
    if certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        certificate.configure_cert(context)
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    thread = Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield store
    finally:
        store.closing.set()
        server.shutdown()
        server.server_close()
        thread.join()


def credentials(store: Store) -> dict[str, str]:
    """The environment that leads S3 to it."""
    return {
        "AWS_ENDPOINT_URL": store.url,
        "AWS_ACCESS_KEY_ID": "AKIATESTTESTTEST",
        "AWS_SECRET_ACCESS_KEY": "tHeSeCrEtOfNobody",
        "AWS_REGION": "eu-west-1",
    }
