"""NO_PROXY: names, what is below them, addresses, networks and ports."""

import pytest

from backfill.deliver.environment import is_bypassed, proxy_for

URL = "https://api.segment.io/v1/batch"


@pytest.mark.parametrize(
    ("listed", "url", "direct"),
    [
        ("", URL, False),
        ("*", URL, True),
        ("other.example, *", URL, True),
        ("segment.io", URL, True),
        (".segment.io", URL, True),
        ("*.segment.io", URL, True),
        ("SEGMENT.IO.", URL, True),
        ("api.segment.io", URL, True),
        ("*.segment.io", "https://segment.io/v1/batch", False),
        (".segment.io", "https://segment.io/v1/batch", True),
        ("gment.io", URL, False),
        ("segment.io.example", URL, False),
        ("api.segment.io:443", URL, True),
        ("segment.io:8443", URL, False),
        ("segment.io:8443", "https://api.segment.io:8443/v1/batch", True),
        ("*:8443", "https://api.segment.io:8443/v1/batch", True),
        ("segment.io:80", "http://api.segment.io/v1/batch", True),
        ("localhost 10.0.0.0/8", "http://10.20.30.40/v1/batch", True),
        ("10.0.0.0/8", "http://11.20.30.40/v1/batch", False),
        ("10.20.30.40/8", "http://10.1.1.1/v1/batch", True),
        ("10.1.2.3", "http://10.1.2.3:8080/v1/batch", True),
        ("10.1.2.3:8080", "http://10.1.2.3:8080/v1/batch", True),
        ("10.1.2.3:8081", "http://10.1.2.3:8080/v1/batch", False),
        ("2.3", "http://10.1.2.3/v1/batch", False),
        ("10.0.0.0/8", URL, False),
        ("fd00::/8", "http://[fd12::1]:8080/v1/batch", True),
        ("fe80::/10", "http://[fd12::1]:8080/v1/batch", False),
        ("[fd12::1]:8080", "http://[fd12::1]:8080/v1/batch", True),
        ("[fd12::1]", "http://[fd12::1]/v1/batch", True),
        ("fd12::1", "http://[fd12::1]/v1/batch", True),
        ("10.0.0.0/8", "http://[fd12::1]/v1/batch", False),
        ("10.0.0.0/33,,/,:,[", "http://10.1.1.1/v1/batch", False),
    ],
)
@pytest.mark.parametrize("name", ["NO_PROXY", "no_proxy"])
def test_what_is_reached_directly(
    monkeypatch: pytest.MonkeyPatch, name: str, listed: str, url: str, direct: bool
) -> None:
    """Each kind of entry, beside a proxy for everything."""
    monkeypatch.setenv("ALL_PROXY", "http://proxy:3128")
    monkeypatch.setenv(name, listed)
    assert proxy_for(url) == (None if direct else "http://proxy:3128")


def test_a_name_is_not_looked_up() -> None:
    """A network says nothing about a name, whatever its address."""
    assert not is_bypassed("http", "localhost", None, "127.0.0.0/8")
