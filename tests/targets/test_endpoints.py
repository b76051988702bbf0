"""Endpoints: what names the same one is the same, what is none is refused with what is wrong."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backfill.targets.endpoint import EndpointError, parse_endpoint


@given(
    scheme=st.sampled_from(["", "https://", "HTTPS://"]),
    host=st.sampled_from(["api.segment.io", "API.Segment.IO", "api.segment.io.", "api.segment.io:443"]),
    path=st.sampled_from(["", "/", "/v1", "/v1/", "/v1/batch", "/v1/batch/", "//v1//"]),
    space=st.sampled_from(["", " "]),
)
def test_the_same_endpoint_however_written(scheme: str, host: str, path: str, space: str) -> None:
    """With or without scheme, port, `/v1` and slashes it is one endpoint."""
    endpoint = parse_endpoint(f"{space}{scheme}{host}{path}{space}")
    assert endpoint.url == "https://api.segment.io"
    assert endpoint.batch_url == "https://api.segment.io/v1/batch"


@pytest.mark.parametrize(
    ("text", "url", "batch_url"),
    [
        ("localhost:8080", "http://localhost:8080", "http://localhost:8080/v1/batch"),
        ("http://127.0.0.1:80/", "http://127.0.0.1", "http://127.0.0.1/v1/batch"),
        ("[::1]:9", "http://[::1]:9", "http://[::1]:9/v1/batch"),
        ("https://[0:0:0:0:0:0:0:1]", "https://[::1]", "https://[::1]/v1/batch"),
        ("h.example/proxy/v1", "https://h.example/proxy", "https://h.example/proxy/v1/batch"),
        ("h.example/api/s/s2s/batch", "https://h.example/api/s/s2s/batch", "https://h.example/api/s/s2s/batch"),
    ],
)
def test_endpoints_of_other_shapes(text: str, url: str, batch_url: str) -> None:
    """Ports, addresses, prefixes, and batch URLs that stand elsewhere."""
    endpoint = parse_endpoint(text)
    assert (endpoint.url, endpoint.batch_url) == (url, batch_url)
    assert parse_endpoint(url).batch_url == batch_url


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("api segment.io", "spaces"),
        ("ftp://x", "scheme ftp"),
        ("https://key:@api.segment.io", "user"),
        ("https://api.segment.io/?a=b", "query"),
        ("https://api.segment.io/#", "fragment"),
        ("api.segment.io:99999", "port"),
        ("api.segment.io:0", "port"),
        ("https://", "host"),
        ("https://bücher.example", "host"),
        ("https://[::g]", "URL"),
        ("-x.example", "host"),
        ("x.example/a b", "spaces"),
        ("x.example/%2e%2e/", "odd characters"),
    ],
)
def test_what_is_no_endpoint(text: str, message: str) -> None:
    """What an endpoint does not have is refused, and a user in it is never repeated."""
    with pytest.raises(EndpointError) as caught:
        parse_endpoint(text)
    assert message in caught.value.message
    assert "key" not in caught.value.message


@given(st.text())
def test_any_text_is_an_endpoint_or_refused(text: str) -> None:
    """No text raises anything but EndpointError, and what is taken is taken again as the same."""
    try:
        endpoint = parse_endpoint(text)
    except EndpointError:
        return
    assert parse_endpoint(endpoint.url) == endpoint
