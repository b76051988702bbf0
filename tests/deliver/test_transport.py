"""deliver's transport: one request, over real sockets, with TLS and proxies; and what it makes of failures."""

import itertools
import json
import logging
import socket
import ssl
import threading
import time
from base64 import b64encode
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from backfill.clock import Clock
from backfill.deliver import DeliveryOptions, EndKind, TargetAccess
from backfill.deliver.environment import context_for, proxy_for
from backfill.deliver.redact import DETAIL_CHARACTERS
from backfill.deliver.transport import (
    ANSWER_SECONDS,
    Transport,
    failure_of,
)
from backfill.errors import ExitCode, UsageError
from backfill.limits import SEGMENT
from backfill.memory import ANSWER_BYTES
from backfill.records import BatchState, Outcome
from backfill.targets import AnswerFormat
from backfill.targets.endpoint import is_loopback
from backfill.verdict import Failure, Patience, StopReason
from tests.support.delivery_fakes import KEY, Endpoint, Run, Shelf, Simulated, Step

CERTIFICATE = Path(__file__).parents[1] / "golden" / "localhost.pem"
ONCE = DeliveryOptions(concurrency=1, first_alone=False, patience=Patience(attempts=1))


@pytest.fixture
def tls() -> ssl.SSLContext:
    """A server's context with a certificate for localhost that nobody vouches for."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERTIFICATE)
    return context


NO_BODY = b"\r\nContent-Length: 0\r\n\r\n"
OK_HEAD = b"HTTP/1.1 200 OK" + NO_BODY


def served(plain: socket.socket, tls: ssl.SSLContext | None) -> socket.socket:
    """A server's end of a connection, encrypted where a context is given."""
    return tls.wrap_socket(plain, server_side=True) if tls else plain


def saying(*answer: bytes, pause: float = 0.0, tls: ssl.SSLContext | None = None) -> int:
    """A port whose one client is told this, whatever it says, and no more; with a pause behind each part."""
    listener = socket.create_server(("127.0.0.1", 0))

    def say() -> None:
        with suppress(OSError), listener, listener.accept()[0] as plain, served(plain, tls) as connection:
            connection.recv(65536)
            for part in answer:
                connection.sendall(part)
                time.sleep(pause)

    threading.Thread(target=say, daemon=True).start()
    return int(listener.getsockname()[1])


def transport_to(url: str, clock: Clock | None = None) -> Transport:
    """A transport to a target at that URL."""
    return Transport(TargetAccess(url, KEY), DeliveryOptions(), clock or Clock(), context_for(url))


def uploading(tls: ssl.SSLContext, patch: pytest.MonkeyPatch, encrypted: bool, options: DeliveryOptions) -> Run:
    """The delivery of one large body to a server that takes two seconds to read it, a little at a time."""
    patch.setenv("SSL_CERT_FILE", str(CERTIFICATE))
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16 * 1024)
    listener.bind(("127.0.0.1", 0))
    listener.listen(1)
    size = 30_000_000

    def read() -> None:
        with (
            suppress(OSError),
            listener,
            listener.accept()[0] as plain,
            served(plain, tls if encrypted else None) as connection,
        ):
            head, _, body = connection.recv(64 * 1024).partition(b"\r\n\r\n")
            left = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0]) - len(body)
            while left > 0 and (part := connection.recv(64 * 1024)):
                left -= len(part)
                time.sleep(2 * len(part) / size)
            connection.sendall(OK_HEAD)

    threading.Thread(target=read, daemon=True).start()
    url = f"http{'s' * encrypted}://localhost:{listener.getsockname()[1]}/v1/batch"
    return Run(Shelf(1, calls=1, size=size), url, options=options, access={"gzip": False, "body_limit": 10**9})


def failed(run: Run) -> tuple[str, Outcome]:
    """How the only attempt of a delivery failed, and what is known of its calls."""
    end = run.go()
    assert (end.reason, end.exit_code) == (StopReason.ATTEMPTS_SPENT, ExitCode.STOPPED)
    ((_, _, answer),) = run.shelf.answers
    assert answer.status is None
    assert answer.detail in end.message
    return answer.detail, answer.outcome


def test_connection_refused() -> None:
    """Nobody listens: nothing has left, so nothing is in doubt."""
    with socket.socket() as unheard:
        unheard.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unheard.getsockname()[1]}/v1/batch"
        assert failed(Run(Shelf(1), url, options=ONCE)) == (f"{Failure.CONNECT}: Connection refused", Outcome.NOT_TAKEN)


def test_a_name_that_is_not_known(monkeypatch: pytest.MonkeyPatch) -> None:
    """No address, nothing has left."""

    def unknown(*_arguments: object, **_options: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    run = Run(Shelf(1), "https://api.segment.example/v1/batch", options=ONCE)
    assert failed(run) == (f"{Failure.NAME}: Name or service not known", Outcome.NOT_TAKEN)


def test_no_answer_in_time() -> None:
    """A target that takes the request and stays silent leaves it in doubt."""
    options = DeliveryOptions(concurrency=1, patience=Patience(attempts=1), read_seconds=0.05)
    with Endpoint([Step(how="stall")]) as endpoint:
        detail = failed(Run(Shelf(1), endpoint.url, options=options))
    assert detail == (Failure.READ_TIMEOUT.value, Outcome.UNKNOWN)


def test_a_target_that_does_not_read() -> None:
    """A body that cannot be written in time, here one that no buffer of the system takes whole, leaves it in doubt."""
    options = DeliveryOptions(concurrency=1, patience=Patience(attempts=1), read_seconds=0.1)
    with socket.create_server(("127.0.0.1", 0), backlog=1) as deaf:
        url = f"http://127.0.0.1:{deaf.getsockname()[1]}/v1/batch"
        run = Run(Shelf(1, size=10_000_000), url, options=options, access={"gzip": False, "body_limit": 10**9})
        assert failed(run) == (Failure.WRITE_TIMEOUT.value, Outcome.UNKNOWN)


class TestDeadline:
    """An attempt ends, however often the other side gives a sign of life."""

    options = DeliveryOptions(concurrency=1, first_alone=False, patience=Patience(attempts=1), attempt_seconds=0.8)

    @pytest.mark.parametrize("encrypted", [False, True], ids=["plain", "tls"])
    @pytest.mark.parametrize(
        ("first", "drop"),
        [
            (b"HTTP/1.1 200 OK\r\nX: ", b"x"),
            (b"HTTP/1.1 103 Early\r\n\r\n", b"HTTP/1.1 100 Continue\r\n\r\n"),
        ],
        ids=["a header", "100 Continue"],
    )
    def test_a_head_that_trickles(
        self, tls: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch, first: bytes, drop: bytes, encrypted: bool
    ) -> None:
        """It would be whole after five seconds; it is in doubt before."""
        monkeypatch.setenv("SSL_CERT_FILE", str(CERTIFICATE))
        says = [first, *[drop] * 250, b"\r\n\r\n" if drop == b"x" else OK_HEAD]
        port = saying(*says, pause=0.02, tls=tls if encrypted else None)
        url = f"http{'s' * encrypted}://localhost:{port}/v1/batch"
        assert failed(Run(Shelf(1), url, options=self.options)) == (Failure.READ_TIMEOUT.value, Outcome.UNKNOWN)

    def test_a_body_that_trickles(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Also where it never comes to a piece of it: the status has been said, the rest is cut."""
        monkeypatch.setattr("backfill.deliver.transport.ANSWER_SECONDS", 0.3)
        head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;"
        port = saying(head, *[b"x"] * 250, b"\r\nx\r\n0\r\n\r\n", pause=0.02)
        url = f"http://127.0.0.1:{port}/v1/batch"
        transport = transport_to(url)
        reply = transport.post(b"{}", 0)
        transport.close()
        assert (reply.end, reply.body, reply.cut) == (200, b"", True)

    @pytest.mark.parametrize("encrypted", [False, True], ids=["plain", "tls"])
    def test_a_request_that_trickles(
        self, tls: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch, encrypted: bool
    ) -> None:
        """A body that is read a little at a time is in doubt at the deadline."""
        run = uploading(tls, monkeypatch, encrypted, replace(self.options, attempt_seconds=0.3))
        assert failed(run) == (Failure.WRITE_TIMEOUT.value, Outcome.UNKNOWN)

    @pytest.mark.parametrize("encrypted", [False, True], ids=["plain", "tls"])
    def test_a_slow_line(self, tls: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch, encrypted: bool) -> None:
        """Of a slow upload no single wait is long: it is given the whole of the time, not that of one write."""
        run = uploading(tls, monkeypatch, encrypted, replace(self.options, attempt_seconds=60.0, read_seconds=1.0))
        assert run.go().kind is EndKind.FINISHED

    def test_what_a_slow_line_needs(self) -> None:
        """The largest body goes over a line of 4.2 KB a second."""
        assert SEGMENT.body_bytes / DeliveryOptions().attempt_seconds < 4_200

    def test_through_a_proxy(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Its connections are no exception."""
        port = saying(b"HTTP/1.1 200 OK\r\nX: ", *[b"x"] * 250, b"\r\n\r\n", pause=0.02)
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{port}")
        run = Run(Shelf(1), "http://events.example/v1/batch", options=self.options)
        assert failed(run) == (Failure.READ_TIMEOUT.value, Outcome.UNKNOWN)


class TestTls:
    """Certificates are verified, always."""

    def test_an_unknown_certificate_stops_the_run(self, tls: ssl.SSLContext) -> None:
        """No retry makes it good, and nothing has left."""
        with Endpoint(tls=tls) as endpoint:
            run = Run(Shelf(2), endpoint.url)
            end = run.go()
        assert (end.reason, end.exit_code) == (StopReason.CERTIFICATE, ExitCode.STOPPED)
        assert run.shelf.outcomes() == [Outcome.NOT_TAKEN]
        assert "SSL_CERT_FILE" in end.hint
        assert endpoint.seen == []

    def test_a_bundle_of_the_environment(self, tls: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch) -> None:
        """SSL_CERT_FILE names the authorities."""
        monkeypatch.setenv("SSL_CERT_FILE", str(CERTIFICATE))
        with Endpoint(tls=tls) as endpoint:
            assert Run(Shelf(2), endpoint.url).go().kind is EndKind.FINISHED
        assert len(endpoint.seen) == 2

    def test_another_name(self, tls: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch) -> None:
        """A certificate for another host does not do."""
        monkeypatch.setenv("SSL_CERT_FILE", str(CERTIFICATE))
        with Endpoint(tls=tls) as endpoint:
            run = Run(Shelf(1), endpoint.url.replace("localhost", "127.0.0.1"))
            assert run.go().reason is StopReason.CERTIFICATE

    def test_no_tls_there(self) -> None:
        """A target that does not speak TLS: nothing has left."""
        url = f"https://localhost:{saying(b'SSH-2.0-OpenSSH_9.2')}/v1/batch"
        detail, outcome = failed(Run(Shelf(1), url, options=ONCE))
        assert detail.startswith(f"{Failure.TLS}: ")
        assert outcome is Outcome.NOT_TAKEN


class TestConnection:
    """One a sender, kept, and renewed in time."""

    def test_it_is_kept(self) -> None:
        """Fifty requests of one sender take one connection."""
        with Endpoint() as endpoint:
            Run(Shelf(50), endpoint.url).go()
        assert endpoint.connections == 1

    def test_it_is_renewed(self) -> None:
        """At the latest after an hour: an address that has moved is found anew."""
        time = Simulated()
        with Endpoint() as endpoint:
            run = Run(Shelf(4, calls=1), endpoint.url, time.clock(), access={"rate": 1 / 1900})
            assert run.go().kind is EndKind.FINISHED
        assert [seen.connection for seen in endpoint.seen] == [1, 1, 2, 2]

    @pytest.mark.parametrize(
        "script",
        [
            [Step(503, headers=(("Retry-After", "300"),))] * 20,  # an hour and more of being put off
            [Step()] * 20,  # a slow delivery
        ],
        ids=["put off", "slow"],
    )
    def test_a_name_is_looked_up_anew(self, script: list[Step], monkeypatch: pytest.MonkeyPatch) -> None:
        """Within the hour a target that moved to another address is found there, also in the middle of retries."""
        time = Simulated()
        asked: list[float] = []
        with Endpoint(script) as before, Endpoint() as after:

            def resolve(host: str, *_: object, **__: object) -> list[object]:
                assert host == "ingest.test"
                asked.append(time.up)
                port = before.port if len(asked) == 1 else after.port
                return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]

            monkeypatch.setattr(socket, "getaddrinfo", resolve)
            run = Run(Shelf(20), "http://ingest.test/v1/batch", time.clock(), access={"rate": 3 / 300})
            assert run.go().kind is EndKind.FINISHED
        first, second, *_ = asked
        assert 3600 < second - first <= 3600 + 300
        assert after.seen
        assert len(before.seen) <= 13
        assert set(run.shelf.states().values()) == {BatchState.DELIVERED}

    def test_a_long_silence(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A connection on which nothing was sent for an hour is not used again, however well it looks."""
        time = Simulated()
        with Endpoint() as endpoint:
            transport = transport_to(endpoint.url, time.clock())
            transport.post(b"{}", 0)
            time.up += 3601
            transport.post(b"{}", 0)
            transport.close()
        assert [seen.connection for seen in endpoint.seen] == [1, 2]

    def test_one_that_was_closed_meanwhile(self) -> None:
        """A connection that the target closed between two requests is noticed: no attempt is lost on it."""
        with Endpoint([Step(headers=(("Connection", "close"),)), Step()]) as endpoint:
            run = Run(Shelf(2), endpoint.url)
            run.go()
        assert run.shelf.outcomes() == [Outcome.ACCEPTED] * 2


class TestJunk:
    """Bytes that nobody asked for, and that came with an answer, are not taken for the next one."""

    @pytest.mark.parametrize("encrypted", [False, True], ids=["plain", "tls"])
    @pytest.mark.parametrize("junk", [OK_HEAD, OK_HEAD[:-4] + b"1\r\n\r\nx", b"}"], ids=["200", "with a body", "rest"])
    def test_behind_an_answer(
        self, tls: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch, junk: bytes, encrypted: bool
    ) -> None:
        """The request that meets them has an unknown outcome, and the one after it goes over a new connection."""
        monkeypatch.setenv("SSL_CERT_FILE", str(CERTIFICATE))
        listener = socket.create_server(("127.0.0.1", 0))
        answers = [OK_HEAD + junk, b"HTTP/1.1 500 Oh" + NO_BODY, OK_HEAD]

        def serve() -> None:
            with listener:
                for said in (answers[:2], answers[2:]):
                    with listener.accept()[0] as plain, served(plain, tls if encrypted else None) as connection:
                        for answer in said:
                            request = b""
                            while not request.endswith(b"{}"):
                                request += connection.recv(65536)
                            connection.sendall(answer)
                        with suppress(ConnectionResetError):
                            connection.recv(65536)

        threading.Thread(target=serve, daemon=True).start()
        url = f"http{'s' * encrypted}://localhost:{listener.getsockname()[1]}/v1/batch"
        transport = transport_to(url)
        assert [transport.post(b"{}", retries).end for retries in range(3)] == [200, Failure.GARBLED, 200]
        transport.close()


class TestAnswer:
    """Whatever stands in an answer's body, its status decides."""

    @pytest.mark.parametrize(
        ("body", "odd"),
        [
            (b"", "is empty"),
            (b"{", "is not JSON"),
            (b"\x00\xff\xfe", "is not JSON"),
            (b"<html>", "is a web page: is the endpoint right?"),
            (b"x" * 10_000_000, "is cut off"),
            (b'{"success":false}', "is JSON without the success that Segment's has"),
            (b'{"success":true}', ""),
        ],
        ids=["empty", "cut", "bytes", "html", "10 MB", "false", "true"],
    )
    def test_any_body_with_a_200(self, body: bytes, odd: str, caplog: pytest.LogCaptureFixture) -> None:
        """It is a delivery; what is odd about the body is said, once a run."""
        with Endpoint([Step(body=body)] * 2) as endpoint:
            run = Run(Shelf(2), endpoint.url, access={"answers": AnswerFormat.SUCCESS})
            assert run.go().kind is EndKind.FINISHED
        assert run.shelf.states() == dict.fromkeys((1, 2), BatchState.DELIVERED)
        assert len(run.shelf.answers[0][2].detail) <= DETAIL_CHARACTERS
        said = f"the target answers 200, but the body {odd} (batch 1 counts as received; this is said once)"
        assert [r.getMessage() for r in caplog.records] == ([said] if odd else [])

    def test_one_that_trickles(self) -> None:
        """An answer that comes byte by byte is read for ten seconds, not for as long as it comes."""
        seconds = itertools.count()  # each look at the clock takes one
        port = saying(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1\r\nx\r\n" * 1_000)
        clock = Clock(monotonic=lambda: float(next(seconds)))
        transport = transport_to(f"http://127.0.0.1:{port}/v1/batch", clock)
        reply = transport.post(b"{}", 0)
        transport.close()
        assert (reply.end, reply.cut) == (200, True)
        assert 0 < len(reply.body) <= ANSWER_SECONDS + 1

    @pytest.mark.parametrize(("status", "state"), [(200, BatchState.DELIVERED), (400, BatchState.REJECTED)])
    def test_a_body_that_breaks_off(self, status: int, state: BatchState) -> None:
        """The status has been said: it holds."""
        with Endpoint([Step(status, how="cut", body=b'{"mess')]) as endpoint:
            run = Run(Shelf(1, calls=1), endpoint.url)
            run.go()
        assert run.shelf.states() == {1: state}
        assert run.shelf.answers[0][2].detail == '{"mess [cut]'

    def test_it_is_read_up_to_a_bound(self) -> None:
        """Of ten megabytes some 64 KB are read, and the connection is given up."""
        with Endpoint([Step(body=b"x" * 10_000_000)]) as endpoint:
            transport = transport_to(endpoint.url)
            reply = transport.post(b"{}", 0)
            assert (reply.end, len(reply.body), reply.cut) == (200, ANSWER_BYTES, True)
            assert transport.post(b"{}", 1).body == b'{"success":true}'
            transport.close()
        assert [seen.connection for seen in endpoint.seen] == [1, 2]

    def test_what_is_kept_of_it(self) -> None:
        """One line of at most 200 characters, control characters and the key taken out."""
        body = f'\x1b[31m{{"error":\t"no such key {KEY}",\r\n"trace": "{"é" * 1000}'.encode()
        with Endpoint([Step(401, body=body)]) as endpoint:
            end = Run(Shelf(1), endpoint.url).go()
        assert end.answer.startswith('[31m{"error": "no such key [write key]", "trace": "éé')
        assert len(end.answer) == DETAIL_CHARACTERS
        assert end.answer.isprintable()


class TestProxy:
    """Proxies come from the environment, and never stand between us and loopback."""

    def test_never_for_loopback(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A proxy that is not there does no harm."""
        for name in ("http_proxy", "https_proxy", "all_proxy"):
            monkeypatch.setenv(name, "http://127.0.0.1:1")
        with Endpoint() as endpoint:
            assert Run(Shelf(1), endpoint.url).go().kind is EndKind.FINISHED

    @pytest.mark.parametrize(
        ("environment", "url", "proxy"),
        [
            ({"https_proxy": "http://proxy:3128"}, "https://api.segment.io/v1/batch", "http://proxy:3128"),
            ({"HTTPS_PROXY": "proxy:3128"}, "https://api.segment.io/v1/batch", "http://proxy:3128"),
            ({"all_proxy": "http://proxy:3128"}, "https://api.segment.io/v1/batch", "http://proxy:3128"),
            ({"http_proxy": "http://proxy:3128"}, "https://api.segment.io/v1/batch", None),
            ({"https_proxy": "http://proxy:3128", "no_proxy": "segment.io"}, "https://api.segment.io/v1/batch", None),
            ({"http_proxy": "http://proxy:3128"}, "http://[::1]:8888/v1/batch", None),
            ({}, "https://api.segment.io/v1/batch", None),
        ],
    )
    def test_which(
        self, monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], url: str, proxy: str | None
    ) -> None:
        """HTTPS_PROXY, HTTP_PROXY, ALL_PROXY and NO_PROXY, in either case, as other tools read them."""
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        assert proxy_for(url) == proxy

    def test_it_is_used(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Plain HTTP to another host goes to the proxy, with the whole URL."""
        with Endpoint() as endpoint:
            monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{endpoint.port}")
            run = Run(Shelf(1), "http://events.example/v1/batch")
            assert run.go().kind is EndKind.FINISHED
        assert endpoint.seen[0].path == "http://events.example/v1/batch"
        assert json.loads(endpoint.seen[0].plain)["batch"]

    def test_its_user(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Name and password in its URL go to the proxy, and the write key to the target."""
        with Endpoint() as endpoint:
            monkeypatch.setenv("http_proxy", f"http://ann:p%40ss@127.0.0.1:{endpoint.port}")
            assert Run(Shelf(1), "http://events.example/v1/batch").go().kind is EndKind.FINISHED
        headers = endpoint.seen[0].headers
        assert headers["proxy-authorization"] == f"Basic {b64encode(b'ann:p@ss').decode()}"
        assert headers["authorization"] == f"Basic {b64encode(f'{KEY}:'.encode()).decode()}"

    def test_one_that_refuses(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """It answers CONNECT with 403: nothing has left for the target."""
        place = f"127.0.0.1:{saying(b'HTTP/1.1 403 Forbidden' + NO_BODY)}"
        monkeypatch.setenv("https_proxy", f"http://ann:hunter2@{place}")
        run = Run(Shelf(1), "https://events.example/v1/batch", options=ONCE)
        detail = f"{Failure.PROXY}: 403 Forbidden, through the proxy http://{place}"
        assert failed(run) == (detail, Outcome.NOT_TAKEN)

    @pytest.mark.parametrize("scheme", ["http", "https"])
    def test_one_that_wants_a_password(self, monkeypatch: pytest.MonkeyPatch, scheme: str) -> None:
        """407 is final, to CONNECT and to the request itself, and who said it is told."""
        monkeypatch.setenv(f"{scheme}_proxy", f"http://127.0.0.1:{saying(b'HTTP/1.1 407 Who are you' + NO_BODY)}")
        end = Run(Shelf(1), f"{scheme}://events.example/v1/batch").go()
        assert (end.reason, end.exit_code) == (StopReason.PROXY, ExitCode.STOPPED)
        assert "the proxy wants another user and password" in end.message
        assert "HTTPS_PROXY" in end.hint

    @pytest.mark.parametrize("pause", [0.0, 5.0], ids=["gone", "silent"])
    def test_one_that_makes_no_tunnel(self, monkeypatch: pytest.MonkeyPatch, pause: float) -> None:
        """It goes away, or stays silent, before there is a tunnel: nothing has left, so nothing is in doubt."""
        monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{saying(b'', pause=pause)}")
        run = Run(Shelf(1), "https://events.example/v1/batch", options=replace(ONCE, read_seconds=0.1))
        detail, outcome = failed(run)
        assert detail.startswith(Failure.UNSENT)
        assert outcome is Outcome.NOT_TAKEN

    def test_one_that_is_not_there(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """It is the proxy that could not be reached: the message names it."""
        monkeypatch.setenv("https_proxy", "http://127.0.0.1:1")
        detail, _ = failed(Run(Shelf(1), "https://events.example/v1/batch", options=ONCE))
        assert detail == f"{Failure.CONNECT}: Connection refused, through the proxy http://127.0.0.1:1"

    def test_one_that_cannot_be_used(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """It is an error of the setup, told without the password."""
        monkeypatch.setenv("https_proxy", "gopher://user:hunter2@proxy:70")
        with pytest.raises(UsageError, match="gopher://proxy:70") as error:
            Run(Shelf(1), "https://events.example/v1/batch").go()
        assert "hunter2" not in str(error.value)

    def test_one_that_is_no_url(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """It was a crash, whose report would have had the password."""
        monkeypatch.setenv("https_proxy", "http://user:hunter2@[proxy:70")
        with pytest.raises(UsageError, match="is not a valid URL") as error:
            Run(Shelf(1), "https://events.example/v1/batch").go()
        assert "hunter2" not in str(error.value)


@pytest.mark.parametrize(
    ("error", "failure"),
    [
        (httpx.ConnectTimeout(""), Failure.CONNECT_TIMEOUT),
        (httpx.PoolTimeout(""), Failure.CONNECT_TIMEOUT),
        (httpx.ProxyError(""), Failure.PROXY),
        (httpx.WriteTimeout(""), Failure.WRITE_TIMEOUT),
        (httpx.WriteError(""), Failure.WRITE),
        (httpx.ReadTimeout(""), Failure.READ_TIMEOUT),
        (httpx.ReadError(""), Failure.READ),
        (httpx.ConnectError(""), Failure.CONNECT),
        (httpx.RemoteProtocolError("Server disconnected without sending a response."), Failure.DISCONNECTED),
        (httpx.RemoteProtocolError("illegal status line"), Failure.GARBLED),
        (httpx.NetworkError(""), Failure.READ),
    ],
)
def test_failures(error: Exception, failure: Failure) -> None:
    """Each exception of httpx has its failure; what is not known leaves the outcome unknown."""
    assert failure_of(error) is failure


@pytest.mark.parametrize(
    ("host", "ours"),
    [
        ("localhost", True),
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("::1", True),
        ("localhost.example", False),
        ("10.0.0.1", False),
    ],
)
def test_loopback(host: str, ours: bool) -> None:
    """Only this machine's own addresses are loopback."""
    assert is_loopback(host) is ours


def test_the_key_is_in_no_repr() -> None:
    """A target can be printed."""
    assert KEY not in repr(TargetAccess("https://api.segment.io/v1/batch", KEY))


def test_the_libraries_stay_silent(caplog: pytest.LogCaptureFixture) -> None:
    """The HTTP libraries write nothing, also where all logging is turned on afterwards."""
    logging.getLogger("httpcore").setLevel(logging.NOTSET)
    with caplog.at_level(logging.DEBUG), Endpoint() as endpoint:
        Run(Shelf(1), endpoint.url).go()
    assert not [record for record in caplog.records if record.name.startswith(("httpx", "httpcore"))]
