"""TLS, CA bundles and proxies, through the whole program: what is verified, by whom, and by which way."""

from __future__ import annotations

import shutil
import socket
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import trustme

from tests.support.projects import KEY, Project, Result, backfill
from tests.support.stand_ins.proxy import Proxy
from tests.support.stand_ins.server import StandIn
from tests.support.stand_ins.services import Segment

ROWS = 30
NAME = "ingest.test"  # a name that no resolver knows (RFC 6761, section 6.2)


class Authorities:
    """An authority that the program is told of, and another that nobody knows."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ours, self.unknown = trustme.CA(), trustme.CA()
        self.bundle = folder / "authorities.pem"
        self.ours.cert_pem.write_to_path(str(self.bundle))

    def issue(self, *names: str, by: trustme.CA | None = None, until: datetime | None = None) -> tuple[str, str]:
        """A certificate for these names: the files of its chain and key."""
        issued = (by or self.ours).issue_cert(*names, not_before=until and until - timedelta(30), not_after=until)
        chain, key = self.folder / "chain.pem", self.folder / "key.pem"
        chain.write_bytes(b"".join(part.bytes() for part in issued.cert_chain_pems))
        issued.private_key_pem.write_to_path(str(key))
        return str(chain), str(key)


@pytest.fixture(scope="module")
def authorities(tmp_path_factory: pytest.TempPathFactory) -> Authorities:
    """Made once: keys take their time."""
    return Authorities(tmp_path_factory.mktemp("authorities"))


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """Runs the job to an endpoint; an unfinished run goes on."""
    monkeypatch.setenv("THERE_KEY", KEY)

    def to(endpoint: str, *options: str) -> Result:
        profile = f"{{kind: compatible, endpoint: '{endpoint}', write_key: '${{THERE_KEY}}', rate: unlimited}}"
        (tmp_path / "targets.yaml").write_text(f"version: 1\ntargets:\n  there: {profile}\n")
        if not (job := tmp_path / "people.yaml").exists():
            Project(tmp_path).people(ROWS)
        return backfill("run", job, "--target", "there", "--yes", *options)

    return to


def test_a_bundle_of_the_company(
    authorities: Authorities, run: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    """SSL_CERT_FILE names the authorities that are trusted."""
    monkeypatch.setenv("SSL_CERT_FILE", str(authorities.bundle))
    service = Segment(KEY)
    with StandIn(service, tls=authorities.issue("localhost")) as there:
        result = run(f"https://localhost:{there.port}")
    assert result.code == 0, result.err
    assert len(service.taken) == ROWS


def test_a_folder_of_the_company(
    authorities: Authorities, run: Callable[..., Result], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """So does SSL_CERT_DIR, a folder in OpenSSL's form: a file is named by the hash of its subject."""
    if (openssl := shutil.which("openssl")) is None:
        pytest.skip("openssl, which tells the hash, is not installed")
    words = [openssl, "x509", "-subject_hash", "-noout", "-in", str(authorities.bundle)]
    digest = subprocess.run(words, capture_output=True, text=True, check=True, timeout=20).stdout.strip()
    folder = tmp_path / "certs"
    folder.mkdir()
    (folder / f"{digest}.0").write_bytes(authorities.bundle.read_bytes())
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    monkeypatch.setenv("SSL_CERT_DIR", str(folder))
    with StandIn(Segment(KEY), tls=authorities.issue("localhost")) as there:
        result = run(f"https://localhost:{there.port}")
    assert result.code == 0, result.err


@pytest.mark.parametrize("content", [None, "", "no certificate at all"])
def test_a_bundle_that_is_none(
    authorities: Authorities, run: Callable[..., Result], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, content: str
) -> None:
    """A bundle that is missing, empty or something else is a mistake of the setup, told before anything is sent."""
    bundle = tmp_path / "bundle.pem"
    if content is not None:
        bundle.write_text(content)
    monkeypatch.setenv("SSL_CERT_FILE", str(bundle))
    with StandIn(Segment(KEY), tls=authorities.issue("localhost")) as there:
        result = run(f"https://localhost:{there.port}")
    assert result.code == 2, result.err
    assert str(bundle) in result.err
    assert "SSL_CERT_FILE" in result.err
    assert there.asked == []


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        ("expired", "certificate has expired"),
        ("not yet valid", "not yet valid"),
        ("unknown authority", "unable to get local issuer"),
        ("self-signed", "self-signed certificate"),
        ("another host", "doesn't match|mismatch|not valid for"),
    ],
)
def test_a_certificate_that_does_not_verify(
    authorities: Authorities, run: Callable[..., Result], monkeypatch: pytest.MonkeyPatch, fault: str, says: str
) -> None:
    """The run stops at once, exit 5, and says what is wrong and what to do; nothing has left."""
    monkeypatch.setenv("SSL_CERT_FILE", str(authorities.bundle))
    now = datetime.now(UTC)
    files = {
        "expired": lambda: authorities.issue("localhost", until=now - timedelta(days=1)),
        "not yet valid": lambda: authorities.issue("localhost", until=now + timedelta(days=60)),
        "unknown authority": lambda: authorities.issue("localhost", by=authorities.unknown),
        "self-signed": lambda: (str(Path(__file__).parents[1] / "golden" / "localhost.pem"),) * 2,
        "another host": lambda: authorities.issue("elsewhere.test"),
    }[fault]()
    service = Segment(KEY)
    with StandIn(service, tls=files) as there:
        result = run(f"https://localhost:{there.port}")
    assert result.code == 5, result.err
    assert there.asked == []
    assert "certificate of the target does not verify" in result.err
    assert any(word in result.err for word in says.split("|")), result.err
    assert "SSL_CERT_FILE" in result.err
    assert KEY not in result.err


class TestProxy:
    """The usual variables name a proxy; a name that only the proxy knows shows that it was used."""

    @pytest.fixture(autouse=True)
    def _trusted(self, authorities: Authorities, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("SSL_CERT_FILE", str(authorities.bundle))

    @pytest.mark.parametrize("variable", ["HTTPS_PROXY", "https_proxy", "ALL_PROXY"])
    def test_a_tunnel(
        self, authorities: Authorities, run: Callable[..., Result], monkeypatch: pytest.MonkeyPatch, variable: str
    ) -> None:
        """HTTPS goes through CONNECT: the proxy sees the name, and neither key nor calls."""
        service = Segment(KEY)
        with StandIn(service, tls=authorities.issue(NAME)) as there, Proxy({f"{NAME}:443": there.port}) as proxy:
            monkeypatch.setenv(variable, proxy.url)
            result = run(f"https://{NAME}")
        assert result.code == 0, result.err
        assert len(service.taken) == ROWS
        assert set(proxy.asked) == {f"CONNECT {NAME}:443 HTTP/1.1"}
        assert not any("authorization" in headers for headers in proxy.headers)
        assert b"u000001" not in proxy.heard
        assert KEY.encode() not in proxy.heard

    def test_a_proxy_with_a_password(
        self, authorities: Authorities, run: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """User and password go to the proxy alone, and into nothing that is written."""
        with StandIn(Segment(KEY), tls=authorities.issue(NAME)) as there, Proxy({f"{NAME}:443": there.port}) as proxy:
            monkeypatch.setenv("HTTPS_PROXY", proxy.url.replace("//", "//clerk:hunter2@"))
            result = run(f"https://{NAME}", "-vv")
            assert result.code == 0, result.err
        assert {headers["proxy-authorization"] for headers in proxy.headers} == {"Basic Y2xlcms6aHVudGVyMg=="}
        assert not any("proxy-authorization" in asked.headers for asked in there.asked)
        assert "hunter2" not in result.err

    def test_certificates_behind_it(
        self, authorities: Authorities, run: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A proxy that opens the tunnel to somebody else is found out."""
        with (
            StandIn(Segment(KEY), tls=authorities.issue("elsewhere.test")) as there,
            Proxy({f"{NAME}:443": there.port}) as proxy,
        ):
            monkeypatch.setenv("HTTPS_PROXY", proxy.url)
            result = run(f"https://{NAME}")
        assert result.code == 5, result.err
        assert "does not verify" in result.err
        assert there.asked == []

    def test_no_proxy(
        self, authorities: Authorities, run: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """NO_PROXY names what is reached directly."""
        resolved: list[str] = []

        def resolve(host: str, port: int, *_: object, **__: object) -> list[object]:
            resolved.append(host)
            place = there.port if host == NAME else port
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", place))]

        service = Segment(KEY)
        with StandIn(service, tls=authorities.issue(NAME)) as there, Proxy({}) as proxy:
            monkeypatch.setenv("HTTPS_PROXY", proxy.url)
            monkeypatch.setenv("NO_PROXY", "example.org,.test")
            monkeypatch.setattr(socket, "getaddrinfo", resolve)
            result = run(f"https://{NAME}")
        assert result.code == 0, result.err
        assert (proxy.asked, set(resolved)) == ([], {NAME})
        assert len(service.taken) == ROWS

    def test_one_that_refuses(self, run: Callable[..., Result], monkeypatch: pytest.MonkeyPatch) -> None:
        """A proxy that does not connect us is tried as often as asked: exit 5, and nothing is in doubt."""
        with Proxy({}) as proxy:
            monkeypatch.setenv("HTTPS_PROXY", proxy.url)
            result = run(f"https://{NAME}", "--attempts", "2", "--output", "json")
        assert result.code == 5, result.err
        assert len(proxy.asked) == 2
        assert "the proxy did not connect us" in result.err
        assert result.object["calls"]["in_doubt"] == 0

    def test_never_for_loopback(
        self, authorities: Authorities, run: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """What is on this machine is never shown to a proxy, whatever the variables say."""
        with StandIn(Segment(KEY), tls=authorities.issue("localhost")) as there, Proxy({}) as proxy:
            for variable in ("HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY"):
                monkeypatch.setenv(variable, proxy.url)
            result = run(f"https://localhost:{there.port}")
        assert result.code == 0, result.err
        assert proxy.asked == []
